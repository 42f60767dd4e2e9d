"""The ``verify`` command: is every recorded byte still there and right."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli.output import complain, counted, human_bytes, printable, say
from imageworks.errors import UsageError

if TYPE_CHECKING:
    from imageworks.config import HostSettings
    from imageworks.reconcile.verify import Verified

MOST_PROBLEMS: Final = 20


def register(app: typer.Typer) -> None:
    """Add the command to the application.

    Args:
        app: The application's root.
    """
    app.command("verify")(verify_command)


def verify_command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The model; all of this host if none.")] = None,
    fix_missing: Annotated[
        bool, typer.Option("--fix-missing", help="Clear what is recorded of files that are gone; keep the entry.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Read files too that look unchanged.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch the damaged files again, at the recorded commit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print stable JSON.")] = False,
    registry: Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")] = 0.0,
) -> int:
    """Compare recorded models with the disk: existence, sizes and full hashes, on all cores.

    Files that look as they did when they were hashed are not read again, unless --full. Exits with 0 when all is right,
    1 when something is damaged, missing or incomplete, 3 when something could not be verified.
    """
    from imageworks.cli.hashing import HashProgress
    from imageworks.config import find_registry, load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile import verify as verifying

    if fix_missing and repair:
        raise UsageError("--fix-missing and --repair exclude each other: the one forgets what the other brings back")
    root = find_registry(registry)
    host = load_host_settings(registry=root)
    if fix_missing or repair:
        start_logging(host.log_dir)
    with HashProgress() as told:
        results = verifying.verify(root, host, name, full=full, told=told)
    if not as_json:
        show_results(results)
    if fix_missing:
        cleared = verifying.clear_missing(root, host, results, wait=wait)
        for one in cleared:
            complain(f"{one}: cleared; the entry is kept, and `reconcile` brings the files back if it is declared")
        results = tuple(result for result in results if result.name not in cleared)
    if repair:
        _repair(root, host, results, wait=wait)
        results = verifying.verify(root, host, name, full=False)
    if as_json:
        models = [result.document() for result in results]
        say(json.dumps({"format_version": verifying.FORMAT_VERSION, "host": host.host, "models": models}, indent=2))
    else:
        say(_summary(results))
    return verifying.exit_code(results)


def _repair(root: Path, host: "HostSettings", results: "tuple[Verified, ...]", *, wait: float) -> None:
    from imageworks.cli.progress import show_progress
    from imageworks.reconcile.verify import repair

    with show_progress(quiet=False, wanted=True) as shown:
        report, left = repair(root, host, results, shown, wait=wait)
    for name, why in left.items():
        complain(f"not repaired: {name}: {why}")
    for outcome in report.outcomes if report else ():
        if outcome.done:
            complain(f"{outcome.change.name}: {outcome.change.action.value} done")


_SIGNS = {"intact": "✅", "incomplete": "❌", "damaged": "❌", "missing": "❌", "unverified": "⚠️ "}


def show_results(results: "tuple[Verified, ...]") -> None:
    """Print what came of verifying, a line a model and a line a problem.

    Args:
        results: What verifying found.
    """
    for result in results:
        read = f", {human_bytes(result.hashed)} read" if result.hashed else ""
        facts = f" ({counted(result.files, 'file')}, {human_bytes(result.size)}{read})" if result.files else ""
        doubtful = result.verdict.value == "intact" and result.problems
        sign = _SIGNS["unverified" if doubtful else result.verdict.value]
        say(printable(f"{sign} {result.name}: {result.verdict.value}{facts}"))
        for line in _problems(result):
            say(printable(f"    {line}"))


def _problems(result: "Verified") -> Iterator[str]:
    """Yield a line a problem; a folder that is gone is one, and no flood of others hides the next model."""
    gone = [problem.path for problem in result.problems if problem.fault.value == "file-missing"]
    if len(gone) == result.files > 1:
        yield f"file-missing: none of its {result.files} files is there"
        return
    for problem in result.problems[:MOST_PROBLEMS]:
        what = f"{problem.path} {problem.message}" if problem.path else problem.message
        yield f"{problem.fault.value}: {what}"
    if len(result.problems) > MOST_PROBLEMS:
        yield f"and {len(result.problems) - MOST_PROBLEMS} more; --json lists all"


_INCOMPLETE: Final = (
    "\nOf an incomplete model every byte is right, and something that it needs never came: `verify NAME --repair` "
    "brings it where its commit has it; else choose another revision or repository."
)


def _summary(results: "tuple[Verified, ...]") -> str:
    counts = Counter(result.verdict.value for result in results)
    told = ", ".join(f"{counts[word]} {word}" for word in _SIGNS if counts[word])
    hint = ""
    if counts["damaged"] or counts["missing"]:
        hint = "\n`verify --repair` fetches what is damaged; `verify --fix-missing` clears what is gone."
    if counts["incomplete"]:
        hint += _INCOMPLETE
    return f"{len(results)} verified: {told or 'nothing is recorded here'}.{hint}"
