"""Turn changes of maintenance into one commit of entries and the manifests behind them, and of nothing invalid."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imageworks.foundation.errors import ImageworksError
from imageworks.operations.maintenance.entry_changes import EntryAction, EntryChange, Kept, ManifestEdit
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.registry.manifests.edit import edit_manifest
from imageworks.registry.validate import check_manifest


class MaintenanceError(ImageworksError):
    """What was to be written would not be valid."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What maintenance does.

    Args:
        found: The changes, and what stays.
        edits: What is committed.
    """

    found: tuple[EntryChange | Kept, ...]
    edits: Edits

    @property
    def changes(self) -> list[EntryChange]:
        """What changes."""
        return [one for one in self.found if isinstance(one, EntryChange)]

    @property
    def kept(self) -> list[Kept]:
        """What stays although it was looked at."""
        return [one for one in self.found if isinstance(one, Kept)]


def prepare(ledger: RecordSession, found: Iterable[EntryChange | Kept], title: str) -> Prepared:
    """Return what would be committed; a model whose manifest cannot be changed now stays as it is.

    So does one whose drive is away: no record of it goes before anybody can look.
    """
    manifests: dict[str, bytes | None] = {}
    decided: list[EntryChange | Kept] = []
    for one in found:
        entry = ledger.registry.entries.get(one.name)
        loses = isinstance(one, EntryChange) and one.deed in {EntryAction.REMOVE, EntryAction.DEPRECATE}
        if loses and entry is not None and (away := ledger.away(entry)) is not None:
            decided.append(Kept(one.name, away))
            continue
        try:
            if isinstance(one, EntryChange) and one.manifest is not None:
                manifests |= _changed(ledger, one.manifest)
            decided.append(one)
        except ImageworksError as error:
            decided.append(Kept(one.name, error.message))
    changes = [one for one in decided if isinstance(one, EntryChange)]
    if manifests:
        _check(ledger, manifests)
    edits = Edits(
        written={one.entry.name: one.entry for one in changes if one.entry is not None},
        gone=frozenset(one.name for one in changes if one.deed in {EntryAction.REMOVE, EntryAction.RENAME}),
        manifests=manifests,
        title=f"{title}: {_models(changes)}",
        lines=tuple(f"{one.deed.value} {one.name}" for one in changes),
    )
    return Prepared(tuple(decided), edits)


def _changed(ledger: RecordSession, edit: ManifestEdit) -> dict[str, bytes | None]:
    before = ledger.committed(edit.file)
    for file in dict.fromkeys((edit.file, edit.becomes or edit.file)):
        if before is None or ledger.uncommitted(file):
            raise MaintenanceError(f"{file} has uncommitted changes; commit them or take them back first")
    if edit.becomes is None:
        return {edit.file: None}
    data = edit_manifest(edit.file, before or b"", edit.changes)
    checked = check_manifest(edit.becomes, data)
    if checked.diagnostics:
        raise MaintenanceError(f"{edit.becomes} would be invalid: {checked.diagnostics[0].message}")
    return {edit.file: None, edit.becomes: data}


def _check(ledger: RecordSession, manifests: dict[str, bytes | None]) -> None:
    known = {item.message for item in ledger.registry.diagnostics}
    for item in ledger.declaring(manifests).diagnostics:
        if item.message not in known:
            raise MaintenanceError(f"the registry would be invalid: {item.render()}", remedy="Nothing was written.")


def _models(changes: Sequence[EntryChange]) -> str:
    return "1 entry" if len(changes) == 1 else f"{len(changes)} entries"
