"""Digests of files, computed once and kept in memory for as long as size, time and inode stay the same."""

import hashlib
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.loopback_hub.content import FileContent, Identity

READ_BYTES: Final = 1024 * 1024


class HashingStoppedError(ImageworksError):
    """The server is ending, so nobody waits for the digest any more."""


class DigestCache:
    """Hashes on first use, several files at a time: hashlib leaves the interpreter's lock while it works."""

    def __init__(self) -> None:
        self._known: dict[tuple[Identity, bool], str] = {}
        self._threads = os.cpu_count() or 1
        self._stopped = threading.Event()

    def digests(self, wanted: Iterable[tuple[FileContent, bool]]) -> list[str]:
        """Return the digest of each content, in order."""
        asked = list(wanted)
        missing = [pair for pair in asked if (pair[0].identity, pair[1]) not in self._known]
        if missing:
            with ThreadPoolExecutor(self._threads, thread_name_prefix="hub-hash") as pool:
                for (content, large), digest in zip(missing, pool.map(self._digest, missing), strict=True):
                    self._known[content.identity, large] = digest
        return [self._known[content.identity, large] for content, large in asked]

    def stop(self) -> None:
        """Give up hashing: a process cannot end before its pool's threads have."""
        self._stopped.set()

    def resume(self) -> None:
        """Hash again after a stop."""
        self._stopped.clear()

    def _digest(self, pair: tuple[FileContent, bool]) -> str:
        content, large = pair
        if large:
            state = hashlib.sha256()
        else:
            state = hashlib.sha1(f"blob {content.identity.size}\0".encode(), usedforsecurity=False)
        buffer = memoryview(bytearray(READ_BYTES))
        with os.fdopen(content.open(), "rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                if self._stopped.is_set():
                    raise HashingStoppedError("the hub is ending")
                state.update(buffer[:count])
        return state.hexdigest()
