"""Answers that come line by line over minutes: JSON objects, with silence and cancelling noticed in between.

A thread of its own reads the connection, because a pull may be silent for as long as it takes to hash a hundred
gigabytes: no read timeout tells that from a dead daemon, but asking the daemon something else does.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Final

from imageworks.files.progress import Progress
from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.http import HttpError, OpenReply
from imageworks.plan.plan import Change
from imageworks.providers.ollama.errors import OllamaBrokenStreamError, OllamaCancelledError
from imageworks.providers.ollama.model import PullProgress

QUIET_SECONDS: Final = 30.0
"""After so much silence the daemon is asked whether it is still there."""
LONGEST_LINE_BYTES: Final = 4 * 1024 * 1024
_STEP_SECONDS: Final = 0.1
_HELD_PIECES: Final = 256
_REMEDY: Final = "Run again: what came so far is kept by Ollama."

Opened = Callable[[], AbstractContextManager[OpenReply]]


class _Reading:
    """One answer, read in the background."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._pieces: queue.Queue[OpenReply | bytes | HttpError | None] = queue.Queue(_HELD_PIECES)
        self._stopped = threading.Event()
        self._reply: OpenReply | None = None
        self._thread = threading.Thread(target=self._read, name="ollama-stream", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def next(self, seconds: float) -> OpenReply | bytes | HttpError | None:
        """Return what comes next, ``None`` at the end; raises queue.Empty when nothing comes in time."""
        return self._pieces.get(timeout=seconds)

    @property
    def ended(self) -> bool:
        """Whether nothing more can come, for whatever reason."""
        return not self._thread.is_alive() and self._pieces.empty()

    def stop(self) -> None:
        """Close the connection, which makes the daemon give up too."""
        self._stopped.set()
        if self._thread.is_alive() and self._reply is not None:
            self._reply.cut()
            self._thread.join(1.0)

    def _read(self) -> None:
        last: HttpError | None = None
        try:
            with self._opened() as reply:
                self._reply = reply
                self._give(reply)
                for piece in reply.chunks:
                    if not self._give(piece):
                        return
        except HttpError as error:
            last = error
        self._give(last)

    def _give(self, piece: OpenReply | bytes | HttpError | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._pieces.put(piece, timeout=_STEP_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def read_lines(
    opened: Opened,
    *,
    what: str,
    accept: Callable[[OpenReply, Callable[[], bytes]], None],
    cancelled: Callable[[], bool],
    ask_alive: Callable[[], object],
) -> Generator[Mapping[str, object], None, None]:
    """Yield the JSON objects of an answer, one a line, as they come."""
    reading = _Reading(opened)
    reading.start()
    try:
        pieces = _pieces(reading, what, cancelled, ask_alive)
        accept(_opened(pieces), lambda: b"".join(_bytes(pieces)))
        yield from _objects(_bytes(pieces), what)
    finally:
        reading.stop()


def _pieces(
    reading: _Reading, what: str, cancelled: Callable[[], bool], ask_alive: Callable[[], object]
) -> Iterator[OpenReply | bytes]:
    heard = time.monotonic()
    answered = False
    while True:
        if cancelled():
            raise OllamaCancelledError(f"{what}: called off", remedy=_REMEDY)
        try:
            piece = reading.next(_STEP_SECONDS)
        except queue.Empty:
            if reading.ended:
                raise OllamaBrokenStreamError(f"{what}: reading it ended early", remedy=_REMEDY) from None
            if time.monotonic() - heard > QUIET_SECONDS:
                ask_alive()
                heard = time.monotonic()
            continue
        heard = time.monotonic()
        if piece is None:
            return
        if isinstance(piece, HttpError):
            if not answered:
                raise piece
            raise OllamaBrokenStreamError(f"{what}: {piece.why}", remedy=_REMEDY, retryable=True)
        answered = True
        yield piece


def _opened(pieces: Iterator[OpenReply | bytes]) -> OpenReply:
    """Return the answer itself, which always comes before its content."""
    return next(piece for piece in pieces if isinstance(piece, OpenReply))


def _bytes(pieces: Iterator[OpenReply | bytes]) -> Iterator[bytes]:
    return (piece for piece in pieces if isinstance(piece, bytes))


def _objects(pieces: Iterator[bytes], what: str) -> Iterator[Mapping[str, object]]:
    held = b""
    for piece in pieces:
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield _object(line, what)
        if len(held) > LONGEST_LINE_BYTES:
            raise OllamaBrokenStreamError(f"{what}: a line of more than {LONGEST_LINE_BYTES} bytes came")
    if held.strip():
        yield _object(held, what)


def _object(line: bytes, what: str) -> Mapping[str, object]:
    try:
        found = read_json(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        shown = line[:80].decode("ascii", "backslashreplace")
        raise OllamaBrokenStreamError(
            f"{what}: what came is not what Ollama says: {shown!r}",
            remedy="Something between changes answers: check the proxy and OLLAMA_HOST, then run again.",
            retryable=True,
        )
    return found


class PullLines:
    """Turns the lines of a pull into the progress that every download tells."""

    def __init__(self, progress: Progress, change: Change) -> None:
        self._progress = progress
        self._model = change.name
        self._wanted = {path.removeprefix("blobs/sha256-") for path in change.fetch} if change.size_known else None
        self._here: dict[str, int] = {}
        self._began = change.size_known
        if self._began:
            progress.start(self._model, change.bytes_to_fetch)

    def __call__(self, line: PullProgress) -> None:
        """Count what came since the last line of the same blob."""
        if line.digest is None or (self._wanted is not None and line.digest not in self._wanted):
            return
        if not self._began:
            self._began = True
            self._progress.start(self._model, line.total or 0)
        came = line.completed - self._here.get(line.digest, 0)
        self._here[line.digest] = line.completed
        if came:
            self._progress.advance(self._model, came)

    def finish(self) -> None:
        """Say that nothing more comes."""
        if self._began:
            self._progress.finish(self._model)
