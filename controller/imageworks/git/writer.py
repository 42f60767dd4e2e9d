"""The writing side of a registry's repository: lock, recover, commit, check out, in that order.

A commit goes: objects → journal → branch (compare-and-swap) → work tree → index → journal removed. A kill before the
branch moves leaves unreachable objects; a kill after it leaves a journal, which the next holder of the lock completes.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.foundation.failpoints import failpoint
from imageworks.git import controller_lock, libgit2
from imageworks.git.blob_writer import BlobWriter
from imageworks.git.checkout import complete
from imageworks.git.commit import (
    BranchWriter,
    Change,
    TreeEntries,
    branch_of,
    empty_tree,
    has_moved,
    nest,
    tip_of,
    write_tree,
)
from imageworks.git.locate import RepositoryLocation, is_shared
from imageworks.git.recovery import stale_locks
from imageworks.git.recovery.heal_worktree import torn_files
from imageworks.git.recovery.journal import NO_FILE, Journal, PathChange
from imageworks.git.values import (
    BranchMovedError,
    CommitFailedError,
    CommitResult,
    LeftAlone,
    OperationInProgressError,
    Recovery,
    StoredBlob,
)

if TYPE_CHECKING:
    from pygit2 import Oid, Repository

    from imageworks.git.trust.signing import CommitSigner

RACE_SECONDS: float = 20.0
POLL_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Operation:
    """Something of the user's that git is in the middle of.

    Args:
        name: What it is, with its article.
        undo: The command that gives it up.
    """

    name: str
    undo: str


OPERATIONS: Final = {
    "MERGE": Operation("a merge", "git merge --abort"),
    "REBASE": Operation("a rebase", "git rebase --abort"),
    "REVERT": Operation("a revert", "git revert --abort"),
    "CHERRYPICK": Operation("a cherry-pick", "git cherry-pick --abort"),
    "BISECT": Operation("a bisect", "git bisect reset"),
    "APPLY": Operation("the applying of a patch", "git am --abort"),
}
"""By the first word of what libgit2 calls the state."""
UNKNOWN_OPERATION: Final = Operation("an operation", "git reset --merge")


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """One commit to make.

    Args:
        changes: New bytes by repository path; ``None`` deletes.
        message: The whole message.
        expected: The commit that the changes were planned on; ``None`` for an unborn branch.
        depends_on: Repository paths whose contents the changes were computed from.
        authored: When what is committed was made, where that is not now.
        signer: Who signs it, where it is to be signed.
    """

    changes: Mapping[str, Change]
    message: str
    expected: str | None
    depends_on: tuple[str, ...]
    authored: datetime | None = None
    signer: "CommitSigner | None" = None


class RegistryWriter:
    """Makes commits in one work tree."""

    def __init__(self, layout: RepositoryLocation, repository: "Repository", host: str, *, index_wait: float) -> None:
        self._layout = layout
        self._repository = repository
        self._host = host
        self._index_wait = index_wait
        self._journal = Journal(layout.git_dir)
        self._interrupted = False
        self.locked = False

    @contextlib.contextmanager
    def lock(self, wait: float) -> Iterator[Recovery]:
        """Hold the registry against other controllers; yields what was put right after a killed one."""
        shared = is_shared(self._repository)
        with controller_lock.hold(self._layout.common_dir, wait=wait, host=self._host, shared=shared):
            self.locked = True
            try:
                yield self._recover()
            finally:
                self.locked = False

    def check_committable(self) -> None:
        """Raise where a commit would be refused whatever it holds."""
        self._refuse_operation_in_progress()
        branch_of(self._repository)

    def _recover(self) -> Recovery:
        recovery = self._finish_commit()
        torn = torn_files(self._repository, self._layout, self._host)
        if not torn:
            return recovery
        done = complete(self._repository, self._layout, torn, index_wait=self._index_wait, unlock=self._unlock)
        left = {item.path for item in done.left_alone}
        healed = [path for path in map(self._layout.registry_path, torn) if path not in left]
        notes = (f"{path}: was empty or torn, as a power cut leaves it; put back as git has it" for path in healed)
        return Recovery((*recovery.notes, *notes, *done.notes), (*recovery.left_alone, *done.left_alone))

    def _finish_commit(self) -> Recovery:
        if not self._journal.exists():
            return Recovery()
        self._interrupted = True
        notes = [
            f"removed {lock.name}, which a killed process had left" for lock in self._locks() if self._unlock(lock)
        ]
        done = complete(
            self._repository,
            self._layout,
            self._journal.read(),
            index_wait=self._index_wait,
            unlock=self._unlock,
        )
        if done.finished:
            self._journal.keep(done.pending)
            self._interrupted = False
            if not done.pending:
                notes.append("completed a commit that was interrupted")
        return Recovery((*notes, *done.notes), done.left_alone)

    def _locks(self) -> tuple[Path, ...]:
        """Return the git lock files that exist among those that a commit of ours makes."""
        names = [self._layout.git_dir / "HEAD.lock", self._layout.git_dir / "index.lock"]
        target = self._repository.references["HEAD"].target
        if isinstance(target, str):
            names.append(self._layout.common_dir / f"{target}.lock")
        return tuple(name for name in names if name.exists())

    def _unlock(self, lock: Path) -> bool:
        return stale_locks.remove_if_dead(lock, self._folders, ours=self._interrupted)

    @property
    def _folders(self) -> frozenset[Path]:
        return frozenset({self._layout.worktree, self._layout.git_dir, self._layout.common_dir})

    def store(self, data: bytes) -> StoredBlob:
        """Give git a file's bytes ahead of a commit; until one has them they are objects that nothing refers to."""
        try:
            return StoredBlob(str(self._blobs({}).write("", data)))
        except (OSError, libgit2.git_error()) as error:
            raise self._failed("git could not write the commit", error) from error

    @contextlib.contextmanager
    def spooled(self, pieces: Iterable[bytes]) -> Iterator[StoredBlob]:
        """The same of a file that would fill the memory; its bytes are to be had in pieces meanwhile."""
        blobs = self._blobs({})
        with contextlib.ExitStack() as stack:
            try:
                stored = blobs.write_spooled(stack.enter_context(blobs.spool(pieces)))
            except (OSError, libgit2.git_error()) as error:
                raise self._failed("git could not write the commit", error) from error
            yield stored

    def commit(self, request: CommitRequest) -> CommitResult:
        """Make one commit; the lock must be held."""
        nested = nest(request.changes)
        notes: list[str] = []
        deadline = time.monotonic() + RACE_SECONDS
        while True:
            self._refuse_operation_in_progress()
            branch = branch_of(self._repository)
            tip = tip_of(self._repository, branch)
            base = TreeEntries(None if tip is None else self._repository[tip].tree)
            self._refuse_moved(request, tip, base)
            changes = self._path_changes(request.changes, base)
            if not changes:
                return CommitResult("" if tip is None else str(tip), created=False, notes=tuple(notes))
            try:
                tree = write_tree(self._repository, base, nested, self._blobs(changes)) or empty_tree(self._repository)
                committer = libgit2.signature(self._repository, self._host)
                writer = BranchWriter(
                    self._repository,
                    branch=branch,
                    parent=tip,
                    tree=tree,
                    message=request.message,
                    committer=committer,
                    author=libgit2.dated(committer, request.authored) if request.authored else None,
                    signer=request.signer,
                )
                commit = writer.write()
                failpoint("git.objects-written")
                self._journal.write(changes)
            except (OSError, libgit2.git_error()) as error:
                raise self._failed("git could not write the commit", error) from error
            failpoint("git.journal-written")
            if self._move(writer, branch, commit, notes, deadline):
                failpoint("git.ref-moved")
                return self._check_out(commit, changes, notes, request.changes, base)

    def _move(self, writer: BranchWriter, branch: str, commit: "Oid", notes: list[str], deadline: float) -> bool:
        """Move the branch; returns false when it is worth another attempt, and raises when it is not."""
        try:
            writer.move()
        except (OSError, ValueError, libgit2.git_error()) as error:
            if has_moved(self._repository, branch, commit):
                return True  # an error after the rename: read back, never assumed
            if not self._interrupted:
                self._journal.clear()
            lock = self._layout.common_dir / f"{branch}.lock"
            if time.monotonic() >= deadline and lock.exists():
                raise self._locked(lock) from error
            if time.monotonic() >= deadline:
                raise self._failed(f"git could not move {branch.removeprefix('refs/heads/')}", error) from error
            if lock.exists():
                if self._unlock(lock):
                    notes.append(f"removed {lock.name}, which a killed process had left")
                else:
                    time.sleep(POLL_SECONDS)
            return False
        return True

    def _locked(self, lock: Path) -> CommitFailedError:
        return CommitFailedError(
            f"{lock}: git's lock is held by {stale_locks.holder_of(lock, self._folders)}",
            remedy="Nothing was changed. Wait for that to end, then run again; where no git runs, remove the file.",
        )

    def _failed(self, what: str, error: Exception) -> CommitFailedError:
        said = (error.strerror if isinstance(error, OSError) else None) or error
        return CommitFailedError(
            f"{self._layout.root}: {what}: {said}",
            remedy=f"Nothing was committed. Look for free space and permissions of {self._layout.common_dir}, and "
            "`git status`, then run again.",
        )

    def _blobs(self, changes: Mapping[str, PathChange]) -> BlobWriter:
        known = {path: change.new for path, change in changes.items()}
        return BlobWriter(self._repository, self._layout.common_dir / "objects", known)

    def _check_out(
        self,
        commit: "Oid",
        changes: Mapping[str, PathChange],
        notes: list[str],
        contents: Mapping[str, Change],
        base: TreeEntries,
    ) -> CommitResult:
        done = complete(
            self._repository,
            self._layout,
            changes,
            index_wait=self._index_wait,
            unlock=self._unlock,
            contents=contents,
            base=base,
        )
        if done.finished:
            self._journal.keep(done.pending)
        return CommitResult(
            str(commit),
            created=True,
            changed=tuple(sorted(self._layout.registry_path(path) for path in changes)),
            left_alone=done.left_alone,
            notes=(*notes, *done.notes),
        )

    @staticmethod
    def _path_changes(changes: Mapping[str, Change], base: TreeEntries) -> dict[str, PathChange]:
        result = {}
        for path, data in changes.items():
            old, new = base.at(path)[0], _id_of(data)
            if old != new:
                result[path] = PathChange(frozenset({old}) if old else NO_FILE, new)
        return result

    def _refuse_moved(self, request: CommitRequest, tip: "Oid | None", now: TreeEntries) -> None:
        if request.expected == (None if tip is None else str(tip)):
            return
        planned = TreeEntries(None if request.expected is None else self._repository[request.expected].tree)
        watched = dict.fromkeys((*request.changes, *request.depends_on))
        moved = [path for path in watched if planned.at(path) != now.at(path)]
        if moved:
            paths = tuple(self._layout.registry_path(path) for path in moved)
            raise BranchMovedError(paths, "" if tip is None else str(tip))

    def operation(self) -> "Operation | None":
        """Return what the user is in the middle of in the work tree; ``None`` when nothing."""
        state = self._repository.state()
        if int(state) == 0:
            return None
        return OPERATIONS.get(state.name.split("_")[0], UNKNOWN_OPERATION)

    def _refuse_operation_in_progress(self) -> None:
        operation = self.operation()
        if operation is not None:
            raise OperationInProgressError(
                f"{self._layout.worktree}: {operation.name} is in progress, which a commit now would become part of",
                remedy=f"Finish it as `git status` says, or give it up with `{operation.undo}`, then run again.",
            )


def _id_of(change: Change) -> str:
    if change is None:
        return ""
    return change.id if isinstance(change, StoredBlob) else libgit2.blob_id(change)


def with_recovery(result: CommitResult, recovery: Recovery) -> CommitResult:
    """Return a commit's result with what was recovered before it."""
    left: dict[str, LeftAlone] = {item.path: item for item in (*recovery.left_alone, *result.left_alone)}
    return replace(result, left_alone=tuple(left.values()), notes=(*recovery.notes, *result.notes))
