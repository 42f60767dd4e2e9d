"""The ``reconcile`` command: plan, show, ask, apply, commit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli import completion
from imageworks.cli.explanations import complain_of
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
from imageworks.cli.output import complain
from imageworks.cli.prompts import agrees, ask, at_terminal, refuse_unasked
from imageworks.cli.saved_plans import check_saved, save_plan
from imageworks.cli.views.progress import show_progress
from imageworks.cli.views.reconcile import (
    Format,
    PlanView,
    plan_code,
    show_compared,
    show_hosts,
    show_plan,
    show_report,
    tell_notes,
    tell_of_errors,
)
from imageworks.foundation.errors import ExitCode, UsageError
from imageworks.foundation.texts import human_bytes
from imageworks.operations.session import Session, start_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imageworks.operations.fleet.report import RunReport
    from imageworks.plan.plan import Plan
    from imageworks.plan.report import Report
    from imageworks.reconcile.remote_sync import Sent
    from imageworks.reconcile.run import Run, RunOptions


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
    from imageworks.operations.fleet.report import RunReport
    from imageworks.plan.facts import PruneOptions
    from imageworks.reconcile.run import Run, RunOptions
    from imageworks.registry.entries.lookup import find_in

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
        return _review(session, options, hosts or (), view)
    reports = RunReport(session.root, session.host, asked=False if options.read_only else report, push=push)
    with (
        reports.failures(),
        show_progress(quiet=quiet, wanted=progress) as shown,
        Run.open(session.root, session.host, options, progress=shown, wait=wait) as run,
    ):
        confirmed = {find_in(run.registry, name, whole=True) for name in confirm or ()}
        plan = run.plan()
        if saved is not None:
            check_saved(saved, plan)
        allowed = _show_here(run, plan, view)
        if out is not None:
            save_plan(plan, out, options)
        if not (plan.has_changes or options.read_only) and not _settle(session, run, plan, reports):
            return ExitCode.FAILURE
        tell_of_errors(plan, view)
        if shows_only or not plan.has_changes:
            return plan_code(plan, view) if allowed else ExitCode.FAILURE
        done = _apply(run, plan, confirmed, yes=yes)
    return ExitCode.FAILURE if done is None else _finish(session, run, plan, done, reports, view)


def _review(session: Session, options: "RunOptions", hosts: "Sequence[str]", view: PlanView) -> int:
    """Show what other hosts would do, and return the exit code for all of them."""
    from imageworks.operations.review_host import ReviewOptions, plan_elsewhere

    review = ReviewOptions(
        options.names, tuple(dict.fromkeys(hosts)), view.base, options.prune, options.offline, view.labels
    )
    return show_hosts(
        plan_elsewhere(session.root, session.host, review), view, about=hosts[0] if len(hosts) == 1 else None
    )


def _show_here(run: "Run", plan: "Plan", view: PlanView) -> bool:
    """Show this host's plan, and return whether the request has the labels that it needs."""
    if view.form is not Format.MARKDOWN:
        show_plan(plan, view)
        return True
    from imageworks.plan.compare import compare

    compared = compare(plan, run.situation) if view.base is None else run.compared(view.base, labels=view.labels)
    return show_compared([compared], about=plan.host)


def _apply(run: "Run", plan: "Plan", confirmed: set[str], *, yes: bool) -> "tuple[Report, Sent] | None":
    """Ask, apply and send; ``None`` where nobody agreed."""
    run.check_signing()
    skipped = _ask(plan, asked_names=confirmed, yes=yes)
    if skipped is None:
        complain("nothing was changed")
        return None
    return run.apply(plan, skipped=skipped), run.publish()


def _finish(
    session: Session, run: "Run", plan: "Plan", done: "tuple[Report, Sent]", reports: "RunReport", view: PlanView
) -> int:
    """Show what was done, and do what follows a run."""
    report, sent = done
    show_report(report, view)
    _renew_exports(session, run)
    reported = _tell_of(reports.finished(plan, report))
    if not (_tell_of(sent) and reported) or report.failed or plan.has_errors:
        return ExitCode.FAILURE
    return ExitCode.CHANGES if view.detailed else ExitCode.SUCCESS


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


def _settle(session: Session, run: "Run", plan: "Plan", reports: "RunReport") -> bool:
    """Do what a run does that has nothing to apply, and return whether that went well."""
    run.tidy()
    _renew_exports(session, run)
    return _tell_of(run.publish()) and _tell_of(reports.finished(plan))


def _renew_exports(session: Session, run: "Run") -> None:
    """Keep the files of servers as this host's models are, where registry.yaml asks for it."""
    if wanted := run.registry.settings.exports:
        from imageworks.operations.export import renew_exports

        tell_notes(renew_exports(session.root, session.host, wanted))


def _tell_of(sent: "Sent") -> bool:
    """Tell what was pushed, and return whether that went well."""
    tell_notes(sent.notes)
    if sent.problem is not None:
        complain_of(sent.problem)
    return sent.problem is None


def _ask(plan: "Plan", *, asked_names: set[str], yes: bool) -> dict[str, str] | None:
    """Ask for what must be asked; return the changes to leave out with why, or ``None`` to do nothing."""
    if not yes:
        refuse_unasked("the plan was not applied")
    skipped: dict[str, str] = {}
    for change in plan.effective:
        if change.needs_confirmation and change.name not in asked_names:
            question = f"Remove {change.name}, {human_bytes(change.bytes_freed)}? Type its name:"
            if not (at_terminal() and ask(question) == change.name):
                skipped[change.name] = f"not confirmed; run again with --confirm {change.name}"
    rest = [change for change in plan.effective if change.name not in skipped]
    if yes or (not rest and not plan.records_stale):
        return skipped
    return skipped if agrees("Apply this plan?") else None
