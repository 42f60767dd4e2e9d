"""The one door of every console script: what needs no command is answered at once, all else by ``program``."""

import os
import sys
from typing import TYPE_CHECKING

from imageworks.cli import first_screen
from imageworks.cli.streams import open_closed_streams

if TYPE_CHECKING:
    from imageworks.cli.program import Application


def main(application: "Application | None" = None) -> None:
    """Run a command line and exit with its code."""
    open_closed_streams()
    if application is None and first_screen.asked_for(sys.argv[1:]):
        sys.exit(run())
    from imageworks.cli.program import leave, prepare_process

    prepare_process()
    leave(run(application=application))


def run(arguments: list[str] | None = None, *, application: "Application | None" = None) -> int:
    """Run one command and return its exit code; every error becomes one message on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    if application is None and first_screen.asked_for(words):
        return 0 if first_screen.show(words) else os.EX_USAGE
    from imageworks.cli.program import run as run_command

    return run_command(arguments, application)
