"""Digests of content: sha256 for large files, git's blob id for the small ones that a hub names by it."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from string import hexdigits
from typing import TYPE_CHECKING, TypeVar

from imageworks.files.progress import READING, Progress
from imageworks.foundation.ending import go_on

if TYPE_CHECKING:
    from concurrent.futures import Future

MOST_AHEAD = 1024
"""Files that are hashed before the first of them is taken: what waits of a hundred thousand would be 300 MiB."""
BUFFER_BYTES = 1024 * 1024  # hashlib drops the interpreter lock for each; larger ones fall out of the CPU's cache


FilePath = TypeVar("FilePath", str, Path)


class Algorithm(StrEnum):
    """How a digest is computed."""

    SHA256 = "sha256"
    GIT_BLOB = "git-blob-sha1"

    @property
    def hex_length(self) -> int:
        """The number of hexadecimal digits of a value."""
        return 64 if self is Algorithm.SHA256 else 40


@dataclass(frozen=True, slots=True)
class Digest:
    """One content, named by what it is.

    Args:
        algorithm: How the value was computed.
        value: Lower-case hexadecimal.
    """

    algorithm: Algorithm
    value: str

    def __post_init__(self) -> None:
        if len(self.value) != self.algorithm.hex_length or not set(self.value) <= set(hexdigits.lower()):
            raise ValueError(f"not a lower-case {self.algorithm} value: {self.value!r}")

    @property
    def short_name(self) -> str:
        """A name for a file that holds this content: short, flat and safe everywhere."""
        return self.value if self.algorithm is Algorithm.SHA256 else f"git-{self.value}"


class Hasher:
    """Feeds bytes in order and gives the digest at the end."""

    def __init__(self, algorithm: Algorithm, size: int) -> None:
        self.algorithm = algorithm
        self.received = 0
        if algorithm is Algorithm.SHA256:
            self._hash = hashlib.sha256()
        else:
            self._hash = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the content."""
        self._hash.update(data)
        self.received += len(data)

    def hexdigest(self) -> str:
        """Return the value of everything taken so far."""
        return self._hash.hexdigest()

    def digest(self) -> Digest:
        """Return the digest of everything taken so far."""
        return Digest(self.algorithm, self._hash.hexdigest())


def hash_descriptor(descriptor: int, hasher: Hasher, *, progress: Callable[[int], None] | None = None) -> Digest:
    """Feed an open file from its current offset to its end, and return the digest."""
    buffer = bytearray(BUFFER_BYTES)
    view = memoryview(buffer)
    while count := os.readv(descriptor, [buffer]):
        go_on()
        hasher.update(view[:count])
        if progress is not None:
            progress(count)
    return hasher.digest()


def hash_file(path: str | Path, algorithm: Algorithm, *, progress: Callable[[int], None] | None = None) -> Digest:
    """Return the digest of a file's content in constant memory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return hash_descriptor(descriptor, Hasher(algorithm, os.fstat(descriptor).st_size), progress=progress)
    finally:
        os.close(descriptor)


def hash_files(
    paths: Iterable[FilePath],
    algorithm: Algorithm,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[FilePath, Digest | OSError]]:
    """Hash many files on all cores and yield each with its digest, or with what the system said, in the order given."""
    from concurrent.futures import ThreadPoolExecutor

    told, listed = progress or Progress(), list(paths)
    sizes = {path: _size(path) for path in listed} if progress is not None else {}
    for path, size in sizes.items():
        told.expect(str(path), size)

    def hash_one(path: FilePath) -> tuple[FilePath, Digest | OSError]:
        told.start(str(path), sizes.get(path, 0), READING)
        try:
            return path, hash_file(path, algorithm, progress=partial(told.advance, str(path)))
        except OSError as error:
            return path, error
        finally:
            told.finish(str(path))

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(threads or usable, thread_name_prefix="hash") as pool:
        begun: deque[Future[tuple[FilePath, Digest | OSError]]] = deque()
        try:
            for path in listed:
                begun.append(pool.submit(hash_one, path))
                if len(begun) == MOST_AHEAD:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


def _size(path: str | Path) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0  # which reading it will tell of
