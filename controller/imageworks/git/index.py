"""Changing single entries of the user's index, holding git's own lock on it from before reading to after writing.

`index.lock` is made first, as git makes it, so that no `git add` in between is lost. The git program changes a private
copy, which then becomes the index through the lock file: whatever kind of index this git can read (split, sparse, of
any version), it stays of that kind.
"""

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.files.best_effort import copy_mode_and_times, set_mode, set_times
from imageworks.files.renames import sync_file
from imageworks.git.controller_lock import FOLDER
from imageworks.git.index_in_place import Folders, IndexChange, replace_entries
from imageworks.git.locate import RepositoryLocation
from imageworks.git.values import CommitFailedError

if TYPE_CHECKING:
    from imageworks.git.program import GitProgram

POLL_SECONDS: Final = 0.05
NOTHING: Final = "0" * 40
FEW: Final = 32
"""How many paths are asked for one by one: a command line takes no more of any length, and each is searched for."""


class IndexBusyError(Exception):
    """The index is locked by a git that runs; internal, turned into a note."""


def update_index(
    layout: RepositoryLocation,
    changes: Mapping[str, IndexChange],
    folders: Folders | None,
    *,
    wait: float,
    unlock: Callable[[Path], bool],
) -> dict[str, str]:
    """Bring the index entries of some paths to what was committed; returns the paths left alone.

    Of folders, where they are known, the ids are given that they had and have now, as :func:`replace_entries` takes
    them.
    """
    target, folder = layout.git_dir / "index", layout.git_dir / FOLDER
    copy = folder / f"index.{os.getpid()}.copy"  # a name of this run's own: a killed one's git may still be writing
    with _locked(layout.git_dir / "index.lock", wait=wait, unlock=unlock) as (lock, descriptor):
        for left_over in folder.glob("index.*copy*"):  # of a killed run, under our own lock
            left_over.unlink(missing_ok=True)
        few = len(changes) <= FEW
        if few and folders is not None and _replace_in_place(target, lock, descriptor, changes, folders):
            return {}
        git = layout.program(os.environ)
        if target.exists():
            shutil.copyfile(target, copy)
            copy_mode_and_times(target, copy)  # its time is what git tells by which entries it must not believe
            set_mode(descriptor, stat.S_IMODE(target.stat().st_mode))
        places = sorted({path.rpartition("/")[0] or path for path in changes})
        left, lines = _decide(read_index(git, changes if few else places, index=copy), changes)
        answer = _tell(git, copy, lines)
        if answer is not None and few:  # something stands above a path, which its own entry does not show
            left, lines = _decide(read_index(git, places, index=copy), changes)
            answer = _tell(git, copy, lines)
        if answer is not None:
            raise CommitFailedError(f"git could not update its index: {answer}")
        if lines:
            _bring_looks_up(git, copy, {path: change for path, change in changes.items() if path not in left}, few=few)
            with copy.open("rb") as stream, os.fdopen(os.dup(descriptor), "wb") as written:
                shutil.copyfileobj(stream, written)
            sync_file(descriptor)
            lock.rename(target)
        copy.unlink(missing_ok=True)
    return left


def _bring_looks_up(git: "GitProgram", index: Path, changes: Mapping[str, IndexChange], *, few: bool) -> None:
    """Let an index know how the files look, so that none seems edited; of a few, ten thousand others are not asked."""
    there = {path: change for path, change in changes.items() if few and change.new}
    looked_at = _read(index) if there else bytearray()
    if there and replace_entries(looked_at, there, {}):
        index.write_bytes(looked_at)
        return
    words = ("add", "--refresh", "--", *there) if there else ("update-index", "-q", "--refresh")
    git.run("--literal-pathspecs", *words, variables=_on(index))


def _replace_in_place(
    target: Path, lock: Path, descriptor: int, changes: Mapping[str, IndexChange], folders: Folders
) -> bool:
    """Write an index in which nothing moves, where that can be done; returns whether it was."""
    try:
        before, index = target.stat(), _read(target)
    except OSError:  # there is none yet, or git has to say what is wrong with it
        return False
    if not replace_entries(index, changes, folders):
        return False
    set_mode(descriptor, stat.S_IMODE(before.st_mode))
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.write(index)
    set_times(lock, before)  # as old as it was: what git had to look at before, it still has to
    sync_file(descriptor)
    lock.rename(target)
    return True


def _read(file: Path) -> bytearray:
    """Return an index to be changed where it stands in the memory: of a hundred thousand files it has 13 MB."""
    with file.open("rb") as stream:
        index = bytearray(os.fstat(stream.fileno()).st_size)
        del index[stream.readinto(index) :]
    return index


def _tell(git: "GitProgram", copy: Path, lines: str) -> str | None:
    """Change entries of an index; returns why git did not."""
    if not lines:
        return None
    answer = git.run("update-index", "-z", "--index-info", stdin=lines, variables=_on(copy))
    return answer.reason if answer.code else None


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """What an index has at a path.

    Args:
        blob: The blob's id.
        mode: Its file mode.
        conflict: Whether the path is in conflict, and this is one side of it.
        left_out: Whether a sparse checkout leaves its file out.
    """

    blob: str
    mode: int
    conflict: bool = False
    left_out: bool = False


def _on(index: Path | None) -> dict[str, str]:
    return {} if index is None else {"GIT_INDEX_FILE": str(index)}


def read_index(git: "GitProgram", paths: Collection[str] = (), *, index: Path | None = None) -> dict[str, IndexEntry]:
    """Return the entries of an index."""
    below = ("--", *paths) if paths else ()
    listed = git.run("--literal-pathspecs", "ls-files", "--stage", "-t", "-z", *below, variables=_on(index))
    if listed.code:
        raise CommitFailedError(f"git could not read its index: {listed.reason}")
    found: dict[str, IndexEntry] = {}
    for line in filter(None, listed.out.split("\0")):
        said, _, path = line.partition("\t")
        tag, mode, blob, stage = said.split(" ")
        found[path] = IndexEntry(blob, int(mode, 8), conflict=stage != "0", left_out=tag == "S")
    return found


def _decide(found: Mapping[str, IndexEntry], changes: Mapping[str, IndexChange]) -> tuple[dict[str, str], str]:
    """Return which paths stay as the user has them, and what `git update-index --index-info` is told of the others."""
    left: dict[str, str] = {}
    lines: list[str] = []
    for path, change in changes.items():
        entry = found.get(path)
        current = entry.blob if entry is not None else ""
        if (entry is not None and entry.conflict) or any(parent in found for parent in _parents(path)):
            left[path] = "it has a conflict in the index"
        elif current != change.new and current not in change.olds:
            left[path] = "you have staged another version of it"
        elif change.new:
            lines.append(f"{change.mode:06o} {change.new}\t{path}\0")
        elif current:
            lines.append(f"0 {NOTHING}\t{path}\0")
    return left, "".join(lines)


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
