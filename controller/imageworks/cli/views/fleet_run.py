"""What a run on all hosts came to, for people to look at."""

from collections import Counter
from typing import Final

from imageworks.cli.output import human_duration, table
from imageworks.fleet.host_report import HostReport
from imageworks.operations.fleet.everywhere import FleetRun, HostResult, Result

RESULTS: Final = {
    Result.OK: "ok",
    Result.FAILED: "failed",
    Result.CALLED_OFF: "called off",
    Result.NOT_STARTED: "not started",
}
HEADINGS: Final = ("HOST", "RESULT", "CHANGES", "UNCHANGED", "TIME")


def fleet_run_text(run: FleetRun, *, dry_run: bool) -> str:
    """Return one line a host; of a dry run also what each would change."""
    rows = [_row(one) for one in run.hosts]
    parts = [table(HEADINGS, rows, right=frozenset({3, 4}))]
    if dry_run and (planned := [line for one in run.hosts for line in _planned(one)]):
        parts.append("Would change:\n" + table(("HOST", "ACTION", "MODEL", "WHY"), planned))
    return "\n\n".join(parts)


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


def _planned(one: HostResult) -> list[tuple[str, ...]]:
    models = one.answer.report.models if one.answer.report is not None else ()
    return [(one.host, model.action, model.name, model.error or model.reason) for model in models]
