"""Lines at the end of a terminal that are drawn anew and anew, while what is printed meanwhile goes above them."""

import os
import sys
from collections.abc import Callable, Sequence
from threading import Event, RLock, Thread
from typing import Any, Final, TextIO, cast

FRAMES_PER_SECOND: Final = 8
HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"
ERASE_LINE: Final = "\r\x1b[2K"
ERASE_LINE_ABOVE: Final = "\x1b[1A\x1b[2K"


class LiveLines:
    """Draws lines until it is stopped; nothing of them stays.

    One lock is held from erasing to drawing, so that nobody's text comes between: rich's live display has none, and
    leaves lines behind where one thread prints while another draws.

    Args:
        stream: The terminal.
        lines: Returns what to draw in so many columns and lines, each line without its end.
    """

    def __init__(self, stream: TextIO, lines: Callable[[int, int], Sequence[str]]) -> None:
        self._stream = stream
        self._lines = lines
        self._lock = RLock()
        self._drawn = 0
        self._ended = Event()
        self._thread = Thread(target=self._draw_on, name="progress", daemon=True)
        self._streams: dict[str, TextIO] = {}

    def start(self) -> None:
        """Draw from now on."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream.isatty():  # what is piped stays what it is
                self._streams[name] = stream
                setattr(sys, name, cast("TextIO", _Above(stream, self.above)))
        self._write(HIDE_CURSOR)
        self._thread.start()

    def stop(self) -> None:
        """Take the lines away."""
        self._ended.set()
        self._thread.join()
        for name, stream in self._streams.items():
            above = getattr(sys, name)
            if isinstance(above, _Above):
                setattr(sys, name, stream)
                above.end()
        with self._lock:
            self._write(self._erased() + SHOW_CURSOR)

    def above(self, text: str, stream: TextIO | None = None) -> None:
        """Write whole lines above what is drawn."""
        with self._lock:
            self._write(self._erased())
            target = stream or self._stream
            target.write(text)
            target.flush()
            if not self._ended.is_set():
                self._draw()

    def _draw_on(self) -> None:
        while not self._ended.wait(1 / FRAMES_PER_SECOND):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        try:
            columns, height = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns, height = 80, 24
        lines = self._lines(columns or 80, height or 24)
        erased, self._drawn = self._erased(), len(lines)
        self._write(erased + "\n".join(lines))

    def _erased(self) -> str:
        """Return what takes the lines away, and leaves the cursor where the first began."""
        drawn, self._drawn = self._drawn, 0
        return ERASE_LINE + ERASE_LINE_ABOVE * (drawn - 1) if drawn else ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class _Above:
    """A stream whose whole lines go above what is drawn."""

    def __init__(self, stream: TextIO, write: Callable[[str, TextIO], None]) -> None:
        self._stream = stream
        self._above = write
        self._rest = ""

    def write(self, text: str) -> int:
        """Write whole lines, and keep the beginning of the next."""
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._above(whole + newline, self._stream)
        return len(text)

    def flush(self) -> None:
        """Leave the beginning of a line until its end."""

    def end(self) -> None:
        """Write what has no end of line."""
        self._stream.write(self._rest)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 # the stream's own
        return getattr(self._stream, name)
