"""To which addresses a server may lead: one that everybody reaches never leads into this machine or its network.

A name is looked up here, and the connection goes to what was found, so that a name which means another place a moment
later leads nowhere. What goes by a proxy is looked up by the proxy: there, addresses that are written as such count.
"""

import re
import socket
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.proxies import NetworkSettingError, is_listed, proxy_for

IN_ADDRESSES: Final = "".join(map(chr, range(ord("!"), ord("~") + 1)))
"""What stands in an address as it is; the rest is encoded, as browsers do."""
_PLACE: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
"""What every program reads alike."""
_TRANSLATED: Final = (
    *(IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48")),
    *(IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96")),
)
"""Where the last four bytes are an address of IPv4: NAT64 (as networks set it up too), what came before, and SIIT."""
_ISATAP: Final = frozenset({b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"})
"""What stands before an address of IPv4 in the lower half of one of IPv6 that tunnels to it."""
_OF_CLOUDS: Final = frozenset(
    map(ip_address, ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42"))
)
"""Where Azure, Alibaba, Oracle, Amazon, Google and Scaleway tell a machine its credentials, besides 169.254/16."""
_SPECIAL: Final = IPv4Network("192.0.0.0/24")
"""Of protocols; Python calls it private in some versions and global in others."""
_MOST_KNOWN: Final = 256  # each file's link leads to one of few
PRIVATE_HOSTS: Final = "IMAGEWORKS_PRIVATE_HOSTS"
"""The variable that says where servers may lead all the same: hosts, domains and networks, with commas between."""


def private_hosts(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the hosts of this network's own to which a server outside of it may lead."""
    return tuple(one.strip() for one in environment.get(PRIVATE_HOSTS, "").split(",") if one.strip())


class Reach(StrEnum):
    """From where an address is reached."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"  # among others what clouds tell a machine its credentials by
    NOWHERE = "reserved"


_NEAR: Final = frozenset({Reach.PRIVATE, Reach.LOOPBACK})


class PrivateAddressError(ImageworksError):
    """A server leads to an address that is none of its business."""

    def __init__(self, host: str, address: str, reach: Reach, leader: str) -> None:
        shown = f"{reach} address" if host == address else f"{reach} address ({address})"
        super().__init__(
            f"{leader} leads to {host}, which is a {shown}",
            remedy=f'Nothing was asked there. If it is meant: private_hosts = ["{host}"] in the user\'s config.toml.',
        )
        self.reach = reach


@lru_cache(maxsize=_MOST_KNOWN)
def reach_of(address: str) -> Reach:
    """Return from where an address is reached."""
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        inner = _inner(parsed)
        if inner is not None:
            return reach_of(str(inner))
    if parsed.is_loopback or int(parsed) == 0 or (isinstance(parsed, IPv4Address) and parsed.packed[0] == 0):
        return Reach.LOOPBACK  # a connection to nowhere in particular goes to this machine
    if parsed.is_link_local or parsed in _OF_CLOUDS:
        return Reach.LINK_LOCAL
    if parsed.is_multicast or (parsed.is_reserved and not parsed.is_global):
        return Reach.NOWHERE
    is_site_local = isinstance(parsed, IPv6Address) and parsed.is_site_local
    return Reach.PUBLIC if parsed.is_global and not is_site_local and parsed not in _SPECIAL else Reach.PRIVATE


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Return the address of IPv4 that one of IPv6 leads to, ``None`` where it leads to none."""
    if int(address) <= 1:
        return None
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(address.packed[-4:])
    if address.is_global and address.packed[8:12] in _ISATAP:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


class AddressGuard:
    """Lets a server lead where it may; used from several threads at once."""

    def __init__(self, server: str, exempt: Collection[str] = (), *, home: Reach | None = None) -> None:
        self._url = server
        self._server = _host_of(server) or server
        self._exempt = ",".join(exempt)
        self._home = home
        self._lock = threading.Lock()

    def check(self, url: str) -> None:
        """Raise where a URL leads to what the server may not lead to."""
        host, place = _host_of(url), re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
        if not _PLACE.fullmatch(place):
            raise PrivateAddressError(place, place, Reach.NOWHERE, self._server)
        with suppress(OSError, NetworkSettingError):  # whoever connects will tell
            self._permitted(host, _found(host, proxied=proxy_for(url) is not None))

    def addresses(self, host: str) -> Sequence[str]:
        """Return the addresses at which a host may be asked."""
        host = host.removeprefix("[").removesuffix("]").lower()
        return self._permitted(host, _found(host))

    def connect(self, host: str, port: int, timeout: float | None) -> socket.socket:
        """Return a connection to one of the addresses at which a host may be asked."""
        failure = OSError(f"{host} has no address")
        for address in self.addresses(host):
            try:
                return socket.create_connection((address, port), timeout)
            except OSError as error:
                failure = error
        raise failure

    def _permitted(self, host: str, found: Sequence[str]) -> Sequence[str]:
        home = self._home_reach()
        if not found or is_listed(host, self._exempt):
            return found
        kept = [
            one for one in found if _may_lead(home, reach_of(one)) or is_listed(one.partition("%")[0], self._exempt)
        ]
        if not kept:
            raise PrivateAddressError(host, found[0], reach_of(found[0]), self._server)
        return kept

    def _home_reach(self) -> Reach:
        """Return from where the server itself is reached: looked up once, so that its name cannot change its mind."""
        with self._lock:
            if self._home is None:
                try:
                    proxied = proxy_for(self._url) is not None
                    reaches = [reach_of(one) for one in _found(self._server, proxied=proxied)]
                except (OSError, NetworkSettingError):
                    return Reach.PUBLIC
                self._home = Reach.PUBLIC if not reaches or Reach.PUBLIC in reaches else reaches[0]
            return self._home


def _may_lead(home: Reach, reach: Reach) -> bool:
    if reach in {Reach.PUBLIC, home}:
        return reach is not Reach.NOWHERE
    return reach in _NEAR and home is not Reach.PUBLIC


def _host_of(url: str) -> str:
    with suppress(ValueError):
        return (urlsplit(url).hostname or "").lower()
    return ""


@lru_cache(maxsize=_MOST_KNOWN)
def written_address(host: str) -> Sequence[str]:
    """Return the address that a host is by the way it is written, none for a name that has to be looked up."""
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return ("127.0.0.1",)
    with suppress(ValueError):
        return (str(ip_address(name)),)
    with suppress(OSError):
        return (socket.inet_ntoa(socket.inet_aton(name)),)  # also 127.1, 0x7f000001 and 2130706433
    return ()


def _found(host: str, *, proxied: bool = False) -> Sequence[str]:
    written = written_address(host)
    if written or proxied:
        return written
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(one[4][0]) for one in found))
