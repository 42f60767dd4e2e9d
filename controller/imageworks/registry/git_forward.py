"""Moving the checked-out branch to a commit that came from elsewhere, with the work tree and the index.

It goes: note → files and index (git's own two-tree merge) → branch (compare-and-swap) → note removed. A kill in between
leaves the note, and the next holder of the controller's lock finishes the move. Nothing that only the user has is
written over: git itself refuses that for edits, and we for files that git ignores, which git takes for expendable.
"""

import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.failpoints import failpoint
from imageworks.foundation.json_reading import read_json_file
from imageworks.registry import git_stale
from imageworks.registry.git_commit import tip_of
from imageworks.registry.git_layout import Layout
from imageworks.registry.git_lock import FOLDER
from imageworks.registry.git_program import GitAnswer, GitProgram
from imageworks.registry.git_read import DEFAULT_BLOB_LIMIT, Differing, changed_files, commit_at, read_blob
from imageworks.registry.git_values import PLAIN_MODES, SYMLINK_MODE, RegistryGitError
from imageworks.transfer.renames import write_durably

if TYPE_CHECKING:
    from pygit2 import Index, Repository

NOTE_FILE: Final = "pull.json"
LOCK_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
FILES_AT_ONCE: Final = 200


class WorkInTheWayError(RegistryGitError):
    """The user's uncommitted work stands where a newer commit has something else."""


class BranchElsewhereError(RegistryGitError):
    """Somebody moved the branch while it was being brought up to date."""


@dataclass(frozen=True, slots=True)
class Move:
    """Where a branch goes.

    Args:
        branch: The checked-out branch's full name.
        old: The commit that it points to.
        new: The commit that it is to point to.
    """

    branch: str
    old: str
    new: str


class Forwarder:
    """Moves the checked-out branch of one work tree; the controller's lock must be held.

    Args:
        layout: Where everything is.
        repository: The opened repository.
        git: The git program in the work tree.
    """

    def __init__(self, layout: Layout, repository: "Repository", git: GitProgram) -> None:
        self._layout = layout
        self._repository = repository
        self._git = git
        self._note = layout.git_dir / FOLDER / NOTE_FILE
        self._folders = (layout.worktree, layout.git_dir, layout.common_dir)

    def move(self, move: Move) -> None:
        """Move the branch, files first; uncommitted work elsewhere stays as it is.

        Args:
            move: From where to where.

        Raises:
            WorkInTheWayError: Uncommitted work stands in the way; nothing was changed.
            BranchElsewhereError: Somebody moved the branch meanwhile; nothing was changed.
            UnsupportedRepositoryError: The new commit holds more files than any registry.
        """
        self._refuse_untracked_in_the_way(move)
        self._write_note(move)
        failpoint("pull.announced")
        try:
            self._try_files(move)
        except WorkInTheWayError:
            self._note.unlink()
            raise
        self._carry_out(move)

    def finish(self) -> tuple[str, ...]:
        """Finish a move that was killed half-way; says what a person should know."""
        move = self._read_note()
        if move is None:
            return ()
        tip = tip_of(self._repository, move.branch)
        here = self._repository.references["HEAD"].target == move.branch
        if not here or str(tip) != move.old:  # done, or the user went on from there
            self._note.unlink(missing_ok=True)
            return ()
        self._unlock(move)
        try:
            self._take_over_finished(move)
            self._refuse_untracked_in_the_way(move)
            self._try_files(move)
            self._carry_out(move)
        except RegistryGitError as error:
            return (f"a pull that was interrupted cannot be finished yet: {error.render()}",)
        return (f"finished a pull that was interrupted: {move.old[:10]}..{move.new[:10]}",)

    def _carry_out(self, move: Move) -> None:
        done = self._git_locked("read-tree", "-m", "-u", move.old, move.new)
        if done.code:
            raise RegistryGitError(
                f"{self._layout.worktree}: git could not write the files of {move.new[:10]}: {done.reason}",
                remedy="Look for free space and permissions, and run again: it goes on where it stopped.",
            )
        failpoint("pull.files-moved")
        moved = self._git.run("update-ref", "-m", "imageworks: pull", move.branch, move.new, move.old)
        if moved.code:
            self._git_locked("read-tree", "-m", "-u", move.new, move.old)
            self._note.unlink()
            raise BranchElsewhereError(
                f"the branch {_short(move.branch)} moved while it was being brought up to date", remedy="Run again."
            )
        failpoint("pull.branch-moved")
        self._note.unlink()

    def _try_files(self, move: Move) -> None:
        """Raise where git would refuse to move the files, without touching any."""
        self._git_locked("update-index", "-q", "--refresh")
        answer = self._git_locked("read-tree", "-m", "-u", "-n", move.old, move.new)
        if answer.code:
            raise WorkInTheWayError(
                f"the branch {_short(move.branch)} cannot be brought up to date: {answer.reason}",
                remedy="Commit or stash your changes to that file, and run again.",
            )

    def _git_locked(self, *arguments: str) -> GitAnswer:
        """Run what needs the index, which another git may hold for a moment."""
        until = time.monotonic() + LOCK_SECONDS
        while True:
            answer = self._git.run(*arguments)
            if not answer.code or "index.lock" not in answer.errors or time.monotonic() >= until:
                return answer
            if not git_stale.remove_if_dead(self._layout.git_dir / "index.lock", self._folders, ours=False):
                time.sleep(POLL_SECONDS)

    # --- what stands in the way ---------------------------------------------------------------------------------------

    def _changes(self, move: Move) -> Iterator[Differing]:
        trees = (commit_at(self._repository, commit).tree for commit in (move.old, move.new))
        return changed_files(*trees)

    def _refuse_untracked_in_the_way(self, move: Move) -> None:
        index = self._index()
        for path, old, new in self._changes(move):
            if old is None and new is not None and (mine := self._untracked_at(path, index)) is not None:
                raise WorkInTheWayError(
                    f"the branch {_short(move.branch)} cannot be brought up to date: {mine} is yours, is not in git, "
                    "and would be overwritten",
                    remedy="Move it away, or commit it, and run again.",
                )

    def _untracked_at(self, path: str, index: "Index") -> str | None:
        """Return what only the user has where a file is to be made; ``None`` when nothing is lost by making it."""
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            place = "/".join(parts[:depth])
            try:
                mode = (self._layout.worktree / place).lstat().st_mode
            except OSError:
                return None
            if not stat.S_ISDIR(mode):
                return None if _tracked(index, place) else place
        for folder, _, files in os.walk(self._layout.worktree / path):
            for file in files:
                inside = Path(folder, file).relative_to(self._layout.worktree).as_posix()
                if not _tracked(index, inside):
                    return inside
        return None

    def _index(self) -> "Index":
        index: Index = self._repository.index
        index.read()
        return index

    # --- after a kill -------------------------------------------------------------------------------------------------

    def _unlock(self, move: Move) -> None:
        layout = self._layout
        for lock in (
            layout.git_dir / "index.lock",
            layout.git_dir / "HEAD.lock",
            layout.common_dir / f"{move.branch}.lock",
        ):
            git_stale.remove_if_dead(lock, self._folders, ours=True)

    def _take_over_finished(self, move: Move) -> None:
        """Let git know of the files that were written when the index was not yet, and remove those that are torn.

        To git they look like the user's edits, and it would refuse to go on.
        """
        index = self._index()
        written: dict[str, tuple[str, int]] = {}
        for path, old, new in self._changes(move):
            known = _entry(index, path)
            if new is not None and known != new and known == old and self._is_file(path):
                written[path] = new
        paths = list(written)
        for start in range(0, len(paths), FILES_AT_ONCE):
            self._take_over(paths[start : start + FILES_AT_ONCE], written)

    def _take_over(self, paths: Sequence[str], written: dict[str, tuple[str, int]]) -> None:
        plain = [path for path in paths if written[path][1] in PLAIN_MODES and not self._link(path)]
        hashed = dict(zip(plain, self._git.run("hash-object", "--", *plain).out.split(), strict=False)) if plain else {}
        words: list[str] = []
        for path in paths:
            identifier, mode = written[path]
            link = self._link(path)
            whole = mode == SYMLINK_MODE and link is not None and self._content(identifier) == os.fsencode(link)
            if whole or hashed.get(path) == identifier:
                words += ["--cacheinfo", f"{mode:o},{identifier},{path}"]
            elif path in hashed and self._content(identifier).startswith((self._layout.worktree / path).read_bytes()):
                (self._layout.worktree / path).unlink()  # git was killed while it wrote it: there is no other content
        if words:
            self._git_locked("update-index", "--add", "--replace", *words)

    def _is_file(self, path: str) -> bool:
        try:
            return not stat.S_ISDIR((self._layout.worktree / path).lstat().st_mode)
        except OSError:
            return False

    def _link(self, path: str) -> str | None:
        try:
            return os.readlink(self._layout.worktree / path)  # noqa: PTH115 # its text, byte for byte
        except OSError:
            return None

    def _content(self, identifier: str) -> bytes:
        return read_blob(self._repository.odb, identifier, DEFAULT_BLOB_LIMIT)

    # --- the note -----------------------------------------------------------------------------------------------------

    def _write_note(self, move: Move) -> None:
        self._note.parent.mkdir(exist_ok=True)
        write_durably(self._note, json.dumps(asdict(move)).encode(), draft=self._note.with_suffix(".draft"))

    def _read_note(self) -> Move | None:
        with suppress(OSError, ValueError, TypeError):
            return Move(**read_json_file(self._note))
        return None


def _entry(index: "Index", path: str) -> tuple[str, int] | None:
    try:
        found = index[path]
    except (KeyError, UnicodeEncodeError):
        return None
    return str(found.id), int(found.mode)


def _tracked(index: "Index", path: str) -> bool:
    return _entry(index, path) is not None


def _short(branch: str) -> str:
    return branch.removeprefix("refs/heads/")
