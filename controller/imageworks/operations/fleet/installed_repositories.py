"""What this host has installed from the Hub, as repositories that other machines take from.

Each is there at its recorded commits, and nothing else of the disks: a file must be recorded, and have the recorded
size. Digests of large files are the recorded ones, so that whoever takes a file that was changed since refuses it.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from imageworks.git.repository import RegistryRepository
from imageworks.host.settings import HostSettings
from imageworks.loopback_hub.content import (
    FileContent,
    HubFile,
    Identity,
    Snapshot,
    StoragePolicy,
    hub_file,
    tree_ids,
)
from imageworks.loopback_hub.digest_cache import DigestCache
from imageworks.loopback_hub.folder_repository import ScannedFile
from imageworks.loopback_hub.repository import COMMIT_ID, Reference, References, ServedCommit
from imageworks.reconcile.open_registry import open_registry
from imageworks.registry.entries.entry import ArtifactFile, Entry, is_in_store

Recorded = Mapping[str, tuple[Entry, ...]]
"""The entries of one repository by their commit."""


class InstalledRepositories:
    """The repositories of a host's entries; looked up anew when a commit has moved."""

    def __init__(self, root: Path, host: HostSettings, *, policy: StoragePolicy | None = None) -> None:
        self._root = root
        self._host = host
        self._policy = policy or StoragePolicy()
        self._digests = DigestCache()
        self._lock = threading.Lock()
        self._at: tuple[str | None, ...] | None = None
        self._found: dict[str, InstalledRepository] = {}
        self._current()

    def find(self, name: str) -> "InstalledRepository | None":
        """Return a repository that something here came from."""
        return self._current().get(name)

    def names(self) -> list[str]:
        """Return the names of all of them."""
        return sorted(self._current())

    def is_single(self, name: str) -> bool:
        """Return whether a name without an owner is one of them."""
        return name in self._current()

    def stop(self) -> None:
        """Give up hashing."""
        self._digests.stop()

    def resume(self) -> None:
        """Hash again."""
        self._digests.resume()

    def _current(self) -> "Mapping[str, InstalledRepository]":
        with self._lock:
            repository = RegistryRepository.open(self._root, host=self._host.host)
            head = repository.head()
            if self._at is None or self._at[0] != head or self._at[1:] != self._tips(repository):
                registry = open_registry(self._root, self._host)[1]
                self._found = {
                    name: InstalledRepository(commits, self._digests, self._policy)
                    for name, commits in _by_repository(registry.entries.values()).items()
                }
                self._at = (head, *self._tips(repository))
            return self._found

    def _tips(self, repository: RegistryRepository) -> tuple[str | None, ...]:
        """Return what else decides what is recorded: the branch of entries, where a host has one of its own."""
        names = repository.branches.names()
        return tuple(repository.tip(name) for name in names if self._host.host in name)


def _by_repository(entries: Iterable[Entry]) -> dict[str, Recorded]:
    found: dict[str, dict[str, tuple[Entry, ...]]] = defaultdict(dict)
    for entry in entries:
        commit = entry.revision or ""
        if not (entry.repo and COMMIT_ID.fullmatch(commit) and entry.files and entry.path):
            continue
        if not is_in_store(entry):
            found[entry.repo][commit] = (*found[entry.repo].get(commit, ()), entry)
    return dict(found)


class InstalledRepository:
    """The recorded commits of one repository, as far as their files are here."""

    def __init__(self, recorded: Recorded, digests: DigestCache, policy: StoragePolicy) -> None:
        self._recorded = recorded
        self._digests = digests
        self._policy = policy
        self._known: dict[str, tuple[tuple[ScannedFile, ...], Snapshot]] = {}
        self._lock = threading.Lock()

    def resolve(self, revision: str) -> Snapshot | None:
        """Return the files at a commit, or at the branch or tag that somebody asked for at install."""
        commit = revision if revision in self._recorded else self._refs().get(revision)
        return None if commit is None else self._snapshot(commit)

    def references(self) -> References:
        """Return the branches and tags that were asked for at install."""
        refs = (Reference(name, f"refs/heads/{name}", commit) for name, commit in sorted(self._refs().items()))
        return References(tuple(refs), (), ())

    def history(self, revision: str) -> tuple[ServedCommit, ...] | None:
        """Return the one commit that is known of a revision."""
        snapshot = self.resolve(revision)
        return None if snapshot is None else (ServedCommit(snapshot.commit, snapshot.title, snapshot.when),)

    def forget(self) -> None:
        """Look at the files again on the next use."""
        with self._lock:
            self._known.clear()

    def _refs(self) -> dict[str, str]:
        refs = {
            entry.ref: commit
            for commit, entries in self._recorded.items()
            for entry in entries
            if entry.ref and not COMMIT_ID.fullmatch(entry.ref)
        }
        only = next(iter(self._recorded)) if len(self._recorded) == 1 else None
        return {"main": only, **refs} if only is not None else refs

    def _snapshot(self, commit: str) -> Snapshot | None:
        recorded = {file.path: (entry, file.size, file.sha256) for entry, file in _files(self._recorded[commit])}
        scanned = tuple(_scan(recorded[path][0], path, recorded[path][1]) for path in sorted(recorded))
        there = tuple(file for file in scanned if file is not None)
        with self._lock:
            known = self._known.get(commit)
            if known is not None and known[0] == there:
                return known[1]
            files = self._hub_files(there, lambda path: recorded[path][2])
            _, folders = tree_ids(files.values())
            made = Snapshot(commit, files, folders)
            self._known[commit] = (there, made)
            return made

    def _hub_files(self, scanned: tuple[ScannedFile, ...], digest_of: Callable[[str], str]) -> dict[str, HubFile]:
        large = {file.path: self._policy.is_large(file.path, file.content.identity.size) for file in scanned}
        small = [file for file in scanned if not large[file.path]]
        ids = dict(
            zip(
                (file.path for file in small),
                self._digests.digests((file.content, False) for file in small),
                strict=True,
            )
        )
        return {
            file.path: hub_file(
                file.path,
                file.content.identity.size,
                digest_of(file.path) if large[file.path] else ids[file.path],
                file.content,
                large=large[file.path],
            )
            for file in scanned
        }


def _files(entries: Iterable[Entry]) -> Iterator[tuple[Entry, ArtifactFile]]:
    for entry in entries:
        for file in entry.files:
            yield entry, file


def _scan(entry: Entry, path: str, size: int) -> ScannedFile | None:
    """Return a recorded file where it is a plain file of the recorded size, reached through no link below its model."""
    place = os.path.join(entry.base, path)  # noqa: PTH118 # as in the hub's other repositories
    try:
        status = os.stat(place, follow_symlinks=False)  # noqa: PTH116
    except OSError:
        return None
    inside = os.path.realpath(place) == os.path.join(os.path.realpath(entry.base), path)  # noqa: PTH118
    identity = Identity.of(status)
    return ScannedFile(path, FileContent(place, identity)) if inside and status.st_size == size else None
