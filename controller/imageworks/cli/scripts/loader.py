"""The ``imageworks-loader`` console script: record what is on this machine, and forget it in order to do so anew."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli import app as commands
from imageworks.cli.commands.get.import_ollama import Location, Placeholders, ServedBy
from imageworks.cli.commands.get.scan import UpdateExisting, WillServe, scan_command
from imageworks.cli.commands.maintain.maintenance import reset_discovered_command
from imageworks.cli.entry_changes import carry_out, change_entries, open_ledger, show, tell_of_backup
from imageworks.cli.group import Commands
from imageworks.cli.options import AsJson, Backend, Backup, DryRun, DryRunOrApply, IncludeTesting, Registry, Wait, Yes
from imageworks.cli.output import complain, say
from imageworks.cli.views.progress import show_progress
from imageworks.cli.views.scan import show_findings, tell_passed
from imageworks.foundation.errors import ExitCode
from imageworks.operations.discover import discover
from imageworks.operations.import_ollama import import_options, look_here, plan_found, plan_rebuild
from imageworks.operations.maintenance.find import find_imported

app = Commands("Record the models that are on this machine, or forget what was recorded so as to record it anew.")
app.command("reset-discovered")(reset_discovered_command)
SearchRoot = Annotated[Path | None, typer.Option(metavar="DIR", help="Where to look; the weights root if none.")]


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
    yes: Yes = False,
    backup: Backup = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Show or remove the entries that scans, imports and downloads without a manifest recorded.

    Without --apply nothing is written. Files stay, and so does what a manifest stands behind.
    """
    chosen = ("hf", "ollama") if providers is Providers.ALL else (providers.value,)
    tell_of_backup(backup)
    return change_entries(
        "Purge imported",
        lambda ledger: find_imported(ledger, providers=chosen),
        registry=registry,
        wait=wait,
        apply=dry_run is False or (yes and dry_run is None),
        as_json=as_json,
    )


@app.command("ingest-local-hf")
def ingest_command(
    root: SearchRoot = None,
    dry_run: DryRun = False,
    include_testing: IncludeTesting = False,
    update_existing: UpdateExisting = False,
    backend: WillServe = None,
    as_json: AsJson = False,
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
        as_json=as_json,
        registry=registry,
        wait=wait,
    )


@app.command("rebuild-ollama")
def rebuild_command(
    location: Location = None,
    backend: ServedBy = Backend.OLLAMA,
    dry_run: DryRun = False,
    include_testing: IncludeTesting = False,
    backup: Backup = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Forget what was recorded of Ollama's models and record anew what Ollama has, in one commit.

    Names that were given to entries are forgotten too; `import-ollama` keeps them.
    """
    tell_of_backup(backup)
    options = import_options(backend=backend.value, location=location, include_testing=include_testing)
    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        found = plan_rebuild(ledger.registry, look_here(complain), options)
        return carry_out(ledger, found, "Rebuild Ollama's models", apply=not dry_run, as_json=as_json)


@app.command("discover-all")
def discover_command(
    hf_root: SearchRoot = None,
    location: Location = None,
    deprecate_placeholders: Placeholders = False,
    dry_run: DryRun = False,
    include_testing: IncludeTesting = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Record what stands in folders and what Ollama has, in one commit; where Ollama tells nothing, that is said."""
    options = import_options(
        location=location, deprecate_placeholders=deprecate_placeholders, include_testing=include_testing
    )
    imports = partial(plan_found, said=complain, options=options)
    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger, show_progress() as hashed:
        found = discover(ledger, hf_root, imports, hashed, complain, include_testing=include_testing)
        tell_passed((*found.scanned.found.passed, *found.scanned.unread))
        show_findings(found.scanned.found.findings if dry_run else found.scanned.recorded)
        show(found.imported, told=True)
        result = None if dry_run else ledger.commit(found.edits)
    count = len(found.scanned.found.findings) if dry_run else len(found.scanned.edits.written)
    how = "Nothing was written." if dry_run else f"Committed {result.id[:10]}." if result else "Nothing to commit."
    say(f"Discovered: {count} in folders, {len(found.imported.changes)} changes of Ollama's. {how}")
    return ExitCode.FAILURE if found.failed else ExitCode.SUCCESS
