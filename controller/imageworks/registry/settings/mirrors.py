"""From which mirrors a host takes bytes: those that are asked for, else its owner's, else those of registry.yaml."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.host.settings import HostSettings
from imageworks.registry.settings.settings import FILE, RegistrySettings

_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9._:\[\]-]{1,255}(?:/[A-Za-z0-9._~/-]{0,200})?")


class UnknownMirrorError(ImageworksError):
    """A mirror is named as a host whose hub nobody knows the address of."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """One mirror.

    Args:
        address: What its addresses begin with.
        trusted: Whether this host's owner names it; one that only the registry names leads into no private network.
    """

    address: str
    trusted: bool


def mirrors_of(settings: RegistrySettings, host: HostSettings, asked: Sequence[str] = ()) -> tuple[Mirror, ...]:
    """Return the mirrors of a host in their order; nobody is a mirror of itself."""
    own = asked or host.mirrors
    found = dict.fromkeys(address_of(one, settings) for one in (settings.mirrors if own is None else own))
    return tuple(
        Mirror(address, trusted=own is not None)
        for address in found
        if address not in {settings.hubs.get(host.host), host.hub_endpoint.rstrip("/")}
    )


def address_of(mirror: str, settings: RegistrySettings) -> str:
    """Return the address of a mirror that is written as one, or as the name of a host."""
    if _ADDRESS.fullmatch(mirror):
        return mirror.rstrip("/")
    if "://" in mirror:
        raise UnknownMirrorError(
            f"a mirror is no hub: {mirror.rpartition('@')[2][:200]!a}",
            remedy="Write it as http://ADDRESS:PORT, without user, password, query or fragment.",
        )
    if (found := settings.hubs.get(mirror)) is not None:
        return found
    raise UnknownMirrorError(
        f"mirror {mirror!r}: {FILE} names no address at which that host serves what it has",
        remedy=f"Write an address, or into {FILE}: hosts: {{{mirror}: {{hub: http://ADDRESS:PORT}}}}, "
        "as `hub serve --registry` there has it.",
    )
