"""Rate limits as the Hub announces them, and holds to them when told to."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from imageworks.loopback_hub.responses import ReplyError


@dataclass(frozen=True, slots=True)
class Quota:
    """Requests allowed in one window of one kind."""

    name: str
    requests: int
    window_seconds: int = 300
    enforced: bool = False
    """When false the quota is announced and never used up: a hub on the own machine has no reason to throttle."""


class RateLimit:
    """Counts requests in fixed windows."""

    def __init__(self, quota: Quota, clock: Callable[[], float]) -> None:
        self._quota = quota
        self._clock = clock
        self._lock = threading.Lock()
        self._ends = clock() + quota.window_seconds
        self._left = quota.requests
        self._policy = (
            "RateLimit-Policy",
            f'"fixed window";"{quota.name}";q={quota.requests};w={quota.window_seconds}',
        )
        self._generous = self._headers(quota.requests - 1, quota.window_seconds)

    def take(self) -> tuple[tuple[str, str], ...]:
        """Count one request; returns the headers for its reply, or raises the reply that refuses it."""
        if not self._quota.enforced:
            return self._generous
        with self._lock:
            now = self._clock()
            if now >= self._ends:
                self._ends, self._left = now + self._quota.window_seconds, self._quota.requests
            wait = max(int(self._ends - now), 1)
            if self._left == 0:
                headers = (("Retry-After", str(wait)), *self._headers(0, wait))
                raise ReplyError(HTTPStatus.TOO_MANY_REQUESTS, "We had to rate limit you", headers=headers)
            self._left -= 1
            return self._headers(self._left, wait)

    def _headers(self, left: int, seconds: int) -> tuple[tuple[str, str], ...]:
        return (("RateLimit", f'"{self._quota.name}";r={left};t={seconds}'), self._policy)
