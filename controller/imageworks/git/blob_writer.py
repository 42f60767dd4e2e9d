"""Writing files into a repository's store of objects: digest and deflate by Python's own libraries.

libgit2 searches what it writes for SHA-1 collisions, which takes longer than all else: of a snapshot of 18 MB 80 ms,
and 33 here. It finds a crafted one where the object is read, fetched or pushed.
"""

import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.files.best_effort import set_mode
from imageworks.files.renames import sync_directory, write_durably
from imageworks.files.spool import Spool
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
        return self._write(len(data), lambda: (data,), self._known.get(path))

    def spool(self, pieces: Iterable[bytes]) -> Spool:
        """Keep a file's bytes beside the objects, in a file that git takes away of a killed run."""
        return Spool(pieces, folder=self._objects, prefix="tmp_obj_")

    def write_spooled(self, spool: Spool) -> StoredBlob:
        """Write a file's bytes where the repository has not got them, and never hold many of them."""
        return StoredBlob(str(self._write(spool.size, spool.pieces)), spool)

    def _write(self, size: int, pieces: Callable[[], Iterable[bytes]], known: str | None = None) -> "Oid":
        if size < LARGE_BYTES:
            return self._repository.create_blob(b"".join(pieces()))
        name = known or libgit2.blob_id_of_pieces(pieces(), size)
        identifier = libgit2.object_id(name)
        if identifier not in self._repository.odb:  # the repository itself would read all of it
            self._write_loose(name, size, pieces())
        return identifier

    def _write_loose(self, name: str, size: int, data: Iterable[bytes]) -> None:
        folder = self._objects / name[:2]
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_directory(self._objects)
        file = folder / name[2:]
        draft = folder / f"tmp_obj_{name[2:]}"  # what git takes away of a killed run
        write_durably(file, _deflated(chain((b"blob %d\0" % size,), data)), draft=draft)
        set_mode(file, stat.S_IMODE(file.stat().st_mode) & _READABLE)


def _deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    deflate = zlib.compressobj(_LEVEL)
    yield from map(deflate.compress, pieces)
    yield deflate.flush()
