"""How far work is: on a terminal what runs on top and all that ended in one line, elsewhere a line now and then."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from threading import RLock
from typing import Final, TextIO

from imageworks.cli.output import (
    columns,
    complain,
    counted,
    cut,
    human_duration,
    is_quiet,
    paint,
    printable,
    took,
    wants_colour,
)
from imageworks.cli.signals import CAME
from imageworks.cli.views.live_lines import LiveLines
from imageworks.cli.views.progress_board import Board, Task
from imageworks.files.progress import READING, Progress
from imageworks.foundation.log import mirror
from imageworks.foundation.texts import human_bytes

INTERVAL_SECONDS: Final = 5.0
MOST_LINES: Final = 10
"""Lines of single labels that may come at once where no terminal is; then one a second."""
MOST_NAMED: Final = 3
SHORTEST_NAME: Final = 12
BAR_COLUMNS: Final = 10
WIDEST_COLUMNS: Final = 90
WIDE_COLUMNS: Final = 72
NARROW_COLUMNS: Final = 48
"""From how many columns on there is room for a bar, for bytes, and for the speed."""
COLUMNS_BESIDE: Final = 4
"""That stay free at the right: an interrupt is echoed there, and would begin a line that nobody counts."""
LINES_BESIDE: Final = 4
"""Of a terminal's height, kept for the two lines of the whole and for what is printed above."""


@contextmanager
def show_progress(*, quiet: bool = False, wanted: bool = True, stream: TextIO | None = None) -> Iterator[Progress]:
    """Yield whom to tell of progress: a display on a terminal, plain lines elsewhere, nothing when quiet.

    Args:
        quiet: Say nothing at all.
        wanted: Whether progress is wanted; notes still come when it is not.
        stream: Where it goes; stderr when absent.
    """
    stream = stream or sys.stderr
    if quiet or is_quiet():
        yield Progress()
    elif not wanted:
        yield NotesOnly()
    elif stream.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}:
        live = LiveProgress(stream)
        try:
            yield live
        finally:
            live.close()
    else:
        plain = PlainProgress(stream)
        try:
            yield plain
        finally:
            plain.close()


class NotesOnly(Progress):
    """Tells notes and nothing else."""

    def note(self, label: str, text: str) -> None:
        """Tell something of a label."""
        complain(f"{label}: {text}")

    def start(self, label: str, total_bytes: int, work: str = "fetching") -> None:
        """Know that something comes."""
        del label, total_bytes
        _remember(work)


def _remember(work: str) -> None:
    if work != READING:
        CAME.set()


class BoardProgress(Progress):
    """Keeps count of all that is told, for a display.

    Args:
        stream: Where the display goes.
        clock: Seconds that only grow.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._lock = RLock()
        self._board = Board(clock)

    def expect(self, label: str, total_bytes: int, here_bytes: int = 0) -> None:
        """Count what will come."""
        with self._lock:
            self._board.expect(label, total_bytes, here_bytes)

    def start(self, label: str, total_bytes: int, work: str = "fetching") -> None:
        """Show a label among those that run."""
        _remember(work)
        with self._lock:
            if total_bytes or self._board.expects(label):
                self._began(self._board.start(label, total_bytes, work))

    def advance(self, label: str, received_bytes: int) -> None:
        """Count bytes."""
        with self._lock:
            self._board.advance(label, received_bytes)
            self._moved()

    def reuse(self, label: str, reused_bytes: int) -> None:
        """Count bytes that need not come."""
        with self._lock:
            self._board.reuse(label, reused_bytes)

    def finish(self, label: str) -> None:
        """Count a label among those that ended."""
        with self._lock:
            task = self._board.finish(label)
            if task is not None:
                self._ended(task)

    def _began(self, task: Task) -> None:
        """A label began."""

    def _moved(self) -> None:
        """Bytes came."""

    def _ended(self, task: Task) -> None:
        """A label ended."""

    def _write(self, line: str) -> None:
        self._stream.write(printable(line) + "\n")
        self._stream.flush()
        mirror(line, stream="stderr")


class PlainProgress(BoardProgress):
    """Writes a line as a label begins and ends, one for all every few seconds between, and one at the end.

    However many labels there are, the rate of lines is bounded.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._clock = clock
        self._told = self._budget_at = clock()
        self._budget = float(MOST_LINES)
        self._reading = False

    def note(self, label: str, text: str) -> None:
        """Tell something of a label."""
        self._write(f"{label}: {text}")

    def close(self) -> None:
        """Tell of the whole, where there was more than one label."""
        with self._lock:
            if self._board.ended > 1 and (line := _whole(self._board)):
                self._write(line)
            elif self._board.reused:
                self._write(f"{human_bytes(self._board.reused)} reused from this machine")

    def _began(self, task: Task) -> None:
        if task.work == READING:
            if not self._reading:  # once: between two files that are found one by one nothing runs
                self._reading = True
                self._write(f"reading {counted(self._board.count, 'file')}, {human_bytes(self._board.total)}")
        elif task.total:
            here = f" ({human_bytes(task.here)} here already)" if task.here else ""
            self._say(f"{task.label}: {task.work} {human_bytes(task.total)}{here}")

    def _moved(self) -> None:
        now = self._clock()
        if now - self._told >= INTERVAL_SECONDS:
            self._told = now
            self._write(_line(self._board))

    def _ended(self, task: Task) -> None:
        if task.work == READING:
            return
        if task.is_complete and task.arrived:
            self._say(f"{task.label}: {_came(task.arrived, task.seconds(self._clock()))}")
        elif task.received and not task.is_complete:
            self._say(f"{task.label}: stopped at {task.percent} % of {human_bytes(task.total)}")

    def _say(self, line: str) -> None:
        """Write a line unless too many came lately; what is left out stands in the next line of the whole."""
        now = self._clock()
        self._budget, self._budget_at = min(self._budget + now - self._budget_at, MOST_LINES), now
        if self._budget >= 1:
            self._budget -= 1
            self._write(line)


class LiveProgress(BoardProgress):
    """Draws what runs, one line each, and the whole below it; leaves one line behind.

    It begins with the first label, so that it never draws over a question that is asked before.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._live: LiveLines | None = None
        # Taken before the lines' lock and the board's, which a frame takes in this order.
        self._showing = RLock()

    def note(self, label: str, text: str) -> None:
        """Print a line above what is drawn."""
        line, live = f"{label}: {text}", self._live
        if live is None:
            self._write(line)
        else:
            live.above(printable(line) + "\n")
            mirror(line, stream="stderr")

    def start(self, label: str, total_bytes: int, work: str = "fetching") -> None:
        """Show a label among those that run."""
        super().start(label, total_bytes, work)
        with self._showing:
            if self._live is None and self._board.running:
                self._live = LiveLines(self._stream, self._frame)
                self._live.start()

    def finish(self, label: str) -> None:
        """Count a label among those that ended; with the last one the display goes, as somebody may be asked now."""
        super().finish(label)
        with self._showing:
            if self._board.is_idle:
                self.close()

    def close(self) -> None:
        """Take what is drawn away, and say in one line what came of it."""
        with self._showing:
            live, self._live = self._live, None
            if live is not None:
                live.stop()
                if (self._board.noun == "models" or self._board.count > 1) and (line := _whole(self._board)):
                    self._write(line)
            elif self._board.reused:
                self._write(f"{human_bytes(self._board.reused)} reused from this machine")
            self._board.reused = 0

    def _frame(self, columns: int, height: int) -> list[str]:
        """Return the lines that are drawn."""
        width, most = columns - COLUMNS_BESIDE, max(height - LINES_BESIDE, 1)
        colour, signs = wants_colour(self._stream), _signs(self._stream)
        with self._lock:
            running, now = self._board.running, self._board.now()
            shown = running if len(running) <= most else running[: most - 1]
            lines = [
                f"{left}{paint(bar, 'cyan', colour=colour)}{paint(rest, 'dim', colour=colour)}{right}"
                for left, bar, rest, right in (_row(task, now, width, signs) for task in shown)
            ]
            if len(shown) < len(running):
                lines.append(f"and {len(running) - len(shown)} more")
            if self._board.count > 1:
                lines.append(paint(cut(_line(self._board, running=False), width), "bold", colour=colour))
        return lines


def _signs(stream: TextIO) -> tuple[str, str]:
    """Return of what a bar is made: what is done, and what is left."""
    try:
        "━─".encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "#", "-"
    return "━", "─"


def _row(task: Task, now: float, width: int, signs: tuple[str, str]) -> tuple[str, str, str, str]:
    """Return a label's line: what is before its bar, the two parts of the bar, what is after it."""
    speed = task.rate(now)
    much = _of(task.received, task.total) if task.total else human_bytes(task.received)
    state = f"{human_bytes(speed)}/s" if speed else ""
    left = human_duration((task.total - task.received) / speed) if speed and task.percent else ""
    if task.total and task.is_complete and task.work != READING:
        state, left = "checking", ""
    share = f"{task.percent:3d} %" if task.total else ""
    bar = BAR_COLUMNS if width >= WIDEST_COLUMNS else 0  # names say more than a bar beside its figure
    cells = [
        f"{share:>5}",
        f"{much:>14}" if width >= WIDE_COLUMNS else "",
        f"{state:>11}" if width >= NARROW_COLUMNS else "",
        f"{left:>7}",
    ]
    right = "".join(f"  {cell}" for cell in cells if cell)
    full = bar * task.percent // 100
    sign, rest = signs
    room = max(width - len(right) - bar - (2 if bar else 0), SHORTEST_NAME)
    name = cut(shown_label(task.label), room, middle=True)
    return f"{name}{' ' * (room - columns(name))}{'  ' if bar else ''}", sign * full, rest * (bar - full), right


def _of(part: int, whole: int) -> str:
    """Return a part of a size in its unit, as ``1.5/6.4 GiB``."""
    size, unit = human_bytes(whole).split()
    return f"{part / whole * float(size):.{1 if '.' in size else 0}f}/{size} {unit}"


def shown_label(label: str) -> str:
    """Return a label as it is shown: of a path its last two parts."""
    path = PurePath(printable(label).replace("\n", "\\n"))
    return "/".join(path.parts[-2:]) if path.is_absolute() else str(path)


def _line(board: Board, *, running: bool = True) -> str:
    """Return how far the whole is, and what runs."""
    done, total, speed = board.received, board.total, board.rate()
    count = f"{board.ended} of {board.count} {board.noun} done, " if board.count > 1 else ""
    share = 100 * done // total if total else 0
    left = f", {human_duration((total - done) / speed)} left" if speed and share and total > done else ""
    much = f"{share} %: {human_bytes(done)} of {human_bytes(total)}, {human_bytes(speed)}/s{left}"
    reused = f"; {human_bytes(board.reused)} reused" if board.reused else ""
    now = f"; now {', '.join(shown_label(task.label) for task in board.running[:MOST_NAMED])}" if running else ""
    return f"{count}{much}{reused}{now}"


def _came(count: int, seconds: float) -> str:
    """Return how many bytes came, and how fast where that says something."""
    time = took(seconds)
    return f"{human_bytes(count)}{time}" + (f" ({human_bytes(count / seconds)}/s)" if time else "")


def _whole(board: Board) -> str:
    """Return what came of all, once it ended; nothing where nothing came."""
    if not board.arrived and not board.reused:
        return ""
    one = f"{shown_label(board.last)}: " if board.count == 1 else ""
    told = [f"{board.complete} of {board.count} {board.noun} done"] if board.count > 1 else []
    if board.arrived:
        verb = "read" if board.noun == "files" else "fetched"
        told.append(f"{verb} {_came(board.arrived, board.seconds)}")
    if board.complete < board.count and board.received < board.total:
        told.append(f"stopped at {100 * board.received // board.total} % of {human_bytes(board.total)}")
    if board.reused:
        told.append(f"{human_bytes(board.reused)} reused from this machine")
    return f"{one}{', '.join(told)}"
