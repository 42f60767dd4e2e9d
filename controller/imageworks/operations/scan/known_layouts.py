"""Looks into folders of a known layout, within bounds, and gives what stands there to `detect.layouts`."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.detection import layouts
from imageworks.detection.layouts import CATEGORIES, FoundLayout, Layout
from imageworks.foundation.bounded_json import read_json_file

MOST_FILES: Final = 20_000
DEEPEST: Final = 6
_MOST_REF_BYTES: Final = 200
_INDEXES: Final = frozenset({"config.json", "model_index.json", "adapter_config.json"})


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """A folder whose layout is known.

    Args:
        folder: The folder.
        layout: What it is.
    """

    folder: Path
    layout: Layout


def known_place(folder: Path) -> KnownFolder | None:
    """Return a folder with its layout, or ``None`` where it has none that is known, or cannot be read."""
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as children:
            for count, child in enumerate(children):
                if count > MOST_FILES:
                    break
                (folders if child.is_dir() else files).append(child.name)
    except OSError:
        return None
    layout = layouts.layout_of(folder.name, files, folders)
    return None if layout is None else KnownFolder(folder, layout)


def found_in(place: KnownFolder) -> Iterator[FoundLayout | Path]:
    """Yield the models of a place, and the folders in it that are to be looked at like any other."""
    folder = place.folder
    if place.layout is Layout.HUB_REPOSITORY:
        yield from layouts.hub_repository(folder.name, _folders(folder / "snapshots"), _refs(folder / "refs"))
    elif place.layout is Layout.HUB_CACHE:
        yield from (folder / name for name in _folders(folder) if "--" in name)
    elif place.layout in layouts.NO_MODELS:
        yield FoundLayout("", folder.name, why_not=layouts.NO_MODELS[place.layout])
    elif place.layout is Layout.LLAMA_CPP:
        yield from layouts.llama_cpp_models(sorted(child.name for child in folder.iterdir() if child.is_file()))
    elif place.layout is Layout.DOCKER:
        yield from layouts.docker_models(_document(folder / "models.json"))
    elif place.layout is Layout.RAMALAMA:
        yield from layouts.ramalama_models(path for path in _walk(folder, whole=False) if isinstance(path, str))
    elif place.layout in {Layout.SINGLES, Layout.TOOL}:
        children = sorted(folder.iterdir())
        yield from (child for child in children if child.is_dir() and not child.name.startswith("."))
        yield from layouts.single_files((child.name for child in children if child.is_file()), None)
    else:
        found = list(_walk(folder, whole=True))
        yield from (path for path in found if isinstance(path, Path))
        kind = CATEGORIES[folder.name.lower()]
        yield from layouts.single_files((path for path in found if isinstance(path, str)), kind)


def _walk(folder: Path, *, whole: bool) -> Iterator[str | Path]:
    """Yield the files below a folder by their relative paths, and, if asked, the folders that are one model each."""
    pending, seen = [(folder, 0)], 0
    while pending:
        current, depth = pending.pop()
        for child in sorted(current.iterdir()):
            seen += 1
            if seen > MOST_FILES:
                return
            if child.name.startswith("."):
                continue
            if child.is_dir():
                # a link to a folder is followed nowhere: it may lead in a circle
                if whole and any((child / name).is_file() for name in _INDEXES):
                    yield child
                elif depth < DEEPEST and not child.is_symlink():
                    pending.append((child, depth + 1))
            elif child.is_file():
                yield child.relative_to(folder).as_posix()


def _folders(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if child.is_dir())


def _refs(folder: Path) -> Mapping[str, str]:
    """Return branches with their commits; one that cannot be read names nothing."""
    found = {}
    try:
        for child in sorted(folder.rglob("*"))[:1000]:
            if child.is_file():
                with child.open("rb") as stream:
                    found[child.relative_to(folder).as_posix()] = stream.read(_MOST_REF_BYTES).decode("ascii").strip()
    except (OSError, ValueError):
        return found
    return found


def _document(file: Path) -> object:
    try:
        return read_json_file(file)
    except (OSError, ValueError):
        return None
