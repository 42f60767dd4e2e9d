"""Bytes that are made once and read in pieces as often as asked, without standing in the memory as a whole."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Final, Self

PIECE_BYTES: Final = 1 << 18
_IN_MEMORY_BYTES: Final = 1 << 20


class Spool:
    """A few bytes in the memory, or many in a file without a name, which is gone with the process.

    Args:
        pieces: The bytes.
        folder: Where the file is made.
        prefix: How its name begins where the system has no files without one, until it is open.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, pieces: Iterable[bytes], *, folder: Path, prefix: str) -> None:
        self._stream = SpooledTemporaryFile(_IN_MEMORY_BYTES, "w+b", PIECE_BYTES, dir=str(folder), prefix=prefix)  # noqa: SIM115 # see close
        try:
            for piece in pieces:
                self._stream.write(piece)
            self.size = self._stream.tell()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes in large pieces; one reader at a time."""
        self._stream.seek(0)
        while piece := self._stream.read(PIECE_BYTES):
            yield piece

    def lines(self) -> Iterator[bytes]:
        """Yield the bytes line by line; one reader at a time."""
        self._stream.seek(0)
        yield from self._stream
