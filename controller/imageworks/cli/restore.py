"""The commands that go back: ``restore``, ``rollback`` and ``restore-ollama``; each shows a plan first."""

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.ask import agrees, at_terminal, refuse_unasked
from imageworks.cli.output import complain, human_bytes, printable, say, terminal_width, wants_colour
from imageworks.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imageworks.reconcile.report import Report
    from imageworks.reconcile.restore_entries import EntryDeed
    from imageworks.reconcile.restore_values import Restoration
    from imageworks.reconcile.run import Run
    from imageworks.registry.history_read import HistoryReader

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing, anywhere.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before applying.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the plan as stable JSON.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use no network.")]
NoReconcile = Annotated[
    bool, typer.Option("--reconcile/--no-reconcile", help="Bring the bytes back too, or only what is declared.")
]
Now = Annotated[bool, typer.Option("--now", help="Download outside the registry's transfer window too.")]
Registry = Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")]
ShowProgress = Annotated[bool, typer.Option("--progress/--no-progress", help="Show how far downloads are.")]


@dataclass(frozen=True, slots=True)
class How:
    """What the commands have in common.

    Args:
        dry_run: Whether nothing may be written.
        yes: Whether nobody is asked.
        as_json: Whether the plan is printed as JSON.
        reconcile: Whether the manifests are reconciled in the same run.
    """

    dry_run: bool
    yes: bool
    as_json: bool
    reconcile: bool = True


def register(app: typer.Typer) -> None:
    """Add the commands to the application.

    Args:
        app: The application's root.
    """
    app.command("restore")(restore_command)
    app.command("rollback")(rollback_command)
    app.command("restore-ollama")(restore_ollama_command)


def restore_command(  # noqa: PLR0913, PLR0917 # one parameter an option of the documented command line
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Models to bring back; all if none.")
    ] = None,
    revision: Annotated[
        str, typer.Option("--from", metavar="REV|DATE", help="The commit, branch, tag, date or age to go back to.")
    ] = "",
    manifests: Annotated[bool, typer.Option("--manifests", help="What people declared (the default).")] = False,
    entries: Annotated[bool, typer.Option("--entries", help="What this host recorded.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Both.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    reconcile: NoReconcile = True,
    offline: Offline = False,
    now: Now = False,
    registry: Registry = None,
    wait: Wait = 0.0,
    progress: ShowProgress = True,
) -> int:
    """Bring an earlier state back as a new commit: manifests as they were, with the bytes that they lead to.

    A model that was renamed since keeps its present name when it is named here. Entries come back only as far as they
    are true: one whose files are gone is recorded without files. What people have not committed stays as it is.
    """
    from imageworks.reconcile.restore import prepare
    from imageworks.reconcile.restore_values import Wish

    if not revision:
        raise UsageError("restore needs --from", remedy="For example: --from HEAD~3, --from 2026-11-01")
    chosen = everything or entries

    def ask(run: "Run", reader: "HistoryReader") -> "Restoration":
        wish = Wish(
            reader.repository.resolve(revision),
            tuple(dict.fromkeys(names or ())),
            manifests=everything or manifests or not chosen,
            entries=chosen,
        )
        return prepare(run, reader, wish, reconciled=reconcile)

    how = How(dry_run, yes, as_json, reconcile)
    with _opened(registry, how, offline=offline, now=now, wait=wait, progress=progress) as (run, reader):
        return _go(run, ask(run, reader), how)


def rollback_command(  # noqa: PLR0913, PLR0917 # one parameter an option of the documented command line
    of_host: Annotated[
        str | None, typer.Option("--host", metavar="NAME", help="Whose controller's commit; this host's if none.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    reconcile: NoReconcile = True,
    offline: Offline = False,
    now: Now = False,
    registry: Registry = None,
    wait: Wait = 0.0,
    progress: ShowProgress = True,
) -> int:
    """Go back to before the last commit of this host's controller, as a new commit.

    Concerns the models that the commit changed: what was declared of them when the controller ran before comes back,
    with its bytes. What people changed since stays, and is told. Another host's rollback brings manifests back only.
    """
    from imageworks.reconcile.restore import prepare
    from imageworks.reconcile.rollback import find_rollback
    from imageworks.registry.history_read import HistoryReader

    how = How(dry_run, yes, as_json, reconcile)
    with _opened(registry, how, offline=offline, now=now, wait=wait, progress=progress) as (run, reader):
        here = run.registry.host
        found = find_rollback(HistoryReader(reader.repository, host=of_host or here), of_host or here, here=here)
        complain(
            f"going back behind {found.undone.short_id}, {found.undone.when:%Y-%m-%d %H:%M}: {found.undone.subject}"
        )
        for name in found.left:
            complain(f"kept: {name}: people changed it since; `restore {name} --from {found.wish.revision[:10]}`")
        return _go(run, prepare(run, reader, found.wish, reconciled=reconcile), how)


def restore_ollama_command(
    backup: Annotated[
        Path | None, typer.Option("--backup", metavar="FILE", help="A backup file of the predecessor (*.bak.json).")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--from", metavar="REV|DATE", help="Take the entries of this commit.")
    ] = None,
    dry_run: DryRun = False,
    deprecated: Annotated[
        bool, typer.Option("--include-deprecated", help="Also restore entries that were deprecated.")
    ] = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Bring back entries of Ollama's models that this host no longer records, in one commit.

    From the latest state that had them, or from one commit, or from a file. Entries that are there stay. What Ollama
    has not any more is recorded without files.
    """
    from imageworks.reconcile.restore_ollama import Origin, prepare_ollama, record_ollama

    if backup is not None and revision is not None:
        raise UsageError("--backup and --from exclude each other")
    how = How(dry_run, yes=True, as_json=False)
    with _opened(registry, how, offline=False, now=False, wait=wait, progress=False) as (run, reader):
        commit = reader.repository.resolve(revision) if revision is not None else None
        found = prepare_ollama(run, reader, Origin(commit, backup), deprecated=deprecated)
        for why in found.skipped:
            complain(f"kept: {why}")
        for deed in found.deeds:
            say(_deed_line(deed))
        if not found.deeds:
            say("No changes.")
            return
        count = len(found.deeds)
        say(f"Plan: {count} to restore." + (" Nothing was written." if dry_run else ""))
        if not dry_run:
            _say_done(record_ollama(run, found))


@contextmanager
def _opened(
    registry: Path | None, how: How, *, offline: bool, now: bool, wait: float, progress: bool
) -> "Iterator[tuple[Run, HistoryReader]]":
    from imageworks.cli.progress import show_progress
    from imageworks.config import find_registry, load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.run import Run, RunOptions
    from imageworks.registry.git import RegistryRepository
    from imageworks.registry.git_library import damage_told
    from imageworks.registry.history_read import HistoryReader

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    read_only = how.dry_run or not (how.yes or at_terminal())
    if not read_only:
        start_logging(host.log_dir)
    options = RunOptions(offline=offline, read_only=read_only, any_time=now)
    reader = HistoryReader(RegistryRepository.open(root, host=host.host), host=host.host)
    with (
        damage_told(),
        show_progress(quiet=False, wanted=progress) as shown,
        Run.open(root, host, options, progress=shown, wait=wait) as run,
    ):
        yield run, reader


def _go(run: "Run", asked: "Restoration", how: How) -> int:
    """Show what would be done, ask, and do it."""
    from imageworks.reconcile.restore import carry_out

    if how.as_json:
        say(json.dumps(asked.document(), indent=2, ensure_ascii=False))
    else:
        _show(asked)
    stopped = bool(asked.refused) or (asked.plan is not None and asked.plan.has_errors)
    if how.dry_run or not asked.has_changes:
        return ExitCode.FAILURE if stopped else ExitCode.SUCCESS
    skipped = _confirm(asked, yes=how.yes)
    if skipped is None:
        complain("nothing was changed")
        return ExitCode.FAILURE
    report = carry_out(run, asked, skipped=skipped)
    if not how.as_json:
        _say_done(report)
    return ExitCode.FAILURE if stopped else ExitCode.SUCCESS


def _show(asked: "Restoration") -> None:
    from imageworks.cli.history_view import change_lines
    from imageworks.cli.plan_view import plan_text

    colour, width = wants_colour(sys.stdout), terminal_width()
    for problem in asked.refused:
        complain(f"refused: {problem}")
    for note in asked.notes:
        complain(f"note: {note}")
    for change in asked.changes:
        say("\n".join(line[4:] for line in change_lines(change, colour=colour, width=width + 4)))
    for deed in asked.entries:
        if deed.entry is None and deed not in asked.recorded:
            complain(f"kept: {deed.name}: {deed.why}")
        else:
            say(_deed_line(deed))
    if not asked.has_changes:
        say("No changes.")
    elif asked.plan is not None:
        say()
        say(plan_text(asked.plan, colour=colour))
    if asked.changes and asked.plan is None:
        complain("note: nothing is reconciled; `imageworks-models reconcile` brings the bytes")


def _deed_line(deed: "EntryDeed") -> str:
    return printable(f"{deed.deed.value} {deed.name}  entry: {deed.why}")


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


def _say_done(report: "Report") -> None:
    for name, why in (report.skipped or {}).items():
        complain(f"skipped: {name}: {why}")
    for note in report.notes:
        complain(f"note: {note}")
    say(f"Done; committed {report.commit[:10]}." if report.commit else "Done; nothing had to be committed.")
