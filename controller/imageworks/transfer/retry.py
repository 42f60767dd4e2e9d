"""Waiting before another try, on a clock that tests can replace."""

import random
import threading
import time
from dataclasses import dataclass
from typing import Protocol

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 900.0


_jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing


class Clock(Protocol):
    """Time, and waiting for it."""

    def now(self) -> float:
        """Return seconds from some fixed moment; never goes back."""
        ...

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Return after so many seconds, or as soon as the event is set."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return seconds since some fixed moment."""
        return time.monotonic()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Return after so many seconds, or as soon as the event is set."""
        stop.wait(seconds)


@dataclass(slots=True)
class Attempts:
    """Counts failures in a row and says how long to wait after each.

    Args:
        most: How many failures in a row are one too many.
        failures: How many there were since the last progress.
    """

    most: int
    failures: int = 0

    def progressed(self) -> None:
        """Bytes came: what failed before no longer counts."""
        self.failures = 0

    def failed(self) -> bool:
        """Count a failure; return whether another try is left."""
        self.failures += 1
        return self.failures < self.most

    def wait_seconds(self, retry_after: float | None = None) -> float:
        """Return how long to wait now: what the server asks for, or twice as long each time, with jitter."""
        if retry_after is not None:
            return min(retry_after, LONGEST_RETRY_AFTER_SECONDS) + _jitter.uniform(0, 1)
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (self.failures - 1))
        return _jitter.uniform(longest / 2, longest)
