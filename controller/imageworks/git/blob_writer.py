"""Writing files into a repository's store of objects: digest and deflate by Python's own libraries.

libgit2 searches what it writes for SHA-1 collisions, which takes longer than all else: of a snapshot of 18 MB 80 ms,
and 33 here. It finds a crafted one where the object is read, fetched or pushed.
"""

import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.files.best_effort import set_mode
from imageworks.files.renames import sync_directory, write_durably
from imageworks.git import libgit2
from imageworks.git.values import StoredBlob

if TYPE_CHECKING:
    from pygit2 import Oid, Repository

LARGE_BYTES: Final = 1 << 20
"""What is smaller libgit2 writes as quickly."""
_NOTHING: Final[Mapping[str, str]] = {}
_LEVEL: Final = 1  # as git does
_READABLE: Final = 0o444


class BlobWriter:
    """Writes blobs of one repository.

    Args:
        repository: The repository.
        objects: Its folder of objects.
        known: Ids of what is written, by path, as far as somebody took them already.
    """

    def __init__(self, repository: "Repository", objects: Path, known: Mapping[str, str] = _NOTHING) -> None:
        self._repository = repository
        self._objects = objects
        self._known = known

    def write(self, path: str, data: bytes | StoredBlob) -> "Oid":
        """Write a file's bytes where the repository has not got them; returns their id."""
        if isinstance(data, StoredBlob):
            return libgit2.object_id(data.id)
        if len(data) < LARGE_BYTES:
            return self._repository.create_blob(data)
        name = self._known.get(path) or libgit2.blob_id(data)
        identifier = libgit2.object_id(name)
        if identifier not in self._repository.odb:  # the repository itself would read all of it
            self._write_loose(name, data)
        return identifier

    def _write_loose(self, name: str, data: bytes) -> None:
        folder = self._objects / name[:2]
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_directory(self._objects)
        deflate = zlib.compressobj(_LEVEL)
        pieces = (deflate.compress(b"blob %d\0" % len(data)), deflate.compress(data), deflate.flush())
        file = folder / name[2:]
        write_durably(file, pieces, draft=folder / f"tmp_obj_{name[2:]}")  # what git takes away of a killed run
        set_mode(file, stat.S_IMODE(file.stat().st_mode) & _READABLE)
