"""Telling a lock file that a killed process left behind from one that somebody needs, and removing only the first.

Git's lock files carry no owner, and git closes `index.lock` while an editor is open for the commit message, so an open
file proves a holder and no open file proves nothing. On Linux a lock therefore counts as dead when, at two looks with
some time between, it is the same unchanged file, no process has it open, and no git program that could be working in
this repository runs: one whose folder is inside it or cannot be seen, or which was pointed into it by option or
variable. Elsewhere: when the file is older than a minute and no git program runs at all. Both only under the
controller's own lock, so that it can be no other controller's. A process in another container cannot be seen; the file
being unchanged over time is all there is against that.
"""

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from imageworks.foundation.child_environment import child_environment

PROC: Final = Path("/proc")
SETTLE_SECONDS: Final = 0.2
SETTLE_SECONDS_UNKNOWN: Final = 1.0
OLD_SECONDS: Final = 60.0
GIT_VARIABLES: Final = (b"GIT_DIR=", b"GIT_INDEX_FILE=", b"GIT_WORK_TREE=")
PLATFORM: str = sys.platform  # typed as text, so that the checker looks at every platform's branch


def remove_if_dead(lock: Path, folders: Iterable[Path], *, ours: bool) -> bool:
    """Remove a git lock file if nobody alive can hold it; returns whether it is gone."""
    folders = tuple(folders)
    before = _look(lock)
    if before is None:
        return True
    if not stat.S_ISREG(before[0]) or _has_holder(lock, folders):
        return False
    time.sleep(SETTLE_SECONDS if ours else SETTLE_SECONDS_UNKNOWN)
    if _look(lock) != before or _has_holder(lock, folders):
        return False
    lock.unlink(missing_ok=True)
    return True


def holder_of(lock: Path, folders: Iterable[Path]) -> str:
    """Return who may hold a git lock file, since when, in words."""
    try:
        since = datetime.fromtimestamp(lock.lstat().st_mtime, UTC).isoformat(timespec="seconds")
    except FileNotFoundError:
        return "a process that has ended since"
    known = tuple(folders)
    found = [
        process
        for process in (_processes() if PLATFORM == "linux" else ())
        if _has_open(process, lock) or _is_git_inside(process, known)
    ]
    who = " and ".join(_words_of(process) for process in found[:3]) or "a process that cannot be seen from here"
    return f"{who} since {since}"


def _words_of(process: Path) -> str:
    """Return a process's program and subcommand; further arguments may hold secrets."""
    try:
        words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        words = []
    while len(words) > 2 and words[1] in {"-c", "-C"}:  # noqa: PLR2004 # the program, an option of git and its value
        del words[1:3]
    called = " ".join([Path(words[0]).name, *(word for word in words[1:2] if word.isalpha())]) if words else "git"
    return f"{called} (process {process.name})"


def _look(lock: Path) -> tuple[int, int, int, int, int] | None:
    try:
        status = lock.lstat()
    except FileNotFoundError:
        return None
    return status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _has_holder(lock: Path, folders: tuple[Path, ...]) -> bool:
    if PLATFORM != "linux":
        return _may_have_holder_elsewhere(lock)
    return any(_has_open(process, lock) or _is_git_inside(process, folders) for process in _processes())


def _processes() -> Iterator[Path]:
    own = str(os.getpid())
    for process in PROC.iterdir():
        if process.name.isdigit() and process.name != own:
            yield process


def _has_open(process: Path, lock: Path) -> bool:
    try:
        target = lock.lstat()
        for descriptor in (process / "fd").iterdir():
            try:
                status = descriptor.stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and os.path.samestat(status, target):
                return True
    except OSError:  # ended meanwhile, or another user's: _is_git_inside() takes such a git for a holder
        return False
    return False


def _is_git_inside(process: Path, folders: tuple[Path, ...]) -> bool:
    try:
        name = (process / "comm").read_bytes().strip()
    except OSError:
        return False
    if not name.startswith((b"git", b"tig", b"lazygit")):
        return False
    try:
        if (process / "stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}:
            return False
        here = (process / "cwd").readlink()
        arguments = (process / "cmdline").read_bytes().split(b"\0")
        environment = (process / "environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
        return False
    except OSError:
        return True
    places = (here, *(here / os.fsdecode(place) for place in _pointed(arguments, environment)))
    return any(_is_inside(place, folder) for place in places for folder in folders)


def _pointed(arguments: list[bytes], environment: list[bytes]) -> Iterator[bytes]:
    """Yield where a git was pointed to by option or variable."""
    yield from (part.partition(b"=")[2] for part in environment if part.startswith(GIT_VARIABLES))
    for part, following in zip(arguments, (*arguments[1:], b""), strict=True):
        option, given, value = part.partition(b"=")
        if option in {b"--git-dir", b"--work-tree"}:
            yield value if given else following


def _is_inside(place: Path, folder: Path) -> bool:
    if Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)):
        return True
    try:
        return place.samefile(folder)  # by another mount
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _may_have_holder_elsewhere(lock: Path) -> bool:
    try:
        age = time.time() - lock.lstat().st_mtime
    except FileNotFoundError:
        return False
    import subprocess  # only here: where the system has /proc, nothing is started

    words = ["ps", "-Ao", "comm="]
    listing = subprocess.run(words, capture_output=True, text=True, check=True, env=child_environment(os.environ))  # noqa: S603 # the system's own ps
    running = any(Path(line.strip()).name.startswith("git") for line in listing.stdout.splitlines())
    return running or age < OLD_SECONDS
