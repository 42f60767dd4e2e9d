"""The one door of every console script: what needs no command is answered at once, all else by ``program``."""

import gc
import os
import sys
from typing import TYPE_CHECKING, Final

from imageworks.cli import first_screen
from imageworks.cli.streams import open_closed_streams

if TYPE_CHECKING:
    from imageworks.cli.program import Application

COLLECT_AFTER: Final = 50_000  # objects


def main(application: "Application | None" = None) -> None:
    """Run a command line and exit with its code."""
    open_closed_streams()
    if application is None and first_screen.asked_for(sys.argv[1:]):
        sys.exit(run())
    leave_cycles()
    from imageworks.cli.program import leave
    from imageworks.cli.signals import end_as_interrupted

    end_as_interrupted()
    leave(run(application=application))


def leave_cycles() -> None:
    """Spend no time on what ends with a process that runs one command."""
    # A command builds values that live until it ends; looking through all of them for cycles 700 objects at a time was
    # a quarter of a dry run over 10,000 models, and a tenth of loading what reads command lines. Looked for a million
    # objects apart, cycles of other libraries were 8 MiB of such a page; every 50,000 costs no CPU that can be seen.
    gc.set_threshold(COLLECT_AFTER)


def run(arguments: list[str] | None = None, *, application: "Application | None" = None) -> int:
    """Run one command and return its exit code; every error becomes one message on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    if application is None and first_screen.asked_for(words):
        return 0 if first_screen.show(words) else os.EX_USAGE
    from imageworks.cli.program import run as run_command

    return run_command(arguments, application)
