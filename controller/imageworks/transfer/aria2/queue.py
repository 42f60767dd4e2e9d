"""One thread that owns the aria2c child: adds downloads, watches all with one request a tick, ends stalled ones.

Callers see a ``Download``: how many bytes came, how far the front of the file is complete on the disk, how it ended.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from imageworks.files.errors import Aria2Error, TransferError
from imageworks.transfer.aria2.process import Aria2Process
from imageworks.transfer.retry import Clock, SystemClock

TICK_SECONDS = 0.04
LAST_TICK_SECONDS = 0.01
"""How soon to look again where as much as came since the last look would be the rest of a download."""
_WATCHED = ["status", "completedLength", "totalLength", "bitfield", "pieceLength", "errorCode", "errorMessage"]


class Ending(StrEnum):
    """How a download ended."""

    COMPLETE = "complete"
    ERROR = "error"
    STALLED = "stalled"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    """aria2c itself died; it is started again with the next download."""
    IMPOSSIBLE = "impossible"
    """aria2c cannot be started at all."""


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """How a download ended, and what aria2 said.

    Args:
        ending: Which way.
        code: aria2's error code; 0 when complete.
        message: aria2's words.
        error: Why aria2c cannot be started.
    """

    ending: Ending
    code: int = 0
    message: str = ""
    error: TransferError | None = None


@dataclass(eq=False)
class Download:
    """One file that aria2 is fetching.

    Args:
        url: Where from; needs no credentials.
        folder: Where to.
        name: The file's name in the folder.
        options: aria2's options for this one.
        stop: Set by whoever wants the download to end soon, keeping what came of it.
        received: Called with how many bytes of the file are here in all, from the queue's thread.
    """

    url: str
    folder: Path
    name: str
    options: Mapping[str, str]
    stop: threading.Event
    received: Callable[[int], None]
    changed: threading.Condition = field(default_factory=threading.Condition)
    prefix_bytes: int = 0
    """How many bytes from the front are complete on the disk."""
    received_bytes: int = 0
    outcome: DownloadResult | None = None
    unwanted: bool = False
    """Set like ``stop``, for this download alone."""
    _gid: str | None = None
    _moved_at: float = 0.0
    _stalled: bool = False
    _ending: bool = False

    def wait_beyond(self, offset: int) -> None:
        """Return when the front is complete beyond an offset, or the download has ended."""
        with self.changed:
            self.changed.wait_for(lambda: self.prefix_bytes > offset or self.outcome is not None)

    def wait(self) -> DownloadResult:
        """Return how it ended, when it has."""
        with self.changed:
            self.changed.wait_for(lambda: self.outcome is not None)
        if self.outcome is None:
            raise AssertionError("waited for an outcome that is not there")
        return self.outcome


class DownloadQueue:
    """Downloads through one aria2c, started with the first of them."""

    def __init__(
        self,
        options: Mapping[str, str],
        *,
        stall_seconds: float,
        clock: Clock | None = None,
        make_process: Callable[[Mapping[str, str]], Aria2Process] = Aria2Process,
    ) -> None:
        self._options = dict(options)
        self._stall_seconds = stall_seconds
        self._clock = clock or SystemClock()
        self._make_process = make_process
        self._wake = threading.Condition()
        self._new: list[Download] = []
        self._active: list[Download] = []
        self._closing = False
        self._process: Aria2Process | None = None
        self._thread: threading.Thread | None = None
        self._wanted_global: dict[str, str] = {}

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        process = self._process
        return None if process is None else process.pid

    def add(self, download: Download) -> None:
        """Start a download; its outcome appears in it."""
        with self._wake:
            if self._closing:
                _end(download, DownloadResult(Ending.CANCELLED))
                return
            self._new.append(download)
            self._follow()
            self._wake.notify()

    def expect(self) -> None:
        """Start aria2c for a download that is about to come, while its link is asked for."""
        with self._wake:
            if not self._closing:
                self._follow()

    def _follow(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="aria2-downloads", daemon=True)
            self._thread.start()

    def limit(self, bytes_per_second: int) -> None:
        """Set how much all downloads together may receive."""
        with self._wake:
            self._options["max-overall-download-limit"] = str(bytes_per_second)
            self._wanted_global = {"max-overall-download-limit": str(bytes_per_second)}
            self._wake.notify()

    def close(self) -> None:
        """End all downloads, keeping what came of them, and the child."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            with suppress(TransferError):  # told by the first download, for which it is tried again
                self._started()
            while self._wait_for_work():
                self._turn()
        finally:
            process, self._process = self._process, None
            if process is not None:
                process.stop(idle=not self._active)
            with self._wake:
                self._closing = True
                for download in (*self._active, *self._new):
                    _end(download, DownloadResult(Ending.CANCELLED))

    def _wait_for_work(self) -> bool:
        """Wait a tick while something is under way, else until there is something to do; False at the end."""
        with self._wake:
            if self._active:
                tick = LAST_TICK_SECONDS if any(each._ending for each in self._active) else TICK_SECONDS  # noqa: SLF001
                self._wake.wait_for(lambda: self._closing or bool(self._new), tick)
            else:
                self._wake.wait_for(lambda: self._closing or bool(self._new))
            return not self._closing

    def _turn(self) -> None:
        with self._wake:
            new, self._new = self._new, []
            options, self._wanted_global = self._wanted_global, {}
        self._active.extend(new)
        try:
            process = self._started()
        except TransferError as error:
            self._end_all(DownloadResult(Ending.IMPOSSIBLE, error=error))
            return
        try:
            if options:
                process.call("aria2.changeGlobalOption", options)
            self._add(process, new)
            self._watch(process)
        except Aria2Error as error:
            process.stop()
            self._process = None
            self._end_all(DownloadResult(Ending.ABORTED, message=error.message))

    def _started(self) -> Aria2Process:
        if self._process is None:
            process = self._make_process(self._options)
            process.start()
            self._process = process
        return self._process

    def _end_all(self, outcome: DownloadResult) -> None:
        ended, self._active = self._active, []
        for download in ended:
            _end(download, outcome)

    def _add(self, process: Aria2Process, new: list[Download]) -> None:
        calls = [
            ("aria2.addUri", ([each.url], {"dir": str(each.folder), "out": each.name, **each.options})) for each in new
        ]
        for download, gid in zip(new, process.call_all(calls), strict=True):
            if isinstance(gid, str):
                download._gid = gid  # noqa: SLF001 - these fields are this module's alone
                download._moved_at = self._clock.now()  # noqa: SLF001
            else:
                self._active.remove(download)
                _end(download, DownloadResult(Ending.ERROR, int(gid["code"]), str(gid["message"])))

    def _watch(self, process: Aria2Process) -> None:
        """Look at all downloads at once, and end those that ended, stalled, or are not wanted any more."""
        watched = list(self._active)
        states = process.call_all([("aria2.tellStatus", (each._gid, _WATCHED)) for each in watched])  # noqa: SLF001
        chores: list[tuple[str, tuple[object, ...]]] = []
        for download, state in zip(watched, states, strict=True):
            if self._look_at(download, state):
                self._active.remove(download)
                chores.append(("aria2.removeDownloadResult", (download._gid,)))  # noqa: SLF001
            elif download.stop.is_set() or download.unwanted or download._stalled:  # noqa: SLF001
                chores.append(("aria2.forceRemove", (download._gid,)))  # noqa: SLF001
        process.call_all(chores)

    def _look_at(self, download: Download, state: dict[str, Any]) -> bool:
        """Take over a download's state; return whether it has ended."""
        if "status" not in state:
            raise Aria2Error(f"aria2c lost a download: {state.get('message')}")
        self._take_progress(download, state)
        status = state["status"]
        if status == "complete":
            outcome = DownloadResult(Ending.COMPLETE)
        elif status == "error":
            outcome = DownloadResult(Ending.ERROR, int(state.get("errorCode") or 1), str(state.get("errorMessage", "")))
        elif status == "removed":
            outcome = DownloadResult(Ending.STALLED if download._stalled else Ending.CANCELLED)  # noqa: SLF001
        else:
            return False
        _end(download, outcome)
        return True

    def _take_progress(self, download: Download, state: dict[str, Any]) -> None:
        received, total = (int(state.get(key) or 0) for key in ("completedLength", "totalLength"))
        came = received - download.received_bytes
        download._ending = came > 0 and (download._ending or total - received <= came)  # noqa: SLF001
        if came:
            download._moved_at = self._clock.now()  # noqa: SLF001
            download.received(received)
        elif self._clock.now() - download._moved_at > self._stall_seconds:  # noqa: SLF001
            download._stalled = True  # noqa: SLF001
        with download.changed:
            download.received_bytes = received
            prefix = _complete_prefix(str(state.get("bitfield") or ""), int(state.get("pieceLength") or 0))
            prefix = min(prefix, total)
            if prefix > download.prefix_bytes:
                download.prefix_bytes = prefix
                download.changed.notify_all()


def _end(download: Download, outcome: DownloadResult) -> None:
    with download.changed:
        download.outcome = outcome
        download.changed.notify_all()


def _complete_prefix(bitfield: str, piece_bytes: int) -> int:
    """Return how many bytes from the front are complete: one bit a piece, four in each hexadecimal digit."""
    full = len(bitfield) - len(bitfield.lstrip("f"))
    pieces = full * 4
    if full < len(bitfield):
        digit = int(bitfield[full], 16)
        pieces += 3 if digit >= 0xE else 2 if digit >= 0xC else 1 if digit >= 0x8 else 0  # noqa: PLR2004 - bits from the left
    return pieces * piece_bytes
