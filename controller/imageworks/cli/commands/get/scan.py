"""The ``scan`` command: record the models that are already on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.entry_changes import open_ledger
from imageworks.cli.options import AsJson, Backend, DryRun, IncludeTesting, Registry, Wait
from imageworks.cli.output import complain, say, say_json
from imageworks.cli.views.progress import show_progress
from imageworks.cli.views.scan import scan_document, show_findings, tell_passed
from imageworks.foundation.errors import ExitCode

UpdateExisting = Annotated[
    bool, typer.Option("--update-existing", help="Look again at models that are recorded already.")
]
WillServe = Annotated[
    Backend | None, typer.Option("--backend", help="What will serve them; else vllm, and gguf for GGUF.")
]


def scan_command(
    base: Annotated[
        Path | None, typer.Option("--base", metavar="DIR", help="Where to look; the weights root if none.")
    ] = None,
    dry_run: DryRun = False,
    include_testing: IncludeTesting = False,
    update_existing: UpdateExisting = False,
    form: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="The format where none can be detected.")
    ] = None,
    backend: WillServe = None,
    as_json: AsJson = False,
    registry: Registry = None,
    wait: Wait = 0.0,
) -> int:
    """Record the models that folders of this machine hold.

    Looks for owner/repo folders and GGUF files. What is found is hashed, described and committed as discovered
    entries; no file is moved or changed, and models that are declared or recorded already are left alone. `promote`
    makes a manifest of one.

    Examples:
        imageworks-models scan --dry-run
        imageworks-models scan --base ~/ai-models/weights
    """
    from imageworks.operations.scan.run_scan import scan, scan_options

    with open_ledger(registry, read_only=dry_run, wait=wait) as ledger:
        options = scan_options(
            ledger,
            base,
            backend=backend.value if backend else None,
            fallback=form,
            include_testing=include_testing,
            update_existing=update_existing,
        )
        with show_progress() as hashed:
            result = scan(ledger, options, ledger.host, hashed, complain)
        commit = None if dry_run else ledger.commit(result.edits)
    tell_passed((*result.found.passed, *result.unread))
    if as_json:
        say_json(scan_document(result, commit.id if commit else None, dry_run=dry_run))
    elif dry_run:
        show_findings(result.found.findings)
        many = len(result.found.findings)
        say(f"Scan: {many} to record, {result.found.recorded} recorded already. Nothing was written.")
    else:
        show_findings(result.recorded)
        committed = f"; committed {commit.id[:10]}" if commit else "; nothing to commit"
        say(f"Scan: {len(result.edits.written)} recorded, {result.unchanged} recorded already{committed}.")
    return ExitCode.FAILURE if result.failed else ExitCode.SUCCESS
