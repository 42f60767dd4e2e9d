"""What stands on the screen before a command is named: ``--help``, ``help --all`` and ``--version``.

Made of the table of commands alone: building all commands takes ten times as long as Python's own start.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TextIO

from imageworks import __version__
from imageworks.cli.command_table import COMMANDS, MAIN_GROUPS, MORE_GROUPS, CommandRow

PROGRAM: Final = "imageworks-models"
NARROWEST: Final = 40  # columns
WIDEST: Final = 100
PIPED: Final = 80
BOLD: Final = "\x1b[1m{}\x1b[0m"
START: Final = (
    ("download Qwen/Qwen3-0.6B", "bring a model; makes the registry on first use"),
    ("list", "see what is here, and `show NAME` for one of them"),
    ("plan", "see what differs from what is declared; `apply` does it"),
)
VERSION: Final = ("--version", "-V")
OPTIONS: Final = (
    ("-C, --registry DIR", "Use this registry."),
    ("-q, --quiet", "Print errors and what was asked for, nothing else."),
    ("-v, --verbose", "Print more: what is left out and why, or each step."),
    ("--color WHEN", "Colour the output: auto, always or never."),
    ("-h, --help", "Show this; after a command, explain that one."),
    ("-V, --version", "Show the version."),
)


def asked_for(words: Sequence[str]) -> bool:
    """Return whether a command line asks for nothing but what is printed here."""
    if any(name.startswith("_IMAGEWORKS") and name.endswith("_COMPLETE") for name in os.environ):
        return False  # a shell asks for completions
    if len(words) == 1 and words[0] in VERSION:
        return True
    return tuple(words) in {(), ("--help",), ("-h",), ("help",), ("help", "--all"), ("--help", "--all")}


def show(words: Sequence[str]) -> bool:
    """Print what a command line asks for; return whether it asked for something."""
    if words and words[0] in VERSION:
        sys.stdout.write(f"imageworks-models {__version__}\n")
        return True
    stream = sys.stdout if words else sys.stderr
    stream.write(screen(everything="--all" in words, width=columns(stream), bold=_wants_bold(stream)))
    stream.flush()
    return bool(words)


def screen(*, everything: bool, width: int, bold: bool = False) -> str:
    """Return the first screen."""
    groups = (*MAIN_GROUPS, *MORE_GROUPS) if everything else MAIN_GROUPS
    return "\n".join(_lines(groups, width, BOLD if bold else "{}")) + "\n"


def columns(stream: TextIO) -> int:
    """Return how many columns a text for people may take."""
    try:
        width = int(os.environ.get("COLUMNS", "")) or os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        try:
            width = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError, AttributeError):
            width = PIPED
    return max(NARROWEST, min(width, WIDEST))


def aliases_of(row: CommandRow) -> str:
    """Return the other words for a command, as ``(also: pull)``."""
    return f" (also: {', '.join(words[0] for words in row.aliases)})" if row.aliases else ""


def _lines(groups: Sequence[str], width: int, heading: str) -> Iterator[str]:
    yield from _wrapped("Keep AI models as declared: a registry in git, and a controller that follows it.", width)
    yield ""
    yield f"{heading.format('Usage:')} {PROGRAM} [OPTIONS] COMMAND [ARGUMENTS]..."
    shown = [row for row in COMMANDS if row.group in groups]
    widest = max(len(row.name) for row in shown)
    for group in groups:
        rows = [(row.name, row.summary + aliases_of(row)) for row in shown if row.group == group]
        if rows:
            yield ""
            yield heading.format(f"{group}:")
            yield from _list(rows, width, widest)
    yield ""
    yield heading.format("Options:")
    yield from _list(OPTIONS, width, widest)
    yield ""
    yield heading.format("Start here:")  # the end is what stays on a small terminal
    yield from _list(((f"{PROGRAM} {words}", why) for words, why in START), width)
    yield ""
    rest = "" if len(groups) > len(MAIN_GROUPS) else "; `help --all` lists upkeep and the earlier tool's commands too"
    yield from _wrapped(f"`{PROGRAM} help COMMAND` explains a command, with examples{rest}.", width)


def _list(rows: Iterable[tuple[str, str]], width: int, widest: int = 0) -> Iterator[str]:
    """Yield names with what they mean beside them, or below them where there is little room."""
    listed = list(rows)
    indent = max(widest, *(len(name) for name, _ in listed)) + 4
    if indent > width // 2 + 2:
        for name, meaning in listed:
            yield f"  {name}"
            yield from _wrapped(meaning, width, "      ")
        return
    for name, meaning in listed:
        first, *more = _wrapped(meaning, width, " " * indent)
        yield f"  {name}".ljust(indent) + first.strip()
        yield from more


def _wrapped(text: str, width: int, indent: str = "") -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(indent) + len(line) + 1 + len(word) > width:
            yield indent + line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield indent + line


def _wants_bold(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
