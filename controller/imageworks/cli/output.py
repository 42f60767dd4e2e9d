"""What the commands print with: stdout is data, stderr is talk, everything readable without colour."""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Final, TextIO

from imageworks.cli.streams import escaped
from imageworks.log import mirror

KIBI: Final = 1024
UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
NARROWEST: Final = 4  # columns of text that still say something
FEW_COLUMNS: Final = 2  # so few that a line that wraps is still read more easily than a block
STYLES: Final = {"green": "32", "yellow": "33", "red": "31", "cyan": "36", "dim": "2", "bold": "1", "magenta": "35"}


def human_bytes(count: float, *, digits: int = 1) -> str:
    """Return a size in binary units, as ``1.4 GiB``.

    Args:
        count: Bytes.
        digits: Decimals of everything above bytes.
    """
    size = float(abs(count))
    for unit in UNITS:
        if size < KIBI or unit == UNITS[-1]:
            shown = f"{size:.0f}" if unit == "B" else f"{size:.{digits}f}"
            return f"{'-' if count < 0 else ''}{shown} {unit}"
        size /= KIBI
    raise AssertionError(count)


def counted(number: int, thing: str) -> str:
    """Return a number of things, as ``1 file`` or ``7 files``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def human_duration(seconds: float) -> str:
    """Return a duration as ``0:42`` or ``1:02:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def wants_colour(stream: TextIO) -> bool:
    """Return whether a stream is to be coloured: a terminal, unless ``NO_COLOR``; always with ``FORCE_COLOR``."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def paint(text: str, style: str, *, colour: bool) -> str:
    """Return a text in a style, or as it is where no colour is wanted."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if colour else text


def printable(text: str) -> str:
    """Return a text whose control characters are shown as escapes: a name from elsewhere never drives the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def say(text: str = "") -> None:
    """Print data on stdout, and in the log."""
    sys.stdout.write((escaped(text) if text.startswith(("{", "[")) else text) + "\n")
    mirror(text, stream="stdout")


def complain(text: str) -> None:
    """Print talk on stderr, and in the log."""
    sys.stderr.write(printable(text) + "\n")
    mirror(text, stream="stderr")


def terminal_width() -> int:
    """Return how many columns may be used; piped output is never cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: frozenset[int] = frozenset(),
    whole: frozenset[int] = frozenset(),
) -> str:
    """Return rows in aligned columns that fit the terminal, or one below the other where columns cannot fit.

    Args:
        headings: One for each column.
        rows: Cells as text.
        right: Indexes of right-aligned columns.
        whole: Indexes of columns that are never cut, besides the first.
    """
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(_columns(line[i]) for line in lines) for i in range(len(headings))]
    room = terminal_width()
    narrowest = {i: max(len(headings[i]), NARROWEST) for i in range(1, len(widths)) if i not in whole}
    while sum(widths) + 2 * (len(widths) - 1) > room:  # the widest gives way first, so that all say about as much
        wide = [i for i, least in narrowest.items() if widths[i] > least]
        if not wide:
            break
        widths[max(wide, key=lambda i: widths[i])] -= 1
    if len(headings) > FEW_COLUMNS and sum(widths) + 2 * (len(widths) - 1) > room:
        return "\n".join(_block(headings, row) for row in rows)
    return "\n".join(
        "  ".join(
            _padded(_cut(cell, widths[i]) if i else cell, widths[i], right=i in right) for i, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


def _padded(cell: str, width: int, *, right: bool) -> str:
    room = " " * (width - _columns(cell))
    return room + cell if right else cell + room


def _block(headings: Sequence[str], row: Sequence[str]) -> str:
    """Return a row as its name and, below it, a line for each cell that says something."""
    width = max(len(heading) for heading in headings[1:])
    cells = zip(headings[1:], row[1:], strict=True)
    return "\n".join([row[0], *(f"  {heading.lower():{width}}  {cell}" for heading, cell in cells if cell)])


def _cut(text: str, width: int) -> str:
    if _columns(text) <= width:
        return text
    while _columns(text) >= width:
        text = text[:-1]
    return text + "…"


def _columns(text: str) -> int:
    """Return how many columns a text takes: characters of East Asia take two, accents that are typed after none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(2 if east_asian_width(c) in {"W", "F"} else not combining(c) for c in text)
