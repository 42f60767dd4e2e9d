"""How far hashing is: a line that rewrites itself on a terminal, a line now and then elsewhere."""

import sys
import time
from threading import Lock
from types import TracebackType
from typing import Final, Self

from imageworks.cli.output import human_bytes

EVERY_SECONDS: Final = 5.0
EVERY_SECONDS_DRAWN: Final = 0.2


class HashProgress:
    """Tells on stderr how many bytes are hashed; call it from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._drawn = sys.stderr.isatty()
        self._told = time.monotonic()
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            sys.stderr.write("\n")

    def __call__(self, done: int, total: int) -> None:
        """Tell, unless it was just told.

        Args:
            done: Bytes hashed so far.
            total: Bytes to hash.
        """
        with self._lock:
            now = time.monotonic()
            if done not in {0, total} and now - self._told < (EVERY_SECONDS_DRAWN if self._drawn else EVERY_SECONDS):
                return
            self._told = now
            share = 100 * done // total if total else 100
            line = f"hashing: {share} % of {human_bytes(total)}"
            if self._drawn:
                sys.stderr.write(f"\r\x1b[K{line}")
                self._open = True
            else:
                sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
