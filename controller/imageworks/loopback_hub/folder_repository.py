"""A plain folder served as a repository.

``main`` is what it holds now; a folder ``NAME@BRANCH`` beside it is another revision, a branch unless BRANCH is a full
commit id. A slash in a branch's name is written ``%2F``.
"""

# Strings and os.path here: each request passes, and a Path costs ten times the string it wraps.
# ruff: noqa: PTH112, PTH113, PTH114, PTH116, PTH118, PTH206

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from imageworks.loopback_hub.content import (
    FileContent,
    Identity,
    Snapshot,
    StoragePolicy,
    folder_commit,
    hub_file,
    tree_ids,
)
from imageworks.loopback_hub.digest_cache import DigestCache
from imageworks.loopback_hub.repository import COMMIT_ID, Reference, References, ServedCommit

RESCAN_SECONDS: Final = 1.0
SERVED_DOTFILES: Final = frozenset({".gitattributes"})


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """One file found in a folder, not hashed yet."""

    path: str
    content: FileContent


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    folder: Identity
    files: tuple[ScannedFile, ...]
    snapshot: Snapshot


def is_served_name(name: str) -> bool:
    """Tell whether a file or folder of that name may be seen: not ``.git`` and its like, and only names in UTF-8."""
    if name.startswith(".") and name not in SERVED_DOTFILES:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8 arrive as lone surrogates, which JSON cannot carry
        return False
    return True


def scan_folder(folder: str, root: str, prefix: str = "") -> Iterator[ScannedFile]:
    """Find the files of a folder, in no particular order.

    A symbolic link to a file is followed while it stays below ``root``; linked folders are not entered.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_served_name(entry.name):
                continue
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if is_below(target, root) and os.path.isfile(target):
                    yield ScannedFile(prefix + entry.name, FileContent(target, Identity.of(os.stat(target))))
            elif entry.is_dir(follow_symlinks=False):
                yield from scan_folder(entry.path, root, f"{prefix}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                identity = Identity.of(entry.stat(follow_symlinks=False))
                yield ScannedFile(prefix + entry.name, FileContent(entry.path, identity))


def is_below(path: str, root: str) -> bool:
    """Tell whether a real path is served: inside the root, through no hidden folder."""
    if not path.startswith(root.rstrip(os.sep) + os.sep):
        return False
    return all(is_served_name(part) for part in os.path.relpath(path, root).split(os.sep))


class FolderRepository:
    """The revisions of one repository that is kept as plain folders."""

    def __init__(self, root: str, name: str, digests: DigestCache, policy: StoragePolicy) -> None:
        self._root = root
        self._name = name
        self._digests = digests
        self._policy = policy
        self._seen: dict[str, _Seen] = {}
        self._folder_of: dict[str, str] = {}
        self._lock = threading.Lock()

    def resolve(self, revision: str) -> Snapshot | None:
        """Return the revision's files, or ``None`` when there is no such branch or commit."""
        if revision == "main":
            return self._look(self._name)
        if COMMIT_ID.fullmatch(revision):
            return self._resolve_commit(revision)
        return self._look(f"{self._name}@{quote(revision, safe='')}")

    def references(self) -> References:
        """Return the branches; folders named by a commit id are revisions without a name."""
        branches: list[Reference] = []
        pull_requests: list[Reference] = []
        for folder in self._folders():
            revision = "main" if folder == self._name else unquote(folder[len(self._name) + 1 :])
            if COMMIT_ID.fullmatch(revision) or (snapshot := self._look(folder)) is None:
                continue
            if revision.startswith("refs/"):
                pull_requests.append(Reference(revision.removeprefix("refs/"), revision, snapshot.commit))
            else:
                branches.append(Reference(revision, f"refs/heads/{revision}", snapshot.commit))
        return References(tuple(branches), (), tuple(pull_requests))

    def history(self, revision: str) -> tuple[ServedCommit, ...] | None:
        """Return the one commit that a folder is; what it was before is not kept."""
        snapshot = self.resolve(revision)
        return None if snapshot is None else (ServedCommit(snapshot.commit, snapshot.title, snapshot.when),)

    def _resolve_commit(self, commit: str) -> Snapshot | None:
        known = self._folder_of.get(commit)
        if known is not None and (snapshot := self._look(known)) is not None and snapshot.commit == commit:
            return snapshot
        for folder in self._folders():
            snapshot = self._look(folder)
            if snapshot is not None and snapshot.commit == commit:
                return snapshot
        return None

    def _folders(self) -> list[str]:
        owner, _, base = self._name.rpartition("/")
        found = [
            entry.name for entry in os.scandir(os.path.join(self._root, owner)) if entry.name.startswith(f"{base}@")
        ]
        return [self._name, *sorted(f"{owner}/{name}".lstrip("/") for name in found)]

    def _look(self, folder: str) -> Snapshot | None:
        """Return what a folder holds, scanning it again at most once a second unless it was replaced."""
        path = os.path.join(self._root, folder)
        try:
            # Never through a link: what it leads to may be anywhere.
            if os.path.islink(path) or not os.path.isdir(path):
                return None
            identity = Identity.of(os.stat(path))
        except OSError:
            return None
        seen = self._seen.get(folder)
        if seen is not None and seen.folder == identity and time.monotonic() - seen.at < RESCAN_SECONDS:
            return seen.snapshot
        with self._lock:
            newest = self._seen.get(folder)
            if newest is not None and newest is not seen and newest.folder == identity:
                return newest.snapshot  # somebody else has scanned it while we waited
            return self._scan(folder, path, identity)

    def _scan(self, folder: str, path: str, identity: Identity) -> Snapshot:
        now = time.monotonic()
        files = tuple(sorted(scan_folder(path, self._root), key=lambda file: file.path))
        seen = self._seen.get(folder)
        snapshot = seen.snapshot if seen is not None and seen.files == files else self._snapshot(folder, files)
        self._seen[folder] = _Seen(now, identity, files, snapshot)
        self._folder_of[snapshot.commit] = folder
        return snapshot

    def _snapshot(self, folder: str, scanned: tuple[ScannedFile, ...]) -> Snapshot:
        large = [self._policy.is_large(file.path, file.content.identity.size) for file in scanned]
        digests = self._digests.digests(zip((file.content for file in scanned), large, strict=True))
        files = {
            file.path: hub_file(file.path, file.content.identity.size, digest, file.content, large=is_large)
            for file, digest, is_large in zip(scanned, digests, large, strict=True)
        }
        tree, folders = tree_ids(files.values())
        revision = folder[len(self._name) + 1 :]
        # A folder that is named by a commit id is that commit: so a copy of a real repository keeps its id.
        commit = revision if COMMIT_ID.fullmatch(revision) else folder_commit(tree)
        return Snapshot(commit, files, folders, folder)

    def forget(self) -> None:
        """Scan again on the next use."""
        with self._lock:
            self._seen.clear()
