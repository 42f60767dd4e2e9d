"""Shows measurements as tables on stdout and keeps them as JSON."""

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import Comparison, Verdict


def show(comparison: Comparison) -> None:
    """Print a comparison: times first, then each limit and whether its median keeps it."""
    print(f"\n== {comparison.title}")
    for note in comparison.notes:
        print(f"   {note}")
    rows = []
    for name, samples in comparison.samples.items():
        seconds = [sample.seconds for sample in samples]
        cpu = statistics.median(sample.cpu_seconds for sample in samples)
        rows.append(
            (name, *(f"{value:.3f}" for value in (statistics.median(seconds), min(seconds), max(seconds), cpu)))
        )
    print_table(("seconds", "median", "min", "max", "cpu"), rows)
    if comparison.limits:
        print()
        print_table(
            ("limit", "bound", "median", "best", ""), [_limit_row(verdict) for verdict in comparison.verdicts()]
        )
    rounds = len(next(iter(comparison.samples.values())))
    print(f"   rounds: {rounds}; others used {comparison.foreign_cpu:.0%} of the machine meanwhile", flush=True)


def _limit_row(verdict: Verdict) -> tuple[str, ...]:
    limit = verdict.limit
    if limit.baseline is None:
        subject, unit, sign = limit.contender, " s", "<="
    else:
        relation = "faster than" if limit.faster else "of"
        subject, unit, sign = f"{limit.contender}, {relation} {limit.baseline}", " x", ">=" if limit.faster else "<="
    subject += ", CPU" if limit.cpu else ""
    values = (f"{verdict.median:.3f}{unit}", f"{verdict.best:.3f}{unit}")
    return subject, f"{sign} {limit.bound:g}{unit}", *values, "kept" if verdict.kept else "MISSED"


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns, numbers to the right."""
    lines = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("   " + "  ".join(cells).rstrip())


def keep(folder: Path, name: str, comparisons: Sequence[Comparison]) -> Path:
    """Write measurements as one JSON file and return its path.

    Args:
        folder: Where to.
        name: What was measured.
        comparisons: The measurements.
    """
    now = datetime.now(UTC)
    content = {
        "format_version": 1,
        "measured_at": now.isoformat(timespec="seconds"),
        "machine": {"system": platform.platform(), "python": platform.python_version()},
        "comparisons": [
            {**asdict(one), "verdicts": [asdict(verdict) for verdict in one.verdicts()]} for one in comparisons
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{now:%Y%m%dT%H%M%SZ}.json"
    target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return target
