"""All commands as one page of the manual, in troff; from the same table and docstrings as ``--help``."""

from collections.abc import Iterator

from imageworks import __version__
from imageworks.cli.click import Command, Context
from imageworks.cli.command_table import COMMANDS, MAIN_GROUPS, MORE_GROUPS
from imageworks.cli.first_screen import OPTIONS, PROGRAM, START, aliases_of
from imageworks.cli.group import every_command, examples_of, option_groups, text_of


def man_page(root: Context) -> str:
    """Return the page."""
    return "\n".join(_lines(root)) + "\n"


def _lines(root: Context) -> Iterator[str]:
    yield f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}" "User Commands"'
    yield f".SH NAME\n{_plain(PROGRAM)} \\- keep AI models as declared in a git registry"
    yield f".SH SYNOPSIS\n.B {_plain(PROGRAM)}\n[OPTIONS] COMMAND [ARGUMENTS]..."
    yield ".SH EXAMPLES"
    for words, why in START:
        yield f".TP\n.B {_plain(f'{PROGRAM} {words}')}\n{_plain(why)}"
    yield ".SH OPTIONS"
    for option, meaning in OPTIONS:
        yield f".TP\n.B {_plain(option)}\n{_plain(meaning)}"
    for group in (*MAIN_GROUPS, *MORE_GROUPS):
        yield f".SH {_plain(group.upper())}"
        for row in COMMANDS:
            if row.group == group:
                yield f".TP\n.B {_plain(row.name)}\n{_plain(row.summary + aliases_of(row))}"
    yield ".SH COMMANDS"
    for words, command in every_command():
        if not command.hidden:
            yield f".SS {_plain(words)}"
            yield from _command(command, type(root)(command, info_name=words, parent=root))
    yield ".SH FILES\n.TP\n.B registry.yaml\nThe settings of a registry; docs/configuration.md has all of them."


def _command(command: Command, context: Context) -> Iterator[str]:
    for paragraph in text_of(command).split("\n\n"):
        yield f".PP\n{_plain(' '.join(paragraph.split()))}"
    for title, rows in option_groups(command, context).items():
        yield f".PP\n.I {_plain(title)}"
        for option, meaning in rows:
            yield f".TP\n.B {_plain(option)}\n{_plain(' '.join(meaning.split()))}"
    if lines := examples_of(command):
        yield ".PP\n.I Examples\n.nf"
        yield from (f"    {_plain(line)}" for line in lines)
        yield ".fi"


def _plain(text: str) -> str:
    """Return a text of which troff takes no character for a request or an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in {".", "'"} else text
