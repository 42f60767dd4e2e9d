"""Which repositories a served root holds, and how their names lead to folders.

A child of the root that directly holds a visible file, or is a git repository, is a repository with a single name;
any other child is an owner, and each of its folders is a repository ``owner/repo``.
"""

# Strings and os.path here: each request passes, and a Path costs ten times the string it wraps.
# ruff: noqa: PTH116, PTH118, PTH120, PTH208

import os
import re
import stat
import threading
from enum import Enum, auto
from pathlib import Path
from typing import Final, Protocol

from imageworks.loopback_hub.content import Identity, StoragePolicy
from imageworks.loopback_hub.digest_cache import DigestCache
from imageworks.loopback_hub.folder_repository import FolderRepository, is_served_name
from imageworks.loopback_hub.git_repository import GitRepository
from imageworks.loopback_hub.repository import Repository

NAME_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
OWNER_AND_NAME: Final = 2


class RepositoryKind(Enum):
    """How a repository is kept."""

    GIT = auto()
    FOLDER = auto()


class ServedRepositories(Protocol):
    """What a hub serves."""

    def find(self, name: str) -> Repository | None:
        """Return the repository of that name, or ``None``."""

    def is_single(self, name: str) -> bool:
        """Tell whether a name without an owner is a repository."""

    def names(self) -> list[str]:
        """Return all repositories, sorted."""

    def stop(self) -> None:
        """Give up hashing."""

    def resume(self) -> None:
        """Hash again after a stop."""


class Repositories:
    """Finds repositories below one root."""

    def __init__(self, root: Path, policy: StoragePolicy) -> None:
        self._root = os.path.realpath(root)
        self._policy = policy
        self._digests = DigestCache()
        self._open: dict[tuple[RepositoryKind, str], Repository] = {}
        self._single: dict[str, tuple[Identity, bool]] = {}
        self._lock = threading.Lock()

    def find(self, name: str) -> Repository | None:
        """Return the repository of that name, or ``None``; links are never followed to one."""
        found = self._locate(name)
        return self._get(name, *found) if found is not None else None

    def _locate(self, name: str) -> tuple[RepositoryKind, str] | None:
        """Return what a name stands for and where that is, without opening it."""
        parts = name.split("/")
        if len(parts) > OWNER_AND_NAME or not all(NAME_PART.fullmatch(part) for part in parts):
            return None
        owner_is_repository = self.is_single(parts[0])
        if owner_is_repository != (len(parts) == 1):
            return None
        folder = os.path.join(self._root, name)
        if len(parts) == OWNER_AND_NAME and not _is_real_folder(os.path.dirname(folder)):
            return None
        if _is_real_folder(folder):
            inner = os.path.join(folder, ".git")
            return (RepositoryKind.GIT, inner) if _is_real_folder(inner) else (RepositoryKind.FOLDER, folder)
        bare = f"{folder}.git"
        return (RepositoryKind.GIT, bare) if _is_real_folder(bare) else None

    def is_single(self, name: str) -> bool:
        """Tell whether a child of the root is a repository rather than an owner."""
        if not NAME_PART.fullmatch(name):
            return False
        folder = os.path.join(self._root, name)
        if not _is_real_folder(folder):
            return _is_real_folder(f"{folder}.git")
        identity = Identity.of(os.stat(folder))
        known = self._single.get(name)
        if known is None or known[0] != identity:  # a folder's time changes with its list of names
            with os.scandir(folder) as entries:
                single = any(e.name == ".git" or (e.is_file() and is_served_name(e.name)) for e in entries)
            known = self._single[name] = (identity, single)
        return known[1]

    def names(self) -> list[str]:
        """Return all repositories, sorted."""
        found: set[str] = set()
        for child in sorted(os.listdir(self._root)):
            name = child.removesuffix(".git")
            if self._locate(name) is not None:
                found.add(name)
            elif NAME_PART.fullmatch(child) and _is_real_folder(os.path.join(self._root, child)):
                inner = (
                    f"{child}/{entry.removesuffix('.git')}" for entry in os.listdir(os.path.join(self._root, child))
                )
                found.update(name for name in inner if self._locate(name) is not None)
        return sorted(found)

    def stop(self) -> None:
        """Give up hashing, so that nothing keeps the process alive."""
        self._digests.stop()

    def resume(self) -> None:
        """Hash again after a stop."""
        self._digests.resume()

    def _get(self, name: str, kind: RepositoryKind, folder: str) -> Repository:
        with self._lock:
            found = self._open.get((kind, folder))
            if found is None:
                if kind is RepositoryKind.GIT:
                    found = GitRepository(folder, self._policy)
                else:
                    found = FolderRepository(self._root, name, self._digests, self._policy)
                self._open[kind, folder] = found
            return found


def _is_real_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
