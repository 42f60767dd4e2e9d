"""Run one command line: the command that is meant is loaded, and every error becomes one message and an exit code."""

import atexit
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn, Protocol

import typer

from imageworks.cli import first_screen
from imageworks.cli.click import ClickException
from imageworks.cli.click import UsageError as CommandLineError
from imageworks.cli.explanations import complain_of
from imageworks.cli.group import CommandLine, Commands
from imageworks.cli.output import OutputStyle, complain, printable, set_style
from imageworks.cli.signals import CAME, ended_by
from imageworks.cli.streams import prepare_streams
from imageworks.foundation.errors import ExitCode, ImageworksError
from imageworks.foundation.log import LOGGER, command_log, debugging
from imageworks.foundation.system_errors import system_refusal


class Application(Protocol):
    """The commands of a console script."""

    def __call__(self, *, args: Sequence[str] | None, standalone_mode: bool) -> Any:  # noqa: ANN401 # what one returns
        """Run the command that the words name."""


def make_application() -> typer.Typer:
    """Return all commands; the module of each is imported when the command is meant."""
    app = Commands(cls=CommandLine, no_args_is_help=False, add_completion=True)
    app.callback()(_root)
    return app


def _show_version(value: bool) -> None:  # noqa: FBT001 # typer calls it with the flag's value
    if value:
        first_screen.show(["--version"])
        raise typer.Exit


def _show_everything(value: bool) -> None:  # noqa: FBT001 # likewise
    if value:
        first_screen.show(["--help", "--all"])
        raise typer.Exit


def _root(
    version: Annotated[  # a flag of the command line
        bool, typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", callback=_show_everything, is_eager=True, help="With --help: all commands.")
    ] = False,
) -> None:
    """Keep AI models as declared: a registry in git, and a controller that follows it."""


def leave(code: int) -> NoReturn:
    """End the process without taking its objects apart one by one: that takes as long as half of the imports."""
    if threading.active_count() == 1:  # a thread that is still at work is waited for
        atexit._run_exitfuncs()  # noqa: SLF001 # no public door to what sys.exit() does first
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


def run(arguments: list[str] | None = None, application: Application | None = None) -> int:
    """Run one command and return its exit code."""
    prepare_streams()
    set_style(OutputStyle())
    CAME.clear()
    with command_log(complain, sys.argv[1:] if arguments is None else arguments):
        return _run(arguments, application or make_application())


def _run(arguments: list[str] | None, application: Application) -> int:
    try:
        result = application(args=arguments, standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that went away is no error
    except ClickException as error:
        complain(f"error: {' '.join(error.format_message().split())}{_usage(error)}")
        return ExitCode.USAGE if isinstance(error, CommandLineError) else ExitCode.FAILURE
    except (KeyboardInterrupt, typer.Abort):
        result = ExitCode.INTERRUPTED
    except ImageworksError as error:
        _record(error)
        complain_of(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader went away (`| head`): nothing more to say, and nothing that interpreter exit may flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.SUCCESS
    except Exception as error:  # the top: a bug of ours is told in one line, with the traceback on request
        _record(error)
        if debugging():
            raise
        from imageworks.git.recovery.damage import git_damage

        refused = system_refusal(error) or git_damage(error)
        if refused is not None:
            complain_of(refused)
            return ExitCode.FAILURE
        complain(
            f"error: {type(error).__name__}: {error}\n"
            "  This is a bug in imageworks-models. Run again with IMAGEWORKS_DEBUG=1 for the traceback."
        )
        return ExitCode.FAILURE
    if result == ExitCode.INTERRUPTED:  # typer turns ^C into this code without a word
        number = ended_by()
        said = f"ended by {number.name}" if number else "interrupted"
        kept = "; what came so far is kept, and the same command goes on with it" if CAME.is_set() else ""
        with suppress(OSError):  # the terminal that hung up
            complain(said + kept)
        return ExitCode(128 + number) if number else ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.SUCCESS


def _usage(error: ClickException) -> str:
    """Return how the command that was meant is typed."""
    context = error.ctx if isinstance(error, CommandLineError) else None
    if context is None:
        return ""
    return f"\n{' '.join(context.get_usage().split())}\n`{context.command_path} --help` explains it."


def _record(error: Exception) -> None:
    if not debugging() and isinstance(error, ImageworksError):
        return  # the message is in the log as it is printed
    LOGGER.error("%s", error, exc_info=error)
    if isinstance(error, ImageworksError):
        import traceback

        sys.stderr.write(printable("".join(traceback.format_exception(error))))
