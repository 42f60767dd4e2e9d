"""The ``verify`` command: is every recorded byte still there and right."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imageworks.cli import completion
from imageworks.cli.options import AsJson, Registry, Wait
from imageworks.cli.output import complain, counted, printable, say, say_json
from imageworks.cli.views.progress import show_progress
from imageworks.foundation.errors import UsageError
from imageworks.foundation.texts import human_bytes
from imageworks.operations.session import start_session

if TYPE_CHECKING:
    from imageworks.host.settings import HostSettings
    from imageworks.plan.verification import Verified

MOST_PROBLEMS: Final = 20


def verify_command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The model; all of this host if none.", autocompletion=completion.names),
    ] = None,
    fix_missing: Annotated[
        bool, typer.Option("--fix-missing", help="Clear what is recorded of files that are gone; keep the entry.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Read files too that look unchanged.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch the damaged files again, at the recorded commit.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look, whatever is to be mended.")] = False,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Compare every recorded byte with the disk.

    Existence, sizes and full hashes of recorded models, on all cores. Files that look as they did when they were hashed
    are not read again, unless --full. Exits with 0 when all is right, 1 when something is damaged, missing or
    incomplete, 3 when something could not be verified.

    Examples:
        imageworks-models verify
        imageworks-models verify --repair --dry-run
        imageworks-models verify mistral-7b-instruct-awq --full
    """
    from imageworks.operations.verify import verify as verifying

    if fix_missing and repair:
        raise UsageError("--fix-missing and --repair exclude each other: the one forgets what the other brings back")
    session = start_session(registry, writes=(fix_missing or repair) and not dry_run)
    root, host = session.root, session.host
    with show_progress() as progress:
        results = verifying.verify(root, host, name, full=full, progress=progress)
    if not as_json:
        show_results(results)
    if dry_run and (fix_missing or repair):
        for one in results:
            if one.verdict.value == "missing" or (repair and one.verdict.value in {"damaged", "incomplete"}):
                complain(f"{one.name}: would be {'repaired' if repair else 'cleared'}; nothing was written")
    elif fix_missing:
        cleared = verifying.clear_missing(root, host, results, wait=wait)
        for cleared_name in cleared:
            complain(
                f"{cleared_name}: cleared; the entry is kept, and `reconcile` brings the files back if it is declared"
            )
        results = tuple(result for result in results if result.name not in cleared)
    elif repair:
        _repair(root, host, results, wait=wait)
        results = verifying.verify(root, host, name, full=False)
    if as_json:
        say_json({"host": host.host, "models": [result.document() for result in results]})
    else:
        say(_summary(results))
    return verifying.exit_code(results)


def _repair(root: Path, host: "HostSettings", results: "tuple[Verified, ...]", *, wait: float) -> None:
    from imageworks.operations.verify.verify import repair

    with show_progress() as shown:
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
    return f"{counted(len(results), 'model')}: {told or 'nothing is recorded here'}.{hint}"
