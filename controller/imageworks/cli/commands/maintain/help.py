"""The ``help`` command: what a command does, with examples; all of them as one page of the manual."""

import sys
from typing import Annotated

import typer

from imageworks.cli import first_screen
from imageworks.cli.click import Context
from imageworks.cli.command_table import ALIASES, BY_NAME, COMMANDS
from imageworks.cli.completion import command_words
from imageworks.cli.explanations import explanation
from imageworks.cli.man_page import man_page
from imageworks.cli.options import AsJson
from imageworks.cli.output import say_json


def help_command(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]...",
            help="The command, or the code of an error or a reason; all commands if none.",
            autocompletion=command_words,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List upkeep and the earlier tool's commands too.")] = False,
    as_json: AsJson = False,
    man: Annotated[
        bool, typer.Option("--man", help="Print everything as a page of the manual, for `man -l -`.")
    ] = False,
) -> None:
    """Explain a command or the code of an error, or list all commands.

    Examples:
        imageworks-models help reconcile
        imageworks-models help lock-held
        imageworks-models help --all
        imageworks-models help --man
    """
    root = context.find_root()
    if as_json:
        say_json(
            {"commands": [{**row._asdict(), "aliases": [" ".join(one) for one in row.aliases]} for row in COMMANDS]}
        )
    elif man:
        sys.stdout.write(man_page(root))
    elif words:
        sys.stdout.write(_explained(root, words) + "\n")
    else:
        first_screen.show(["--help", "--all"] if everything else ["--help"])


def _explained(root: Context, words: list[str]) -> str:
    """Return the help of a command, or of one of a group's, and what the code of an error or a reason means."""
    coded = explanation(words[0]) if len(words) == 1 else None
    if coded is not None and words[0] not in {*BY_NAME, *ALIASES}:
        return coded
    context, command = root, root.command
    for word in words:
        if not hasattr(command, "resolve_command"):
            context.fail(f"{context.info_name} has no commands of its own")
        name, command, _ = command.resolve_command(context, [word])
        context = type(root)(command, info_name=name, parent=context)
    shown = command.get_help(context)
    return shown if coded is None else f"{shown}\n\nAs the code of an error:\n{coded}"
