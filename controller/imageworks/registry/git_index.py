"""Changing single entries of the user's index, holding git's own lock on it from before reading to after writing.

libgit2 reads the index first and locks it only to write, so a `git add` in between would be lost. Here `index.lock` is
made first, as git does; libgit2 edits a private copy, which then becomes the index through the lock file.
"""

import contextlib
import hashlib
import os
import stat
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.registry import git_library
from imageworks.registry.git_lock import FOLDER
from imageworks.transfer.best_effort import set_mode
from imageworks.transfer.renames import sync_file

if TYPE_CHECKING:
    from pygit2 import Index

POLL_SECONDS: Final = 0.05
HEADER_BYTES: Final = 12
MTIME_OFFSET: Final = 8
SIZE_OFFSET: Final = 36
ID_OFFSET: Final = 40
FLAGS_OFFSET: Final = 60
EXTENDED: Final = 0x4000
PREFIXED: Final = 4  # the version from which on a name is told by how it differs from the one before
ALIGNMENT: Final = 8
CHECKSUM_BYTES: Final = 20
LONGEST_NAME: Final = 0xFFF
WORD: Final = 0xFFFFFFFF


class IndexBusyError(Exception):
    """The index is locked by a git that runs; internal, turned into a note."""


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What one index entry becomes.

    Args:
        olds: Blob ids that the entry may have now and that are not the user's doing; ``""`` for no entry.
        new: The blob id it gets; ``""`` removes it.
        mode: File mode of the new entry.
        status: The work-tree file that holds exactly the new bytes, so that git need not read it; else ``None``.
    """

    olds: frozenset[str]
    new: str
    mode: int
    status: os.stat_result | None


def update_index(
    git_dir: Path, changes: Mapping[str, IndexChange], *, wait: float, unlock: Callable[[Path], bool]
) -> dict[str, str]:
    """Bring the index entries of some paths to what was committed; returns the paths left alone, each with its reason.

    Args:
        git_dir: The work tree's git folder.
        changes: What to change, by repository path.
        wait: Seconds to wait for a running git that holds the index.
        unlock: Removes a lock file if its holder is dead, and says whether it did.

    Raises:
        IndexBusyError: Another git still holds the index.
        OSError: The index cannot be read or written.
    """
    target = git_dir / "index"
    with _locked(git_dir / "index.lock", wait=wait, unlock=unlock) as (lock, descriptor):
        copy = git_dir / FOLDER / "index.copy"
        for left_over in (copy, copy.with_name(f"{copy.name}.lock")):  # of a killed run, under our own lock
            left_over.unlink(missing_ok=True)
        before = target.read_bytes() if target.exists() else None
        if before is not None:
            copy.write_bytes(before)
            set_mode(descriptor, stat.S_IMODE(target.stat().st_mode))
        index = git_library.index_at(copy)
        left, applied = _apply(index, changes)
        if applied:
            index.write()
            data = copy.read_bytes()
            if before is not None:
                data = without_racy_sizes(data, int(target.stat().st_mtime), applied)
            data = with_file_times(data, applied)
            _write_all(descriptor, data)
            sync_file(descriptor)
            lock.rename(target)
        copy.unlink(missing_ok=True)
    return left


def _apply(index: "Index", changes: Mapping[str, IndexChange]) -> tuple[dict[str, str], dict[str, IndexChange]]:
    conflicted = {entry.path for sides in index.conflicts or () for entry in sides if entry is not None}
    left: dict[str, str] = {}
    applied: dict[str, IndexChange] = {}
    for path, change in changes.items():
        if path in conflicted or any(parent in index for parent in _parents(path)):
            left[path] = "it has a conflict in the index"
            continue
        current = str(index[path].id) if path in index else ""
        if current != change.new and current not in change.olds:
            left[path] = "you have staged another version of it"
        elif change.new:
            index.add(git_library.index_entry(path, change.new, change.mode))
            applied[path] = change
        elif current:
            index.remove(path)
            applied[path] = change
    return left, applied


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


@contextlib.contextmanager
def _locked(lock: Path, *, wait: float, unlock: Callable[[Path], bool]) -> Iterator[tuple[Path, int]]:
    deadline = time.monotonic() + wait
    while True:
        try:
            descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            break
        except FileExistsError:
            if unlock(lock):
                continue
            if time.monotonic() >= deadline:
                raise IndexBusyError from None
            time.sleep(POLL_SECONDS)
    mine = os.fstat(descriptor)
    try:
        yield lock, descriptor
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(mine, lock.stat()):  # still there: nothing was written
                lock.unlink()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def without_racy_sizes(data: bytes, written: int, ours: Collection[str]) -> bytes:
    """Return an index without the sizes of entries that are no older than the index which knew them.

    Git compares the content of such a file, for it may have been edited in the same second; once the index is written
    anew it would believe them, and an edit of the same length would go unseen. A size of 0 makes it look again, as git
    itself does (Documentation/technical/racy-git).

    Args:
        data: The index file, of version 2, 3 or 4, ending in its checksum.
        written: When the index was last written, in seconds.
        ours: Paths whose entries are ours, and whose files are younger than this index.
    """
    version, count = struct.unpack_from(">II", data, 4)
    body, at, name = bytearray(data[:-CHECKSUM_BYTES]), HEADER_BYTES, b""
    for _ in range(count):
        (flags,) = struct.unpack_from(">H", body, at + FLAGS_OFFSET)
        start = at + FLAGS_OFFSET + (4 if flags & EXTENDED else 2)
        if version < PREFIXED:
            end = body.index(0, start)
            name = bytes(body[start:end])
            following = at + (end - at + ALIGNMENT) // ALIGNMENT * ALIGNMENT
        else:
            dropped, start = _varint(body, start)
            end = body.index(0, start)
            name = name[: len(name) - dropped] + bytes(body[start:end])
            following = end + 1
        (modified,) = struct.unpack_from(">I", body, at + MTIME_OFFSET)
        if modified >= written and name.decode(errors="surrogateescape") not in ours:
            struct.pack_into(">I", body, at + SIZE_OFFSET, 0)
        at = following
    return bytes(body) + hashlib.sha1(body, usedforsecurity=False).digest()


def _varint(body: bytearray, at: int) -> tuple[int, int]:
    """Return a number in git's offset encoding, and where what follows it begins."""
    value = body[at] & 0x7F
    while body[at] & 0x80:
        at += 1
        value = (value + 1) << 7 | body[at] & 0x7F
    return value, at + 1


def with_file_times(data: bytes, changes: Mapping[str, IndexChange]) -> bytes:
    """Return an index with the work-tree files' times and sizes filled in for some entries.

    Without them git has to read each file once before it calls it unchanged, and plumbing that does not refresh the
    index would call it modified. An entry that is not found byte for byte (index version 4) just stays without.

    Args:
        data: The index file, ending in its checksum.
        changes: What was changed; only those with a ``status`` matter.
    """
    body = bytearray(data[:-CHECKSUM_BYTES])
    for path, change in changes.items():
        if change.status is None or not change.new:
            continue
        name = path.encode()
        flags = struct.pack(">H", min(len(name), LONGEST_NAME))
        at = body.find(bytes.fromhex(change.new) + flags + name + b"\0")
        if at >= ID_OFFSET:
            struct.pack_into(">6I", body, at - ID_OFFSET, *_times(change.status))
            struct.pack_into(">3I", body, at - 12, *_owner(change.status))
    return bytes(body) + hashlib.sha1(body, usedforsecurity=False).digest()


def _times(status: os.stat_result) -> tuple[int, ...]:
    pair = (status.st_ctime_ns, status.st_mtime_ns)
    times = tuple(part & WORD for nanoseconds in pair for part in divmod(nanoseconds, 10**9))
    return (*times, status.st_dev & WORD, status.st_ino & WORD)


def _owner(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_uid & WORD, status.st_gid & WORD, status.st_size & WORD
