"""How fast a hub may be asked: one budget for all threads, from what its answers say.

The Hub counts requests in windows of five minutes and sends ``RateLimit: "resolvers";r=2999;t=201`` with every answer:
so many requests are left, and the window ends in so many seconds. Waiting before the limit costs less than a 429.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from imageworks.providers.huggingface.errors import RateLimitedError

LONGEST_WAIT_SECONDS: Final = 330.0  # a whole window and a little
_RATE_LIMIT: Final = re.compile(r"r=(\d{1,9})\s*;\s*t=(\d{1,9})")


class QuotaName(StrEnum):
    """What a hub counts apart."""

    API = "api"
    RESOLVERS = "resolvers"


@dataclass(slots=True)
class _Window:
    left: int
    ends: float


class Pace:
    """Makes threads wait as long as the hub asks, or says that it would be too long."""

    def __init__(
        self,
        *,
        longest_wait: float = LONGEST_WAIT_SECONDS,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        told: Callable[[str], None] | None = None,
    ) -> None:
        self._longest_wait = longest_wait
        self._now = now
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._told = told
        self._lock = threading.Lock()
        self._windows: dict[QuotaName, _Window] = {}
        self._in_flight = dict.fromkeys(QuotaName, 0)

    def stop(self) -> None:
        """Wake all threads that wait, and let none wait again: an interrupted run must not hang for minutes."""
        self._stopped.set()

    def now(self) -> float:
        """Return the clock's time, in seconds."""
        return self._now()

    def acquire(self, quota: QuotaName, host: str) -> None:
        """Take one request out of the budget, waiting for the next window when none is left."""
        while True:
            with self._lock:
                window = self._windows.get(quota)
                now = self._now()
                if window is None or now >= window.ends or window.left > 0:
                    if window is not None:
                        window.left -= 1
                    self._in_flight[quota] += 1
                    return
                wait = window.ends - now
            self.pause(wait, host)

    def release(self, quota: QuotaName, headers: Mapping[str, str] | None) -> None:
        """Note that a request was answered, and what the answer says of the budget."""
        found = _RATE_LIMIT.findall(headers.get("ratelimit", "")) if headers else []
        with self._lock:
            self._in_flight[quota] -= 1
            if found:
                left, seconds = min((int(r), int(t)) for r, t in found)
                # Requests under way are not in the hub's figure yet; one second more, because t is rounded down.
                self._windows[quota] = _Window(left - self._in_flight[quota], self._now() + seconds + 1)

    def refuse(self, quota: QuotaName, seconds: float) -> None:
        """Note that the hub wants no request for some time, so that no other thread asks meanwhile."""
        with self._lock:
            ends = self._now() + seconds
            window = self._windows.get(quota)
            if window is None or window.ends < ends or window.left > 0:
                self._windows[quota] = _Window(0, ends)

    def pause(self, seconds: float, host: str) -> None:
        """Wait, unless it is too long."""
        if seconds > self._longest_wait:
            raise too_long(seconds, host)
        if self._told is not None and seconds > 3:  # noqa: PLR2004 # shorter ones are not worth a line
            self._told(f"{host} asks to wait {seconds:.0f} s before the next request")
        self._sleep(seconds)
        if self._stopped.is_set():
            raise too_long(seconds, host)


def too_long(seconds: float, host: str) -> RateLimitedError:
    """Return the error for a wait that we do not make."""
    return RateLimitedError(
        f"{host} is rate-limiting us and asks to wait {seconds:.0f} s",
        remedy="Run again later; a token (HF_TOKEN) raises the limit.",
        retryable=True,
        retry_after=seconds,
    )


def asked_wait(headers: Mapping[str, str], wall_clock: Callable[[], float] = time.time) -> float | None:
    """Return how long an answer asks to wait, in seconds: the RateLimit window when used up, else Retry-After."""
    for left, seconds in _RATE_LIMIT.findall(headers.get("ratelimit", "")):
        if int(left) == 0:
            return float(seconds) + 1
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall_clock())
    except (ValueError, OverflowError):  # a date beyond all clocks
        return None
