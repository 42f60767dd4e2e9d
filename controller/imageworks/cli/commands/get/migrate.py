"""The ``migrate`` command: turn what the predecessor left into a registry with its history."""

import json
from pathlib import Path
from typing import Annotated

import typer

from imageworks.cli.options import SHARED, Wait
from imageworks.cli.output import complain, printable, say
from imageworks.cli.views.migration import migration_document, migration_lines


def migrate_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The predecessor's configs/ folder.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be committed and write nothing.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also tell of each field that was changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False,
    registry: Annotated[
        Path | None,
        typer.Option(
            "--registry", "-C", metavar="DIR", help="Where to; made where there is none.", rich_help_panel=SHARED
        ),
    ] = None,
    wait: Wait = 0.0,
) -> None:
    """Turn the earlier tool's files into a registry.

    Of its model_registry*.json: curated models become manifests, discovered ones entries of this host, dated backups
    commits with their own date, so that history and restore reach back before the migration. Nothing is lost: what fits
    nowhere is kept below metadata.legacy and told. What the registry has already stays. An interrupted run resumes, a
    second does nothing.

    Examples:
        imageworks-models migrate ~/imageworks/configs --dry-run
    """
    from imageworks.operations.migrate import migrate_here

    result = migrate_here(folder, registry, dry_run=dry_run, wait=wait)
    for note in (*result.notes, *result.migration.notes):
        complain(f"note: {note}")
    if as_json:
        say(json.dumps(migration_document(result, dry_run=dry_run), indent=2, ensure_ascii=False))
        return
    for line in migration_lines(result, dry_run=dry_run, verbose=verbose):
        say(printable(line))
