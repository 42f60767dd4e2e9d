"""What the system refuses, in one line that names the folder and what to do; it is no bug of ours."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from imageworks.foundation.errors import ImageworksError

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FAILING: Final = "Look at the disk or its connection (`dmesg`, `mount`), then run again."
_REMEDIES: Final = {
    errno.ENOSPC: "Free some space on the filesystem of {folder} and run again.",
    errno.EDQUOT: "The quota of {folder} is used up: free some space there, or have it raised, and run again.",
    errno.EROFS: "{folder} is mounted read-only: mount it writable, or set another folder in the configuration.",
    errno.EACCES: "Give this user access to {folder}, or set another folder in the configuration.",
    errno.EPERM: "Give this user access to {folder}, or set another folder in the configuration.",
    errno.EFBIG: "A file in {folder} may not be that large: raise the limit (`ulimit -f`), or use another filesystem.",
    errno.ENAMETOOLONG: "{folder} takes no names that are so long: use a folder with a shorter path.",
    errno.EMFILE: "Too many files are open: raise the limit (`ulimit -n`) and run again.",
    errno.ENFILE: "Too many files are open on this machine: end some programs and run again.",
    errno.ENOLCK: "No locks can be held in {folder}: use a folder on another filesystem.",
    **dict.fromkeys((errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT), _FAILING),
}


class SystemRefusalError(ImageworksError):
    """The system refused something that this host's owner can put right."""

    def __init__(self, message: str, *, remedy: str, reason: str) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


def system_refusal(error: Exception) -> SystemRefusalError | None:
    """Return an error of the system in our words."""
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return None
    path = error.filename if isinstance(error.filename, str | Path) else None
    folder = "its folder" if path is None else Path(path).parent
    return SystemRefusalError(
        f"{path}: {error.strerror}" if path is not None else f"{error.strerror}",
        remedy=_REMEDIES[error.errno].format(folder=folder),
        reason="disk-full" if error.errno in DISK_FULL else "system",
    )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors of the system name the path that is being written: those of writes and fsyncs name none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
