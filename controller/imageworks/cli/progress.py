"""How far the downloads are: bars on a terminal, a line now and then elsewhere, nothing when nobody wants it."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final, TextIO

from imageworks.cli.output import complain, human_bytes, human_duration, printable
from imageworks.log import mirror
from imageworks.transfer.files import NullProgress, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

INTERVAL_SECONDS: Final = 5.0
BESIDE_NAME: Final = 47
"""Columns that a bar of ten, bytes, speed and time left take beside a name."""
SHORTEST_NAME: Final = 12


@dataclass(slots=True)
class _Model:
    total: int
    received: int = 0
    hashed: int = 0
    began: float = field(default_factory=time.monotonic)


class PlainProgress:
    """Writes a line for each model as it begins and ends, and one for all every few seconds between.

    Args:
        stream: Where the lines go.
        clock: Seconds that only grow.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = Lock()
        self._models: dict[str, _Model] = {}
        self._began = clock()
        self._told = self._began

    def start(self, model: str, total_bytes: int) -> None:
        """Tell that a model begins."""
        with self._lock:
            self._models[model] = _Model(total_bytes, began=self._clock())
        if total_bytes:
            self._write(f"{model}: fetching {human_bytes(total_bytes)}")

    def advance(self, model: str, received_bytes: int) -> None:
        """Count bytes, and tell of them when the last line is old enough."""
        with self._lock:
            if model in self._models:
                self._models[model].received += received_bytes
            now = self._clock()
            if now - self._told < INTERVAL_SECONDS:
                return
            self._told = now
            line = self._line(now)
        self._write(line)

    def verify(self, model: str, hashed_bytes: int) -> None:
        """Count verified bytes."""
        with self._lock:
            if model in self._models:
                self._models[model].hashed += hashed_bytes

    def note(self, model: str, text: str) -> None:
        """Tell something of a model."""
        self._write(f"{model}: {text}")

    def finish(self, model: str) -> None:
        """Tell that a model's bytes are done."""
        with self._lock:
            done = self._models.pop(model, None)
        if done is not None and done.received > 0:
            seconds = max(self._clock() - done.began, 1e-3)
            rate = human_bytes(done.received / seconds)
            self._write(f"{model}: {human_bytes(done.received)} in {human_duration(seconds)} ({rate}/s)")

    def _line(self, now: float) -> str:
        received = sum(model.received for model in self._models.values())
        total = sum(model.total for model in self._models.values())
        rate = received / max(now - self._began, 1e-3)
        left = human_duration((total - received) / rate) if rate > 0 else "?"
        share = 100 * received // total if total else 0
        return f"{share} %: {human_bytes(received)} of {human_bytes(total)}, {human_bytes(rate)}/s, {left} left"

    def _write(self, line: str) -> None:
        self._stream.write(printable(line) + "\n")
        self._stream.flush()
        mirror(line, stream="stderr")


class BarProgress:
    """Draws a bar for each model and, for several, one for all, with bytes, speed and time left.

    The display begins with the first model, so that it never draws over a question that is asked before.

    Args:
        bars: rich's live display, not started.
    """

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._lock = Lock()
        self._tasks: dict[str, TaskID] = {}
        self._total = bars.add_task("total", total=0, visible=False)
        self._models = 0
        self._bytes = 0

    def start(self, model: str, total_bytes: int) -> None:
        """Add a model's bar."""
        with self._lock:
            self._models += 1
            self._bytes += total_bytes
            self._bars.update(self._total, total=self._bytes, visible=self._models > 1)
            self._tasks[model] = self._bars.add_task(printable(model), total=total_bytes)
            self._bars.start()

    def advance(self, model: str, received_bytes: int) -> None:
        """Move the bars."""
        with self._lock:
            if model in self._tasks:
                self._bars.advance(self._tasks[model], received_bytes)
                self._bars.advance(self._total, received_bytes)

    def verify(self, model: str, hashed_bytes: int) -> None:
        """Hashing overlaps the transfer, so it has no bar of its own."""

    def note(self, model: str, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(printable(f"{model}: {text}"), markup=False, highlight=False)
        mirror(f"{model}: {text}", stream="stderr")

    def finish(self, model: str) -> None:
        """Leave the bar as it stands."""
        with self._lock:
            self._tasks.pop(model, None)


@contextmanager
def show_progress(*, quiet: bool, wanted: bool, stream: TextIO | None = None) -> Iterator[Progress]:
    """Yield where to tell progress: bars on a terminal, plain lines elsewhere, nothing when quiet.

    Args:
        quiet: Say nothing at all.
        wanted: Whether progress is wanted; notes still come when it is not.
        stream: Where it goes; stderr when absent.
    """
    stream = stream or sys.stderr
    if quiet:
        yield NullProgress()
    elif not wanted:
        yield NotesOnly()
    elif stream.isatty():
        bars = _bars(stream)
        try:
            yield BarProgress(bars)
        finally:
            bars.stop()
    else:
        yield PlainProgress(stream)


class NotesOnly(NullProgress):
    """Tells notes and nothing else."""

    def note(self, model: str, text: str) -> None:
        """Tell something of a model."""
        complain(f"{model}: {text}")


def _bars(stream: TextIO) -> "Bars":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, ProgressColumn, Task, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column
    from rich.text import Text

    console = Console(file=stream)

    class Name(ProgressColumn):
        """Shows as much of a name as leaves room for the bar and its numbers."""

        def render(self, task: Task) -> Text:
            return Text(_shortened(task.description, max(console.width - BESIDE_NAME, SHORTEST_NAME)))

    class Speed(ProgressColumn):
        """Shows the speed in the binary units of everything else."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{human_bytes(speed)}/s", style="progress.data.speed")

    return RichProgress(
        Name(table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True, table_column=Column(no_wrap=True)),
        Speed(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        console=console,
    )


def _shortened(name: str, room: int) -> str:
    """Return a name without its middle where it is too long: its end tells variants apart."""
    if len(name) <= room:
        return name
    tail = (room - 1) // 2
    return f"{name[: room - 1 - tail]}…{name[-tail:]}"
