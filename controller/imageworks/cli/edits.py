"""What the commands that keep records in order share: the open ledger, the plan that they show, the one commit."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.output import complain, printable, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imageworks.reconcile.ledger import Ledger
    from imageworks.reconcile.maintain import Prepared
    from imageworks.registry.git_values import CommitResult
    from imageworks.registry.maintenance import EntryChange, Kept

Registry = Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")]
DryRunOrApply = Annotated[
    bool | None, typer.Option("--dry-run/--apply", help="Show the changes (the default), or make them.")
]
Backup = Annotated[bool | None, typer.Option("--backup/--no-backup", help="Accepted: git history is the backup.")]


@contextmanager
def open_ledger(registry: Path | None, *, read_only: bool, wait: float) -> "Iterator[Ledger]":
    """Open the registry's records, and tell what a person should know of them.

    Args:
        registry: What ``--registry`` named, if anything.
        read_only: Whether nothing may be written, anywhere.
        wait: Seconds to wait for another controller.
    """
    from imageworks.config import find_registry, load_host_settings
    from imageworks.log import start_logging
    from imageworks.reconcile.ledger import Ledger

    root = find_registry(registry)
    host = load_host_settings(registry=root)
    if not read_only:
        start_logging(host.log_dir)
    with Ledger.open(root, host, read_only=read_only, wait=wait) as ledger:
        for note in ledger.notes:
            complain(f"note: {note}")
        yield ledger


def tell_of_backup(backup: bool | None) -> None:  # noqa: FBT001 # the option's three values
    """Say what stands for the backup that somebody asked for, or asked to be spared."""
    if backup is not None:
        complain("note: git history is the backup: `git revert` takes a commit of this command back")


def carry_out(
    ledger: "Ledger", found: "Iterable[EntryChange | Kept]", title: str, *, apply: bool, told: bool
) -> "CommitResult | None":
    """Show changes as a plan and, when asked, commit them.

    Args:
        ledger: What is recorded.
        found: What was decided.
        title: What the commit's subject begins with.
        apply: Whether the changes are made.
        told: Whether it is told what stays, and why.
    """
    from imageworks.reconcile.maintain import prepare

    prepared = prepare(ledger, found, title)
    show(prepared, told=told)
    if not prepared.changes:
        say("No changes.")
        return None
    say(f"Plan: {_counts(prepared)}." + ("" if apply else " Nothing was written."))
    result = ledger.commit(prepared.edits) if apply else None
    if result is not None:
        say(f"Done; committed {result.id[:10]}.")
    return result


def show(prepared: "Prepared", *, told: bool) -> None:
    """Print what changes, a line each with its differences below, and what stays as talk.

    Args:
        prepared: What was decided.
        told: Whether what stays is told.
    """
    for change in prepared.changes:
        say(printable(f"{change.deed.value} {change.name}  {change.why}"))
        for difference in change.differences:
            say(printable(f"    {difference}"))
    for kept in prepared.kept if told else ():
        complain(f"kept: {kept.name}: {kept.why}")


def _counts(prepared: "Prepared") -> str:
    from imageworks.registry.maintenance import Deed

    words = {
        Deed.ADD: "to add",
        Deed.CHANGE: "to change",
        Deed.RENAME: "to rename",
        Deed.DEPRECATE: "to deprecate",
        Deed.REMOVE: "to remove",
    }
    numbers = {deed: sum(1 for change in prepared.changes if change.deed is deed) for deed in words}
    always = {Deed.CHANGE, Deed.DEPRECATE, Deed.REMOVE}
    return ", ".join(f"{numbers[deed]} {word}" for deed, word in words.items() if numbers[deed] or deed in always)
