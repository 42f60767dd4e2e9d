"""What ``reconcile`` shows: plans of one host or of several, what makes a run fail, and what was done."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from imageworks.cli.output import complain, one_line, paint, printable, say, say_json_value, took, wants_colour
from imageworks.cli.plan_view import Format, PlanView
from imageworks.cli.views.plan import plan_text
from imageworks.foundation.errors import ExitCode
from imageworks.naming.hub_identifiers import DEFAULT_ENDPOINT
from imageworks.plan.plan import FORMAT_VERSION, Action, Plan

if TYPE_CHECKING:
    from imageworks.plan.compare import HostPlan
    from imageworks.plan.report import ModelResult, Report


def show_plan(plan: Plan, view: PlanView) -> None:
    """Show a plan as text or JSON."""
    if view.form is Format.JSON:
        say_json_value(plan.document_in_pieces(), sort_keys=True)
    elif not view.quiet:
        say(plan_text(plan, colour=wants_colour(sys.stdout), verbose=view.verbose))
        sys.stdout.flush()  # before progress, which goes to stderr


def show_compared(plans: "Sequence[HostPlan]", *, about: str | None) -> bool:
    """Show plans as Markdown, of one host or of all, and return whether the request has the labels that it needs."""
    from imageworks.cli.views.plan_markdown import ALL_HOSTS, plan_markdown

    say(plan_markdown(plans, about=about or ALL_HOSTS, hub=os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT))
    return _has_labels(plans[0])


def show_hosts(plans: "Sequence[HostPlan]", view: PlanView, *, about: str | None) -> int:
    """Show the plans of one host that is elsewhere or of all, and return the exit code for them."""
    if view.form is Format.MARKDOWN:
        allowed = show_compared(plans, about=about)
    else:
        if view.form is Format.JSON and about is None:
            documents = (one.plan.document_in_pieces() for one in plans)
            say_json_value({"format_version": FORMAT_VERSION, "plans": documents})
        else:
            _show_each(plans, view)
        allowed = _has_labels(plans[0])
    if not allowed:
        return ExitCode.FAILURE
    for one in plans:
        tell_of_errors(one.plan, view)
    codes = {plan_code(one.plan, view) for one in plans}
    return next(code for code in (ExitCode.FAILURE, ExitCode.CHANGES, ExitCode.SUCCESS) if code in codes)


def _show_each(plans: "Sequence[HostPlan]", view: PlanView) -> None:
    for one in plans:
        if len(plans) > 1 and not view.quiet:
            say(printable(f"{one.plan.host}:\n"))
        show_plan(one.plan, view)


def _has_labels(plan: "HostPlan") -> bool:
    """Return whether a request has the labels that changes of the rules need; tell which it has not."""
    missing = plan.rules.missing_labels
    if missing:
        complain(f"error: policies.change_requires: the rules are loosened, which needs the label {', '.join(missing)}")
    return not missing


def plan_code(plan: Plan, view: PlanView) -> int:
    """Return the exit code of a plan that was shown."""
    if plan.has_errors:
        return ExitCode.FAILURE
    return ExitCode.CHANGES if view.detailed and plan.has_changes else ExitCode.SUCCESS


def tell_notes(notes: Iterable[str]) -> None:
    """Tell on stderr what is worth knowing."""
    for note in notes:
        complain(f"note: {note}")


def tell_of_errors(plan: Plan, view: PlanView) -> None:
    """Say on stderr what makes a run fail, whatever becomes of the plan; briefly, where people were shown the plan."""
    blocked = [change for change in plan.changes if change.action is Action.BLOCKED]
    briefly = view.form is Format.TEXT and not view.quiet
    if briefly and blocked:
        complain(f"error: blocked: {', '.join(one_line(change.name) for change in blocked)}")
    if briefly:
        return
    for change in blocked:
        complain(f"error: {one_line(change.name)}: {change.reason.value}: {change.message}")
    for line in plan.diagnostics:
        if not any(line in change.message for change in blocked):
            complain(f"error: {line}")


def show_report(report: "Report", view: PlanView) -> None:
    """Show what a run did."""
    if view.form is Format.JSON:
        complain(json.dumps(report.document(), sort_keys=True, ensure_ascii=False))
        return
    colour = wants_colour(sys.stdout)
    for outcome in report.outcomes:
        if not outcome.done:
            complain(f"error: {outcome.change.name}: {outcome.error}")
        elif not view.quiet and view.form is Format.TEXT:
            say(_outcome_line(outcome, colour=colour))
        if outcome.incomplete is not None:
            complain(printable(f"warning: {outcome.change.name} is incomplete: {outcome.incomplete}"))
    for name, why in (report.skipped or {}).items():
        complain(f"skipped: {name}: {why}")
    tell_notes(report.notes)
    if view.quiet or view.form is not Format.TEXT:
        return
    done = sum(1 for outcome in report.outcomes if outcome.done)
    commit = f"; committed {report.commit[:10]}" if report.commit else ""
    say(f"Done: {done} of {len(report.outcomes)} changes{commit}.")


def _outcome_line(outcome: "ModelResult", *, colour: bool) -> str:
    mark = paint(outcome.change.action.symbol, "green", colour=colour)
    where = f"  {outcome.change.path[1]}" if outcome.change.path[1] else ""
    done = f"{outcome.change.name}: {outcome.change.action.value} done{took(outcome.seconds)}{where}"
    return f"{mark} {printable(done)}" if colour else printable(done)
