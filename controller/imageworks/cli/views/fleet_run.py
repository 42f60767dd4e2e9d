"""What a run on all hosts came to, for people to look at."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from imageworks.cli.output import counted, human_duration, table, terminal_width
from imageworks.cli.views.plan import plan_text
from imageworks.fleet.host_report import HostReport
from imageworks.operations.fleet.everywhere import FleetRun
from imageworks.operations.fleet.following import HostResult, Result

RESULTS: Final = {
    Result.OK: "ok",
    Result.FAILED: "failed",
    Result.CALLED_OFF: "called off",
    Result.NOT_STARTED: "not started",
}
INDENT: Final = "  "
LEAST_COLUMNS: Final = 40
HEADINGS: Final = ("HOST", "RESULT", "CHANGES", "UNCHANGED", "TIME")


def fleet_plans_text(planned: Sequence[HostResult], *, colour: bool) -> str:
    """Return what each host would do; those with nothing to do share a line."""
    plans = {one.host: one.plan for one in planned if one.plan is not None}
    telling = {host: plan for host, plan in plans.items() if plan.has_changes or plan.has_errors}
    width = max(terminal_width() - len(INDENT), LEAST_COLUMNS)
    parts = [f"{host}\n{_indented(plan_text(one, colour=colour, width=width))}" for host, one in telling.items()]
    if quiet := [host for host in plans if host not in telling]:
        parts.append(f"No changes on {counted(len(quiet), 'host')}: {', '.join(quiet)}.")
    return "\n\n".join(parts)


def _indented(text: str) -> str:
    return "\n".join(f"{INDENT}{line}" for line in text.splitlines() if line)


def fleet_run_text(run: FleetRun) -> str:
    """Return one line a host."""
    return table(HEADINGS, [_row(one) for one in run.hosts], right=frozenset({3, 4}))


def fleet_run_errors(run: FleetRun) -> list[str]:
    """Return what is wrong, one entry a host."""
    return [f"{one.host}: {one.error}" for one in run.hosts if one.error]


def _row(one: HostResult) -> tuple[str, ...]:
    report = one.answer.report
    return (
        one.host,
        RESULTS[one.result],
        _changes(report) if report is not None else "",
        str(one.answer.unchanged) if report is not None else "",
        human_duration(one.seconds) if one.seconds else "",
    )


def _changes(report: HostReport) -> str:
    counts = Counter("failed" if one.error else one.action for one in report.models)
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items())) or "none"
