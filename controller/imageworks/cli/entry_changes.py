"""What the commands that keep records in order share: the plan that they show, who is asked, the one commit."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.cli.output import complain, printable, say, say_json_pieces
from imageworks.cli.prompts import agrees, at_terminal
from imageworks.foundation.errors import ExitCode
from imageworks.operations.session import open_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imageworks.git.values import CommitResult
    from imageworks.operations.maintenance.entry_changes import EntryChange, Kept
    from imageworks.operations.maintenance.prepare import Prepared
    from imageworks.reconcile.ledger import RecordSession

    Find = Callable[[RecordSession], Iterable[EntryChange | Kept]]

NOTHING: Final = "No changes."


@contextmanager
def open_ledger(
    registry: Path | None, *, read_only: bool, wait: float, aside: bool = False
) -> "Iterator[RecordSession]":
    """Open the registry's records, and tell what a person should know of them."""
    with open_records(registry, read_only=read_only, wait=wait, aside=aside) as ledger:
        for note in ledger.notes:
            complain(f"note: {note}")
        yield ledger


def tell_of_backup(backup: bool | None) -> None:  # noqa: FBT001 # the option's three values
    """Say what stands for the backup that somebody asked for, or asked to be spared."""
    if backup is not None:
        complain("note: git history is the backup: `git revert` takes a commit of this command back")


def change_entries(  # what the options of these commands say
    title: str,
    find: "Find",
    *,
    registry: Path | None,
    wait: float,
    apply: bool,
    ask: bool = False,
    as_json: bool = False,
    told: bool = True,
) -> int:
    """Show changes of entries as a plan, ask, and commit them; return the exit code."""
    with open_ledger(registry, read_only=not apply, wait=wait) as ledger:
        return carry_out(ledger, find(ledger), title, apply=apply, ask=ask, as_json=as_json, told=told)


def carry_out(  # as above
    ledger: "RecordSession",
    found: "Iterable[EntryChange | Kept]",
    title: str,
    *,
    apply: bool,
    told: bool = True,
    ask: bool = False,
    as_json: bool = False,
) -> int:
    """Show changes that were found as a plan, ask, and commit them; return the exit code."""
    from imageworks.operations.maintenance.prepare import prepare

    prepared = prepare(ledger, found, title)
    del found  # which has ten thousand new entries, too
    if not as_json:
        show(prepared, told=told)
        say(f"Plan: {_counts(prepared)}." + ("" if apply else " Nothing was written.") if prepared.changes else NOTHING)
    if apply and ask and prepared.changes and at_terminal() and not agrees("Apply this?"):
        complain("nothing was changed")
        return ExitCode.FAILURE
    edits = prepared.edits if apply and prepared.changes else None
    if not as_json:
        del prepared  # it was shown
    result = ledger.commit(edits) if edits is not None else None
    if as_json:
        say_json_pieces(_document(prepared, result, apply=apply))
    elif result is not None:
        say(f"Done; committed {result.id[:10]}.")
    return ExitCode.SUCCESS


def show(prepared: "Prepared", *, told: bool) -> None:
    """Print what changes, a line each with its differences below, and what stays as talk."""
    for change in prepared.changes:
        say(printable(f"{change.deed.value} {change.name}  {change.why}"))
        for difference in change.differences:
            say(printable(f"    {difference}"))
    for kept in prepared.kept if told else ():
        complain(f"kept: {kept.name}: {kept.why}")


def _document(prepared: "Prepared", result: "CommitResult | None", *, apply: bool) -> dict[str, object]:
    return {
        "dry_run": not apply,
        "operations": (
            {
                "action": one.deed.name.lower(),
                "name": one.name,
                "new_name": one.new_name,
                "why": one.why,
                "differences": list(one.differences),
            }
            for one in prepared.changes
        ),
        "skipped": ({"name": one.name, "why": one.why} for one in prepared.kept),
        "commit": result.id if result else None,
    }


def _counts(prepared: "Prepared") -> str:
    words = [change.deed.name.lower() for change in prepared.changes]
    always = {"change", "deprecate", "remove"}
    order = ("add", "change", "rename", "deprecate", "remove")
    return ", ".join(f"{words.count(word)} to {word}" for word in order if word in words or word in always)
