"""Commands that keep records in order: each shows its changes as a plan, and applies them as one commit."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.output import complain, printable, say
from imageworks.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imageworks.reconcile.ledger import Ledger
    from imageworks.registry.maintenance import EntryChange, Kept

Registry = Annotated[Path | None, typer.Option("--registry", metavar="DIR", help="The registry to use.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another controller.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application.

    Args:
        app: The application's root.
    """
    app.command("normalize-formats")(normalize_command)
    app.command("purge-deprecated")(purge_deprecated_command)
    app.command("prune-duplicates")(prune_duplicates_command)


def normalize_command(
    dry_run: Annotated[bool | None, typer.Option("--dry-run/--apply", help="Show the changes, or make them.")] = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Also record size, file list and checksum anew, of what no manifest declares."),
    ] = False,
    prune_missing: Annotated[
        bool, typer.Option("--prune-missing", help="Remove entries whose files are gone, instead of deprecating them.")
    ] = False,
    backup: Annotated[
        bool | None, typer.Option("--backup/--no-backup", help="Accepted: git history is the backup.")
    ] = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Detect formats and quantizations of recorded models again, and show or record what differs.

    Without --apply nothing is written. What people declare stays, and files are never changed. With --rebuild or
    --prune-missing, entries whose files are gone are marked as deprecated, or removed.
    """
    from imageworks.cli.hashing import HashProgress
    from imageworks.reconcile.normalize import look_again
    from imageworks.registry.maintenance import normalize

    apply = dry_run is False
    _tell_of_backup(backup)
    with _ledger(registry, read_only=not apply, wait=wait) as ledger:
        with HashProgress() as progress:
            seen, unread = look_again(ledger, rebuild=rebuild, missing=rebuild or prune_missing, told=progress)
        changes = normalize(ledger.registry.entries.values(), seen, prune_missing=prune_missing)
        _carry_out(ledger, [*changes, *unread], "Normalize formats", apply=apply, told=True)
    return ExitCode.FAILURE if unread else ExitCode.SUCCESS


def purge_deprecated_command(
    placeholders_only: Annotated[
        bool, typer.Option("--placeholders-only", help="Only what older importers of Ollama's models left.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go and write nothing.")] = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Remove deprecated entries from the registry; their files stay where they are.

    What a manifest stands behind stays: people deprecate it there, and delete the manifest when it is to go.
    """
    from imageworks.registry.maintenance import Kept, purge_deprecated

    with _ledger(registry, read_only=dry_run, wait=wait) as ledger:
        declared = ledger.registry.manifests
        entries = ledger.registry.entries.values()
        found = purge_deprecated(entries, {*declared, *ledger.registry.blocked}, placeholders_only=placeholders_only)
        kept = [
            Kept(name, f"deprecated by people: delete {manifest.file} when it is to go")
            for name, manifest in declared.items()
            if manifest.fields.get("deprecated") is True
        ]
        _carry_out(ledger, [*found, *kept], "Purge deprecated", apply=not dry_run, told=True)


def prune_duplicates_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go and write nothing.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show what stays, and why.")] = False,
    backend: Annotated[str | None, typer.Option("--backend", metavar="NAME", help="Only what it serves.")] = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Remove entries that say less than another of the same family, backend, format and quantization.

    An entry with files of its own that are there is no duplicate, and what a manifest stands behind stays.
    """
    from imageworks.registry.maintenance import prune_duplicates

    with _ledger(registry, read_only=dry_run, wait=wait) as ledger:
        found = prune_duplicates(ledger.registry.entries.values(), ledger.registry.manifests, backend=backend)
        _carry_out(ledger, found, "Prune duplicates", apply=not dry_run, told=verbose)


@contextmanager
def _ledger(registry: Path | None, *, read_only: bool, wait: float) -> "Iterator[Ledger]":
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


def _tell_of_backup(backup: bool | None) -> None:  # noqa: FBT001 # the option's three values
    if backup is not None:
        complain("note: git history is the backup: `git revert` takes a commit of this command back")


def _carry_out(ledger: "Ledger", found: "Sequence[EntryChange | Kept]", title: str, *, apply: bool, told: bool) -> None:
    """Show changes as a plan and, when asked, commit them."""
    from imageworks.reconcile.ledger import Edits
    from imageworks.registry.maintenance import Deed, EntryChange, Kept

    changes = [change for change in found if isinstance(change, EntryChange)]
    for change in changes:
        say(printable(f"{change.deed.value} {change.name}  {change.why}"))
        for difference in change.differences:
            say(printable(f"    {difference}"))
    for kept in found:
        if told and isinstance(kept, Kept):
            complain(f"kept: {kept.name}: {kept.why}")
    words = {Deed.CHANGE: "to change", Deed.DEPRECATE: "to deprecate", Deed.REMOVE: "to remove"}
    counts = [f"{sum(1 for c in changes if c.deed is deed)} {word}" for deed, word in words.items()]
    if not changes:
        say("No changes.")
        return
    say(f"Plan: {', '.join(counts)}." + ("" if apply else " Nothing was written."))
    if not apply:
        return
    edits = Edits(
        written={change.name: change.entry for change in changes if change.entry is not None},
        gone=frozenset(change.name for change in changes if change.entry is None),
        title=f"{title}: {_models(changes)}",
        lines=tuple(f"{change.deed.value} {change.name}" for change in changes),
    )
    result = ledger.commit(edits)
    if result is not None:
        say(f"Done; committed {result.id[:10]}.")


def _models(changes: "Iterable[EntryChange]") -> str:
    count = len(list(changes))
    return "1 entry" if count == 1 else f"{count} entries"
