"""From what somebody names to a wish that can be declared: identifiers, places, and the registry to declare it in."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from imageworks.config import (
    HostSettings,
    RegistryNotFoundError,
    allow_root,
    find_registry,
    load_host_settings,
    registry_to_make,
)
from imageworks.config_layers import check_path
from imageworks.errors import UsageError
from imageworks.foundation.home import expanded
from imageworks.identifiers import HubIdentifier, parse_hub_identifier
from imageworks.reconcile.declare import Proposal, Wish
from imageworks.reconcile.run import Run
from imageworks.registry.git_lock import hold
from imageworks.registry.scaffold import make_registry

NEW_REGISTRY: Final = "new-registry"
MAKING_SECONDS: Final = 60.0


def identify(model: str, *, revision: str | None, quantization: str | None, endpoint: str) -> HubIdentifier:
    """Return which repository, revision and quantization somebody means.

    Args:
        model: ``owner/repo``, ``owner/repo@branch``, ``hf.co/owner/repo:Q4_K_M`` or a page's URL.
        revision: A branch, tag or commit that was named beside it.
        quantization: A quantization that was named beside it.
        endpoint: The hub's address, whose pages are read like the Hub's own.

    Raises:
        IdentifierError: It names no model.
        UsageError: The model and what was named beside it exclude each other.
    """
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
    """Return a location as a manifest has it: a name as it is, a path absolute or below the home folder.

    Args:
        given: A location's name, or a path.

    Raises:
        UsageError: It is the root of the filesystem.
    """
    if given is None or ("/" not in given and not given.startswith(("~", "."))):
        return given
    check_path("location", given)
    path = Path(os.path.normpath(expanded(given).absolute()))
    if path.parent == path:
        raise UsageError(f"location {given}: models cannot be strewn over the whole filesystem")
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) and path != home else str(path)


def allow_named(run: Run, wish: Wish) -> None:
    """Let a run put models below a path that a wish names; who names it allows it.

    Args:
        run: An open run.
        wish: What is asked for.
    """
    root = _named_root(wish)
    if root is not None:
        run.allow(root)


def keep_allowed(host: HostSettings, wish: Wish, told: Callable[[str], None]) -> None:
    """Add a path that a wish names to the roots of this host, so that later runs work there too, and say so.

    Args:
        host: This host's settings.
        wish: What is asked for.
        told: Gets what a person should know.
    """
    root = _named_root(wish)
    if root is not None and not host.allows(root):
        told(f"models may be below {root} on this host from now on: added to roots in {allow_root(root)}")


def _named_root(wish: Wish) -> Path | None:
    named = wish.location
    return expanded(named) if named and named.startswith(("/", "~")) else None


def registry_or_new(given: Path | None, told: Callable[[str], None]) -> Path:
    """Return the registry to use; where there is none yet, one is made in its usual place.

    Args:
        given: The registry that was named, if one was.
        told: Gets what a person should know.
    """
    try:
        return find_registry(given)
    except RegistryNotFoundError:
        host = load_host_settings()
        with hold(host.state_dir / NEW_REGISTRY, wait=MAKING_SECONDS, host=host.host, what="the making of a registry"):
            return _found_meanwhile(given) or _made(host, told)


def _found_meanwhile(given: Path | None) -> Path | None:
    """Return the registry that another process made while this one waited for its turn, if one did."""
    try:
        return find_registry(given)
    except RegistryNotFoundError:
        return None


def _made(host: HostSettings, told: Callable[[str], None]) -> Path:
    made = make_registry(registry_to_make(), host)
    told(f"Made a registry at {made.root}, a git repository with a manifest for each model.")
    return made.root


def is_settled(proposal: Proposal, wish: Wish, *, kept: bool) -> bool:
    """Return whether a wish is fulfilled already, so that nothing need be planned.

    Args:
        proposal: What would be declared.
        wish: What is asked for.
        kept: Whether the manifest is to be committed.
    """
    entry = proposal.entry
    recorded = not kept and entry is not None and not entry.managed
    return proposal.installed and (not proposal.changed or recorded) and not wish.force
