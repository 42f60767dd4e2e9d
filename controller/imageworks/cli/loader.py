"""The ``imageworks-loader`` console script: record what is on this machine, and forget it in order to do so anew."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imageworks.cli import app as commands
from imageworks.cli.edits import (
    Backup,
    DryRun,
    DryRunOrApply,
    Registry,
    Wait,
    carry_out,
    open_ledger,
    show,
    tell_of_backup,
)
from imageworks.cli.import_ollama import Location, Placeholders, ServedBy, Testing, import_options, look_at_ollama
from imageworks.cli.maintenance import reset_discovered_command
from imageworks.cli.output import complain, say
from imageworks.cli.scan import Backend, keep_allowed, scan_code, scan_command, scan_options, show_findings, tell_passed
from imageworks.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from imageworks.reconcile.finding import Passed
    from imageworks.reconcile.ledger import Edits, Ledger
    from imageworks.reconcile.ollama_import import ImportOptions
    from imageworks.reconcile.scan import ScanOptions, Survey
    from imageworks.registry.load import RegistryState
    from imageworks.registry.maintenance import EntryChange, Kept

app = typer.Typer(
    help="Record the models that are on this machine, or forget what was recorded so as to record it anew.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("reset-discovered")(reset_discovered_command)


class Providers(StrEnum):
    """Where imported models are kept."""

    ALL = "all"
    HF = "hf"
    OLLAMA = "ollama"


def main() -> None:
    """Run the command line and exit with its code."""
    commands.main(app)


@app.command("purge-imported")
def purge_imported_command(
    providers: Annotated[Providers, typer.Option("--providers", help="Which imports: of folders, of Ollama, all.")] = (
        Providers.ALL
    ),
    dry_run: DryRunOrApply = None,
    backup: Backup = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Show or remove the entries that scans, imports and downloads without a manifest recorded.

    Without --apply nothing is written. Files stay, and so does what a manifest stands behind.
    """
    from imageworks.registry.purges import purge_imported

    apply = dry_run is False
    tell_of_backup(backup)
    with open_ledger(registry, read_only=not apply, wait=wait) as ledger:
        found = purge_imported(
            ledger.registry.entries.values(),
            {*ledger.registry.manifests, *ledger.registry.blocked},
            providers=("hf", "ollama") if providers is Providers.ALL else (providers.value,),
        )
        carry_out(ledger, found, "Purge imported", apply=apply, told=True)


@app.command("ingest-local-hf")
def ingest_command(
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Where to look; the weights root if none.")
    ] = None,
    dry_run: DryRun = False,
    include_testing: Testing = False,
    update_existing: Annotated[
        bool, typer.Option("--update-existing", help="Look again at models that are recorded already.")
    ] = False,
    backend: Annotated[
        Backend | None, typer.Option("--backend", help="What will serve them; else vllm, and gguf for GGUF.")
    ] = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Record the owner/repo folders below a root: what `imageworks-models scan` does."""
    return scan_command(
        base=root,
        dry_run=dry_run,
        include_testing=include_testing,
        update_existing=update_existing,
        backend=backend,
        registry=registry,
        wait=wait,
    )


@app.command("rebuild-ollama")
def rebuild_command(
    location: Location = None,
    backend: ServedBy = Backend.OLLAMA,
    dry_run: DryRun = False,
    include_testing: Testing = False,
    backup: Backup = None,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> None:
    """Forget what was recorded of Ollama's models and record anew what Ollama has, in one commit.

    Names that were given to entries are forgotten too; `import-ollama` keeps them.
    """
    from imageworks.reconcile.ollama_import import plan_rebuild

    tell_of_backup(backup)
    options = import_options(backend=backend, location=location, include_testing=include_testing)
    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        found = plan_rebuild(ledger.registry, look_at_ollama(), options)
        carry_out(ledger, found, "Rebuild Ollama's models", apply=not dry_run, told=True)


@app.command("discover-all")
def discover_command(
    hf_root: Annotated[
        Path | None, typer.Option("--hf-root", metavar="DIR", help="Where to look; the weights root if none.")
    ] = None,
    location: Location = None,
    deprecate_placeholders: Placeholders = False,
    dry_run: DryRun = False,
    include_testing: Testing = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Record what stands in folders and what Ollama has, in one commit; where Ollama tells nothing, that is said."""
    from imageworks.cli.hashing import HashProgress
    from imageworks.reconcile.ledger import Edits
    from imageworks.reconcile.maintain import prepare
    from imageworks.reconcile.scan import record

    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        before = ledger.host
        options, found = _survey(ledger, hf_root, include_testing=include_testing)
        tell_passed((), found.passed)
        edits = Edits()
        unread: tuple[Passed, ...] = ()
        if options is not None and found.findings:
            keep_allowed(before, options.base, dry_run=dry_run)
        if options is not None and not dry_run:
            with HashProgress() as progress:
                edits, unread = record(ledger, found.findings, options, progress)
            tell_passed((), unread)
        show_findings(one for one in found.findings if dry_run or one.name in edits.written)
        after = {**ledger.registry.entries, **edits.written}
        recorded = replace(ledger.registry, entries={n: e for n, e in after.items() if n not in edits.gone})
        importing = import_options(
            location=location, deprecate_placeholders=deprecate_placeholders, include_testing=include_testing
        )
        imported = prepare(ledger, _imported(recorded, importing), "Import")
        show(imported, told=True)
        count = len(found.findings) if dry_run else len(edits.written)
        said = f"Discovered: {count} in folders, {len(imported.changes)} changes of Ollama's"
        result = None if dry_run else ledger.commit(_together(edits, imported.edits))
    how = "Nothing was written." if dry_run else f"Committed {result.id[:10]}." if result else "Nothing to commit."
    say(f"{said}. {how}")
    return ExitCode.FAILURE if options is None and hf_root is not None else scan_code((*found.passed, *unread))


def _survey(ledger: "Ledger", root: Path | None, *, include_testing: bool) -> "tuple[ScanOptions | None, Survey]":
    """Return what stands in folders; where there is no folder to look in, that is said, and Ollama is not held up."""
    from imageworks.reconcile.scan import ScanError, Survey, survey

    try:
        options = scan_options(ledger, root, include_testing=include_testing)
        return options, survey(ledger, options)
    except (ScanError, UsageError) as error:
        complain(f"{'error' if root is not None else 'note'}: no folder is looked through: {error.render()}")
        return None, Survey()


def _imported(registry: "RegistryState", options: "ImportOptions") -> "list[EntryChange | Kept]":
    from imageworks.providers.ollama_errors import OllamaError
    from imageworks.reconcile.ollama_import import plan_import

    try:
        return plan_import(registry, look_at_ollama(registry.entries.values()), options)
    except OllamaError as error:
        complain(f"note: {error.render()}")
        return []


def _together(scanned: "Edits", imported: "Edits") -> "Edits":
    """Return the edits of a scan and of an import as one."""
    written = {**scanned.written, **imported.written}
    return replace(
        scanned,
        written=written,
        gone=scanned.gone | imported.gone,
        title=f"Discover {len(written)} models" if len(written) != 1 else "Discover 1 model",
        lines=(*scanned.lines, *imported.lines),
    )
