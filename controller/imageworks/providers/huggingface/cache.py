"""What a hub said of a commit, kept on disk: a commit never changes, so one answer serves for good.

A damaged, foreign or older file counts as absent, never as an error; each carries the digest of its content.
"""

import hashlib
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.foundation.bounded_json import read_json_file
from imageworks.foundation.private_files import ForeignFolderError, make_private_folder
from imageworks.providers.huggingface.records import COMMIT
from imageworks.providers.repository import Listing, ResolvedRevision

FORMAT_VERSION: Final = 2  # listings of 1 were not held against what the hub names with the commit


class HubCache:
    """Answers of one hub about commits."""

    def __init__(self, folder: Path, endpoint: str, *, writable: bool = True) -> None:
        self._endpoint = endpoint
        self._folder = folder / "hub" / hashlib.sha256(endpoint.encode()).hexdigest()[:16]
        self._writable = writable
        self._believed: set[Path] | None = None

    def distrust(self) -> None:
        """Believe nothing from now on but what is written from now on."""
        self._believed = set()

    def revision(self, repo: str, commit: str) -> ResolvedRevision | None:
        """Return what was known of a commit, with the commit itself as the ref."""
        found = self._read(repo, commit, "revision")
        if not isinstance(found, dict):
            return None
        try:
            revision = ResolvedRevision(
                **{**found, "ref": commit, "tags": tuple(found["tags"]), "siblings": _paths(found)}
            )
        except (TypeError, KeyError):
            return None
        return revision if revision.commit == commit else None

    def remember_revision(self, repo: str, revision: ResolvedRevision) -> None:
        """Keep what a hub said of a commit, under the name asked for and under the present one."""
        for name in {repo, revision.repo}:
            self._write(name, revision.commit, "revision", asdict(revision))

    def listing(self, repo: str, commit: str) -> Listing | None:
        """Return the listing of a commit when it is here and sound."""
        found = self._read(repo, commit, "listing")
        if not isinstance(found, list):
            return None
        try:
            files = tuple(_file(*row) for row in found)
        except (TypeError, ValueError):
            return None
        return Listing(repo, commit, files)

    def remember_listing(self, listing: Listing) -> None:
        """Keep a complete and checked listing."""
        rows = [[file.path, file.size, file.digest.value, file.large] for file in listing.files]
        self._write(listing.repo, listing.commit, "listing", rows)

    def _path(self, repo: str, commit: str, kind: str) -> Path:
        return self._folder / repo.replace("/", "--") / f"{commit}.{kind}.json"

    def _read(self, repo: str, commit: str, kind: str) -> object:
        if self._believed is not None and self._path(repo, commit, kind) not in self._believed:
            return None
        try:
            held = read_json_file(self._path(repo, commit, kind))
        except (OSError, ValueError):
            return None
        if not isinstance(held, dict) or held.get("about") != self._about(repo, commit):
            return None
        content = held.get("content")
        return content if held.get("sha256") == _digest(content) else None

    def _about(self, repo: str, commit: str) -> list[object]:
        return [FORMAT_VERSION, self._endpoint, repo, commit]  # two names may share a file where case is ignored

    def _write(self, repo: str, commit: str, kind: str, content: object) -> None:
        if not self._writable or not COMMIT.fullmatch(commit):
            return
        path = self._path(repo, commit, kind)
        held = {"about": self._about(repo, commit), "sha256": _digest(content), "content": content}
        try:
            make_private_folder(path.parent, top=self._folder.parent.parent)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".new")
        except (OSError, ForeignFolderError):
            return  # a cache that cannot be kept only costs another request
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(json.dumps(held, separators=(",", ":")).encode())
            Path(name).replace(path)
            if self._believed is not None:
                self._believed.add(path)
        except OSError:
            Path(name).unlink(missing_ok=True)


def _paths(found: dict[str, Any]) -> tuple[str, ...] | None:
    siblings = found["siblings"]
    return tuple(siblings) if isinstance(siblings, list) else None


def _file(path: str, size: int, value: str, large: bool) -> RemoteFile:  # noqa: FBT001 # a row of the file
    return RemoteFile(sys.intern(path), size, Digest(Algorithm.SHA256 if large else Algorithm.GIT_BLOB, value), large)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
