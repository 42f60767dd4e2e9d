"""From what somebody names to a wish that can be declared: identifiers, places, and the registry to declare it in."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.foundation.home import expanded
from imageworks.git.controller_lock import hold
from imageworks.host.setting_layers import check_path
from imageworks.host.settings import (
    HostSettings,
    NothingThereError,
    RegistryNotFoundError,
    allow_root,
    find_registry,
    load_host_settings,
    registry_to_make,
)
from imageworks.naming.hub_identifiers import HubIdentifier, is_hub_address, parse_hub_identifier
from imageworks.operations.download.draft import DeclarationDraft, DownloadRequest
from imageworks.operations.init_registry import make_registry, take_back
from imageworks.providers.dispatch import PROVIDERS, provider
from imageworks.providers.model_claims import ModelClaims
from imageworks.providers.named_source import NamedSource
from imageworks.reconcile.run import Run
from imageworks.registry.settings.model_places import Use

_PATHS: Final = ("/", "./", "../", "~", ".\\", "..\\", "\\")
NEW_REGISTRY: Final = "new-registry"
MAKING_SECONDS: Final = 60.0


class LocationRefusedError(ImageworksError):
    """A named location is where no model goes."""


def identify(
    model: str, *, revision: str | None, quantization: str | None, endpoint: str, sha256: str | None = None
) -> HubIdentifier | NamedSource:
    """Return which repository, revision and quantization somebody means, or which other source."""
    if model.strip().startswith(_PATHS):
        raise UsageError(
            f"{model}: a path of this machine, where nothing need be downloaded",
            remedy="`imageworks-models scan --base FOLDER` records the models that are there already.",
        )
    if not is_hub_address(model, endpoints=[endpoint]):
        for name in PROVIDERS:
            if (named := provider(name).named(model.strip(), sha256)) is not None:
                if revision:
                    raise UsageError(f"{named} has no revisions", remedy="Leave --revision out.")
                return named
    if sha256 is not None:
        raise UsageError(
            f"{model}: --sha256 is for a file's address outside the hub",
            remedy="Leave it out: the hub's listing says the digest of each file.",
        )
    return _repository(model, revision=revision, quantization=quantization, endpoint=endpoint)


def _repository(model: str, *, revision: str | None, quantization: str | None, endpoint: str) -> HubIdentifier:
    found = parse_hub_identifier(model, endpoints=[endpoint])
    if revision and found.revision and revision != found.revision:
        raise UsageError(f"{model}: revision {revision} and {found.revision} exclude each other")
    if quantization and found.quantization and quantization.lower() != found.quantization.lower():
        raise UsageError(f"{model}: quantization {quantization} and {found.quantization} exclude each other")
    if revision:
        checked = parse_hub_identifier(f"{found.repo}@{revision}")
        return replace(found, revision=checked.revision)
    return found


def declared_location(given: str | None) -> str | None:
    """Return a location as a manifest has it: a name as it is, a path absolute or below the home folder."""
    if given is None or ("/" not in given and not given.startswith(("~", "."))):
        return given
    check_path("location", given)
    path = Path(os.path.normpath(expanded(given).absolute()))
    if path.parent == path:
        raise UsageError(f"location {given}: models cannot be strewn over the whole filesystem")
    home = Path.home()
    if Path(os.path.realpath(home)).is_relative_to(os.path.realpath(path)):
        message = f"location {given}: it holds your whole home folder, which no registry is to reach"
        raise UsageError(message, remedy="Name a folder in it.")
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def allow_named(run: Run, wish: DownloadRequest) -> None:
    """Let a run put models below a path that a wish names; who names it allows it."""
    root = _named_root(wish)
    if root is None:
        return
    if (why := run.places.why_not(root, Use.ROOT)) is not None:
        raise LocationRefusedError(f"{root} is no place for a model: {why}", remedy="Choose another location.")
    run.allow(root)


def keep_allowed(host: HostSettings, wish: DownloadRequest, told: Callable[[str], None]) -> None:
    """Add a path that a wish names to the roots of this host, so that later runs work there too, and say so."""
    root = _named_root(wish)
    if root is not None and not host.allows(root):
        told(f"models may be below {root} on this host from now on: added to roots in {allow_root(root)}")


def _named_root(wish: DownloadRequest) -> Path | None:
    named = wish.location
    return expanded(named) if named and named.startswith(("/", "~")) else None


@contextmanager
def registry_or_new(given: Path | None, told: Callable[[str], None], *, draft: bool = False) -> Iterator[Path]:
    """Yield the registry to use; where there is none yet, a new one.

    Of a new one nothing stays where nothing is brought into it.

    Args:
        given: What was named, if anything.
        told: Told that one is made.
        draft: Whether a new one is only to plan in, and goes afterwards.
    """
    root = _found(given)
    if root is not None:
        yield root
    elif draft:
        told(f"There is no registry yet: without --dry-run, download makes one at {registry_to_make(given)}.")
        with TemporaryDirectory(prefix="imageworks-") as folder:
            yield make_registry(Path(folder, "registry"), load_host_settings()).root
    else:
        with _new_registry(given, told) as root:
            yield root


@contextmanager
def _new_registry(given: Path | None, told: Callable[[str], None]) -> Iterator[Path]:
    host = load_host_settings()
    with hold(host.state_dir / NEW_REGISTRY, wait=MAKING_SECONDS, host=host.host, what="the making of a registry"):
        root = _found(given)  # what another process made while this one waited for its turn
        made = None if root is not None else make_registry(registry_to_make(given), host)
    if made is None:
        yield root or registry_to_make(given)
        return
    told(f"Made a registry at {made.root}, a git repository with a manifest for each model.")
    try:
        yield made.root
    except BaseException:
        if not ModelClaims(host.state_dir, made.root, host.host).were_made:  # else `status` tells of what came
            take_back(made)
        raise


def _found(given: Path | None) -> Path | None:
    try:
        return find_registry(given)
    except (RegistryNotFoundError, NothingThereError):
        return None


def is_settled(proposal: DeclarationDraft, wish: DownloadRequest, *, kept: bool) -> bool:
    """Return whether a wish is fulfilled already, so that nothing need be planned."""
    entry = proposal.entry
    recorded = not kept and entry is not None and not entry.managed
    return proposal.installed and (not proposal.changed or recorded) and not wish.force
