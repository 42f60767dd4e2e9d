"""Which registries a command that only checks is about, and how their files are named from here."""

import os
from collections.abc import Sequence
from pathlib import Path


def registries_here(named: Path | None, files: Sequence[Path] = ()) -> list[Path]:
    """Return the registries to check: the named one, those that files lie in, else those of the repository around."""
    from imageworks.host.settings import REGISTRY_VARIABLE, RegistryNotFoundError, find_registry
    from imageworks.registry.find_registries import registries_around, registries_of, repository_around

    if files and named is None:
        return registries_of(files)
    here = Path(os.path.realpath(Path.cwd()))
    if named is not None or os.environ.get(REGISTRY_VARIABLE, "").strip() or repository_around(here) is None:
        return [find_registry(named)]
    found = registries_around(here)
    if not found:
        raise RegistryNotFoundError(
            f"no registry found in the git repository around {here}",
            remedy="Name one with --registry; `imageworks-models init PATH` makes one here.",
        )
    return found


def path_prefix(root: Path) -> str:
    """Return what leads from here to a registry, so that an editor can open the places that are printed."""
    here = Path(os.path.realpath(Path.cwd()))
    real = Path(os.path.realpath(root))
    shown = real.relative_to(here).as_posix() if real.is_relative_to(here) else root.as_posix()
    return "" if shown == "." else f"{shown}/"
