"""The registry's git repository: the one way in which the rest of the program reads commits and makes them."""

import contextlib
import itertools
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from imageworks.foundation.home import expanded
from imageworks.registry import git_history, git_library, git_read, git_revisions
from imageworks.registry.foreign import refuse_foreign
from imageworks.registry.git_commit import Change, branch_of, entry_at, full_name, tip_of
from imageworks.registry.git_layout import Layout, locate
from imageworks.registry.git_messages import with_trailers
from imageworks.registry.git_reader import RevisionReader
from imageworks.registry.git_values import (
    NO_TRAILERS,
    BlobReference,
    CommitFailedError,
    CommitRecord,
    CommitResult,
    DetachedHeadError,
    FileDifference,
    NotARegistryRepositoryError,
    Recovery,
)
from imageworks.registry.git_writer import CommitRequest, RegistryWriter, with_recovery

if TYPE_CHECKING:
    from pygit2 import Commit, Repository, Tree

    from imageworks.registry.git_branches import Branches
    from imageworks.registry.git_program import GitProgram

LOCK_WAIT_SECONDS: Final = 30.0
INDEX_WAIT_SECONDS: Final = 5.0


class RegistryRepository:
    """A registry folder in a git repository, at any of its commits; made by :meth:`open`.

    Args:
        layout: Where it is.
        repository: The opened repository.
        host: This host's name, for the fallback identity and the lock's record.
        index_wait: Seconds to wait for a running git that holds the index.
    """

    def __init__(
        self, layout: Layout, repository: "Repository", host: str, *, index_wait: float = INDEX_WAIT_SECONDS
    ) -> None:
        self._layout = layout
        self._repository = repository
        self._host = host
        self._writer = RegistryWriter(layout, repository, host, index_wait=index_wait)

    @classmethod
    def open(cls, root: Path, *, host: str | None = None, index_wait: float = INDEX_WAIT_SECONDS) -> Self:
        """Open the repository of a registry folder; writes nothing.

        Args:
            root: The registry folder: a work tree, a folder in one, or in a linked work tree.
            host: This host's name; by default IMAGEWORKS_HOST, else the machine's.
            index_wait: Seconds to wait, after a commit, for a running git that holds the index.

        Raises:
            NotARegistryRepositoryError: The folder is in no git repository.
            UnsupportedRepositoryError: The repository cannot be worked with.
        """
        layout, repository = locate(root)
        name = host or os.environ.get("IMAGEWORKS_HOST") or platform.node() or "localhost"
        return cls(layout, repository, name, index_wait=index_wait)

    @property
    def git_folder(self) -> Path:
        """Where git keeps what is committed, for all linked work trees together."""
        return self._layout.common_dir

    @property
    def root(self) -> Path:
        """The registry folder, symbolic links followed."""
        return self._layout.root

    @property
    def prefix(self) -> str:
        """The registry's path in its repository; empty when it is the whole."""
        return self._layout.prefix

    @property
    def layout(self) -> Layout:
        """Where the registry, its work tree and its git folders are."""
        return self._layout

    @property
    def is_shallow(self) -> bool:
        """Whether this clone has only the last commits, as those of CI mostly do."""
        return self._repository.is_shallow

    # --- reading ---------------------------------------------------------------------------------------------------

    def head(self) -> str | None:
        """Return the checked-out commit's id; ``None`` on an unborn branch."""
        if self._repository.head_is_unborn:
            return None
        return str(self._repository.head.target)

    def branch(self) -> str | None:
        """Return the checked-out branch's short name; ``None`` when HEAD is detached."""
        try:
            return branch_of(self._repository).removeprefix("refs/heads/")
        except DetachedHeadError:
            return None

    def list_files(self, revision: str | None, folder: str = "") -> dict[str, BlobReference]:
        """Return the files below a folder of the registry at a commit, by registry path in sorted order.

        Links and submodules are listed too, so that nobody takes their models for deleted; ``refusal`` says what they
        are, and ``read_blobs`` refuses them.

        Args:
            revision: Commit id; ``None`` (an unborn branch) gives nothing.
            folder: Registry path of the folder; empty for the whole registry.

        Raises:
            UnsafePathError: The folder, or one above it, is a symbolic link in git.
        """
        tree = self._folder(revision, folder)
        if tree is None:
            return {}
        base = f"{folder}/" if folder else ""
        return dict(sorted(git_read.walk_files(self._repository, tree, base)))

    def read_blob(self, identifier: str, *, limit: int = git_read.DEFAULT_BLOB_LIMIT) -> bytes:
        """Return a stored file's bytes.

        Args:
            identifier: The blob's id.
            limit: Most bytes to accept; looked up before anything is read.

        Raises:
            BlobRefusedError: It is larger, missing, or no file.
        """
        return git_read.read_blob(self._repository.odb, identifier, limit)

    def read_blobs(
        self, references: Iterable[BlobReference], *, limit: int = git_read.DEFAULT_BLOB_LIMIT
    ) -> Iterator[tuple[BlobReference, bytes]]:
        """Yield many listed files' bytes.

        Args:
            references: From :meth:`list_files`.
            limit: Most bytes to accept of each.

        Raises:
            BlobRefusedError: One is larger, or a link or submodule.
        """
        return git_read.read_blobs(self._repository.odb, references, limit)

    def find_file(self, revision: str | None, path: str) -> BlobReference | None:
        """Return what stands at a path at a commit; ``None`` when nothing or a folder does.

        Args:
            revision: Commit id; ``None`` gives ``None``.
            path: Registry path.
        """
        identifier, mode = entry_at(self._tree(revision), self._layout.repository_path(path))
        if not identifier or mode == git_read.TREE_MODE:
            return None
        return git_read.reference(self._repository.odb, git_library.object_id(identifier), mode)

    def at(self, revision: str | None) -> RevisionReader:
        """Return a reader of the registry as it stands in a commit.

        Args:
            revision: Commit id; ``None`` (an unborn branch) reads as empty.
        """
        return RevisionReader(self, revision)

    def tree_id(self, revision: str | None, folder: str = "") -> str | None:
        """Return the id of a folder (or file) at a commit, which is the same exactly while its contents are.

        Args:
            revision: Commit id.
            folder: Registry path; empty for the whole registry.
        """
        path = self._layout.repository_path(folder)
        tree = self._tree(revision)
        if tree is None:
            return None
        return entry_at(tree, path)[0] or None if path else str(tree.id)

    def top_id(self, revision: str | None, path: str) -> str | None:
        """Return the id of a file or folder by its path in the git repository, which may be above the registry.

        Args:
            revision: Commit id.
            path: The path.
        """
        tree = self._tree(revision)
        return None if tree is None else entry_at(tree, path)[0] or None

    def uncommitted(self, folder: str = "") -> tuple[str, ...]:
        """Return the files of a folder that differ from the checked-out commit, staged or not, untracked ones included.

        Args:
            folder: Registry path; empty for the whole registry.
        """
        below = self._layout.repository_path(folder)
        status = self._repository.status(untracked_files="all")
        return tuple(
            sorted(
                self._layout.registry_path(path)
                for path in status
                if not below or path == below or path.startswith(f"{below}/")
            )
        )

    # --- history ---------------------------------------------------------------------------------------------------

    def resolve(self, revision: str) -> str:
        """Return the full id of the commit that a text means: hex, branch, tag, ``HEAD~2``, a date, ``2 days ago``.

        Args:
            revision: What a person typed.

        Raises:
            UnknownRevisionError: It means no commit.
        """
        return git_revisions.resolve(self._repository, revision)

    def log(
        self,
        paths: str | Sequence[str] | None = None,
        *,
        limit: int | None = None,
        revision: str | None = None,
        first_parent: bool = False,
    ) -> Iterator[CommitRecord]:
        """Yield the commits that touched some paths, newest first, each with all registry paths that it changed.

        Args:
            paths: Registry paths; ``*`` and ``?`` match within one name, a folder stands for all in it. By default
                the whole registry.
            limit: Most commits to yield.
            revision: Where to start; by default the checked-out commit.
            first_parent: Follow only first parents, so that a merged pull request is one commit.
        """
        start = revision or self.head()
        if start is None:
            return
        asked = [paths] if isinstance(paths, str) else list(paths or ("",))
        patterns = [] if not self.prefix and "" in asked else [self._layout.repository_path(path) for path in asked]
        found = git_history.log(self._repository, git_library.object_id(start), patterns, first_parent=first_parent)
        for commit, _ in itertools.islice(found, limit):
            yield self._record(commit)

    def touching(self, paths: Sequence[str], *, revision: str | None = None, also: Sequence[str] = ()) -> list[str]:
        """Return the ids of the commits that touched some paths, newest first, much faster than :meth:`log`.

        Args:
            paths: Registry paths; a folder ``*`` stands for every folder, and of names with ``|`` between them the
                first that is there counts.
            revision: Where to start; by default the checked-out commit.
            also: Further commits to start at.
        """
        start = revision or self.head()
        if start is None:
            return []
        below = [self._layout.repository_path(path) for path in paths]
        return git_history.touching(self._repository, [git_library.object_id(one) for one in (start, *also)], below)

    def differences(self, before: str | None, after: str | None) -> tuple[FileDifference, ...]:
        """Return the registry's files that two commits have differently; nothing is read of them.

        Args:
            before: The first commit; ``None`` for an empty registry.
            after: The second.

        Raises:
            UnsafePathError: The registry's folder is a symbolic link in one of them.
        """
        return tuple(git_history.differences(self._folder(before, ""), self._folder(after, "")))

    def last_applied(self, host: str, *, revision: str | None = None) -> CommitRecord | None:
        """Return the newest commit that a host's controller made, by its trailers and the files that it changed.

        Args:
            host: The host's name.
            revision: Where to start looking back; by default the checked-out commit.
        """
        start = revision or self.head()
        if start is None:
            return None
        own = [self._layout.repository_path(path) for path in (f"discovered/{host}", f"snapshot/{host}.json")]
        commit = git_history.last_applied(self._repository, git_library.object_id(start), host, own)
        return None if commit is None else self._record(commit)

    def _record(self, commit: "Commit") -> CommitRecord:
        changed = git_history.changed_paths(commit)
        inside = f"{self.prefix}/" if self.prefix else ""
        own = tuple(self._layout.registry_path(path) for path in changed if path.startswith(inside))
        return git_history.record(commit, own)

    def _tree(self, revision: str | None) -> "Tree | None":
        return None if revision is None else git_read.commit_at(self._repository, revision).tree

    def _folder(self, revision: str | None, folder: str) -> "Tree | None":
        tree = self._tree(revision)
        return None if tree is None else git_read.subtree(tree, self._layout.repository_path(folder))

    # --- writing ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, *, wait: float = 0.0) -> Iterator[Recovery]:
        """Hold the registry against other controllers; yields what was put right after a killed one.

        Args:
            wait: Seconds to wait for another holder.

        Raises:
            LockHeldError: Another process holds it; the message says who and since when.
            ForeignFilesError: The predecessor's files are there, so nothing is written, not even a lock.
        """
        refuse_foreign(self.root, registry=True)
        with self._writer.lock(wait) as recovery:
            yield replace(recovery, notes=(*recovery.notes, *self.branches.finish(os.environ)))

    def check_committable(self, aside: str | None = None) -> None:
        """Raise where no commit can be made now, so that nobody works for hours towards one.

        Args:
            aside: The short name of another branch that is to be moved as well.

        Raises:
            BranchTakenError: That other branch is checked out in another work tree, or can be none.
            DetachedHeadError: No branch is checked out.
            OperationInProgressError: The user is in a merge, rebase or similar.
        """
        self._writer.check_committable()
        if aside is not None:
            from imageworks.registry.git_aside import check_movable

            check_movable(self._repository, self._layout.common_dir, aside)

    def commit(
        self,
        changes: Mapping[str, Change],
        *,
        message: str,
        expected: str | None,
        depends_on: Sequence[str] = (),
        trailers: Mapping[str, str] = NO_TRAILERS,
        authored: datetime | None = None,
    ) -> CommitResult:
        """Make one commit of some files on the checked-out branch, leaving all else of the user's as it is.

        Where the branch moved since ``expected``, the commit is made on the new tip if neither the changed paths nor
        those in ``depends_on`` are different there. Takes the registry's lock unless this object holds it.

        Args:
            changes: New bytes by registry path; ``None`` deletes.
            message: Summary line, empty line, body.
            expected: The commit that the changes were planned on, as :meth:`head` gave it.
            depends_on: Registry paths (files or folders) whose contents the changes were computed from.
            trailers: ``Key: value`` lines to end the message with.
            authored: The author date, with a time zone, where what is committed was not made now.

        Raises:
            BranchMovedError: The branch moved and touched these paths; plan again.
            DetachedHeadError: No branch is checked out.
            OperationInProgressError: The user is in a merge, rebase or similar.
            UnsafePathError: A path is not allowed, or a link, submodule or folder is in its way.
            CommitFailedError: Git could not do it; nothing has changed.
            LockHeldError: Another controller holds the registry for too long.
        """
        place = self._layout.repository_path
        request = CommitRequest(
            changes={place(path): change for path, change in changes.items()},
            message=with_trailers(message, trailers),
            expected=expected,
            depends_on=tuple(place(path) for path in depends_on),
            authored=authored,
        )
        if self._writer.locked:
            return self._writer.commit(request)
        with self.lock(wait=LOCK_WAIT_SECONDS) as recovery:
            result = self._writer.commit(request)
        return with_recovery(result, recovery)

    # --- single commits and other branches ----------------------------------------------------------------------------

    @cached_property
    def branches(self) -> "Branches":
        """The branches beside the checked-out one, and the remotes'."""
        from imageworks.registry.git_branches import Branches  # only here: most runs look at no other branch

        return Branches(self._layout, self._repository, self._host, self._writer.check_committable)

    def tip(self, branch: str) -> str | None:
        """Return the commit that a branch points to; ``None`` when there is no such branch.

        Args:
            branch: The branch's short name, or a full reference such as ``refs/remotes/origin/main``.
        """
        tip = tip_of(self._repository, full_name(branch))
        return None if tip is None else str(tip)

    def parents(self, commit: str) -> tuple[str, ...]:
        """Return the commits that a commit follows.

        Args:
            commit: Its id.
        """
        return tuple(str(parent) for parent in git_read.commit_at(self._repository, commit).parent_ids)

    def has(self, commit: str) -> bool:
        """Return whether a commit is here: a shallow clone ends somewhere.

        Args:
            commit: Its id.
        """
        return git_library.object_id(commit) in self._repository

    def is_signed(self, commit: str) -> bool:
        """Return whether a commit carries a signature, good or bad.

        Args:
            commit: Its id.
        """
        return b"\ngpgsig " in git_read.commit_at(self._repository, commit).read_raw().partition(b"\n\n")[0]

    def changes_beside(self, commit: str) -> bool:
        """Return whether a commit changed anything of its repository that is not the registry's.

        Args:
            commit: Its id.
        """
        inside = f"{self.prefix}/" if self.prefix else ""
        changed = git_history.changed_paths(git_read.commit_at(self._repository, commit))
        return not all(path.startswith(inside) for path in changed)

    def message(self, commit: str) -> str:
        """Return a commit's whole message.

        Args:
            commit: Its id.
        """
        return git_read.commit_at(self._repository, commit).message

    def record(self, commit: str) -> CommitRecord:
        """Return one commit as history shows it, with every registry path that it changed.

        Args:
            commit: Its id.
        """
        return self._record(git_read.commit_at(self._repository, commit))

    def program(self, environment: Mapping[str, str]) -> "GitProgram":
        """Return the git program in this registry's work tree.

        Args:
            environment: The process's environment; its token variables serve as credentials.
        """
        from imageworks.registry.git_program import GitProgram

        return GitProgram(self._layout.worktree, environment)


def init_repository(path: Path, *, branch: str | None = None, host: str | None = None) -> RegistryRepository:
    """Return the repository of a registry folder, making a new one unless the folder already is in one.

    Args:
        path: The registry folder, made when missing.
        branch: Name of a new repository's first branch; by default the user's ``init.defaultBranch``, else ``main``.
        host: As for :meth:`RegistryRepository.open`.

    Raises:
        UnsupportedRepositoryError: The repository that the folder is in cannot be worked with.
    """
    path = expanded(path).absolute()
    path.mkdir(parents=True, exist_ok=True)
    try:
        return RegistryRepository.open(path, host=host)
    except NotARegistryRepositoryError:
        try:
            git_library.make_repository(path, branch or git_library.default_branch())
        except (OSError, git_library.git_error()) as error:
            raise CommitFailedError(
                f"{path}: git could not make a repository: {error}",
                remedy="Look for free space and the folder's permissions, then run again.",
            ) from error
    return RegistryRepository.open(path, host=host)
