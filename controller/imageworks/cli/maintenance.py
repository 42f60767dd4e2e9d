"""Commands that keep records in order: each shows its changes as a plan, and applies them as one commit."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli.edits import (
    Backup,
    DryRun,
    DryRunOrApply,
    Registry,
    Wait,
    carry_out,
    open_ledger,
    tell_of_backup,
)
from imageworks.errors import ExitCode, UsageError
from imageworks.foundation.home import expanded

if TYPE_CHECKING:
    from collections.abc import Callable

    from imageworks.providers.ollama_values import OllamaObservation


def register(app: typer.Typer) -> None:
    """Add the commands to the application.

    Args:
        app: The application's root.
    """
    app.command("normalize-formats")(normalize_command)
    app.command("purge-deprecated")(purge_deprecated_command)
    app.command("prune-duplicates")(prune_duplicates_command)
    app.command("reset-discovered")(reset_discovered_command)
    app.command("purge-hf")(purge_hf_command)
    app.command("purge-logical-only")(purge_logical_only_command)
    app.command("backfill-ollama-paths")(backfill_command)


def normalize_command(
    dry_run: DryRunOrApply = None,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Also record size, file list and checksum anew, of what no manifest declares."),
    ] = False,
    prune_missing: Annotated[
        bool, typer.Option("--prune-missing", help="Remove entries whose files are gone, instead of deprecating them.")
    ] = False,
    backup: Backup = None,
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
    tell_of_backup(backup)
    with open_ledger(registry, read_only=not apply, wait=wait) as ledger:
        with HashProgress() as progress:
            seen, unread = look_again(ledger, rebuild=rebuild, missing=rebuild or prune_missing, told=progress)
        changes = normalize(ledger.registry.entries.values(), seen, prune_missing=prune_missing)
        carry_out(ledger, [*changes, *unread], "Normalize formats", apply=apply, told=True)
    return ExitCode.FAILURE if unread else ExitCode.SUCCESS


def purge_deprecated_command(
    placeholders_only: Annotated[
        bool, typer.Option("--placeholders-only", help="Only what older importers of Ollama's models left.")
    ] = False,
    dry_run: DryRun = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Remove deprecated entries from the registry; their files stay where they are.

    What a manifest stands behind stays: people deprecate it there, and delete the manifest when it is to go.
    """
    from imageworks.registry.maintenance import Kept, purge_deprecated

    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        declared = ledger.registry.manifests
        entries = ledger.registry.entries.values()
        found = purge_deprecated(entries, {*declared, *ledger.registry.blocked}, placeholders_only=placeholders_only)
        kept = [
            Kept(name, f"deprecated by people: delete {manifest.file} when it is to go")
            for name, manifest in declared.items()
            if manifest.fields.get("deprecated") is True
        ]
        carry_out(ledger, [*found, *kept], "Purge deprecated", apply=not dry_run, told=True)


def prune_duplicates_command(
    dry_run: DryRun = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show what stays, and why.")] = False,
    backend: Annotated[str | None, typer.Option("--backend", metavar="NAME", help="Only what it serves.")] = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Remove entries that say less than another of the same family, backend, format and quantization.

    An entry with files of its own that are there is no duplicate, and what a manifest stands behind stays.
    """
    from imageworks.registry.maintenance import prune_duplicates

    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        found = prune_duplicates(ledger.registry.entries.values(), ledger.registry.manifests, backend=backend)
        carry_out(ledger, found, "Prune duplicates", apply=not dry_run, told=verbose)


def reset_discovered_command(
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="Only what it serves, such as ollama or vllm.")
    ] = "all",
    dry_run: DryRun = False,
    backup: Backup = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Remove the entries of a backend that no manifest stands behind, so that a scan or import records them anew.

    Files stay where they are. An entry whose version is locked stays, for nothing else holds the lock.
    """
    from imageworks.registry.purges import reset_discovered

    tell_of_backup(backup)
    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        declared = {*ledger.registry.manifests, *ledger.registry.blocked}
        found = reset_discovered(ledger.registry.entries.values(), declared, backend=backend.lower())
        carry_out(ledger, found, "Reset discovered", apply=not dry_run, told=True)


def purge_hf_command(
    dry_run: DryRun = False,
    weights_root: Annotated[
        Path | None, typer.Option("--weights-root", metavar="DIR", help="The folder; the weights root if none.")
    ] = None,
    backend: Annotated[str | None, typer.Option("--backend", metavar="NAME", help="Only what it serves.")] = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Remove the entries of models that stand below the weights root and that no manifest stands behind.

    Files stay where they are: `scan` records them anew.
    """
    from imageworks.reconcile.places import LINUX
    from imageworks.reconcile.scan import root_of
    from imageworks.registry.purges import purge_hf

    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        root = weights_root or root_of(LINUX, ledger)
        if root is None:
            raise UsageError("this host has no weights root", remedy="Name the folder with --weights-root.")
        found = purge_hf(
            ledger.registry.entries.values(),
            {*ledger.registry.manifests, *ledger.registry.blocked},
            root=Path(os.path.abspath(expanded(root))),  # noqa: PTH100 # `..` must go, links must stay
            backend=backend.lower() if backend else None,
        )
        carry_out(ledger, found, "Purge models below the weights root", apply=not dry_run, told=True)


def purge_logical_only_command(
    include_curated: Annotated[
        bool,
        typer.Option(
            "--include-curated/--discovered-only", help="Also delete manifests that name no source, or entries only."
        ),
    ] = False,
    dry_run: DryRunOrApply = None,
    backup: Backup = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Show or remove what has no files: no path, or one that stands for a model that Ollama has not got.

    Without --apply nothing is written. A manifest that names a source stays: `reconcile` brings its files.
    """
    from imageworks.registry.purges import purge_logical_only

    apply = dry_run is False
    tell_of_backup(backup)
    with open_ledger(registry, read_only=not apply, wait=wait) as ledger:
        state = ledger.registry
        found = purge_logical_only(
            {name: entry for name, entry in state.entries.items() if name not in state.blocked},
            {manifest.name: manifest for manifest in state.applied},
            curated=include_curated,
            installed=_ask_ollama(),
            elsewhere=ledger.other_hosts,
        )
        carry_out(ledger, found, "Purge what has no files", apply=apply, told=True)


def _ask_ollama() -> "Callable[[str], bool | None]":
    """Return what says whether Ollama has a model, if anybody can; asked once, and only when somebody wants to know."""
    from functools import cache

    @cache
    def observed() -> "OllamaObservation":
        from imageworks.providers.ollama import OllamaProvider

        with OllamaProvider.from_environment(os.environ) as ollama:
            return ollama.observe()

    def has(name: str) -> bool | None:
        return observed().find(name) is not None or (False if observed().daemon_answers else None)

    return has


def backfill_command(
    dry_run: DryRun = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show what stays, and why.")] = False,
    no_set_format: Annotated[
        bool, typer.Option("--no-set-format", help="Leave a format that is not recorded unrecorded.")
    ] = False,
    location: Annotated[
        str, typer.Option("--location", metavar="NAME", help="The location that is recorded where there is none.")
    ] = "linux_wsl",
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Give recorded models of Ollama that have no path one in its store, so that `list` shows them.

    The path is <store>/<name in Ollama>, or ollama://<name> where no store is on this machine.
    """
    from imageworks.providers.ollama_store import is_store
    from imageworks.registry.purges import backfill_ollama_paths
    from imageworks.transfer.content import ollama_stores

    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        found = backfill_ollama_paths(
            ledger.registry.entries.values(),
            store=next(filter(is_store, ollama_stores(os.environ)), None),
            location=location,
            set_format=not no_set_format,
        )
        carry_out(ledger, found, "Backfill paths of Ollama's models", apply=not dry_run, told=verbose)
