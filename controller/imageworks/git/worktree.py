"""Bringing single work-tree files to what was committed, unless the user changed them.

What they hold is in git already, durably; it reaches the disk before a file gets its name, or all of it at once where
they are many, for git takes an empty file for an edit. What a power cut tore all the same counts as no edit.
Folders are opened one after the other without following links, so nothing outside is ever written.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from imageworks.files.best_effort import set_mode
from imageworks.files.renames import sync_directory, sync_file
from imageworks.files.spool import PIECE_BYTES
from imageworks.files.stat_cache import StatCache
from imageworks.git import libgit2

if TYPE_CHECKING:
    from io import BufferedReader

LARGEST_COMPARED: Final = 64 * 1024 * 1024
ABSENT: Final = ""
FOREIGN: Final = "?"
FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one work-tree file.

    Args:
        reason: Why it was left as the user has it; empty when it was not.
        pending: Whether it could not be written, so that it is tried again.
        status: How the file looks that holds what it is to hold, where that is known.
    """

    reason: str = ""
    pending: bool = False
    status: os.stat_result | None = None


@dataclass(frozen=True, slots=True)
class WantedFile:
    """What one file is to hold.

    Args:
        olds: Blob ids that the file may hold now; ``""`` for no file.
        wanted: The committed blob's id; ``""`` when the file was deleted.
        pieces: Yields the committed bytes; ``None`` when the file was deleted.
        synced: Whether its bytes reach the disk before it gets its name; else all files are synced at once.
        generated: Whether only we write it, so that an empty or torn one is no edit.
    """

    olds: frozenset[str]
    wanted: str
    pieces: Callable[[], Iterable[bytes]] | None
    synced: bool = True
    generated: bool = False


class UserOwnedError(Exception):
    """The user put something else at this place; internal, turned into a reason."""


def bring_up_to_date(worktree: Path, path: str, target: WantedFile, cache: StatCache, *, sparse: bool) -> FileOutcome:
    """Make one file hold what was committed if it holds what was committed before; of large files that is kept."""
    *folders, name = path.split("/")
    if sparse:
        target = replace(target, olds=target.olds | {ABSENT})
    new = target.pieces
    try:
        with _folder(worktree, folders, make=new is not None and ABSENT in target.olds) as parent:
            if parent is None:
                return FileOutcome(reason="" if new is None else "you have deleted it")
            outcome = _bring(parent, name, target, partial(cache.get, worktree / path))
    except UserOwnedError as error:
        return FileOutcome(reason=str(error))
    except OSError as error:
        return FileOutcome(reason=f"its file cannot be written: {error.strerror}", pending=True)
    if new is None:
        _remove_empty(worktree, folders)
    elif outcome.status is not None and target.synced:
        cache.keep(worktree / path, outcome.status, target.wanted)
    return outcome


def _bring(parent: int, name: str, target: WantedFile, known_as: Callable[[os.stat_result], str]) -> FileOutcome:
    olds, wanted, new = target.olds, target.wanted, target.pieces
    draft = f".{wanted[:16]}.imageworks-draft"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=parent)  # of a killed run; its name follows from the content
    before = _stat(parent, name)
    known = known_as(before) if before is not None and stat.S_ISREG(before.st_mode) else ""
    found = known if known and known in olds else _identify(parent, name, before)
    if found == wanted:
        return FileOutcome(status=before)
    if found not in olds and (before is None or not _is_no_edit(parent, name, target)):
        return FileOutcome(reason="you have deleted it" if before is None else "you have changed its file")
    if new is None:
        os.unlink(name, dir_fd=parent)
        return FileOutcome()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=parent)
    with os.fdopen(descriptor, "wb") as stream:
        if before is not None:
            set_mode(stream.fileno(), stat.S_IMODE(before.st_mode))
        stream.writelines(new())
        stream.flush()
        if target.synced:
            sync_file(stream.fileno())
        written = os.fstat(stream.fileno())
    if _state(_stat(parent, name)) != _state(before):  # an editor saved it between our look and now
        os.unlink(draft, dir_fd=parent)
        return FileOutcome(reason="you have changed its file")
    os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    if target.synced:
        sync_directory(parent)
    there = _stat(parent, name)  # a rename may change its ctime, and its name may be another file's by now
    return FileOutcome(status=there if _state(there)[:3] == _state(written)[:3] else None)


def _identify(parent: int, name: str, status: os.stat_result | None) -> str:
    if status is None:
        return ABSENT
    with _opened(parent, name, status) as stream:
        return FOREIGN if stream is None else libgit2.blob_id_of(stream, status.st_size)


def _is_no_edit(parent: int, name: str, target: WantedFile) -> bool:
    """Return whether what a file holds is no edit of the user's although git has nothing like it."""
    status = _stat(parent, name)
    if status is None:
        return False
    with _opened(parent, name, status) as stream:
        if stream is None:
            return False
        if target.generated and target.pieces is not None and is_torn(stream, target.pieces()):
            return True
        # Where core.autocrlf checked the file out with CRLF.
        size = sum(map(len, _unix_lines(stream)))
        return libgit2.blob_id_of_pieces(_unix_lines(stream), size) in target.olds


def _unix_lines(stream: BinaryIO) -> Iterator[bytes]:
    stream.seek(0)
    return (line[:-2] + b"\n" if line.endswith(b"\r\n") else line for line in stream)


def is_torn(found: BinaryIO, wanted: Iterable[bytes]) -> bool:
    """Return whether an open file of ours is as a power cut leaves one: full of zeros, or only the beginning."""
    begins, zeros, data, piece = True, False, b"", b""
    for piece in wanted:
        data = found.read(len(piece))
        begins, zeros = begins and piece.startswith(data), zeros or b"\0" in data
    whole = begins and len(data) == len(piece)
    while more := found.read(PIECE_BYTES):
        begins, whole, zeros = False, False, zeros or b"\0" in more
    return bool(piece) and not whole and (zeros or begins)


def _stat(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _state(status: os.stat_result | None) -> tuple[int, ...]:
    return () if status is None else (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextlib.contextmanager
def _opened(parent: int, name: str, status: os.stat_result) -> Iterator["BufferedReader | None"]:
    """Yield a plain file to read; ``None`` for anything else, and for what is larger than files that we write."""
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_COMPARED:
        yield None
        return
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent)
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


@contextlib.contextmanager
def _folder(worktree: Path, parts: list[str], *, make: bool) -> Iterator[int | None]:
    descriptor = os.open(worktree, FOLDER_FLAGS)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
            try:
                inner = os.open(part, FOLDER_FLAGS, dir_fd=descriptor)
            except FileNotFoundError:
                yield None
                return
            except NotADirectoryError as error:  # also what a symbolic link gives with these flags
                raise UserOwnedError(f"{part} is not a folder in your work tree") from error
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_empty(worktree: Path, parts: list[str]) -> None:
    # As git does: a folder without files disappears with its last one.
    for depth in range(len(parts), 0, -1):
        try:
            worktree.joinpath(*parts[:depth]).rmdir()
        except OSError:
            return
