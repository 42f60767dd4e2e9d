"""The same answers for files that are already here: a folder, or one file of weights."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.detection.describe import describe
from imageworks.detection.model_facts import ListedFile, ModelFacts, Subject
from imageworks.foundation.bounded_json import LARGEST

MOST_HEADERS: Final = 256
MOST_FILES: Final = 100_000


@dataclass(frozen=True, slots=True)
class FileOnDisk:
    """A file of a folder.

    Args:
        path: Relative path with ``/``.
        size: Bytes.
    """

    path: str
    size: int


def list_folder(folder: Path) -> Iterator[FileOnDisk]:
    """Yield the plain files below a folder, hidden folders and links to folders left out."""
    seen = 0
    for current, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(current, name)
            if path.is_file():
                seen += 1
                if seen > MOST_FILES:
                    return
                yield FileOnDisk(path.relative_to(folder).as_posix(), path.stat().st_size)


def describe_folder(path: Path, *, subject: Subject | None = None) -> ModelFacts:
    """Return what a folder, or a single file, is; headers are read, weights are not."""
    known = subject or Subject(repo=path.resolve().name)
    if not path.is_dir():
        return describe_files(path.parent, [FileOnDisk(path.name, path.stat().st_size)], known)
    return describe_files(path, list(list_folder(path)), known)


def describe_recorded(folder: Path, names: Iterable[str], subject: Subject) -> ModelFacts:
    """Return what some files of a folder are, without those that are not there."""
    there = [(name, folder / name) for name in names]
    files = [FileOnDisk(name, path.stat().st_size) for name, path in there if path.is_file()]
    return describe_files(folder, files, subject)


def describe_files(
    folder: Path, files: Iterable[ListedFile], known: Subject, *, heads: Mapping[str, bytes] | None = None
) -> ModelFacts:
    """Return what files of a folder are; headers are read, weights are not."""
    listed = list(files)
    return describe_places({file.path: folder / file.path for file in listed}, listed, known, heads=heads)


def describe_places(
    places: Mapping[str, Path],
    files: Iterable[ListedFile],
    known: Subject,
    *,
    heads: Mapping[str, bytes] | None = None,
) -> ModelFacts:
    """Return what files are that may stand anywhere."""

    def read_small(relative: str) -> bytes | None:
        with places[relative].open("rb") as stream:
            return stream.read(LARGEST + 1)

    def read_header(relative: str, offset: int, length: int) -> bytes:
        if offset + length <= len(known_head := (heads or {}).get(relative, b"")):
            return known_head[offset : offset + length]
        with places[relative].open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    return describe(
        files, read_small, read_header, subject=known, most_headers=MOST_HEADERS, every_file=True, heads=heads
    )
