"""The predecessor's files in a folder that is, or is to be, a registry: they are never written to."""

import os
import shlex
import stat
from pathlib import Path
from typing import Final

from imageworks.files.stat_cache import StatCache, is_settled
from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.errors import ImageworksError

COMPATIBILITY_FILE: Final = "model_registry.json"
"""The copy of the snapshot at a registry's root that older consumers read; git-ignored."""
SHOWN: Final = 3
_PIECE: Final = 1 << 20
_STEM: Final = "model_registry"
_OURS: Final = "the copy of a snapshot"
_FIELD: Final = "managed"
"""The field that every model of ours has, and none of the predecessor's."""
_USUAL: Final = Path("~/ai-models/registry")


class ForeignFilesError(ImageworksError):
    """A folder holds files of the predecessor, so nothing is written there."""

    def __init__(self, folder: Path, files: tuple[str, ...], *, registry: bool) -> None:
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        command = shlex.join(["imageworks-models", "migrate", str(folder), "--registry", str(_elsewhere(folder))])
        after = (
            "and leaves the files as they are; move them out of this folder to go on using it"
            if registry
            else "and leaves the files as they are; then use that one, with --registry or IMAGEWORKS_REGISTRY_DIR"
        )
        super().__init__(
            f"{folder} holds files of the predecessor, which are never written to: {', '.join(files[:SHOWN])}{more}",
            remedy=f"`{command}` makes a registry of them {after}.",
        )
        self.folder = folder
        self.files = files


def find_foreign(folder: Path, *, registry: bool, cache: StatCache | None = None) -> tuple[str, ...]:
    """Return the names of a folder's ``model_registry*.json`` that this program did not make, in any case."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise ForeignFilesError(folder, (f"unknown ones: {error.strerror}",), registry=registry) from error
    return tuple(
        name
        for name in names
        if name.lower().startswith(_STEM) and name.lower().endswith(".json")
        if not (registry and name == COMPATIBILITY_FILE and is_ours(folder / name, cache))
    )


def refuse_foreign(folder: Path, *, registry: bool, cache: StatCache | None = None) -> None:
    """Raise where a folder holds files of the predecessor."""
    for place in (folder,) if registry else (folder, folder / "registry"):
        # Its settings may be there and be no file: what is wrong with them is for whoever reads them to say.
        if files := find_foreign(place, registry=registry or os.path.lexists(place / "registry.yaml"), cache=cache):
            raise ForeignFilesError(place, files, registry=registry)


def is_ours(path: Path, cache: StatCache | None = None) -> bool:
    """Return whether ``model_registry.json`` in a registry is the copy of a snapshot, and no one else's file.

    The predecessor's program writes the same name. Its models lack a field that each of ours has; a copy is known by
    that wherever it comes from, also where this host's state was lost.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return False
        if cache is not None and cache.get(path, status) == _OURS:
            return True
        if not _has_our_models(path):
            return False
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    if cache is not None and is_settled(status):
        cache.keep(path, status, _OURS)
    return True


def _has_our_models(path: Path) -> bool:
    field = f'"{_FIELD}":'.encode()
    with path.open("rb", buffering=_PIECE) as stream:  # of 30 MB in the usual small pieces it takes twice as long
        others = (line for line in stream if field not in line)
        if not any(line.strip(b"[] \t\r\n") for line in others):
            return True  # as it is written, one model a line; or empty, which nobody can lose
    return is_copy(read_json(path.read_bytes()))


def is_copy(models: object) -> bool:
    """Return whether a document is a snapshot of this program's, and not the predecessor's merged registry."""
    return isinstance(models, list) and all(isinstance(model, dict) and _FIELD in model for model in models)


def _elsewhere(folder: Path) -> Path:
    """Return a folder in which the registry can be made instead."""
    usual = _USUAL.expanduser()
    if folder.resolve() == usual.resolve() or find_foreign(usual, registry=(usual / "registry.yaml").is_file()):
        return folder.parent / f"{folder.name}-migrated"
    return usual
