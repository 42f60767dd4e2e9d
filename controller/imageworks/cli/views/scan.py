"""What a scan found, for people and as JSON."""

from typing import TYPE_CHECKING

from imageworks.cli.output import complain, counted, printable, say
from imageworks.foundation.texts import human_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imageworks.operations.scan.find_models import Passed
    from imageworks.operations.scan.run_scan import ScanResult
    from imageworks.operations.scan.scan import Finding


def show_findings(findings: "Iterable[Finding]") -> None:
    """Print the models that are recorded, with where they stand."""
    for finding in findings:
        old = finding.old
        said = [str(finding.fields[key]) for key in ("download_format", "quantization") if finding.fields.get(key)]
        kind = ", ".join((*said, finding.backend))
        say(f"{'~' if old else '+'} {finding.name}  ({kind})")
        if old is not None and old.name != finding.name:
            say(f"    was {old.name}")
        model = finding.candidate.model
        say(printable(f"    at {finding.candidate.path}"))
        say(f"    {counted(len(model.files), 'file')}, {human_bytes(model.total_bytes)}")
        for problem in finding.problems:
            say(printable(f"    incomplete: {problem.message}"))


def tell_passed(passed: "Iterable[Passed]") -> None:
    """Say what was passed over, and why."""
    for one in passed:
        complain(f"{'error' if one.failed else 'passed over'}: {one.path}: {one.why}")


def scan_document(result: "ScanResult", commit: str | None, *, dry_run: bool) -> dict[str, object]:
    """Return what a scan found as plain values."""
    found = result.found
    return {
        "dry_run": dry_run,
        "models": [
            {
                "name": one.name,
                "new": one.old is None,
                "path": str(one.candidate.path),
                "backend": one.backend,
                "format": one.fields.get("download_format"),
                "quantization": one.fields.get("quantization"),
                "bytes": one.candidate.model.total_bytes,
                "problems": [problem.message for problem in one.problems],
            }
            for one in (found.findings if dry_run else result.recorded)
        ],
        "passed": [
            {"path": str(one.path), "why": one.why, "failed": one.failed} for one in (*found.passed, *result.unread)
        ],
        "recorded_already": found.recorded if dry_run else result.unchanged,
        "commit": commit,
    }
