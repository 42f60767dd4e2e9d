"""Put damaged blobs of Ollama's store right, one by one, without removing anything.

Each comes to a file of ours beside it, is compared with its digest, and only then takes its place by one rename. So no
model is without its blob at any moment.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Final

from imageworks.files.digests import Algorithm, hash_file
from imageworks.files.renames import sync_directory
from imageworks.foundation.failpoints import failpoint
from imageworks.providers.ollama.errors import OllamaCancelledError, OllamaDigestMismatchError, OllamaStoreError
from imageworks.providers.ollama.model import PullProgress

if TYPE_CHECKING:
    from imageworks.providers.ollama.facts import Blob

ARRIVING: Final = "-imageworks"
"""After a blob's name: what is to take its place. Ollama passes over such a name, and drops it at its next start."""
_PIECE_BYTES: Final = 1024 * 1024

Opened = AbstractContextManager[tuple[int, Iterator[bytes]]]
OpenAt = Callable[[str, int], Opened]
"""Opens a blob's bytes by its digest from a position on; gives the position at which they really begin."""


class BlobRepair:
    """Puts blobs right; used from several threads at once."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._turn = Lock()  # models share blobs

    def put_right(
        self,
        blob: "Blob",
        path: Path,
        *,
        local: Path | None,
        fetch: OpenAt | None,
        told: Callable[[PullProgress], None],
    ) -> bool:
        """Bring one blob and let it take the damaged one's place; returns whether that was needed."""
        with self._turn:
            if is_right(path, blob):
                return False
            arriving = path.with_name(path.name + ARRIVING)
            try:
                if not (local is not None and self._copied(local, arriving, blob)):
                    if fetch is None:
                        raise OllamaDigestMismatchError(f"{path}: nothing says where its bytes can come from")
                    self._fetched(fetch, arriving, blob, told)
                _like(arriving, path)
                failpoint("ollama.blob-arrived")
                arriving.replace(path)
                sync_directory(path.parent)
            except OSError as error:
                raise OllamaStoreError(
                    f"{arriving}: cannot be written: {error.strerror}", remedy="Nothing was changed; check the disk."
                ) from None
        failpoint("ollama.blob-replaced")
        return True

    def _copied(self, source: Path, arriving: Path, blob: "Blob") -> bool:
        """Copy what this machine has; returns whether it was what it should be."""
        hasher = hashlib.sha256()
        try:
            reading = source.open("rb")
        except OSError:
            return False  # it went, or is not ours to read: the registry has it too
        with reading, arriving.open("wb") as writing:
            while piece := reading.read(_PIECE_BYTES):
                self._check_wanted(blob)
                hasher.update(piece)
                writing.write(piece)
            writing.flush()
            os.fsync(writing.fileno())
        if hasher.hexdigest() == blob.digest:
            return True
        arriving.unlink()
        return False

    def _fetched(self, fetch: OpenAt, arriving: Path, blob: "Blob", told: Callable[[PullProgress], None]) -> None:
        """Fetch what is missing of a blob, going on from what an earlier run left."""
        had = arriving.stat().st_size if arriving.exists() else 0
        had = had if had < blob.size else 0
        hasher = hashlib.sha256()
        with fetch(blob.digest, had) as (start, pieces), arriving.open("a+b") as file:
            file.truncate(start)
            file.seek(0)
            for piece in _read(file, start):
                hasher.update(piece)
            received = start
            for piece in pieces:
                self._check_wanted(blob)
                received += len(piece)
                if received > blob.size:
                    break
                hasher.update(piece)
                file.write(piece)
                told(PullProgress("fetching", blob.digest, blob.size, received))
            file.flush()
            os.fsync(file.fileno())
        if received < blob.size:
            raise OllamaDigestMismatchError(
                f"the blob {blob.digest[:12]}: {received} of {blob.size} bytes came",
                remedy="Run again: it goes on from there.",
                retryable=True,
            )
        if received > blob.size or hasher.hexdigest() != blob.digest:
            arriving.unlink()
            raise OllamaDigestMismatchError(
                f"the blob {blob.digest[:12]}: what came is not what its digest says, and was dropped",
                remedy="Nothing was changed. Something between changes answers: check the proxy, or run again later.",
                retryable=True,
            )

    def _check_wanted(self, blob: "Blob") -> None:
        if self._cancelled():
            raise OllamaCancelledError(f"the blob {blob.digest[:12]}: called off", remedy="Run again.")


def is_right(path: Path, blob: "Blob") -> bool:
    """Return whether a blob is there and what its digest says."""
    try:
        if path.stat().st_size != blob.size:
            return False
        return hash_file(path, Algorithm.SHA256).value == blob.digest
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise OllamaStoreError(
            f"{path}: cannot be read: {error.strerror}", remedy="Nothing was changed: let this user read it."
        ) from None


@contextmanager
def set_aside(paths: Mapping[Path, Path]) -> Iterator[None]:
    """Let Ollama make blobs anew that it would take for good ones; where it fails, they come back as they were."""
    for path, aside in paths.items():
        path.replace(aside)
    failpoint("ollama.set-aside")
    try:
        yield
    except BaseException:
        for path, aside in paths.items():
            if not path.exists():
                aside.replace(path)
        raise
    finally:
        for aside in paths.values():
            aside.unlink(missing_ok=True)


def _read(file: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left and (piece := file.read(min(left, _PIECE_BYTES))):
        left -= len(piece)
        yield piece


def _like(new: Path, old: Path) -> None:
    """Give a new file the rights, and where we may the owner, of the one whose place it takes."""
    try:
        status = old.stat()
    except FileNotFoundError:
        status = old.parent.stat()
        mode = 0o644
    else:
        mode = status.st_mode & 0o666
    new.chmod(mode)
    if hasattr(os, "chown") and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):  # only root gives files away; the store's user reads it all the same
            os.chown(new, status.st_uid, status.st_gid)
