"""The renames that Python does not offer (exchange two paths, never overwrite), and what makes writes durable."""

import errno
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.files.best_effort import set_mode
from imageworks.foundation.system_errors import naming

if TYPE_CHECKING:
    import ctypes

_AT_FDCWD = -100
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM})


class _LinuxFlag(IntEnum):
    NO_REPLACE = 1
    EXCHANGE = 2


class _MacFlag(IntEnum):
    EXCHANGE = 2
    NO_REPLACE = 4


class RenameUnsupportedError(Exception):
    """This system or filesystem does not know this kind of rename; the caller takes its other way."""


def exchange(one: Path, other: Path) -> None:
    """Let two existing paths trade places in one atomic step."""
    _rename(one, other, _LinuxFlag.EXCHANGE, _MacFlag.EXCHANGE)


def rename_new(old: Path, new: Path) -> None:
    """Rename, refusing with FileExistsError when the new name is taken, even by an empty directory."""
    try:
        _rename(old, new, _LinuxFlag.NO_REPLACE, _MacFlag.NO_REPLACE)
    except RenameUnsupportedError:
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new)) from None
        old.rename(new)


def _rename(old: Path, new: Path, linux: _LinuxFlag, mac: _MacFlag) -> None:
    library = c_library()
    if sys.platform == "darwin":
        failed = library.renamex_np(os.fsencode(old), os.fsencode(new), int(mac))
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), int(linux))
    else:
        raise RenameUnsupportedError
    if failed:
        import ctypes

        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            raise RenameUnsupportedError
        raise OSError(number, os.strerror(number), str(old), None, str(new))


@cache
def c_library() -> "ctypes.CDLL":
    """Return the C library, for what Python has no door to; what it lacks is an ``AttributeError``."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def start_writeback(descriptor: int, offset: int, count: int) -> None:
    """Ask Linux to begin writing a range of a file out, so that the fsync at the end has little left to wait for."""
    if sys.platform == "linux":
        import ctypes

        write_only = 2  # SYNC_FILE_RANGE_WRITE: start, wait for nothing
        c_library().sync_file_range(
            ctypes.c_int(descriptor), ctypes.c_int64(offset), ctypes.c_int64(count), ctypes.c_uint(write_only)
        )


def sync_directory(path: Path | int) -> None:
    """Make the names in a directory survive a power cut, where the filesystem lets one.

    Windows drives, network and FUSE filesystems answer with one error or another. What was renamed or removed is so
    all the same, and to fail then would leave the disk and the record of it apart.
    """
    try:
        descriptor = path if isinstance(path, int) else os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # a directory that may be written and not listed
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        if descriptor != path:
            os.close(descriptor)


def sync_file(descriptor: int) -> None:
    """Make a file's bytes survive a power cut; a filesystem that does not know how is believed, a failing one not."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}:
            raise


def write_durably(
    file: Path, data: bytes | Iterable[bytes | memoryview], *, draft: Path | None = None, mode: int | None = None
) -> None:
    """Let a file hold some bytes: after a kill or a power cut it has the old ones or the new ones."""
    draft = draft or file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)  # of a killed run
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with naming(draft), os.fdopen(os.open(draft, flags, 0o666 if mode is None else mode), "wb") as stream:
        if mode is not None:
            set_mode(stream.fileno(), mode)
        stream.writelines((data,) if isinstance(data, bytes) else data)
        stream.flush()
        sync_file(stream.fileno())
    draft.replace(file)
    sync_directory(file.parent)


def sync_filesystem(folder: Path) -> None:
    """Make everything that was written to a folder's filesystem survive a power cut; quicker than file by file."""
    library = c_library()
    if not hasattr(library, "syncfs"):
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        library.syncfs(descriptor)
    finally:
        os.close(descriptor)
