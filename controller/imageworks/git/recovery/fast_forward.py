"""Moving the checked-out branch to a commit that came from elsewhere, with the work tree and the index.

It goes: note → files and index (git's own two-tree merge) → branch (compare-and-swap) → note removed. A kill in between
leaves the note, and the next holder of the controller's lock finishes the move. Nothing that only the user has is
written over: git itself refuses that for edits, and we for files that git ignores, which git takes for expendable.
"""

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.files.renames import write_durably
from imageworks.foundation.bounded_json import read_json_file
from imageworks.foundation.failpoints import failpoint
from imageworks.foundation.private_files import FOLDER_MODE, file_mode_in
from imageworks.git.commit import tip_of
from imageworks.git.index import IndexEntry, read_index
from imageworks.git.locate import RepositoryLocation
from imageworks.git.program import GitProgram, GitResult
from imageworks.git.read import DEFAULT_BLOB_LIMIT, Differing, changed_files, commit_at, read_blob
from imageworks.git.recovery import stale_locks
from imageworks.git.recovery.journal import pull_note
from imageworks.git.values import PLAIN_MODES, SYMLINK_MODE, RegistryGitError

if TYPE_CHECKING:
    from pygit2 import Repository

LOCK_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
FILES_AT_ONCE: Final = 200


class WorkInTheWayError(RegistryGitError):
    """The user's uncommitted work stands where a newer commit has something else."""


class BranchElsewhereError(RegistryGitError):
    """Somebody moved the branch while it was being brought up to date."""


@dataclass(frozen=True, slots=True)
class BranchMove:
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
    """Moves the checked-out branch of one work tree; the controller's lock must be held."""

    def __init__(self, layout: RepositoryLocation, repository: "Repository", git: GitProgram) -> None:
        self._layout = layout
        self._repository = repository
        self._git = git
        self._note = pull_note(layout.git_dir)
        self._folders = (layout.worktree, layout.git_dir, layout.common_dir)

    def move(self, move: BranchMove) -> None:
        """Move the branch, files first; uncommitted work elsewhere stays as it is."""
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

    def _carry_out(self, move: BranchMove) -> None:
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

    def _try_files(self, move: BranchMove) -> None:
        """Raise where git would refuse to move the files, without touching any."""
        self._git_locked("update-index", "-q", "--refresh")
        answer = self._git_locked("read-tree", "-m", "-u", "-n", move.old, move.new)
        if answer.code:
            raise WorkInTheWayError(
                f"the branch {_short(move.branch)} cannot be brought up to date: {answer.reason}",
                remedy="Commit or stash your changes to that file, and run again.",
            )

    def _git_locked(self, *arguments: str) -> GitResult:
        """Run what needs the index, which another git may hold for a moment."""
        until = time.monotonic() + LOCK_SECONDS
        while True:
            answer = self._git.run(*arguments)
            if not answer.code or "index.lock" not in answer.errors or time.monotonic() >= until:
                return answer
            if not stale_locks.remove_if_dead(self._layout.git_dir / "index.lock", self._folders, ours=False):
                time.sleep(POLL_SECONDS)

    # --- what stands in the way ---------------------------------------------------------------------------------------

    def _changes(self, move: BranchMove) -> Iterator[Differing]:
        trees = (commit_at(self._repository, commit).tree for commit in (move.old, move.new))
        return changed_files(*trees)

    def _refuse_untracked_in_the_way(self, move: BranchMove) -> None:
        index = read_index(self._git)
        for path, old, new in self._changes(move):
            if old is None and new is not None and (mine := self._untracked_at(path, index)) is not None:
                raise WorkInTheWayError(
                    f"the branch {_short(move.branch)} cannot be brought up to date: {mine} is yours, is not in git, "
                    "and would be overwritten",
                    remedy="Move it away, or commit it, and run again.",
                )

    def _untracked_at(self, path: str, index: Mapping[str, IndexEntry]) -> str | None:
        """Return what only the user has where a file is to be made; ``None`` when nothing is lost by making it."""
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            place = "/".join(parts[:depth])
            try:
                mode = (self._layout.worktree / place).lstat().st_mode
            except OSError:
                return None
            if not stat.S_ISDIR(mode):
                return None if place in index else place
        for folder, _, files in os.walk(self._layout.worktree / path):
            for file in files:
                inside = Path(folder, file).relative_to(self._layout.worktree).as_posix()
                if inside not in index:
                    return inside
        return None

    # --- after a kill -------------------------------------------------------------------------------------------------

    def _unlock(self, move: BranchMove) -> None:
        layout = self._layout
        for lock in (
            layout.git_dir / "index.lock",
            layout.git_dir / "HEAD.lock",
            layout.common_dir / f"{move.branch}.lock",
        ):
            stale_locks.remove_if_dead(lock, self._folders, ours=True)

    def _take_over_finished(self, move: BranchMove) -> None:
        """Let git know of the files that were written when the index was not yet, and remove those that are torn.

        To git they look like the user's edits, and it would refuse to go on.
        """
        index = read_index(self._git)
        written: dict[str, tuple[str, int]] = {}
        for path, old, new in self._changes(move):
            known = (entry.blob, entry.mode) if (entry := index.get(path)) is not None else None
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

    def _write_note(self, move: BranchMove) -> None:
        self._note.parent.mkdir(FOLDER_MODE, exist_ok=True)
        data, mode = json.dumps(asdict(move)).encode(), file_mode_in(self._note.parent)
        write_durably(self._note, data, draft=self._note.with_suffix(".draft"), mode=mode)

    def _read_note(self) -> BranchMove | None:
        with suppress(OSError, ValueError, TypeError):
            return BranchMove(**read_json_file(self._note))
        return None


def _short(branch: str) -> str:
    return branch.removeprefix("refs/heads/")
