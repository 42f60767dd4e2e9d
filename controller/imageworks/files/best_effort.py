"""What a filesystem may refuse without harm: modes, times and owners, on Windows drives, FAT and network disks."""

import os
import shutil
from contextlib import suppress
from pathlib import Path


def set_mode(path: Path | int, mode: int) -> None:
    """Set the mode of a file, given by path or descriptor, where its filesystem keeps modes."""
    with suppress(OSError):
        os.chmod(path, mode)  # noqa: PTH101 # a descriptor has no method


def set_times(path: Path, like: os.stat_result) -> None:
    """Give a file the times of another, where its filesystem lets it."""
    with suppress(OSError):
        os.utime(path, ns=(like.st_atime_ns, like.st_mtime_ns))


def copy_mode_and_times(source: Path, target: Path) -> None:
    """Give a file or folder the mode and times of another, each as far as it goes."""
    with suppress(OSError):
        shutil.copymode(source, target)
    with suppress(OSError):
        set_times(target, source.stat())
    with suppress(OSError):
        shutil.copystat(source, target)  # and its extended attributes
