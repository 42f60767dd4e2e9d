"""Find bytes that are already on this machine, so that they are linked or copied and never fetched twice."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm
from imageworks.files.size_index import FolderIndex
from imageworks.files.state import StateDatabase
from imageworks.foundation.home import expanded
from imageworks.naming.hub_cache import cache_folder_name

OLLAMA_SYSTEM_STORE: Final = Path("/usr/share/ollama/.ollama/models")


class ContentIndex:
    """Knows where content may lie, by its sha256: verified files, the Hugging Face cache, Ollama's blobs, LM Studio.

    What it returns are candidates of the right size; whoever takes one verifies it while taking it.
    """

    def __init__(
        self, state: StateDatabase, environment: Mapping[str, str], folders: FolderIndex | None = None
    ) -> None:
        self._folders = folders
        self._state = state
        self._hub_cache = hub_cache_folder(environment)
        self._blobs = [store / "blobs" for store in ollama_stores(environment)]

    def find(self, file: RemoteFile, repo: str | None) -> Path | None:
        """Return a file on this machine that should hold a wanted file's bytes."""
        return next(self.find_all(file, repo), None)

    def find_all(self, file: RemoteFile, repo: str | None) -> Iterator[Path]:
        """Yield every file on this machine that should hold a wanted file's bytes."""
        for candidate in self._candidates(file, repo):
            try:
                found = candidate.stat()
                if stat.S_ISREG(found.st_mode) and found.st_size == file.size and os.access(candidate, os.R_OK):
                    yield candidate
            except OSError:
                continue

    def _candidates(self, file: RemoteFile, repo: str | None) -> Iterator[Path]:
        # Both kinds of digest name the cache's blobs: the sha256 of a large file, git's blob id of a small one.
        if repo is not None:
            yield self._hub_cache / cache_folder_name(repo) / "blobs" / file.digest.value
        if file.digest.algorithm is Algorithm.SHA256:
            yield from self._state.locate(file.digest.value)
            for blobs in self._blobs:
                yield blobs / f"sha256-{file.digest.value}"
            if self._folders is not None:
                yield from self._folders.find(file.size, file.digest.value)


def hub_cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the Hugging Face cache's folder by its own variables."""
    explicit = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    if explicit:
        return expanded(explicit)
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(environment.get("HF_HOME") or f"{cache}/huggingface") / "hub"


def ollama_stores(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the model folders of Ollama that may exist here, by its own rules."""
    named = environment.get("OLLAMA_MODELS", "").strip().strip("\"'")  # as Ollama's envconfig.Var does
    if named:
        return (expanded(named),)
    return (expanded("~/.ollama/models"), OLLAMA_SYSTEM_STORE)
