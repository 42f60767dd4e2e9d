"""The ``reconcile`` command: plan, show, ask, apply, commit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.options import (
    CHOOSING,
    COMMITTING,
    REMOVING,
    REVIEWING,
    TRANSFERRING,
    WATCHING,
    Hosts,
    Mirrors,
    Offline,
    Prune,
    Registry,
    Reported,
    Wait,
)
from imageworks.cli.output import say
from imageworks.cli.plan_view import Format, PlanView, no_changes
from imageworks.cli.prompts import at_terminal
from imageworks.foundation.errors import ExitCode, UsageError
from imageworks.operations.session import Session, start_session
from imageworks.reconcile.settled.note import SettledNote

if TYPE_CHECKING:
    from collections.abc import Sequence


def reconcile_command(  # one parameter an option of the documented command line
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Models to consider; all if none.", autocompletion=completion.names),
    ] = None,
    registry: Registry = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing, anywhere.")] = False,
    uncommitted: Annotated[
        bool, typer.Option("--uncommitted", help="With --dry-run: plan with edits that are not committed yet.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before applying.")] = False,
    detailed: Annotated[
        bool,
        typer.Option(
            "--detailed-exitcode",
            help="Exit with 0 for no changes, 1 for an error, 2 for changes.",
            rich_help_panel=REVIEWING,
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    form: Annotated[
        Format, typer.Option("--format", help="How the plan is printed.", rich_help_panel=REVIEWING)
    ] = Format.TEXT,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="REV",
            help="Show in Markdown only what this commit would not lead to as well.",
            autocompletion=completion.revisions,
            rich_help_panel=REVIEWING,
        ),
    ] = None,
    hosts: Hosts = None,
    all_hosts: Annotated[
        bool,
        typer.Option(
            "--all-hosts",
            help="For every host; each is planned from its committed entries, not from disks, as with --host.",
            rich_help_panel=CHOOSING,
        ),
    ] = False,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="NAME", help="With --base: a label of the pull request.", rich_help_panel=REVIEWING
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Save the plan, and apply nothing.", rich_help_panel=REVIEWING),
    ] = None,
    saved: Annotated[
        Path | None,
        typer.Option(
            "--plan", metavar="FILE", help="Apply a saved plan; refused when it is stale.", rich_help_panel=REVIEWING
        ),
    ] = None,
    offline: Offline = False,
    prune: Prune = False,
    confirm: Annotated[
        list[str] | None,
        typer.Option(
            "--confirm",
            metavar="NAME",
            help="Confirm the removal of a model by name.",
            autocompletion=completion.names,
            rich_help_panel=REMOVING,
        ),
    ] = None,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty", help="Let --prune work when nothing is declared at all.", rich_help_panel=REMOVING
        ),
    ] = False,
    force_prune: Annotated[
        bool,
        typer.Option(
            "--force-prune", help="Let --prune remove more than 30 % of ten models or more.", rich_help_panel=REMOVING
        ),
    ] = False,
    commit: Annotated[
        bool, typer.Option("--commit/--no-commit", help="Commit entries and snapshot.", rich_help_panel=COMMITTING)
    ] = True,
    pull: Annotated[
        bool,
        typer.Option("--pull", help="Bring the branch up to date with its remote first.", rich_help_panel=COMMITTING),
    ] = False,
    push: Annotated[
        bool | None,
        typer.Option(
            "--push/--no-push",
            help="Send commits to the remote; else as registry.yaml says.",
            rich_help_panel=COMMITTING,
        ),
    ] = None,
    report: Reported = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Pull, apply and push again and again, until a signal ends it with 0; asks once, at its start.",
            rich_help_panel=WATCHING,
        ),
    ] = False,
    interval: Annotated[
        str,
        typer.Option("--interval", metavar="TIME", help="The pause between two runs, as 5m.", rich_help_panel=WATCHING),
    ] = "5m",
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve /healthz and /metrics on loopback.",
            rich_help_panel=WATCHING,
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, max=64, help="Models at once.", rich_help_panel=TRANSFERRING)
    ] = None,
    now: Annotated[
        bool,
        typer.Option(
            "--now", help="Download outside the registry's transfer window too.", rich_help_panel=TRANSFERRING
        ),
    ] = False,
    mirror: Mirrors = None,
    wait: Wait = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show revisions, paths and files; with NAME, of that model.")
    ] = False,
    progress: Annotated[
        bool, typer.Option("--progress/--no-progress", help="Show how far downloads are.", rich_help_panel=TRANSFERRING)
    ] = True,
) -> int:
    """Make this machine as declared: plan, ask, apply, commit.

    Reads manifests as the checked-out commit has them; edits count once they are committed, and --dry-run --uncommitted
    shows what they would do. It asks before applying, on stderr; where stdin is no terminal nobody can be asked, and
    without --yes nothing is applied. `plan` is the same with --dry-run, `apply` another word for it.

    Examples:
        imageworks-models reconcile --dry-run
        imageworks-models reconcile my-model --yes
        imageworks-models reconcile --prune --dry-run --detailed-exitcode
    """
    view = PlanView(
        Format.JSON if as_json else form, base, tuple(labels or ()), quiet=quiet, verbose=verbose, detailed=detailed
    )
    shows_only = dry_run or out is not None
    _refuse_contradictions(dry_run=dry_run, saved=saved is not None, out=out is not None, pull=pull)
    _refuse_review_options(view, hosts or [], all_hosts=all_hosts, shows=dry_run and out is None)
    _refuse_uncommitted(uncommitted=uncommitted, dry_run=dry_run, elsewhere=bool(hosts or all_hosts or base or out))
    # Whoever cannot be asked is shown the plan, and nothing is written for that.
    unasked = not (shows_only or yes or pull or push or at_terminal())
    session = start_session(registry, writes=not (dry_run or unasked))
    about = (names, uncommitted, as_json, base, hosts, all_hosts, labels, out, saved, prune, confirm, mirror, verbose)
    if dry_run and form is Format.TEXT and not (any(about) or watch) and _tells_no_changes(session, quiet=quiet):
        return ExitCode.SUCCESS
    # Imported here: where nothing changed, none of it is needed.
    from imageworks.cli.commands.follow import reconcile_steps as steps
    from imageworks.plan.facts import PruneOptions
    from imageworks.reconcile.run_options import RunOptions

    options = RunOptions(
        names=tuple(names or ()),
        prune=PruneOptions(enabled=prune, allow_empty=allow_empty, force=force_prune),
        offline=offline,
        jobs=jobs,
        commit=commit,
        read_only=shows_only or unasked,
        any_time=now,
        pull=pull,
        push=push,
        mends_snapshot=True,
        uncommitted=uncommitted,
        mirrors=tuple(mirror or ()),
    )
    if watch:
        from imageworks.cli.commands.follow.watch import start_watch

        unfit = shows_only or saved is not None or bool(hosts or all_hosts or confirm) or not commit
        return start_watch(session, options, interval=interval, port=port, report=report, unfit=unfit, yes=yes)
    if hosts or all_hosts:
        return steps.review(session, options, hosts or (), view)
    todo = steps.Steps(
        saved=saved, out=out, confirm=confirm or (), yes=yes, report=report, wait=wait, progress=progress
    )
    return steps.plan_and_apply(session, options, view, todo, shows_only=shows_only)


def _tells_no_changes(session: Session, *, quiet: bool) -> bool:
    """Say that everything is as declared, where this host noted so and nothing that decided it has changed."""
    count = SettledNote(session.host, session.root).unchanged()
    if count is not None and not quiet:
        say(no_changes(count, session.host.host))
    return count is not None


def _refuse_contradictions(*, dry_run: bool, saved: bool, out: bool, pull: bool) -> None:
    if dry_run and saved:
        raise UsageError("--dry-run and --plan exclude each other")
    if pull and (dry_run or out):
        raise UsageError("a run that writes nothing cannot --pull", remedy="Run `git pull` first.")


def _refuse_review_options(view: PlanView, hosts: "Sequence[str]", *, all_hosts: bool, shows: bool) -> None:
    if (hosts or all_hosts or view.base is not None) and not shows:
        raise UsageError("--host, --all-hosts and --base only show a plan", remedy="Add --dry-run, without --out.")
    if hosts and all_hosts:
        raise UsageError("--host and --all-hosts exclude each other")
    if view.base is not None and view.form is not Format.MARKDOWN:
        raise UsageError("--base is for --format markdown", remedy="Leave it out, or add --format markdown.")


def _refuse_uncommitted(*, uncommitted: bool, dry_run: bool, elsewhere: bool) -> None:
    if uncommitted and (not dry_run or elsewhere):
        raise UsageError(
            "--uncommitted only shows a plan of this host, and without --base and --out",
            remedy="Add --dry-run; commit the edits to have them applied.",
        )
