"""The one app behind every console script: registers the command groups and turns errors into exit codes."""

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Final

import typer
from typer._click.exceptions import ClickException
from typer._click.exceptions import UsageError as CommandLineError

from imageworks import __version__
from imageworks.cli.output import complain, printable
from imageworks.cli.signals import end_as_interrupted, ended_by
from imageworks.cli.streams import open_closed_streams, prepare_streams
from imageworks.errors import ExitCode, ImageworksError
from imageworks.foundation.system_errors import system_refusal
from imageworks.log import LOGGER, command_log, debugging

COLLECT_AFTER: Final = 1_000_000  # objects
GROUPS: Final = {
    "download": ("download",),
    "reconcile": ("reconcile",),
    "verify": ("verify",),
    "remove": ("remove",),
    "status": ("status",),
    "clean": ("clean",),
    "listing": ("list",),
    "roles": ("list-roles",),
    "stats": ("stats",),
    "scan": ("scan",),
    "import_ollama": ("import-ollama",),
    "maintenance": (
        "normalize-formats",
        "purge-deprecated",
        "prune-duplicates",
        "reset-discovered",
        "purge-hf",
        "purge-logical-only",
        "backfill-ollama-paths",
    ),
    "slugs": ("preview-simple-slugs", "apply-simple-slugs"),
    "promote": ("promote",),
    "migrate": ("migrate",),
    "updates": ("pin", "outdated", "update"),
    "analyze": ("analyze",),
    "validate": ("validate",),
    "history": ("history", "diff", "show", "blame"),
    "restore": ("restore", "rollback", "restore-ollama"),
    "snapshot": ("snapshot",),
    "init": ("init",),
    "schema": ("schema",),
    "config": ("config",),
    "locations": ("locations",),
    "serving": ("resolve", "launch", "serve"),
    "hub": ("hub",),
}
"""The commands by the module that registers them, in the order of ``--help``."""


def _show_version(value: bool) -> None:  # noqa: FBT001 # typer calls it with the flag's value
    if value:
        typer.echo(f"imageworks-models {__version__}")
        raise typer.Exit


def root(
    version: Annotated[  # a flag of the command line
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep AI models as declared: a Git-backed registry with a reconcile controller."""


def make_application(words: Sequence[str] = ()) -> typer.Typer:
    """Return the commands; only those that a command line can mean, where it begins with a command's name.

    Building all of them takes longer than listing a thousand models.

    Args:
        words: The command line after the program's name.
    """
    app = typer.Typer(
        help="Keep AI models as declared: a Git-backed registry with a reconcile controller.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    named = [group for group, commands in GROUPS.items() if words and words[0] in commands]
    for group in named or GROUPS:
        import_module(f"imageworks.cli.{group}").register(app)
    return app


def main(application: typer.Typer | None = None) -> None:
    """Run a command line and exit with its code.

    Args:
        application: The commands; those of ``imageworks-models`` unless another console script gives its own.
    """
    # A command builds values that live until it ends; looking through all of them for cycles 700 objects at a time was
    # a quarter of a dry run over 10,000 models.
    gc.set_threshold(COLLECT_AFTER)
    open_closed_streams()
    end_as_interrupted()
    sys.exit(run(application=application))


def run(arguments: list[str] | None = None, *, application: typer.Typer | None = None) -> int:
    """Run one command and return its exit code; every error becomes one message on stderr.

    Args:
        arguments: The words after the program's name; the process's own when absent.
        application: The commands to choose from; those of ``imageworks-models`` when absent.
    """
    prepare_streams()
    words = sys.argv[1:] if arguments is None else arguments
    with command_log(complain, words):
        return _run(arguments, application or make_application(words))


def _run(arguments: list[str] | None, application: typer.Typer) -> int:
    try:
        result = application(args=arguments, standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that went away is no error
    except CommandLineError as error:
        error.show(file=sys.stderr)
        return ExitCode.USAGE
    except ClickException as error:
        error.show(file=sys.stderr)
        return ExitCode.FAILURE
    except (KeyboardInterrupt, typer.Abort):
        result = ExitCode.INTERRUPTED
    except ImageworksError as error:
        _record(error)
        complain(f"error: {error.render()}")
        return error.exit_code
    except BrokenPipeError:
        # The reader went away (`| head`): nothing more to say, and nothing that interpreter exit may flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.SUCCESS
    except Exception as error:  # the top: a bug of ours is told in one line, with the traceback on request
        _record(error)
        if debugging():
            raise
        from imageworks.registry.git_damage import git_damage

        refused = system_refusal(error) or git_damage(error)
        if refused is not None:
            complain(f"error: {refused.render()}")
            return ExitCode.FAILURE
        complain(
            f"error: {type(error).__name__}: {error}\n"
            "  This is a bug in imageworks-models. Run again with IMAGEWORKS_DEBUG=1 for the traceback."
        )
        return ExitCode.FAILURE
    if result == ExitCode.INTERRUPTED:  # typer turns ^C into this code without a word
        number = ended_by()
        said = f"ended by {number.name}" if number else "interrupted"
        with suppress(OSError):  # the terminal that hung up
            complain(f"{said}; what came so far is kept, and the same command goes on with it")
        return ExitCode(128 + number) if number else ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.SUCCESS


def _record(error: Exception) -> None:
    if not debugging() and isinstance(error, ImageworksError):
        return  # the message is in the log as it is printed
    LOGGER.error("%s", error, exc_info=error)
    if isinstance(error, ImageworksError):
        import traceback

        sys.stderr.write(printable("".join(traceback.format_exception(error))))
