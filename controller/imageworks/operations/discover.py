"""Record what stands in folders and what other programs' stores have, in one commit."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from imageworks.files.progress import Progress
from imageworks.foundation.errors import UsageError
from imageworks.operations.maintenance.entry_changes import EntryChange, Kept
from imageworks.operations.maintenance.prepare import Prepared, prepare
from imageworks.operations.scan.run_scan import ScanResult, scan, scan_options
from imageworks.operations.scan.scan import ScanError, Survey
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.registry.load import RegistryState

Import = Callable[[RegistryState], Iterable[EntryChange | Kept]]
"""What says how entries change by what a store has."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """What was found, and what is to be committed of it."""

    scanned: ScanResult
    imported: Prepared
    edits: Edits
    failed: bool


def discover(
    ledger: RecordSession,
    root: Path | None,
    imports: Import,
    hashed: Progress,
    said: Callable[[str], None],
    *,
    include_testing: bool,
) -> Discovered:
    """Return what is to be recorded; where there is no folder to look in, that is said, and stores are not held up."""
    failed = False
    try:
        options = scan_options(ledger, root, include_testing=include_testing)
        scanned = scan(ledger, options, ledger.host, hashed, said)
        failed = scanned.failed
    except (ScanError, UsageError) as error:
        failed = root is not None
        said(f"{'error' if failed else 'note'}: no folder is looked through: {error.render()}")
        scanned = ScanResult(Survey(), Edits())
    edits = scanned.edits
    after = {**ledger.registry.entries, **edits.written}
    recorded = replace(ledger.registry, entries={name: one for name, one in after.items() if name not in edits.gone})
    imported = prepare(ledger, imports(recorded), "Import")
    return Discovered(scanned, imported, _together(edits, imported.edits), failed)


def _together(scanned: Edits, imported: Edits) -> Edits:
    """Return the edits of a scan and of an import as one."""
    written = {**scanned.written, **imported.written}
    return replace(
        scanned,
        written=written,
        gone=scanned.gone | imported.gone,
        title=f"Discover {len(written)} models" if len(written) != 1 else "Discover 1 model",
        lines=(*scanned.lines, *imported.lines),
    )
