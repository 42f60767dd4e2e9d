"""A git repository served as it is: its branches, tags and commits, read from the object database."""

import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.git.libgit2 import pygit2
from imageworks.loopback_hub.content import BlobContent, HubFile, Snapshot, StoragePolicy, hub_file, tree_ids
from imageworks.loopback_hub.repository import COMMIT_ID, Reference, References, ServedCommit

SNAPSHOTS_KEPT: Final = 64
PLAIN_MODES: Final = (0o100644, 0o100755)


class UnreadableRepositoryError(ImageworksError):
    """A folder looks like a git repository and libgit2 cannot open it."""


class GitRepository:
    """The revisions of one git repository; libgit2 is entered by one thread at a time."""

    def __init__(self, git_folder: str, policy: StoragePolicy) -> None:
        try:
            self._repository = pygit2.Repository(git_folder)
        except pygit2.GitError as error:
            raise UnreadableRepositoryError(f"{git_folder}: {error}") from error
        self._policy = policy
        self._snapshots: dict[str, Snapshot] = {}
        self._lock = threading.Lock()

    def resolve(self, revision: str) -> Snapshot | None:
        """Return the files at a branch, tag, pull request or full commit id."""
        with self._lock:
            commit = self._commit(revision)
            if commit is None:
                return None
            name = str(commit.id)
            found = self._snapshots.get(name)
            if found is None:
                if len(self._snapshots) >= SNAPSHOTS_KEPT:
                    self._snapshots.clear()
                found = self._snapshots[name] = self._snapshot(commit)
            return found

    def references(self) -> References:
        """Return the branches, tags and pull requests."""
        groups: dict[str, list[Reference]] = {"refs/heads/": [], "refs/tags/": [], "refs/pr/": []}
        with self._lock:
            for full_name in sorted(self._repository.references):
                for prefix, group in groups.items():
                    if full_name.startswith(prefix) and (commit := self._commit(full_name)) is not None:
                        name = full_name.removeprefix("refs/" if prefix == "refs/pr/" else prefix)
                        group.append(Reference(name, full_name, str(commit.id)))
        branches, tags, pull_requests = groups.values()
        return References(tuple(branches), tuple(tags), tuple(pull_requests))

    def history(self, revision: str) -> tuple[ServedCommit, ...] | None:
        """Return a revision's commits on the line of first parents, newest first."""
        with self._lock:
            tip = self._commit(revision)
            if tip is None:
                return None
            walker = self._repository.walk(tip.id, pygit2.enums.SortMode.TOPOLOGICAL)
            walker.simplify_first_parent()
            return tuple(ServedCommit(str(one.id), one.message.partition("\n")[0], _time(one)) for one in walker)

    def forget(self) -> None:
        """Do nothing: names are looked up each time, and what a commit holds cannot change."""

    def _commit(self, revision: str) -> "pygit2.Commit | None":
        try:
            if COMMIT_ID.fullmatch(revision):
                return self._repository[revision].peel(pygit2.Commit)
            for prefix in ("refs/heads/", "refs/tags/", ""):
                name = prefix + revision
                # Never HEAD or other names outside refs/: a working copy's state is nobody's business.
                if name.startswith("refs/") and name in self._repository.references:
                    return self._repository.references[name].peel(pygit2.Commit)
        except (KeyError, ValueError, pygit2.GitError):  # no such object, or a name git would not allow
            return None
        return None

    def _snapshot(self, commit: "pygit2.Commit") -> Snapshot:
        files = {file.path: file for file in sorted(self._files(commit.tree, ""), key=lambda file: file.path)}
        title = commit.message.partition("\n")[0]
        return Snapshot(str(commit.id), files, tree_ids(files.values())[1], None, _time(commit), title)

    def _files(self, tree: "pygit2.Tree", prefix: str) -> Iterator[HubFile]:
        for entry in tree:
            path = f"{prefix}{entry.name}"
            if isinstance(entry, pygit2.Tree):
                yield from self._files(entry, f"{path}/")
            elif isinstance(entry, pygit2.Blob) and entry.filemode in PLAIN_MODES:
                large = self._policy.is_large(path, entry.size)
                oid = str(entry.id)
                digest = hashlib.sha256(entry.data).hexdigest() if large else oid
                yield hub_file(path, entry.size, digest, BlobContent(self._reader(oid)), large=large)

    def _reader(self, oid: str) -> "BlobReader":
        return BlobReader(self._repository, oid, self._lock)


def _time(commit: "pygit2.Commit") -> str:
    return datetime.fromtimestamp(commit.commit_time, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class BlobReader:
    """Reads one blob when it is asked for."""

    def __init__(self, repository: "pygit2.Repository", oid: str, lock: threading.Lock) -> None:
        self._repository = repository
        self._oid = oid
        self._lock = lock

    def __call__(self) -> bytes:
        """Return the blob's bytes."""
        with self._lock:
            return self._repository[self._oid].peel(pygit2.Blob).data
