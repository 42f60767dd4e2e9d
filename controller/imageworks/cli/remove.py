"""The ``remove`` command: forget a model's download, delete its files, or purge it altogether."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.ask import NotConfirmedError, agrees, at_terminal, refuse_unasked
from imageworks.cli.output import complain, counted, human_bytes, printable, say
from imageworks.errors import ExitCode

if TYPE_CHECKING:
    from imageworks.reconcile.removal import Removal


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("remove")(remove_command)


def remove_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model, as `list` shows it.")],
    delete_files: Annotated[bool, typer.Option("--delete-files", help="Also delete its files from disk.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove the whole entry and the manifest, not only what was downloaded.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "--yes", "-y", help="Do not ask.")] = False,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")] = 0.0,
) -> int:
    """Remove a model: what is recorded of its download, with --delete-files its files, with --purge all of it.

    A declared model's manifest changes in the same commit, or the next reconcile would bring it back. Only files that
    are as recorded and that no other model has are deleted.
    """
    from imageworks.config import find_registry, load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.removal import carry_out, prepare
    from imageworks.reconcile.run import Run, RunOptions

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    start_logging(host.log_dir)
    with Run.open(root, host, RunOptions(offline=True), wait=wait) as run:
        asked = prepare(run, name, delete_files=delete_files, purge=purge, whole=force or not at_terminal())
        for line in asked.said:
            complain(line)
        if not force:
            _confirm(asked)
        report = carry_out(run, asked)
    for note in report.notes:
        complain(f"note: {note}")
    committed = f"; committed {report.commit[:10]}" if report.commit else ""
    say(printable(f"✅ {'Purged' if purge else 'Removed'} {asked.name}: {_done(asked)}{committed}."))
    return ExitCode.SUCCESS


def _confirm(asked: "Removal") -> None:
    refuse_unasked(f"{asked.name} was not removed", option="--force")
    freed = f", which frees {human_bytes(asked.bytes_freed)}" if asked.delete_files else ""
    if not agrees(f"{'Purge' if asked.purge else 'Remove'} {asked.name}{freed}?"):
        raise NotConfirmedError(f"{asked.name} was not removed")


def _done(asked: "Removal") -> str:
    files = "no file was touched"
    if asked.change is not None and asked.change.drop and asked.change.by_ollama:
        files = f"{', '.join(asked.change.drop)} is gone from Ollama, {human_bytes(asked.bytes_freed)} freed"
    elif asked.change is not None and asked.change.drop:
        files = f"{counted(len(asked.change.drop), 'file')} deleted, {human_bytes(asked.bytes_freed)} freed"
    return f"{files}; the entry is {'gone' if asked.purge else 'kept'}"
