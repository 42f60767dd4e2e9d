"""Reading only the beginning of a file, local or remote, in bounded memory."""

from collections.abc import Callable
from typing import Final

from imageworks.foundation.errors import ImageworksError

RangeReader = Callable[[int, int], bytes]
"""``read(offset, length)``: bytes of a file from an offset; fewer than asked for only at the file's end."""

FIRST_PIECE: Final = 1 << 20
"""Of a file that is far: whoever asks twice waits twice."""
FIRST_PIECE_HERE: Final = 16 << 10
"""Of a file on this machine: most headers of shards end within it."""
LARGEST_PIECE: Final = 16 << 20
GROWTH: Final = 4


class HeaderError(ImageworksError):
    """A file's header is truncated, hostile, or not what the file's name says."""

    def __init__(self, file: str, problem: str, *, certain: bool = True) -> None:
        super().__init__(f"{file}: {problem}", remedy="Fetch the file again, or ask its publisher.")
        self.file = file
        self.problem = problem
        self.certain = certain


class Beginning:
    """The first bytes of a file, fetched in growing pieces as they are needed."""

    __slots__ = ("_first_piece", "_limit", "_read", "data", "file", "size")

    def __init__(self, read: RangeReader, size: int, limit: int, file: str, *, first_piece: int = FIRST_PIECE) -> None:
        self._first_piece = first_piece
        self._read = read
        self._limit = limit
        self.size = size
        self.file = file
        self.data = b""

    def need(self, end: int) -> bytes:
        """Return the beginning once it reaches at least to an offset."""
        if end > self.size:
            raise HeaderError(self.file, f"its header leads to byte {end}, but the file has {self.size}")
        if end > self._limit:
            raise HeaderError(self.file, f"its header is longer than {self._limit} bytes", certain=False)
        while len(self.data) < end:
            have = len(self.data)
            piece = min(max(self._first_piece, have * (GROWTH - 1)), LARGEST_PIECE)
            wanted = min(max(have + piece, end), self.size, self._limit) - have
            received = self._read(have, wanted)
            if not received or len(received) > wanted:
                raise HeaderError(self.file, f"it could not be read from byte {have} on", certain=False)
            self.data += received
        return self.data
