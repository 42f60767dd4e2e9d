"""The ``remove`` command: forget a model's download, delete its files, or purge it altogether."""

from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.options import AsJson, DryRun, Registry, Wait
from imageworks.cli.output import complain, counted, printable, say, say_json
from imageworks.cli.prompts import NotConfirmedError, agrees, at_terminal, refuse_unasked
from imageworks.foundation.errors import ExitCode
from imageworks.foundation.texts import human_bytes
from imageworks.operations.session import start_session

if TYPE_CHECKING:
    from imageworks.operations.remove import Removal


def remove_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The model, as `list` shows it.", autocompletion=completion.names)
    ],
    delete_files: Annotated[bool, typer.Option("--delete-files", help="Also delete its files from disk.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove the whole entry and the manifest, not only what was downloaded.")
    ] = False,
    force: Annotated[bool, typer.Option("--yes", "-y", "--force", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Remove a model, its files or its record.

    What is recorded of its download goes; with --delete-files its files, with --purge all of it. A declared model's
    manifest changes in the same commit, or the next reconcile would bring it back. Only files that are as recorded and
    that no other model has are deleted.

    Examples:
        imageworks-models remove mistral-7b-instruct-awq --dry-run
        imageworks-models remove mistral-7b-instruct-awq --purge --delete-files
    """
    from imageworks.operations.remove import carry_out, open_for_removal, prepare

    whole = force or dry_run or not at_terminal()
    with open_for_removal(start_session(registry, writes=not dry_run), read_only=dry_run, wait=wait) as run:
        asked = prepare(run, name, delete_files=delete_files, purge=purge, whole=whole)
        for line in asked.said:
            complain(line)
        if dry_run:
            _tell(asked, None, as_json=as_json, dry_run=True)
            return ExitCode.SUCCESS
        if not force:
            _confirm(asked)
        report = carry_out(run, asked)
    for note in report.notes:
        complain(f"note: {note}")
    _tell(asked, report.commit, as_json=as_json, dry_run=False)
    return ExitCode.SUCCESS


def _tell(asked: "Removal", commit: str | None, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        say_json({"dry_run": dry_run, **asked.document(), "commit": commit})
        return
    if dry_run:
        say(printable(f"- {asked.name}: {_done(asked)}. Nothing was written."))
        return
    committed = f"; committed {commit[:10]}" if commit else ""
    say(printable(f"✅ {'Purged' if asked.purge else 'Removed'} {asked.name}: {_done(asked)}{committed}."))


def _confirm(asked: "Removal") -> None:
    refuse_unasked(f"{asked.name} was not removed")
    freed = f", which frees {human_bytes(asked.bytes_freed)}" if asked.delete_files else ""
    if not agrees(f"{'Purge' if asked.purge else 'Remove'} {asked.name}{freed}?"):
        raise NotConfirmedError(f"{asked.name} was not removed")


def _done(asked: "Removal") -> str:
    files = "no file was touched"
    if asked.change is not None and asked.change.drop and asked.change.daemon:
        files = f"{', '.join(asked.change.drop)} is gone from Ollama, {human_bytes(asked.bytes_freed)} freed"
    elif asked.change is not None and asked.change.drop:
        files = f"{counted(len(asked.change.drop), 'file')} deleted, {human_bytes(asked.bytes_freed)} freed"
    return f"{files}; the entry is {'gone' if asked.purge else 'kept'}"
