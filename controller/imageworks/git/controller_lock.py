"""The lock that keeps two controllers from working on one registry at once (I10).

The file is ``imageworks/controller.lock`` in the repository's common git folder, not in a user's state folder: there,
two users of one host, or one user with two spellings of the path, would not see each other, and work trees linked to
the repository, whose refs are the same, would not either. It is never unlinked: whoever had it open would hold a lock
on nothing while the next one locks a new file. For the same reason the file's inode is compared after locking. The
operating system frees the lock with its process, so a dead holder blocks nobody.
"""

import contextlib
import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.log import warn
from imageworks.foundation.private_files import FOLDER_MODE, close_shared_folder, make_folders, open_private_file
from imageworks.git.values import LockHeldError, LockHolder, UnsupportedRepositoryError

FOLDER: Final = "imageworks"
LOCK_FILE: Final = "controller.lock"
POLL_SECONDS: Final = 0.05
SETTLE_SECONDS: Final = 1.0
RECORD_BYTES: Final = 4096
_COMMAND: Final = re.compile(r"[a-z]+(?:-[a-z]+)*")


@contextlib.contextmanager
def hold(
    common_dir: Path, *, wait: float, host: str, what: str = "the registry", shared: bool = False
) -> Iterator[Path]:
    """Hold the registry's lock; yields the lock file."""
    with hold_file(common_dir / FOLDER / LOCK_FILE, wait=wait, host=host, what=what, shared=shared) as file:
        yield file


@contextlib.contextmanager
def hold_file(file: Path, *, wait: float, host: str, what: str, shared: bool = False) -> Iterator[Path]:
    """Hold a lock file, which says who holds it; whoever has to wait for long is told for whom."""
    descriptor = _acquire(file, wait, what, shared=shared)
    try:
        with contextlib.suppress(OSError):  # on a full disk the lock is held all the same, only not who holds it
            _write_holder(descriptor, host)
        yield file
    finally:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def _acquire(file: Path, wait: float, what: str, *, shared: bool) -> int:
    began, told = time.monotonic(), False
    while True:
        descriptor = _open(file, shared=shared)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _known_holder(file)
            waited = time.monotonic() - began
            # Whoever has just taken it has not written who it is, and whoever lets it go has just wiped that out.
            if waited >= wait and (holder is not None or waited >= SETTLE_SECONDS):
                holder = holder or holder_by_system(descriptor, os.uname().nodename)
                os.close(descriptor)
                raise LockHeldError(file, holder, what) from None
            os.close(descriptor)
            if holder is not None and waited >= SETTLE_SECONDS and not told:
                told = True
                warn(f"{what} is held by {holder.describe()}; waiting")
            time.sleep(POLL_SECONDS)
            continue
        except OSError as error:
            os.close(descriptor)
            raise UnsupportedRepositoryError(
                f"{file}: no lock can be held there: {error.strerror}",
                remedy="Its folder must be on a filesystem that knows locks (flock).",
            ) from error
        if _is_same_file(descriptor, file):
            return descriptor
        os.close(descriptor)  # someone removed the file between our open and our lock: lock the one that is there now


def _open(file: Path, *, shared: bool) -> int:
    try:
        make_folders(file.parent, FOLDER_MODE)
        mode = close_shared_folder(file.parent, shared=shared)
        return open_private_file(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode)
    except OSError as error:
        raise UnsupportedRepositoryError(
            f"{file}: the lock cannot be made: {error.strerror}",
            remedy="Its folder must be writable by you.",
        ) from error


def _is_same_file(descriptor: int, file: Path) -> bool:
    try:
        there = file.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def is_held(file: Path) -> bool:
    """Return whether somebody holds a lock file now."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_size == 0:
            return False  # whoever holds it writes who that is
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _write_holder(descriptor: int, host: str) -> None:
    record = {
        "pid": os.getpid(),
        "host": host,
        "command": command_name(sys.argv),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "started": process_start(os.getpid()),
        "node": os.uname().nodename,
    }
    written = os.pwrite(descriptor, json.dumps(record).encode(), 0)
    os.ftruncate(descriptor, written)


def command_name(arguments: list[str]) -> str:
    """Return a program and its subcommand without options and values, which may hold secrets."""
    program = Path(arguments[0]).name if arguments and arguments[0] not in {"", "-c", "-m"} else "python"
    words = [word for word in arguments[1:2] if _COMMAND.fullmatch(word)]
    return " ".join(["imageworks-models" if program == "__main__.py" else program, *words])


def read_holder(file: Path) -> LockHolder | None:
    """Return who wrote the record in a lock file, its first line; ``None`` when there is none that can be read."""
    try:
        with file.open("rb") as stream:
            record = read_json(stream.readline(RECORD_BYTES))
        return LockHolder(**record)
    except (OSError, ValueError, TypeError):  # not yet written, or by a later version
        return None


def _known_holder(file: Path) -> LockHolder | None:
    """Return who wrote the record in a lock file, unless that process is gone and somebody else holds the lock."""
    holder = read_holder(file)
    if holder is None or holder.node != os.uname().nodename or not holder.started:
        return holder
    return holder if process_start(holder.pid) == holder.started else None


def holder_by_system(descriptor: int, host: str) -> LockHolder | None:
    """Return who holds the lock on an open file as the kernel has it, for one that wrote no record."""
    inode = str(os.fstat(descriptor).st_ino)
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                pid = int(words[4])
                called = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
                began = Path(f"/proc/{pid}").stat().st_ctime
                since = datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds")
                return LockHolder(pid, host, called, since, process_start(pid))
    return None


def process_start(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 where that cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])
