"""Files that others may have put in our way, read with a bound and without waiting for who writes into a pipe."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_LEAST = 1 << 20


class NotPlainError(ValueError):
    """Something else than a file has its name."""


def read_plain_file(path: Path, most: int, *, lines: int | None = None) -> bytes:
    """Return what a file holds, or its first lines, up to a number of bytes."""
    with open_plain_file(path) as stream:
        if lines is not None:
            return b"".join(stream.readline(most) for _ in range(lines))
        # As much as may be read is set aside at once; the kernel's own files say that they are empty.
        size = os.fstat(stream.fileno()).st_size
        return stream.read(min(most, max(size + 1, _LEAST)))


@contextmanager
def open_plain_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to read."""
    with open(path, "rb", opener=_open_at_once) as stream:  # Path's takes no opener
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise NotPlainError("it is not a plain file")
        yield stream


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
