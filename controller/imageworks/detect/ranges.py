"""Reading only the beginning of a file, local or remote, in bounded memory."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from imageworks.errors import ImageworksError

RangeReader = Callable[[int, int], bytes]
"""``read(offset, length)``: bytes of a file from an offset; fewer than asked for only at the file's end."""

FIRST_PIECE: Final = 1 << 20
LARGEST_PIECE: Final = 16 << 20
GROWTH: Final = 4


class HeaderError(ImageworksError):
    """A file's header is truncated, hostile, or not what the file's name says.

    Args:
        file: The file's name, for messages.
        problem: What is wrong.
        certain: Whether no loader can read it either; what is only beyond our own bounds may be sound.
    """

    def __init__(self, file: str, problem: str, *, certain: bool = True) -> None:
        super().__init__(f"{file}: {problem}", remedy="Fetch the file again, or ask its publisher.")
        self.file = file
        self.problem = problem
        self.certain = certain


class Beginning:
    """The first bytes of a file, fetched in growing pieces as they are needed.

    Args:
        read: Gives ranges of the file.
        size: The file's size in bytes, which nothing in a header may point beyond.
        limit: The most bytes that a header of this kind may take.
        file: The file's name, for messages.
    """

    __slots__ = ("_limit", "_read", "data", "file", "size")

    def __init__(self, read: RangeReader, size: int, limit: int, file: str) -> None:
        self._read = read
        self._limit = limit
        self.size = size
        self.file = file
        self.data = b""

    def need(self, end: int) -> bytes:
        """Return the beginning once it reaches at least to an offset.

        Args:
            end: The offset in bytes that must have been read.

        Raises:
            HeaderError: The file ends before, or no sound header is that long.
        """
        if end > self.size:
            raise HeaderError(self.file, f"its header leads to byte {end}, but the file has {self.size}")
        if end > self._limit:
            raise HeaderError(self.file, f"its header is longer than {self._limit} bytes", certain=False)
        while len(self.data) < end:
            have = len(self.data)
            piece = min(max(FIRST_PIECE, have * (GROWTH - 1)), LARGEST_PIECE)
            wanted = min(max(have + piece, end), self.size, self._limit) - have
            received = self._read(have, wanted)
            if not received or len(received) > wanted:
                raise HeaderError(self.file, f"it could not be read from byte {have} on", certain=False)
            self.data += received
        return self.data


@contextmanager
def file_ranges(path: Path) -> Iterator[tuple[RangeReader, int]]:
    """Give a reader of a local file's ranges, and the file's size in bytes.

    Args:
        path: The file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:

        def read(offset: int, length: int) -> bytes:
            return os.pread(descriptor, length, offset)

        yield read, os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
