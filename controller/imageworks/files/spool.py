"""Bytes that are made once and read in pieces as often as asked, without standing in the memory as a whole."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PIECE_BYTES: Final = 1 << 18


class Spool:
    """Bytes in a file that has no name, so that it is gone with the process.

    Args:
        pieces: The bytes.
        folder: Where the file is made.
        prefix: How its name begins where the filesystem takes none from an open file: until it is closed.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, pieces: Iterable[bytes], *, folder: Path, prefix: str) -> None:
        from tempfile import NamedTemporaryFile  # only here: it loads much, and most commands commit nothing

        self._stream = NamedTemporaryFile("w+b", PIECE_BYTES, dir=folder, prefix=prefix, delete=False)  # noqa: SIM115 # see close
        self._file = Path(self._stream.name)
        with suppress(OSError):
            self._file.unlink()
        try:
            self._stream.writelines(pieces)
            self._stream.flush()  # what does not fit is told here
            self.size = self._stream.tell()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the bytes go."""
        try:
            self._stream.close()
        finally:
            self._file.unlink(missing_ok=True)

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes in large pieces; one reader at a time."""
        self._stream.seek(0)
        while piece := self._stream.read(PIECE_BYTES):
            yield piece

    def lines(self) -> Iterator[bytes]:
        """Yield the bytes line by line; one reader at a time."""
        self._stream.seek(0)
        yield from self._stream
