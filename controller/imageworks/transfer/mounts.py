"""What is mounted where. A rename never leaves a mount, even where two of them are of one disk and share its number."""

import os
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

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
    """

    path: Path
    kind: str

    @property
    def is_remote_or_fuse(self) -> bool:
        """Whether somebody else decides what it takes: what such a filesystem cannot do shows only when it is asked."""
        return self.kind.partition(".")[0] in {"fuse", "9p", "cifs", "smb3", "nfs", "nfs4", "virtiofs", "macfuse"}


def mounts() -> dict[Path, Mount]:
    """Return everything that is mounted, by place; empty where the system has no list of it."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        before, _, after = line.partition(b" - ")
        words, kind = before.split(), after.split()[:1]
        if len(words) > 4 and kind:  # noqa: PLR2004 # proc(5): the fifth word is where it is mounted
            path = Path(os.fsdecode(_ESCAPED.sub(lambda code: bytes([int(code[1], 8)]), words[4])))
            found[path] = Mount(path, os.fsdecode(kind[0]))
    return found


def mount_of(path: Path, known: dict[Path, Mount] | None = None) -> Mount:
    """Return the mount that a path is on; the path need not exist.

    Args:
        path: Any path.
        known: What ``mounts`` returned; looked up when absent.
    """
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
    import resource

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
