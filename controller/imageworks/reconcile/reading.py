"""Tell of files that a plan has to read: hashing a disk full of weights takes hours, and a person should know why."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final

from imageworks.transfer.files import Progress

UNTOLD_BYTES: int = 64 * 1024 * 1024  # not Final, so that tests need not read as much
EVERY_SECONDS: Final = 5.0
GIBI: Final = 1024**3


class ReadingProgress:
    """Counts what is read while a plan is made, and tells of it once it is much.

    Args:
        progress: Who is told.
        read_only: Whether what is learned is lost when the run ends.
        clock: Seconds that only grow.
    """

    def __init__(self, progress: Progress, *, read_only: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._read_only = read_only
        self._clock = clock
        self._lock = Lock()
        self._asked = 0
        self._read = 0
        self._told: float | None = None

    def __call__(self, path: Path, size: int) -> Callable[[int], None]:
        """Hear of a file that is about to be read, and return what counts its bytes.

        Args:
            path: The file.
            size: In bytes.
        """
        with self._lock:
            self._asked += size
            first = self._told is None and self._asked > UNTOLD_BYTES
            if first:
                self._told = self._clock()
        if first:
            kept = "; `verify` reads them once and remembers it, a run that writes nothing does not"
            self._progress.note(
                "reading",
                f"{path} and what else is new here or looks otherwise than when it was verified"
                + (kept if self._read_only else ""),
            )
        return lambda read: self._count(path, read)

    def _count(self, path: Path, read: int) -> None:
        with self._lock:
            self._read += read
            now = self._clock()
            if self._told is None or now - self._told < EVERY_SECONDS:
                return
            self._told = now
            total = self._read
        self._progress.note("reading", f"{total / GIBI:.1f} GiB read; now {path}")
