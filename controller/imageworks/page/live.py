"""The page as a server shows it: made anew when the registry or some time has moved on."""

import time
from collections.abc import Callable
from pathlib import PurePosixPath
from threading import Lock
from typing import Final
from urllib.parse import unquote

from imageworks.foundation.http_messages import Response
from imageworks.host.memory import give_back
from imageworks.page.render import CONTENT_POLICY, TYPES, Page

FRESH_SECONDS: Final = 30.0
"""How old what disks hold may be when it is shown; a new commit is shown at once."""
FRONT: Final = "index.html"


class LivePage:
    """Answers with the files of a page; several threads may ask.

    Args:
        make: Reads everything anew.
        at: Tells where the registry stands; the page is made anew when that changes.
    """

    def __init__(self, make: Callable[[], Page], at: Callable[[], object]) -> None:
        self._make = make
        self._at = at
        self._lock = Lock()
        self._page: Page | None = None
        self._made: tuple[object, float] = (None, 0.0)

    def answer(self, path: str) -> Response | None:
        """Return the file at a path of an address; ``None`` where there is none."""
        name = unquote(path.strip("/")) or FRONT
        kind = TYPES.get(PurePosixPath(name).suffix)
        with self._lock:
            content = self._current().file(name) if kind is not None else None
        if kind is None or content is None:
            return None
        headers = (("Content-Type", kind), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"))
        return Response(200, headers, content, f"{CONTENT_POLICY}; frame-ancestors 'none'")

    def let_go(self) -> None:
        """Let a page go before much else is read; it is made anew when asked for. One that is being made stays."""
        if self._lock.acquire(blocking=False):
            try:
                self._page = None
                give_back()
            finally:
                self._lock.release()

    def _current(self) -> Page:
        at, now = self._at(), time.monotonic()
        if self._page is None or self._made[0] != at or now - self._made[1] > FRESH_SECONDS:
            self._page = None
            give_back()  # before another one is made
            self._page = self._make()
            self._made = (at, time.monotonic())
        return self._page
