"""How far it is, for Python code: a bar at a terminal and in a notebook, nothing in a service, or a callback."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib import import_module
from threading import Lock
from typing import Final, Literal, Protocol

from imageworks.cli.views.progress import show_progress
from imageworks.files.progress import Progress
from imageworks.foundation.texts import human_bytes

REDRAW_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """What a callback is told.

    Args:
        kind: ``start``, ``bytes``, ``note`` or ``finish`` of a model.
        model: The variant name, or the path of a file that is read.
        received: Bytes of it that came until now.
        total: Bytes of it that are to come in all; 0 where that is not known.
        text: What a ``note`` says.
    """

    kind: Literal["start", "bytes", "note", "finish"]
    model: str
    received: int = 0
    total: int = 0
    text: str = ""


ProgressWish = Literal["auto"] | Callable[[ProgressEvent], object] | None
"""``auto``, a callback that may be called from any thread, or ``None`` for nothing."""


class _Display(Protocol):
    def update(self, shown: object) -> None: ...


class EventProgress(Progress):
    """Calls back with events, one at a time, whichever thread they come from.

    Args:
        callback: Gets each event.
    """

    def __init__(self, callback: Callable[[ProgressEvent], object]) -> None:
        self._callback = callback
        self._lock = Lock()
        self._models: dict[str, tuple[int, int]] = {}

    def start(self, label: str, total_bytes: int, work: str = "fetching") -> None:
        """Tell that a model begins."""
        del work
        with self._lock:
            self._models[label] = (0, total_bytes)
            self._callback(ProgressEvent("start", label, 0, total_bytes))

    def advance(self, label: str, received_bytes: int) -> None:
        """Tell of bytes."""
        with self._lock:
            before, total = self._models.get(label, (0, 0))
            self._models[label] = (before + received_bytes, total)
            self._callback(ProgressEvent("bytes", label, before + received_bytes, total))

    def note(self, label: str, text: str) -> None:
        """Tell a note."""
        with self._lock:
            received, total = self._models.get(label, (0, 0))
            self._callback(ProgressEvent("note", label, received, total, text))

    def finish(self, label: str) -> None:
        """Tell that a model's bytes are done."""
        with self._lock:
            received, total = self._models.pop(label, (0, 0))
            self._callback(ProgressEvent("finish", label, received, total))


class NotebookProgress:
    """Draws a bar for each model below a notebook's cell, in one output that is updated.

    Args:
        display: IPython's ``display`` with an id.
        html: Makes HTML of a text.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        display: Callable[[object], _Display],
        html: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._display, self._html, self._clock = display, html, clock
        self._shown: _Display | None = None
        self._models: dict[str, ProgressEvent] = {}
        self._drawn = 0.0

    def __call__(self, event: ProgressEvent) -> None:
        """Take an event, and draw where the last drawing is old enough."""
        if event.kind != "note":
            self._models[event.model] = event
        now = self._clock()
        if event.kind == "bytes" and now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        drawing = self._html("".join(map(_bar, self._models.values())))
        if self._shown is None:
            self._shown = self._display(drawing)
        else:
            self._shown.update(drawing)


def _bar(event: ProgressEvent) -> str:
    done = event.kind == "finish"
    size = f"{human_bytes(event.received)} of {human_bytes(event.total)}"
    value = f"value='{min(event.received, event.total)}' max='{max(event.total, 1)}'"
    bar = "✓" if done else f"<progress {value}></progress>"
    return f"<div>{escape(event.model)} {bar} {escape(size)}</div>"


@contextmanager
def progress_for(wish: ProgressWish) -> Iterator[Progress]:
    """Yield where progress is told: by a callback, a notebook's output, a terminal's bars, or nowhere."""
    if callable(wish):
        yield EventProgress(wish)
    elif wish == "auto" and (found := _notebook()) is not None:
        yield EventProgress(found)
    elif wish == "auto" and sys.stderr is not None and sys.stderr.isatty():
        with show_progress() as shown:
            yield shown
    else:
        yield Progress()


def _notebook() -> NotebookProgress | None:
    """Return what draws in this notebook; ``None`` where this is none, which costs no import."""
    running = sys.modules.get("IPython")
    shell = running.get_ipython() if running is not None else None
    if shell is None or not hasattr(shell, "kernel"):  # a terminal's IPython has none
        return None
    display = import_module("IPython.display")
    return NotebookProgress(lambda drawing: display.display(drawing, display_id=True), display.HTML)
