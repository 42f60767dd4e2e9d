"""The registry's git repository: the one way in which the rest of the program reads commits and makes them."""

import contextlib
import itertools
import os
import platform
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Final, Self

from imageworks.foundation.home import expanded
from imageworks.foundation.plain_files import NotPlainError, read_plain_file
from imageworks.git import libgit2, log, packing, read
from imageworks.git.commit import Change, TreeEntries, branch_of, full_name, tip_of
from imageworks.git.locate import RepositoryLocation, locate
from imageworks.git.recovery.journal import pull_note
from imageworks.git.revision import resolve
from imageworks.git.trailers import with_trailers
from imageworks.git.trees.compare import TreeComparer
from imageworks.git.trust.commit_header import CommitHeader, commit_id, read_header
from imageworks.git.values import (
    NO_TRAILERS,
    BlobReference,
    CommitFailedError,
    CommitRecord,
    CommitResult,
    DamagedRepositoryError,
    DetachedHeadError,
    FileDifference,
    NotARegistryRepositoryError,
    Recovery,
    StoredBlob,
    UnsafePathError,
)
from imageworks.git.writer import CommitRequest, RegistryWriter, with_recovery
from imageworks.host.predecessor_files import refuse_foreign

if TYPE_CHECKING:
    from pygit2 import Commit, Repository, Tree

    from imageworks.git.branches import Branches
    from imageworks.git.host_refs import HostRefs
    from imageworks.git.log import ChangesWithin, LastTouched
    from imageworks.git.program import GitProgram
    from imageworks.git.trust.signing import CommitSigner

LOCK_WAIT_SECONDS: Final = 30.0
INDEX_WAIT_SECONDS: Final = 5.0
MOST_KEPT: Final = 4  # commits whose folders are kept as they were read
MOST_READ: Final = 1_000
"""Files that are read before what libgit2 keeps of them is freed: of a pack, up to 16 MB to which others differ."""


class RegistryRepository:
    """A registry folder in a git repository, at any of its commits; made by :meth:`open`."""

    def __init__(
        self, layout: RepositoryLocation, repository: "Repository", host: str, *, index_wait: float = INDEX_WAIT_SECONDS
    ) -> None:
        self._layout = layout
        self._repository = repository
        self._host = host
        self._read = 0
        self._applied: dict[str, log.AppliedCommits] = {}
        self._looked_at: dict[str | None, TreeEntries] = {}
        self._comparer = TreeComparer(repository)
        self._writer = RegistryWriter(layout, repository, host, index_wait=index_wait)

    @classmethod
    def open(cls, root: Path, *, host: str | None = None, index_wait: float = INDEX_WAIT_SECONDS) -> Self:
        """Open the repository of a registry folder; writes nothing."""
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
    def layout(self) -> RepositoryLocation:
        """Where the registry, its work tree and its git folders are."""
        return self._layout

    @property
    def is_shallow(self) -> bool:
        """Whether this clone has only the last commits, as those of CI mostly do."""
        return self._repository.is_shallow

    def is_boundary(self, commit: str) -> bool:
        """Return whether a shallow clone ends at a commit, so that nobody can say what it changed."""
        shallow = self._layout.common_dir / "shallow"
        return self.is_shallow and commit in shallow.read_text(encoding="ascii").split()

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

    def list_files(self, revision: str | None, folder: str = "", *, below: bool = True) -> dict[str, BlobReference]:
        """Return the files below (or directly in) a folder of the registry at a commit, by path in sorted order.

        Links and submodules are listed too, so that nobody takes their models for deleted; ``refusal`` says what they
        are, and ``read_blobs`` refuses them.
        """
        tree = self._folder(revision, folder)
        if tree is None:
            return {}
        base = f"{folder}/" if folder else ""
        return dict(sorted(read.walk_files(self._repository, tree, base, below=below)))

    def unsized_files(self, revision: str | None, folder: str) -> Iterator[tuple[str, BlobReference]]:
        """Yield the files below a folder at a commit, in no order, with sizes of 0: those are looked up one by one."""
        tree = self._folder(revision, folder)
        if tree is not None:
            yield from read.walk_files(self._repository, tree, f"{folder}/" if folder else "", sized=False)

    def listing(self, revision: str | None, folder: str) -> dict[str, tuple[str, int]]:
        """Return ids and modes of what stands right in a folder at a commit; nothing is looked up but the folder."""
        tree = self._folder(revision, folder)
        return {} if tree is None else {name: (one, mode) for name, one, mode in read.direct_items(tree, folder)}

    def listing_of(self, tree: str) -> dict[str, tuple[str, int]]:
        """Return ids and modes of what stands right in a folder by git's id of it; nothing where that is gone."""
        found = self._repository.get(libgit2.object_id(tree)) if tree else None
        is_folder = found is not None and int(found.type) == read.TREE_KIND
        items = read.direct_items(found, tree) if is_folder else ()  # type: ignore[arg-type] # by its kind
        return {name: (one, mode) for name, one, mode in items}

    def reference(self, identifier: str, mode: int) -> BlobReference:
        """Return a listed file's reference, with its size."""
        return read.reference(self._repository.odb, libgit2.object_id(identifier), mode)

    def folders(self, revision: str | None, folder: str) -> dict[str, str]:
        """Return the ids of the folders right below a folder of the registry at a commit, by their names."""
        tree = self._folder(revision, folder)
        found = tree if tree is not None else ()
        return {one.name: str(one.id) for one in found if one.name and int(one.filemode) == read.TREE_MODE}

    def read_blob(self, identifier: str, *, limit: int = read.DEFAULT_BLOB_LIMIT) -> bytes:
        """Return a stored file's bytes."""
        return read.read_blob(self._repository.odb, identifier, limit)

    def view_blob(self, identifier: str, *, limit: int = read.DEFAULT_BLOB_LIMIT) -> memoryview:
        """Return a stored file's bytes without a copy of them."""
        return read.view_blob(self._repository, identifier, limit)

    def is_made_of(self, identifier: str, pieces: Iterable[bytes], *, limit: int = read.DEFAULT_BLOB_LIMIT) -> bool:
        """Return whether a stored file has just these bytes, of which nothing is read."""
        return read.is_made_of(self._repository.odb, identifier, pieces, limit)

    def read_blobs(
        self, references: Iterable[BlobReference], *, limit: int = read.DEFAULT_BLOB_LIMIT
    ) -> Iterator[tuple[BlobReference, bytes]]:
        """Yield many listed files' bytes; what libgit2 keeps of them is freed now and then."""
        for one in references:
            self._read += 1
            if not self._read % MOST_READ:
                self.let_go()
            yield from read.read_blobs(self._repository.odb, (one,), limit)

    def let_go(self) -> None:
        """Free what is kept of objects that were read, 20 MB after ten thousand; libgit2 opens its files again."""
        if not self._repository.is_shallow:  # it would forget with them where a shallow clone ends
            self._repository.free()
        self._comparer = TreeComparer(self._repository)

    def find_file(self, revision: str | None, path: str) -> BlobReference | None:
        """Return what stands at a path at a commit; ``None`` when nothing or a folder does."""
        identifier, mode = self._entries(revision).at(self._layout.repository_path(path))
        if not identifier or mode == read.TREE_MODE:
            return None
        return read.reference(self._repository.odb, libgit2.object_id(identifier), mode)

    def stored_file(self, revision: str | None, path: str) -> bytes | None:
        """Return a file at a commit; ``None`` where there is none, or no plain one.

        It is taken from the work tree where that has the same: git may keep a small file as what differs from a
        snapshot of 18 MB, which libgit2 would make of it first.
        """
        reference = self.find_file(revision, path)
        if reference is None or reference.refusal or reference.size > read.DEFAULT_BLOB_LIMIT:
            return None
        with contextlib.suppress(OSError, NotPlainError):
            data = read_plain_file(self.root / path, reference.size + 1)
            if libgit2.blob_id(data) == reference.id:
                return data
        return self.read_blob(reference.id)

    def tree_id(self, revision: str | None, folder: str = "") -> str | None:
        """Return the id of a folder (or file) at a commit, which is the same exactly while its contents are."""
        path = self._layout.repository_path(folder)
        if path:
            return self._entries(revision).at(path)[0] or None
        tree = self._tree(revision)
        return None if tree is None else str(tree.id)

    def top_id(self, revision: str | None, path: str) -> str | None:
        """Return the id of a file or folder by its path in the git repository, which may be above the registry."""
        return self._entries(revision).at(path)[0] or None

    def uncommitted(self, *paths: str) -> tuple[str, ...]:
        """Return the files that differ from the checked-out commit, staged or not: these, in these folders, or all."""
        below = tuple(filter(None, map(self._layout.repository_path, paths or ("",))))
        if which("git") is not None:
            return tuple(map(self._layout.registry_path, self._git.uncommitted(*below)))
        # Nothing else of a download needs the program; libgit2 knows no converted line ends and no sparse checkouts.
        changed = self._repository.status(untracked_files="all")
        found = (path for path in changed if not below or any(f"{path}/".startswith(f"{one}/") for one in below))
        return tuple(sorted(map(self._layout.registry_path, found)))

    @cached_property
    def _git(self) -> "GitProgram":
        return self.program(os.environ)

    # --- history ---------------------------------------------------------------------------------------------------

    def resolve(self, revision: str) -> str:
        """Return the full id of the commit that a text means: hex, branch, tag, ``HEAD~2``, a date, ``2 days ago``."""
        return resolve(self._repository, revision)

    def log(
        self,
        paths: str | Sequence[str] | None = None,
        *,
        limit: int | None = None,
        revision: str | None = None,
        first_parent: bool = False,
    ) -> Iterator[CommitRecord]:
        """Yield the commits that touched some paths, newest first, each with all registry paths that it changed."""
        start = revision or self.head()
        if start is None:
            return
        asked = [paths] if isinstance(paths, str) else list(paths or ("",))
        patterns = [] if not self.prefix and "" in asked else [self._layout.repository_path(path) for path in asked]
        found = log.log(self._repository, libgit2.object_id(start), patterns, first_parent=first_parent)
        for commit, _ in itertools.islice(found, limit):
            yield self._record(commit)

    def touching(self, paths: Sequence[str], *, revision: str | None = None, also: Sequence[str] = ()) -> list[str]:
        """Return the ids of the commits that touched some paths, newest first, much faster than :meth:`log`."""
        start = revision or self.head()
        if start is None:
            return []
        below = [self._layout.repository_path(path) for path in paths]
        return log.touching(self._repository, [libgit2.object_id(one) for one in (start, *also)], below)

    def changes_within(self, folders: Sequence[str], *, revision: str | None) -> "ChangesWithin | None":
        """Return what finds the commits that changed what stands directly in some folders; one walk serves all."""
        below = {self._layout.repository_path(folder): folder for folder in folders}
        return None if revision is None else log.ChangesWithin(self._repository, libgit2.object_id(revision), below)

    def differences(
        self, before: str | None, after: str | None, *, folder: str = "", named: Container[str] | None = None
    ) -> tuple[FileDifference, ...]:
        """Return the files that two commits have differently in the registry or a folder, or those of some names.

        Paths are from that folder on, and nothing is read of the files.
        """
        sides = (self._folder(before, folder), self._folder(after, folder))
        return tuple(self._comparer.differences(*sides, named=named))

    def changes_since(self, olders: Iterable[str], newer: str, paths: Sequence[str]) -> dict[str, int]:
        """Count for some commits the commits that another has and they have not, and that changed some paths.

        Those that are not here are left out.
        """
        below = [self._layout.repository_path(path) for path in paths]
        known = {libgit2.object_id(one): one for one in olders if self.has(one)}
        counts = log.count_changes(self._repository, list(known), libgit2.object_id(newer), below) if known else {}
        return {known[identifier]: count for identifier, count in counts.items()}

    def last_applied(self, host: str, *, revision: str | None = None) -> CommitRecord | None:
        """Return the newest commit that a host's controller made, by its trailers and the files that it changed."""
        start = revision or self.head()
        if start is None:
            return None
        if host not in self._applied:
            self._applied[host] = log.AppliedCommits(self._repository, host, self._own_paths(host))
        found = self._applied[host].newest(libgit2.object_id(start))
        return None if found is None else self.record(str(found))

    def last_applied_by(self, hosts: Iterable[str], revision: str) -> dict[str, CommitRecord]:
        """Return the newest commit of each of some hosts' controllers that a commit follows; one walk serves all."""
        own = {host: self._own_paths(host) for host in hosts}
        found = log.newest_applied(self._repository, libgit2.object_id(revision), own)
        return {host: self.record(str(identifier)) for host, identifier in found.items()}

    def _own_paths(self, host: str) -> list[str]:
        return [self._layout.repository_path(path) for path in (f"discovered/{host}", f"snapshot/{host}.json")]

    def last_touched(self, folder: str) -> "LastTouched | None":
        """Return what finds the commits that last touched files of a folder; ``None`` before the first commit."""
        start, place = self.head(), self._layout.repository_path(folder)
        return None if start is None else log.LastTouched(self._repository, libgit2.object_id(start), place)

    def _record(self, commit: "Commit") -> CommitRecord:
        def changed() -> tuple[str, ...]:
            parent = str(commit.parent_ids[0]) if commit.parent_ids else None
            try:
                found = self.differences(parent, str(commit.id))
            except UnsafePathError:  # the registry's own folder is a link there
                return ()
            return tuple(sorted(one.path for one in found))

        return log.record(commit, changed)

    def _tree(self, revision: str | None) -> "Tree | None":
        return None if revision is None else read.commit_at(self._repository, revision).tree

    def _entries(self, revision: str | None) -> TreeEntries:
        """Return what stands at paths of a commit, whose folders are kept while few other commits are asked for."""
        found = self._looked_at.pop(revision, None) or TreeEntries(self._tree(revision))
        self._looked_at[revision] = found
        if len(self._looked_at) > MOST_KEPT:
            del self._looked_at[next(iter(self._looked_at))]
        return found

    def _folder(self, revision: str | None, folder: str) -> "Tree | None":
        tree = self._tree(revision)
        return None if tree is None else read.subtree(tree, self._layout.repository_path(folder))

    # --- writing ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, *, wait: float = 0.0) -> Iterator[Recovery]:
        """Hold the registry against other controllers; yields what was put right after a killed one."""
        refuse_foreign(self.root, registry=True, cache=self._layout.stat_cache)
        with self._writer.lock(wait) as recovery:
            pulled = self.branches.finish(os.environ) if pull_note(self._layout.git_dir).exists() else ()
            yield replace(recovery, notes=(*recovery.notes, *pulled))

    def in_progress(self) -> str | None:
        """Return what the user is in the middle of here, such as ``a merge``; ``None`` when nothing."""
        operation = self._writer.operation()
        return None if operation is None else operation.name

    def check_committable(self, aside: str | None = None) -> None:
        """Raise where no commit can be made now, so that nobody works for hours towards one."""
        self._writer.check_committable()
        if aside is not None:
            from imageworks.git.commit_off_branch import check_movable

            check_movable(self._repository, self._layout.common_dir, aside)

    def store(self, data: bytes) -> StoredBlob:
        """Give git a file's bytes ahead of a commit, and return what stands for them there."""
        return self._writer.store(data)

    def spooled(self, pieces: Iterable[bytes]) -> contextlib.AbstractContextManager[StoredBlob]:
        """Do the same with a file that would fill the memory; its bytes are to be had in pieces meanwhile."""
        return self._writer.spooled(pieces)

    def commit(
        self,
        changes: Mapping[str, Change],
        *,
        message: str,
        expected: str | None,
        depends_on: Sequence[str] = (),
        trailers: Mapping[str, str] = NO_TRAILERS,
        authored: datetime | None = None,
        sign: bool = False,
    ) -> CommitResult:
        """Make one commit of some files on the checked-out branch, leaving all else of the user's as it is.

        Where the branch moved since ``expected``, the commit is made on the new tip if neither the changed paths nor
        those in ``depends_on`` are different there. Takes the registry's lock unless this object holds it.
        """
        place = self._layout.repository_path
        request = CommitRequest(
            changes={place(path): change for path, change in changes.items()},
            message=with_trailers(message, trailers),
            expected=expected,
            depends_on=tuple(place(path) for path in depends_on),
            authored=authored,
            signer=self.signer if sign else None,
        )
        if self._writer.locked:
            return self._packed(self._writer.commit(request))
        with self.lock(wait=LOCK_WAIT_SECONDS) as recovery:
            result = self._packed(self._writer.commit(request))
        return with_recovery(result, recovery)

    def _packed(self, result: CommitResult) -> CommitResult:
        return replace(result, notes=(*result.notes, *self.pack_when_due())) if result.created else result

    def pack_when_due(self) -> tuple[str, ...]:
        """Let git pack what commits left loose, where it is time to; returns what a user should know."""
        objects = self._layout.common_dir / "objects"
        return packing.pack_when_due(self._repository, objects, lambda: self._git)

    # --- single commits and other branches ----------------------------------------------------------------------------

    @cached_property
    def branches(self) -> "Branches":
        """The branches beside the checked-out one, and the remotes'."""
        from imageworks.git.branches import Branches  # only here: most runs look at no other branch

        return Branches(
            self._layout, self._repository, self._host, check=self._writer.check_committable, signer=lambda: self.signer
        )

    @cached_property
    def host_refs(self) -> "HostRefs":
        """The refs on which hosts report."""
        from imageworks.git.host_refs import HostRefs  # only here: a run reports where somebody asks for it

        return HostRefs(self._repository, self._host)

    @cached_property
    def signer(self) -> "CommitSigner":
        """Who signs commits here with the user's own key."""
        from imageworks.git.trust.signing import CommitSigner  # only here: most registries ask for no signature

        return CommitSigner(self.program(os.environ), self._layout)

    def check_signing(self, *, must_count: bool) -> None:
        """Raise where no commit could be signed now, so that nobody works for hours towards one."""
        self.signer.check(libgit2.signature(self._repository, self._host), must_count=must_count)

    def tip(self, branch: str) -> str | None:
        """Return the commit that a branch points to; ``None`` when there is no such branch."""
        tip = tip_of(self._repository, full_name(branch))
        return None if tip is None else str(tip)

    def has(self, commit: str) -> bool:
        """Return whether a commit is here: a shallow clone ends somewhere."""
        return libgit2.object_id(commit) in self._repository

    def is_signed(self, commit: str) -> bool:
        """Return whether a commit carries a signature, good or bad."""
        return bool(self.header(commit).signatures)

    def header(self, commit: str) -> CommitHeader:
        """Return what a commit says of itself, whatever this clone makes of it."""
        raw = read.commit_at(self._repository, commit).read_raw()
        if commit_id(raw) != commit:
            raise DamagedRepositoryError(
                f"{commit[:10]}: git has something else under this id", remedy="git fsck --full"
            )
        return read_header(raw)

    def changes_beside(self, commit: str) -> bool:
        """Return whether a commit changed anything of its repository that is not the registry's."""
        inside = f"{self.prefix}/" if self.prefix else ""
        changed = log.changed_paths(self._repository, read.commit_at(self._repository, commit))
        return not all(path.startswith(inside) for path in changed)

    def message(self, commit: str) -> str:
        """Return a commit's whole message."""
        return read.commit_at(self._repository, commit).message

    def record(self, commit: str) -> CommitRecord:
        """Return one commit as history shows it, with every registry path that it changed."""
        return self._record(read.commit_at(self._repository, commit))

    def program(self, environment: Mapping[str, str]) -> "GitProgram":
        """Return the git program in this registry's work tree."""
        return self._layout.program(environment)


def init_repository(path: Path, *, branch: str | None = None, host: str | None = None) -> RegistryRepository:
    """Return the repository of a registry folder, making a new one unless the folder already is in one."""
    path = expanded(path).absolute()
    path.mkdir(parents=True, exist_ok=True)
    try:
        return RegistryRepository.open(path, host=host)
    except NotARegistryRepositoryError:
        try:
            libgit2.make_repository(path, branch or libgit2.default_branch())
        except (OSError, libgit2.git_error()) as error:
            raise CommitFailedError(
                f"{path}: git could not make a repository: {error}",
                remedy="Look for free space and the folder's permissions, then run again.",
            ) from error
    return RegistryRepository.open(path, host=host)
