"""What the commands print with: stdout is data, stderr is talk, everything readable without colour."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, TextIO

from imageworks.cli.first_screen import columns as stream_columns
from imageworks.cli.streams import escaped
from imageworks.foundation.json_values import indented
from imageworks.foundation.log import mirror

FORMAT_VERSION: Final = 1
"""Of the JSON that commands print, unless a document says its own."""
NARROWEST: Final = 4  # columns of text that still say something
FEW_COLUMNS: Final = 2  # so few that a line that wraps is still read more easily than a block
AS_RECORDED: Final = "as recorded; `status` looks at the disks"
"""What is said below what commands know from records alone."""
QUIET_NEEDS: Final = ("error", "warning", "refused", "not repaired")
"""What a line begins with that is printed although nobody wants to be talked to."""
_WORDS: Final = re.compile(r"(?:`[^`]*`|\S)+")
"""Words, and what is to be typed as one."""
STYLES: Final = {"green": "32", "yellow": "33", "red": "31", "cyan": "36", "dim": "2", "bold": "1", "magenta": "35"}


class OutputStyle(NamedTuple):
    """How much a command says, and whether in colour: what the options that all commands share ask for."""

    quiet: bool = False
    colour: str | None = None
    """``always``, ``never``, or as the terminal and the environment say."""


_style = [OutputStyle()]


def set_style(style: OutputStyle) -> None:
    """Let what is printed from now on be as the command line asks."""
    _style[0] = style


def is_quiet() -> bool:
    """Return whether nobody wants to be talked to, besides of errors."""
    return _style[0].quiet


def counted(number: int, thing: str) -> str:
    """Return a number of things, as ``1 file`` or ``7 files``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def human_duration(seconds: float) -> str:
    """Return a duration as ``0:42`` or ``1:02:03``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def took(seconds: float) -> str:
    """Return how long something took, as `` in 0:42``; nothing where that is less than anybody waits for."""
    return f" in {human_duration(seconds)}" if round(seconds) else ""


def wants_colour(stream: TextIO) -> bool:
    """Return whether a stream is to be coloured: as ``--color`` says, else a terminal that nothing forbids it."""
    if _style[0].colour in {"always", "never"}:
        return _style[0].colour == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def paint(text: str, style: str, *, colour: bool) -> str:
    """Return a text in a style, or as it is where no colour is wanted."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if colour else text


def printable(text: str) -> str:
    """Return a text whose control characters are shown as escapes: a name from elsewhere never drives the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """Return a text as one line to print: what others wrote begins no line that seems to be ours."""
    return text if text.isprintable() else printable(text).replace("\n", "\\n").replace("\t", "\\t")


def say(text: str = "") -> None:
    """Print data on stdout, and in the log."""
    sys.stdout.write((escaped(text) if text.startswith(("{", "[")) else text) + "\n")
    mirror(text, stream="stdout")


def say_json(document: Mapping[str, object]) -> None:
    """Print a document as stable JSON, with the version of its form."""
    say(json.dumps({"format_version": FORMAT_VERSION, **document}, indent=2, ensure_ascii=False))


def say_json_pieces(document: Mapping[str, object]) -> None:
    """Print a document as stable JSON, piece by piece: a list that is given as an iterator is never held whole."""
    say_json_value({"format_version": FORMAT_VERSION, **document})


def say_json_value(value: object, *, sort_keys: bool = False) -> None:
    """Print what has no version of its form in the same way."""
    for text in json_pieces(value, sort_keys=sort_keys):
        sys.stdout.write(escaped(text))
    sys.stdout.write("\n")


def json_pieces(value: object, indent: str = "", *, sort_keys: bool = False) -> Iterator[str]:
    """Yield the text of such a document, or of a part of it, in pieces; only what an iterator yields is not held whole.

    Args:
        value: The document.
        indent: The spaces behind which its next line goes on.
        sort_keys: Whether keys are sorted.
    """
    items: Iterable[tuple[str, object]]
    if isinstance(value, Iterator):
        (first, last), items = "[]", (("", one) for one in value)
    elif isinstance(value, dict) and _has_iterators(value):
        (first, last), named = "{}", sorted(value.items()) if sort_keys else value.items()
        items = ((f"{indented(key)}: ", one) for key, one in named)
    else:
        yield indented(value, indent, sort_keys=sort_keys)
        return
    before, inner = first, f"{indent}  "
    for name, one in items:
        yield f"{before}\n{inner}{name}"
        yield from json_pieces(one, inner, sort_keys=sort_keys)
        before = ","
    yield f"\n{indent}{last}" if before == "," else f"{first}{last}"


def _has_iterators(value: Mapping[str, object]) -> bool:
    """Return whether anything in an object comes one by one."""
    return any(isinstance(one, Iterator) or (isinstance(one, dict) and _has_iterators(one)) for one in value.values())


def say_line(document: Mapping[str, object], text: str, *, as_json: bool) -> None:
    """Print one line, as text or as JSON: what a program waits for that reads line by line."""
    say(json.dumps({"format_version": FORMAT_VERSION, **document}, ensure_ascii=False) if as_json else text)


def complain(text: str, *, ours: bool = False) -> None:
    """Print talk on stderr, and in the log; its further lines are indented, as what others wrote may hold some."""
    shown = printable(text)
    if is_quiet() and not text.startswith(QUIET_NEEDS):
        mirror(text, stream="stderr")
        return
    shown = shown if ours else re.sub(r"\n(?=\S)", "\n  ", shown)
    with suppress(OSError):  # in the order in which it was said, also where both go to one file
        sys.stdout.flush()
    sys.stderr.write(on_terminal(shown, sys.stderr) + "\n")
    mirror(text, stream="stderr")


def on_terminal(text: str, stream: TextIO) -> str:
    """Return a text whose words a terminal does not break; what is piped stays as it is."""
    if not stream.isatty():
        return text
    return "\n".join(part for line in text.split("\n") for part in wrapped(line, stream_columns(stream)))


def wrapped(text: str, width: int, *, first: int | None = None) -> list[str]:
    """Return a line of prose in lines that fit, each as far in as the first, and no less than two columns.

    Only blanks part lines: no word is broken, and nothing between backticks, which is to be typed.

    Args:
        text: One line.
        width: Columns that a line may take.
        first: Columns that the first line may take; as the others when absent.
    """
    room = width if first is None else first
    if columns(text) <= room:
        return [text]
    start = text[: len(text) - len(text.lstrip())]
    indent = start or "  " * (first is None)
    lines, line = [], start
    for word in _WORDS.findall(text):
        longer = f"{line} {word}" if line.strip() else line + word
        if line.strip() and columns(longer) > room:
            lines.append(line)
            line, room = indent + word, width
        else:
            line = longer
    return [*lines, line]


def terminal_width() -> int:
    """Return how many columns may be used; piped output is never cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: frozenset[int] = frozenset(),
    whole: frozenset[int] = frozenset(),
    beside: int = 0,
) -> str:
    """Return rows in aligned columns that fit the terminal, or one below the other where columns cannot fit.

    Args:
        headings: One for each column.
        rows: Cells as text.
        right: Indexes of right-aligned columns.
        whole: Indexes of columns that are never cut, besides the first.
        beside: Columns that something else takes.
    """
    rows = [[one_line(cell) for cell in row] for row in rows]
    lines = [list(headings), *rows]
    widths = [max(map(columns, column)) for column in zip(*lines, strict=True)]
    room = terminal_width() - beside
    if sum(widths) + 2 * (len(widths) - 1) <= room and all(all(map(str.isascii, row)) for row in rows):
        form = "  ".join(f"{{:{'>' if i in right else '<'}{width}}}" for i, width in enumerate(widths))
        return "\n".join(form.format(*line).rstrip() for line in lines)  # most are, and a thousand take no time so
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
            _padded(cut(cell, widths[i]) if i else cell, widths[i], right=i in right) for i, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


def _padded(cell: str, width: int, *, right: bool) -> str:
    room = " " * (width - columns(cell))
    return room + cell if right else cell + room


def _block(headings: Sequence[str], row: Sequence[str]) -> str:
    """Return a row as its name and, below it, a line for each cell that says something."""
    width = max(len(heading) for heading in headings[1:])
    cells = zip(headings[1:], row[1:], strict=True)
    return "\n".join([row[0], *(f"  {heading.lower():{width}}  {cell}" for heading, cell in cells if cell)])


def cut(text: str, width: int, *, middle: bool = False) -> str:
    """Return a text without its end, or its middle, where it takes more columns than there are."""
    if columns(text) <= width:
        return text
    dots = "…" if _shows_dots() else "..."
    tail = text[len(text) - max((width - len(dots)) // 2, 0) :] if middle else ""
    while text and columns(text) + len(dots) + columns(tail) > width:
        text = text[:-1]
    return text + dots + tail if width >= len(dots) else dots[:width]


def _shows_dots() -> bool:
    """Return whether stdout's encoding has the sign for what is left out."""
    try:
        "…".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def columns(text: str) -> int:
    """Return how many columns a text takes: characters of East Asia take two, accents that are typed after none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(2 if east_asian_width(c) in {"W", "F"} else not combining(c) for c in text)
