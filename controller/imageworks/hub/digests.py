"""Digests of files, computed once and kept in memory for as long as size, time and inode stay the same."""

import hashlib
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from imageworks.hub.content import FileContent, Identity


class DigestCache:
    """Hashes on first use, several files at a time: hashlib leaves the interpreter's lock while it works."""

    def __init__(self) -> None:
        self._known: dict[tuple[Identity, bool], str] = {}
        self._lock = threading.Lock()
        self._threads = os.cpu_count() or 1

    def digests(self, wanted: Iterable[tuple[FileContent, bool]]) -> list[str]:
        """Return the digest of each content, in order.

        Args:
            wanted: Contents, each with whether it is large (SHA-256) or small (git blob id).
        """
        asked = list(wanted)
        with self._lock:  # one scan hashes; another that wants the same files finds them done
            missing = [pair for pair in asked if (pair[0].identity, pair[1]) not in self._known]
            if missing:
                with ThreadPoolExecutor(self._threads, thread_name_prefix="hub-hash") as pool:
                    for (content, large), digest in zip(missing, pool.map(_digest, missing), strict=True):
                        self._known[content.identity, large] = digest
            return [self._known[content.identity, large] for content, large in asked]


def _digest(pair: tuple[FileContent, bool]) -> str:
    content, large = pair
    with os.fdopen(content.open(), "rb", buffering=0) as stream:
        if large:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        prefix = f"blob {content.identity.size}\0".encode()
        return hashlib.file_digest(stream, lambda: hashlib.sha1(prefix, usedforsecurity=False)).hexdigest()
