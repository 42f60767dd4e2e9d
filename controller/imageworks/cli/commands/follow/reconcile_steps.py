"""What ``reconcile`` does after it was understood: show, ask, apply, tell."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.cli.explanations import complain_of
from imageworks.cli.output import complain
from imageworks.cli.plan_view import Format, PlanView
from imageworks.cli.prompts import agrees, ask, at_terminal, refuse_unasked
from imageworks.cli.saved_plans import check_saved, save_plan
from imageworks.cli.views.progress import show_progress
from imageworks.cli.views.reconcile import (
    plan_code,
    show_compared,
    show_hosts,
    show_plan,
    show_report,
    tell_notes,
    tell_of_errors,
)
from imageworks.foundation.errors import ExitCode
from imageworks.foundation.texts import human_bytes
from imageworks.operations.fleet.report import RunReport
from imageworks.operations.session import Session
from imageworks.plan.plan import Plan
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.entries.lookup import find_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imageworks.plan.report import Report
    from imageworks.reconcile.remote_sync import Sent


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done besides showing the plan.

    Args:
        saved: A file with the plan that is to be applied.
        out: The file that the plan is saved to.
        confirm: Models whose removal is confirmed.
        yes: Whether nobody is asked.
        report: Whether the run is reported; else as registry.yaml says.
        wait: How long another run is waited for, in seconds.
        progress: Whether it is shown how far downloads are.
    """

    saved: Path | None
    out: Path | None
    confirm: "Sequence[str]"
    yes: bool
    report: bool | None
    wait: float
    progress: bool


def plan_and_apply(session: Session, options: RunOptions, view: PlanView, todo: Steps, *, shows_only: bool) -> int:
    """Plan, show, ask, apply, commit; return the exit code."""
    asked = False if options.read_only else todo.report
    reports = RunReport(session.root, session.host, asked=asked, push=options.push)
    with (
        reports.failures(),
        show_progress(quiet=view.quiet, wanted=todo.progress) as shown,
        Run.open(session.root, session.host, options, progress=shown, wait=todo.wait) as run,
    ):
        confirmed = {find_in(run.registry, name, whole=True) for name in todo.confirm}
        plan = run.plan()
        if todo.saved is not None:
            check_saved(todo.saved, plan)
        allowed = _show_here(run, plan, view)
        if todo.out is not None:
            save_plan(plan, todo.out, options)
        if not (plan.has_changes or options.read_only) and not _settle(session, run, plan, reports):
            return ExitCode.FAILURE
        tell_of_errors(plan, view)
        if shows_only or not plan.has_changes:
            return plan_code(plan, view) if allowed else ExitCode.FAILURE
        done = _apply(run, plan, confirmed, yes=todo.yes)
    return ExitCode.FAILURE if done is None else _finish(session, run, plan, done, reports, view)


def review(session: Session, options: RunOptions, hosts: "Sequence[str]", view: PlanView) -> int:
    """Show what other hosts would do, and return the exit code for all of them."""
    from imageworks.operations.review_host import ReviewOptions, plan_elsewhere

    review = ReviewOptions(
        options.names, tuple(dict.fromkeys(hosts)), view.base, options.prune, options.offline, view.labels
    )
    return show_hosts(
        plan_elsewhere(session.root, session.host, review), view, about=hosts[0] if len(hosts) == 1 else None
    )


def _show_here(run: Run, plan: Plan, view: PlanView) -> bool:
    """Show this host's plan, and return whether the request has the labels that it needs."""
    if view.form is not Format.MARKDOWN:
        show_plan(plan, view)
        return True
    from imageworks.plan.compare import compare
    from imageworks.reconcile.phases.compare_base import compare_with_base

    base = view.base
    compared = compare(plan, run.situation) if base is None else compare_with_base(run, base, labels=view.labels)
    return show_compared([compared], about=plan.host)


def _apply(run: Run, plan: Plan, confirmed: set[str], *, yes: bool) -> "tuple[Report, Sent] | None":
    """Ask, apply and send; ``None`` where nobody agreed."""
    run.check_signing()
    skipped = _ask(plan, asked_names=confirmed, yes=yes)
    if skipped is None:
        complain("nothing was changed")
        return None
    return run.apply(plan, skipped=skipped), run.publish()


def _finish(
    session: Session, run: Run, plan: Plan, done: "tuple[Report, Sent]", reports: RunReport, view: PlanView
) -> int:
    """Show what was done, and do what follows a run."""
    report, sent = done
    show_report(report, view)
    _renew_exports(session, run)
    reported = _tell_of(reports.finished(plan, report))
    if not (_tell_of(sent) and reported) or report.failed or plan.has_errors:
        return ExitCode.FAILURE
    return ExitCode.CHANGES if view.detailed else ExitCode.SUCCESS


def _settle(session: Session, run: Run, plan: Plan, reports: RunReport) -> bool:
    """Do what a run does that has nothing to apply, and return whether that went well."""
    run.tidy()
    _renew_exports(session, run)
    return _tell_of(run.publish()) and _tell_of(reports.finished(plan))


def _renew_exports(session: Session, run: Run) -> None:
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


def _ask(plan: Plan, *, asked_names: set[str], yes: bool) -> dict[str, str] | None:
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
