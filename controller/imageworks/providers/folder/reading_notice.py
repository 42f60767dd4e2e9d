"""Tell of files that a plan has to read: hashing a disk full of weights takes hours, and a person should know why."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from imageworks.files.progress import READING, Progress

UNTOLD_BYTES: int = 64 * 1024 * 1024  # not Final, so that tests need not read as much


class ReadingProgress:
    """Tells of what is read while a plan is made, once it is much."""

    def __init__(self, progress: Progress, *, read_only: bool) -> None:
        self._progress = progress
        self._read_only = read_only
        self._lock = Lock()
        self._asked = 0

    @contextmanager
    def __call__(self, path: Path, size: int) -> Iterator[Callable[[int], None]]:
        """Tell of a file while it is read, by what counts its bytes."""
        with self._lock:
            before, self._asked = self._asked, self._asked + size
        if self._asked <= UNTOLD_BYTES:
            yield lambda _read: None
            return
        if before <= UNTOLD_BYTES:
            kept = "; `verify` reads them once and remembers it, a run that writes nothing does not"
            self._progress.note(
                "reading",
                f"{path} and what else is new here or looks otherwise than when it was verified"
                + (kept if self._read_only else ""),
            )
        self._progress.start(str(path), size, READING)
        try:
            yield lambda read: self._progress.advance(str(path), read)
        finally:
            self._progress.finish(str(path))
