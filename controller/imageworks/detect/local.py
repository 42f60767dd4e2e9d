"""The same answers for files that are already here: a folder, or one file of weights."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.detect.describe import describe
from imageworks.detect.facts import ModelFacts, Subject
from imageworks.foundation.json_reading import LARGEST

MOST_HEADERS: Final = 256
MOST_FILES: Final = 100_000


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of a folder.

    Args:
        path: Relative path with ``/``.
        size: Bytes.
    """

    path: str
    size: int


def list_folder(folder: Path) -> Iterator[LocalFile]:
    """Yield the plain files below a folder, hidden folders and links to folders left out.

    Args:
        folder: Where to look.
    """
    seen = 0
    for current, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(current, name)
            if path.is_file():
                seen += 1
                if seen > MOST_FILES:
                    return
                yield LocalFile(path.relative_to(folder).as_posix(), path.stat().st_size)


def describe_folder(path: Path, *, subject: Subject | None = None) -> ModelFacts:
    """Return what a folder, or a single file, is; headers are read, weights are not.

    Args:
        path: The folder or file.
        subject: What is known besides; its name is the folder's when absent.
    """
    folder = path if path.is_dir() else path.parent
    files = list(list_folder(folder)) if path.is_dir() else [LocalFile(path.name, path.stat().st_size)]
    known = subject or Subject(repo=path.resolve().name)

    def read_small(relative: str) -> bytes | None:
        with (folder / relative).open("rb") as stream:
            return stream.read(LARGEST + 1)

    def read_header(relative: str, offset: int, length: int) -> bytes:
        with (folder / relative).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    return describe(files, read_small, read_header, subject=known, most_headers=MOST_HEADERS)
