"""Files of weights below folders whose programs keep no digests, found by size and told apart by reading them."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Final

from imageworks.files.digests import Algorithm, Digest

WEIGHTS: Final = (".gguf", ".safetensors")
Hash = Callable[[Path, os.stat_result, Algorithm], Digest | None]
"""Returns a file's digest, remembered where it was read before; ``None`` when it cannot be read."""


class FolderIndex:
    """Knows the weights below some folders by their sizes; nothing is walked before somebody asks."""

    def __init__(self, folders: Callable[[], Iterable[Path]], digest: Hash) -> None:
        self._folders = folders
        self._digest = digest
        self._lock = Lock()

    def find(self, size: int, sha256: str) -> Iterator[Path]:
        """Yield the files that hold some content; only those of its very size are read, and each once."""
        with self._lock:
            for path in self._by_size.get(size, ()):
                try:
                    found = path.stat()
                except OSError:
                    continue
                digest = self._digest(path, found, Algorithm.SHA256) if found.st_size == size else None
                if digest is not None and digest.value == sha256:
                    yield path

    @cached_property
    def _by_size(self) -> dict[int, list[Path]]:
        sizes: dict[int, list[Path]] = defaultdict(list)
        for path in sorted({path for folder in self._folders() for path in _weights_below(folder)}):
            try:
                sizes[path.stat().st_size].append(path)
            except OSError:
                continue
        return sizes


def _weights_below(folder: Path) -> Iterator[Path]:
    """Yield the files of weights below a folder; what begins with a dot is some program's own, ours included."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(WEIGHTS) and not name.startswith("."):
                yield Path(parent, name)
