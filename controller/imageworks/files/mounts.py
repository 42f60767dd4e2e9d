"""What is mounted where. A rename never leaves a mount, even where two of them are of one disk and share its number."""

import os
import re
import resource
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

FSTAB: Path = Path("/etc/fstab")  # not Final, so that tests have one of their own
_OCTAL: Final = re.compile(r"\\([0-7]{3})")  # how fstab writes a space
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
FAT: Final = frozenset({"vfat", "msdos", "fat", "fusefat", "fat32"})
LARGEST_ON_FAT: Final = 2**32 - 1
_MANY_BITS: Final = 64
KEEPS_NO_FILES: Final = frozenset({"proc", "sysfs", "devpts", "cgroup", "cgroup2", "securityfs", "tracefs", "debugfs"})
"""The kernel's own: they have no size, and call themselves writable."""


class Mount(NamedTuple):
    """One mounted filesystem.

    Args:
        path: Where it is mounted.
        kind: Its type as the system calls it, such as ``ext4`` or ``fuse.sshfs``; empty where that is not known.
        shows: The folder of the filesystem that is mounted there; empty where that is not known.
    """

    path: Path
    kind: str
    shows: str = ""

    @property
    def is_remote_or_fuse(self) -> bool:
        """Whether somebody else decides what it takes: what such a filesystem cannot do shows only when it is asked."""
        return self.kind.partition(".")[0] in {"fuse", "9p", "cifs", "smb3", "nfs", "nfs4", "virtiofs", "macfuse"}

    @property
    def shows_all_executable(self) -> bool:
        """Whether it keeps no modes, so that most files look executable."""
        kind = self.kind.rpartition(".")[2]
        return kind in FAT | {"9p", "drvfs", "exfat", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3", "vboxsf"}


def mounts() -> dict[Path, Mount]:
    """Return everything that is mounted, by place; empty where the system has no list of it."""
    try:
        return _listed(Path("/proc/self/mountinfo").read_bytes())
    except OSError:
        return {}


@lru_cache(maxsize=1)  # a run asks several times, for what hardly ever changes meanwhile
def _listed(text: bytes) -> dict[Path, Mount]:
    found = {}
    for line in text.splitlines():
        before, _, after = line.partition(b" - ")
        words, kind = before.split(), after.split()[:1]
        if len(words) > 4 and kind:  # noqa: PLR2004 # proc(5): the fifth word is where it is mounted
            shows, at = (_ESCAPED.sub(lambda code: bytes([int(code[1], 8)]), word) for word in words[3:5])
            found[Path(os.fsdecode(at))] = Mount(Path(os.fsdecode(at)), os.fsdecode(kind[0]), os.fsdecode(shows))
    return found


def mount_of(path: Path, known: dict[Path, Mount] | None = None) -> Mount:
    """Return the mount that a path is on; the path need not exist."""
    known = mounts() if known is None else known
    real = Path(os.path.realpath(path))
    for above in (real, *real.parents):
        if above in known:
            return known[above]
        if not known and above.is_mount():
            return Mount(above, "")
    return Mount(Path(real.anchor), "")


def largest_file(path: Path) -> int | None:
    """Return how many bytes a file may have at most below a folder that exists; ``None`` where no limit is known."""
    limits = []
    allowed, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if allowed != resource.RLIM_INFINITY:
        limits.append(allowed)
    if mount_of(path).kind.rpartition(".")[2] in FAT:
        limits.append(LARGEST_ON_FAT)
    if sys.platform == "darwin":
        bits = os.pathconf(path, "PC_FILESIZEBITS")
        if 0 < bits < _MANY_BITS:
            limits.append(2 ** (bits - 1) - 1)
    return min(limits, default=None)


def is_mount(path: Path) -> bool:
    """Return whether something is mounted at a path; a bind within one disk shows in the list of mounts only."""
    return os.path.ismount(path) or Path(os.path.realpath(path)) in mounts()


def unmounted_above(path: Path) -> Path | None:
    """Return the mount point at or above a path which this system knows and where nothing is mounted now."""
    try:
        lines = FSTAB.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    points = {Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), one[1])) for one in fields if len(one) > 1}
    above = [point for point in points if point.is_absolute() and path.is_relative_to(point)]
    return next((point for point in sorted(above, reverse=True) if not is_mount(point)), None)
