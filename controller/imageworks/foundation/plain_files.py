"""Files that others may have put in our way, read with a bound and without waiting for who writes into a pipe."""

import os
import stat
from pathlib import Path


class NotPlainError(ValueError):
    """Something else than a file has its name."""


def read_plain_file(path: Path, most: int) -> bytes:
    """Return what a file holds, up to a number of bytes.

    Args:
        path: The file, which may be a link to one.
        most: How many bytes are read of it.

    Raises:
        OSError: It cannot be read.
        NotPlainError: It is a pipe or a device.
    """
    with open(path, "rb", opener=_open_at_once) as stream:  # Path's takes no opener
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise NotPlainError("it is not a plain file")
        return stream.read(most)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
