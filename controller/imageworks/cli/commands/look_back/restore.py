"""The commands that go back: ``restore``, ``rollback`` and ``restore-ollama``; each shows a plan first."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.options import AnyTime, AsJson, DryRun, Offline, Registry, ShowProgress, Wait, Yes
from imageworks.cli.output import complain, say_json_value
from imageworks.cli.prompts import agrees, at_terminal, refuse_unasked
from imageworks.cli.views.progress import show_progress
from imageworks.cli.views.restore import show_restoration, show_restored
from imageworks.foundation.errors import ExitCode, UsageError
from imageworks.foundation.texts import human_bytes
from imageworks.operations.session import start_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imageworks.operations.restore.model import Restoration
    from imageworks.reconcile.run import Run
    from imageworks.registry.history.reader import HistoryReader

NoReconcile = Annotated[
    bool, typer.Option("--reconcile/--no-reconcile", help="Bring the bytes back too, or only what is declared.")
]


@dataclass(frozen=True, slots=True)
class How:
    """What the commands have in common: the values of their options."""

    registry: Path | None
    wait: float
    dry_run: bool
    yes: bool
    as_json: bool
    offline: bool = False
    now: bool = False
    progress: bool = True


def restore_command(  # one parameter an option of the documented command line
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Models to bring back; all if none.", autocompletion=completion.names),
    ] = None,
    revision: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="REV|DATE",
            help="The commit, branch, tag, date or age to go back to.",
            autocompletion=completion.revisions,
        ),
    ] = "",
    manifests: Annotated[bool, typer.Option("--manifests", help="What people declared (the default).")] = False,
    entries: Annotated[bool, typer.Option("--entries", help="What this host recorded.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Both.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    reconcile: NoReconcile = True,
    offline: Offline = False,
    now: AnyTime = False,
    registry: Registry = None,
    wait: Wait = 0.0,
    progress: ShowProgress = True,
) -> int:
    """Bring models back as they were.

    An earlier state comes back as a new commit: manifests as they were, with the bytes that they lead to. A model that
    was renamed since keeps its present name when it is named here. Entries come back only as far as they are true: one
    whose files are gone is recorded without files. What people have not committed stays as it is.

    Examples:
        imageworks-models restore my-model --from HEAD~3 --dry-run
        imageworks-models restore --from 2026-11-01
    """
    from imageworks.operations.restore.run_restore import prepare_restore

    if not revision:
        raise UsageError("restore needs --from", remedy="For example: --from HEAD~3, --from 2026-11-01")
    how = How(registry, wait, dry_run, yes, as_json, offline, now, progress)
    chosen = everything or entries
    layers = (everything or manifests or not chosen, chosen)
    with _opened(how) as (run, reader):
        return _go(run, prepare_restore(run, reader, revision, names or (), layers=layers, reconciled=reconcile), how)


def rollback_command(  # one parameter an option of the documented command line
    of_host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="Whose controller's commit; this host's if none.",
            autocompletion=completion.hosts,
        ),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    reconcile: NoReconcile = True,
    offline: Offline = False,
    now: AnyTime = False,
    registry: Registry = None,
    wait: Wait = 0.0,
    progress: ShowProgress = True,
) -> int:
    """Undo what the last reconcile did.

    Goes back to before the last commit of this host's controller, as a new commit. It concerns the models that the
    commit changed: what was declared of them when the controller ran before comes back, with its bytes. What people
    changed since stays, and is told. Another host's rollback brings manifests back only.

    Examples:
        imageworks-models rollback --dry-run
    """
    from imageworks.operations.restore.run_restore import prepare_rollback

    how = How(registry, wait, dry_run, yes, as_json, offline, now, progress)
    with _opened(how) as (run, reader):
        found, asked = prepare_rollback(run, reader, of_host, reconciled=reconcile)
        undone = found.undone
        complain(f"going back behind {undone.short_id}, {undone.when:%Y-%m-%d %H:%M}: {undone.subject}")
        for name in found.left:
            complain(f"kept: {name}: people changed it since; `restore {name} --from {found.wish.revision[:10]}`")
        return _go(run, asked, how)


def restore_ollama_command(
    backup: Annotated[
        Path | None, typer.Option("--backup", metavar="FILE", help="A backup file of the predecessor (*.bak.json).")
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="REV|DATE",
            help="Take the entries of this commit.",
            autocompletion=completion.revisions,
        ),
    ] = None,
    dry_run: DryRun = False,
    deprecated: Annotated[
        bool, typer.Option("--include-deprecated", help="Also restore entries that were deprecated.")
    ] = False,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Bring entries of Ollama's models back.

    Those that this host no longer records, in one commit: from the latest state that had them, or from one commit, or
    from a file. Entries that are there stay. What Ollama has not any more is recorded without files.

    Examples:
        imageworks-models restore-ollama --dry-run
    """
    from imageworks.operations.restore.ollama import prepare_recovery

    if backup is not None and revision is not None:
        raise UsageError("--backup and --from exclude each other")
    how = How(registry, wait, dry_run, yes=True, as_json=as_json, progress=False)
    with _opened(how) as (run, reader):
        return _go(run, prepare_recovery(run, reader, revision, backup, deprecated=deprecated), how)


@contextmanager
def _opened(how: How) -> "Iterator[tuple[Run, HistoryReader]]":
    from imageworks.operations.restore.run_restore import open_restore

    read_only = how.dry_run or not (how.yes or at_terminal())
    session = start_session(how.registry, writes=not read_only)
    with (
        show_progress(quiet=False, wanted=how.progress) as shown,
        open_restore(
            session, shown, read_only=read_only, offline=how.offline, any_time=how.now, wait=how.wait
        ) as opened,
    ):
        yield opened


def _go(run: "Run", asked: "Restoration", how: How) -> int:
    """Show what would be done, ask, and do it."""
    from imageworks.operations.restore.restore import carry_out

    if how.as_json:
        say_json_value(asked.pieces())
    else:
        show_restoration(asked, dry_run=how.dry_run)
    stopped = bool(asked.refused) or (asked.plan is not None and asked.plan.has_errors)
    if how.dry_run or not asked.has_changes:
        return ExitCode.FAILURE if stopped else ExitCode.SUCCESS
    skipped = _confirm(asked, yes=how.yes)
    if skipped is None:
        complain("nothing was changed")
        return ExitCode.FAILURE
    asked = replace(asked, changes=())  # ten thousand were shown, and are not to stand beside the snapshot
    report = carry_out(run, asked, skipped=skipped)
    if not how.as_json:
        show_restored(report)
    return ExitCode.FAILURE if stopped else ExitCode.SUCCESS


def _confirm(asked: "Restoration", *, yes: bool) -> dict[str, str] | None:
    """Ask for what must be asked; return the changes to leave out with why, or ``None`` to do nothing."""
    if not yes:
        refuse_unasked("nothing was restored")
    skipped: dict[str, str] = {}
    for change in asked.plan.effective if asked.plan is not None else ():
        if change.needs_confirmation:
            freed = human_bytes(change.bytes_freed)
            skipped[change.name] = f"it would remove {freed}: `reconcile --prune --confirm {change.name}`"
    return skipped if yes or agrees("Restore this?") else None
