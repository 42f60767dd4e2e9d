"""A FUSE filesystem that passes everything through to a folder, but for what its rules refuse; run as a program.

``refusing_fuse.py BACKING MOUNT RULES [TYPE]``: the rules file holds one JSON object from an operation to the errno
that it gets, and is read again when it changes. Beside the operations by their names in FUSE there are
``rename_folder``, ``rename_folder_elsewhere`` (to another parent), ``rename_flags`` (no-replace and exchange),
``statfs_zero``, ``largest_file`` (in bytes) and ``ignore_case`` and
``one_inode`` (hard links show one inode
number, as on a disk; a high-level FUSE shows one for each name, as sshfs does).
"""

# Operations get their paths as texts, a thousand times a second.
# ruff: noqa: PTH101, PTH102, PTH106, PTH108, PTH115, PTH211

import ctypes
import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Protocol

import mfusepy

SHOWN = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino", "st_blocks", "st_blksize")
STATISTICS = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize", "f_namemax")
LIBC = ctypes.CDLL(None, use_errno=True)


class FuseConfig(Protocol):
    """The settings of the library that are touched here."""

    use_ino: bool
    attr_timeout: float
    entry_timeout: float
    negative_timeout: float


class Rules:
    """What is refused now."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = -1
        self._rules: dict[str, int] = {}

    def get(self, name: str) -> int:
        stamp = self._file.stat().st_mtime_ns
        if stamp != self._seen:
            self._rules, self._seen = json.loads(self._file.read_text(encoding="utf-8")), stamp
        return self._rules.get(name, 0)

    def refuse(self, name: str) -> None:
        if number := self.get(name):
            raise OSError(number, os.strerror(number))


class RefusingFilesystem(mfusepy.Operations):  # type: ignore[misc] # the library has no types
    """Passes calls on to the backing folder, unless a rule refuses them."""

    use_ns = True

    def __init__(self, backing: Path, rules: Rules) -> None:
        self._backing = str(backing)
        self._rules = rules

    def _at(self, path: str) -> str:
        if not self._rules.get("ignore_case") or os.path.lexists(self._backing + path):
            return self._backing + path
        real = self._backing
        for part in filter(None, path.split("/")):
            same = [name for name in _names(real) if name.casefold() == part.casefold()]
            real += "/" + (same[0] if same else part)
        return real

    def init_with_config(self, _connection: object, config: FuseConfig | None) -> None:
        if config is not None:
            config.use_ino = bool(self._rules.get("one_inode"))
            config.attr_timeout = config.entry_timeout = config.negative_timeout = 0.0

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        self._rules.refuse("getattr")
        found = os.fstat(fh) if fh is not None else os.lstat(self._at(path))
        shown = {name: getattr(found, name) for name in SHOWN}
        times = {"st_atime": found.st_atime_ns, "st_mtime": found.st_mtime_ns, "st_ctime": found.st_ctime_ns}
        return shown | times

    def readdir(self, path: str, _fh: int) -> list[tuple[str, dict[str, int], int]]:
        self._rules.refuse("readdir")
        with os.scandir(self._at(path)) as entries:
            return [(entry.name, {"st_ino": entry.inode(), "st_mode": 0}, 0) for entry in entries]

    def statfs(self, path: str) -> dict[str, int]:
        if self._rules.get("statfs_zero"):
            return dict.fromkeys(STATISTICS, 0)
        self._rules.refuse("statfs")
        found = os.statvfs(self._at(path))
        return {name: getattr(found, name) for name in STATISTICS}

    def chmod(self, path: str, mode: int) -> None:
        self._rules.refuse("chmod")
        os.chmod(self._at(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._rules.refuse("chown")
        os.chown(self._at(path), uid, gid, follow_symlinks=False)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        self._rules.refuse("utimens")
        if times is None:
            os.utime(self._at(path), follow_symlinks=False)
        else:
            os.utime(self._at(path), ns=times, follow_symlinks=False)

    def mkdir(self, path: str, mode: int) -> None:
        self._rules.refuse("mkdir")
        os.mkdir(self._at(path), mode)

    def rmdir(self, path: str) -> None:
        self._rules.refuse("rmdir")
        os.rmdir(self._at(path))

    def unlink(self, path: str) -> None:
        self._rules.refuse("unlink")
        self._rules.refuse(f"unlink {Path(path).name}")
        os.unlink(self._at(path))

    def readlink(self, path: str) -> str:
        return os.readlink(self._at(path))

    def symlink(self, target: str, source: str) -> None:
        self._rules.refuse("symlink")
        os.symlink(source, self._at(target))

    def link(self, target: str, source: str) -> None:
        self._rules.refuse("link")
        os.link(self._at(source), self._at(target), follow_symlinks=False)

    def rename_with(self, old: str, new: str, flags: int) -> None:
        self._rules.refuse("rename")
        if flags:
            self._rules.refuse("rename_flags")
        if stat.S_ISDIR(os.lstat(self._at(old)).st_mode):
            self._rules.refuse("rename_folder")
            if Path(old).parent != Path(new).parent:
                self._rules.refuse("rename_folder_elsewhere")
        here, there = self._at(old), self._at(new)
        if here == there:  # another spelling of one name
            there = self._backing + new
        if LIBC.renameat2(-100, os.fsencode(here), -100, os.fsencode(there), flags):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def rename(self, old: str, new: str) -> None:
        self.rename_with(old, new, 0)

    def create(self, path: str, mode: int, _fi: object = None) -> int:
        self._rules.refuse("create")
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path: str, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            self._rules.refuse("open_for_writing")
        self._rules.refuse("open")
        return os.open(self._at(path), flags & ~os.O_APPEND)

    def read(self, _path: str, size: int, offset: int, fh: int) -> bytes:
        self._rules.refuse("read")
        return os.pread(fh, size, offset)

    def write(self, _path: str, data: bytes, offset: int, fh: int) -> int:
        self._rules.refuse("write")
        self._check_size(offset + len(data))
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        self._rules.refuse("truncate")
        self._check_size(length)
        os.truncate(self._at(path) if fh is None else fh, length)

    def fallocate(self, _path: str, mode: int, offset: int, length: int, fh: int) -> None:
        self._rules.refuse("fallocate")
        self._check_size(offset + length)
        if mode:
            raise OSError(errno.EOPNOTSUPP, "no such mode")
        os.posix_fallocate(fh, offset, length)

    def _check_size(self, size: int) -> None:
        largest = self._rules.get("largest_file")
        if largest and size > largest:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    def flush(self, _path: str, _fh: int) -> None:
        self._rules.refuse("flush")

    def release(self, _path: str, fh: int) -> None:
        os.close(fh)

    def fsync(self, _path: str, _datasync: int, fh: int) -> None:
        self._rules.refuse("fsync")
        os.fsync(fh)

    def fsyncdir(self, _path: str, _datasync: int, _fh: int) -> None:
        self._rules.refuse("fsyncdir")


def _names(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []


class Fuse(mfusepy.FUSE):  # type: ignore[misc] # the library has no types
    """Hands the flags of a rename on; the library's own drops them, and an exchange would replace."""

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        self.operations.rename_with(os.fsdecode(old), os.fsdecode(new), flags)
        return 0


def main(backing: str, mount: str, rules: str, kind: str = "refusing") -> None:
    filesystem = RefusingFilesystem(Path(backing), Rules(Path(rules)))
    Fuse(filesystem, mount, foreground=True, nothreads=True, fsname="refusing", subtype=kind)


if __name__ == "__main__":
    main(*sys.argv[1:])
