"""How all hosts stand, for people to look at."""

from datetime import UTC, datetime
from typing import Final

from imageworks.cli.output import table
from imageworks.fleet.durations import shown_duration
from imageworks.fleet.status import RIGHT, FleetHost, FleetStatus, ModelOnHost, Standing
from imageworks.foundation.texts import human_bytes

MOST_COLUMNS: Final = 8
"""Hosts that have a column each; more are counted."""
MARKS: Final = {Standing.AS_DECLARED: "ok", Standing.UNDECLARED: "not declared", Standing.LEFT_OVER: "left over"}


def fleet_text(status: FleetStatus, *, now: datetime | None = None) -> str:
    """Return the hosts, the models on them, and what is not as declared."""
    present = now or datetime.now(UTC)
    if not status.hosts:
        return "No host is known yet."
    parts = [table(HOST_HEADINGS, [_host_row(host, present) for host in status.hosts], right=frozenset({2, 5}))]
    if status.copies:
        parts.append(_models(status))
    if wrong := [line for host in status.hosts for line in _wrong_lines(host)]:
        parts.append("Not as declared:\n" + table(("HOST", "MODEL", "WHY"), wrong))
    return "\n\n".join(parts)


HOST_HEADINGS: Final = ("HOST", "REVISION", "BEHIND", "LAST SEEN", "AS DECLARED", "BYTES", "NOTE")


def _host_row(host: FleetHost, now: datetime) -> tuple[str, ...]:
    last = f"{shown_duration((now - host.last).total_seconds())} ago" if host.last is not None else "never"
    notes = ["this host"] if host.current else []
    notes += [host.problem] if host.problem else []
    if host.report is None and host.last is not None:
        notes.append("does not report")
    right = host.declared - len(host.wrong)
    return (
        host.name,
        (host.revision or "unknown")[:10],
        "?" if host.behind is None else str(host.behind),
        last,
        f"{right} of {host.declared}",
        human_bytes(host.size),
        "; ".join(notes),
    )


def _models(status: FleetStatus) -> str:
    by_host = [{model.name: model for model in host.models} for host in status.hosts]
    columns = [host.name for host in status.hosts] if len(status.hosts) <= MOST_COLUMNS else []
    rows = []
    for name, copies in status.copies.items():
        found = [models.get(name) for models in by_host]
        largest = max((model.size for model in found if model is not None), default=0)
        cells = [_cell(model) for model in found] if columns else []
        rows.append((name, "1 copy" if len(copies) == 1 else f"{len(copies)} copies", human_bytes(largest), *cells))
    return table(("MODEL", "COPIES", "BYTES", *columns), rows, right=frozenset({2}))


def _cell(model: ModelOnHost | None) -> str:
    if model is None:
        return "-"
    said = MARKS.get(model.standing, model.standing.value)
    return f"{said} {model.revision[:10]}".strip() if model.is_there else said


def _wrong_lines(host: FleetHost) -> list[tuple[str, str, str]]:
    lines = [(host.name, "", host.problem)] if host.problem else []
    return lines + [
        (host.name, model.name, model.reason or model.standing.value)
        for model in host.models
        if model.standing not in RIGHT
    ]
