"""Commands that keep records in order: each shows its changes as a plan, and applies them as one commit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.completion import backends, locations
from imageworks.cli.entry_changes import carry_out, change_entries, open_ledger, tell_of_backup
from imageworks.cli.options import AsJson, Backup, DryRun, DryRunOrApply, Registry, Wait, Yes, YesOrApply
from imageworks.cli.views.progress import show_progress
from imageworks.foundation.errors import ExitCode
from imageworks.operations.maintenance.find import find_below, find_deprecated, find_discovered, find_duplicates
from imageworks.operations.maintenance.normalize import find_changes
from imageworks.operations.maintenance.store_entries import find_logical, find_pathless

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imageworks.operations.maintenance.entry_changes import EntryChange, Kept
    from imageworks.reconcile.ledger import RecordSession

OfBackend = Annotated[
    str | None, typer.Option("--backend", metavar="NAME", help="Only what it serves.", autocompletion=backends)
]
TellKept = Annotated[bool, typer.Option("--verbose", "-v", help="Also show what stays, and why.")]


def normalize_command(
    dry_run: DryRunOrApply = None,
    yes: Yes = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Also record size, file list and checksum anew, of what no manifest declares."),
    ] = False,
    prune_missing: Annotated[
        bool, typer.Option("--prune-missing", help="Remove entries whose files are gone, instead of deprecating them.")
    ] = False,
    backup: Backup = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Detect again what recorded models are.

    Format, quantization, capabilities and whatever else detection says are compared with what is recorded. Without
    --apply nothing is written. What people declare stays, no name changes, and files are never changed. With --rebuild
    or --prune-missing, entries whose files are gone are marked as deprecated, or removed.

    Examples:
        imageworks-models normalize-formats
        imageworks-models normalize-formats --rebuild --apply
    """
    apply = dry_run is False or (yes and dry_run is None)
    tell_of_backup(backup)
    with open_ledger(registry, read_only=not apply, wait=wait) as ledger:
        with show_progress() as progress:
            found, unread = find_changes(ledger, rebuild=rebuild, prune_missing=prune_missing, progress=progress)
        carry_out(ledger, found, "Normalize formats", apply=apply, as_json=as_json)
    return ExitCode.FAILURE if unread else ExitCode.SUCCESS


def purge_deprecated_command(
    placeholders_only: Annotated[
        bool, typer.Option("--placeholders-only", help="Only what older importers of Ollama's models left.")
    ] = False,
    dry_run: DryRun = False,
    yes: YesOrApply = False,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Remove the entries of deprecated models.

    Files stay where they are. What a manifest stands behind stays: people deprecate it there, and delete the manifest
    when it is to go. At a terminal it asks first.

    Examples:
        imageworks-models purge-deprecated --dry-run
    """

    def find(ledger: "RecordSession") -> "Iterable[EntryChange | Kept]":
        return find_deprecated(ledger, placeholders_only=placeholders_only)

    return change_entries(
        "Purge deprecated", find, registry=registry, wait=wait, apply=not dry_run, ask=not yes, as_json=as_json
    )


def prune_duplicates_command(
    dry_run: DryRun = False,
    yes: YesOrApply = False,
    verbose: TellKept = False,
    backend: OfBackend = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Remove entries that say less than another.

    Another of the same family, backend, format and quantization is meant. An entry with files of its own that are
    there is no duplicate, and what a manifest stands behind stays. At a terminal it asks first.

    Examples:
        imageworks-models prune-duplicates --dry-run --verbose
    """
    return change_entries(
        "Prune duplicates",
        lambda ledger: find_duplicates(ledger, backend=backend),
        registry=registry,
        wait=wait,
        apply=not dry_run,
        ask=not yes,
        as_json=as_json,
        told=verbose,
    )


def reset_discovered_command(
    backend: Annotated[
        str,
        typer.Option(
            "--backend", metavar="NAME", help="Only what it serves, such as ollama or vllm.", autocompletion=backends
        ),
    ] = "all",
    dry_run: DryRun = False,
    yes: YesOrApply = False,
    backup: Backup = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Remove the entries of a backend, to record them anew.

    Only those that no manifest stands behind; a scan or import records them again. Files stay where they are. An entry
    whose version is locked stays, for nothing else holds the lock. At a terminal it asks first.

    Examples:
        imageworks-models reset-discovered --backend ollama --dry-run
    """
    tell_of_backup(backup)
    return change_entries(
        "Reset discovered",
        lambda ledger: find_discovered(ledger, backend=backend),
        registry=registry,
        wait=wait,
        apply=not dry_run,
        ask=not yes,
        as_json=as_json,
    )


def purge_hf_command(
    dry_run: DryRun = False,
    yes: YesOrApply = False,
    weights_root: Annotated[
        Path | None, typer.Option("--weights-root", metavar="DIR", help="The folder; the weights root if none.")
    ] = None,
    backend: OfBackend = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Remove the entries below the weights root.

    Only those that no manifest stands behind. Files stay where they are: `scan` records them anew. At a terminal it
    asks first.

    Examples:
        imageworks-models purge-hf --backend unassigned --dry-run
    """
    return change_entries(
        "Purge models below the weights root",
        lambda ledger: find_below(ledger, weights_root, backend=backend),
        registry=registry,
        wait=wait,
        apply=not dry_run,
        ask=not yes,
        as_json=as_json,
    )


def purge_logical_only_command(
    include_curated: Annotated[
        bool,
        typer.Option(
            "--include-curated/--discovered-only", help="Also delete manifests that name no source, or entries only."
        ),
    ] = False,
    dry_run: DryRunOrApply = None,
    yes: Yes = False,
    backup: Backup = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Remove the entries of models without files.

    They have no path, or one that stands for a model that Ollama has not got. Without --apply nothing is written. A
    manifest that names a source stays: `reconcile` brings its files.

    Examples:
        imageworks-models purge-logical-only
        imageworks-models purge-logical-only --apply
    """
    tell_of_backup(backup)
    return change_entries(
        "Purge what has no files",
        lambda ledger: find_logical(ledger, curated=include_curated),
        registry=registry,
        wait=wait,
        apply=dry_run is False or (yes and dry_run is None),
        as_json=as_json,
    )


def backfill_command(
    dry_run: DryRun = False,
    yes: YesOrApply = False,
    verbose: TellKept = False,
    no_set_format: Annotated[
        bool, typer.Option("--no-set-format", help="Leave a format that is not recorded unrecorded.")
    ] = False,
    location: Annotated[
        str,
        typer.Option(
            "--location",
            metavar="NAME",
            help="The location that is recorded where there is none.",
            autocompletion=locations,
        ),
    ] = "linux_wsl",
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Give entries of Ollama's models a path.

    Those that have none get one in Ollama's store, so that `list` shows them: <store>/<name in Ollama>, or
    ollama://<name> where no store is on this machine. At a terminal it asks first.

    Examples:
        imageworks-models backfill-ollama-paths --dry-run --verbose
    """
    return change_entries(
        "Backfill paths of Ollama's models",
        lambda ledger: find_pathless(ledger, "ollama", location=location, set_format=not no_set_format),
        registry=registry,
        wait=wait,
        apply=not dry_run,
        ask=not yes,
        as_json=as_json,
        told=verbose,
    )
