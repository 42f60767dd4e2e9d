"""Folders below a root that a person configured: walked without following links, so that nothing leads outside."""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final

from imageworks.files.best_effort import set_mode
from imageworks.files.errors import StagingError

NOT_EVERYBODYS: Final = 0o775
"""Modes of folders of models, of which the umask takes more; that of files is without the execute bits."""
_SHARED: Final = stat.S_ISGID | stat.S_IWGRP

NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
"""What the system says of a path that is not there; any other answer says nothing of it."""


def check_below(root: Path, target: Path) -> Path:
    """Return the real path of a place below a root, or raise StagingError when it is the root itself or outside."""
    real_root = root.resolve()
    real = target.parent.resolve() / target.name  # the last part is not followed: a link there is refused when used
    if real_root not in real.parents or target.name in {"", ".", ".."}:
        raise StagingError(
            f"{target} leads to {real}, outside its root {real_root}",
            remedy="remove the link or change the location",
            reason="outside-root",
        )
    return real


def open_folder(root: Path, parts: tuple[str, ...], *, create: bool = False) -> int:
    """Open a folder below a root one part at a time, following no link, and return its descriptor."""
    if any(part in {"", ".", ".."} or "/" in part for part in parts):
        raise StagingError(f"{root.joinpath(*parts)} is not a plain path", reason="outside-root")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(root, flags)
    for depth, part in enumerate(parts):
        above = descriptor
        try:
            if create:
                with contextlib.suppress(FileExistsError):
                    _make_folder(part, above)
            descriptor = os.open(part, flags | os.O_NOFOLLOW, dir_fd=above)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
                # The system names the last part alone.
                raise OSError(error.errno, error.strerror, str(root.joinpath(*parts[: depth + 1]))) from None
            raise StagingError(
                f"{root.joinpath(*parts[: depth + 1])} is a link or a file where a folder belongs",
                remedy="move it away",
                reason="outside-root",
            ) from None
        finally:
            os.close(above)
    return descriptor


def _make_folder(name: str, above: int) -> None:
    """Make a folder; one in a folder that a group shares (set-group-ID, writable by it) is shared like that."""
    os.mkdir(name, NOT_EVERYBODYS, dir_fd=above)
    if os.fstat(above).st_mode & _SHARED == _SHARED:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        try:
            set_mode(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | _SHARED | stat.S_IRGRP | stat.S_IXGRP)
        finally:
            os.close(descriptor)


def make_folder(root: Path, parts: tuple[str, ...]) -> Path:
    """Make a folder below a root, following no link, and return its path."""
    os.close(open_folder(root, parts, create=True))
    return root.joinpath(*parts)


def nearest_existing(path: Path) -> Path:
    """Return the path, or the closest folder above it that exists; one that does not answer does."""
    while not _exists(path):
        path = path.parent
    return path


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return False  # the folder above may not be entered, and is what there is to tell of
    except OSError as error:
        return error.errno not in NOT_THERE
    return True


def is_there(path: Path) -> bool:
    """Return whether something is at a path; where a disk does not answer, that is not to be denied."""
    try:
        path.stat()
    except OSError as error:
        return error.errno not in NOT_THERE
    except ValueError:  # a name that no filesystem has
        return False
    return True


def is_folder(path: Path) -> bool:
    """Return whether a folder is at a path and answers."""
    return os.path.isdir(path)  # noqa: PTH112 # Path's raises for a disk that does not answer, by the version of Python


def filesystem_key(path: Path) -> int:
    """Return a number that two paths share when they are on one filesystem; the path need not exist yet."""
    return nearest_existing(path.absolute()).stat().st_dev


def free_bytes(path: Path) -> int | None:
    """Return how many bytes an unprivileged user may still write on the filesystem of a path that need not exist.

    ``None`` where the filesystem does not say: some that are remote or by FUSE show a disk of no size at all.
    """
    try:
        status = os.statvfs(nearest_existing(path.absolute()))
    except OSError:
        return None
    if status.f_blocks == 0:
        return None
    return status.f_bavail * (status.f_frsize or status.f_bsize)
