"""Lock a model to the bytes that it has, or unlock it: in its manifest where one declares it, else in its entry."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from imageworks.foundation.errors import ImageworksError
from imageworks.plan.verification import Fault, Verdict, Verified
from imageworks.reconcile.ledger import Edits, RecordSession
from imageworks.registry.entries.entry import Entry, aggregate_sha256, has_files
from imageworks.registry.entries.lookup import find_in
from imageworks.registry.manifests.edit import Keys, edit_manifest, without_key
from imageworks.registry.manifests.manifest import Manifest
from imageworks.registry.version_lock import EXPECTED, KEY, LOCKED, lock_of

if TYPE_CHECKING:
    from imageworks.registry.documents.document import JsonValue


class LockingError(ImageworksError):
    """A model cannot be locked or unlocked as it stands."""


def lock(ledger: RecordSession, verified: Verified, *, derived: Entry | None = None) -> Edits:
    """Return the edits that hold a model to the bytes that were just verified; none where they hold it already."""
    name = verified.name
    entry = derived or ledger.registry.entries.get(name)
    if entry is None or not has_files(entry):
        raise LockingError(f"{name} records no files that it could be locked to", remedy="Bring or record them first.")
    nothing_to_compare = derived is not None and verified.verdict is Verdict.UNVERIFIED
    if verified.verdict not in {Verdict.INTACT, Verdict.INCOMPLETE} and not nothing_to_compare:
        problem = verified.problems[0]
        drifted = any(one.fault is Fault.LOCK for one in verified.problems)
        raise LockingError(
            f"{name} is {verified.verdict.value}, so it is not locked: {problem.path or name} {problem.message}",
            remedy=f"`imageworks-model-registry verify {name} --unlock` takes the present lock away."
            if drifted
            else f"`imageworks-models verify {name} --repair` brings the recorded bytes back.",
        )
    digest = aggregate_sha256(entry.files)
    manifest = ledger.registry.manifests.get(name)
    if lock_of(manifest, entry).digest == digest and derived is None:
        return Edits()
    said: dict[str, object] = {LOCKED: True, EXPECTED: digest}
    title, line = f"Lock {name}", f"~ {name}: locked to {digest[:12]}"
    if manifest is None:
        return Edits(written={name: _entry_with(entry, said)}, title=title, lines=(line,))
    changes: dict[Keys, JsonValue] = {(KEY, LOCKED): True, (KEY, EXPECTED): digest}
    written = {name: derived} if derived is not None else {}
    content = edit_manifest(manifest.file, _committed(ledger, manifest), changes)
    return Edits(written=written, manifests={manifest.file: content}, title=title, lines=(line,))


def unlock(ledger: RecordSession, name: str) -> Edits:
    """Return the edits that take a model's lock away; none where it has none."""
    name = find_in(ledger.registry, name)
    entry, manifest = ledger.registry.entries.get(name), ledger.registry.manifests.get(name)
    recorded = entry if lock_of(None, entry).locked else None
    declared = manifest if manifest is not None and lock_of(manifest, None).locked else None
    return Edits(
        written={name: _entry_with(recorded, None)} if recorded is not None else {},
        manifests={declared.file: _unlocked(declared, _committed(ledger, declared))} if declared is not None else {},
        title=f"Unlock {name}",
        lines=(f"~ {name}: unlocked",),
    )


def _entry_with(entry: Entry, said: Mapping[str, object] | None) -> Entry:
    fields = {key: value for key, value in {**entry.fields, KEY: said}.items() if value is not None}
    return replace(entry, fields=fields)


def _committed(ledger: RecordSession, manifest: Manifest) -> bytes:
    before = ledger.committed(manifest.file)
    if before is None or ledger.uncommitted(manifest.file):
        raise LockingError(f"{manifest.file} has uncommitted changes", remedy="Commit them or take them back first.")
    return before


def _unlocked(manifest: Manifest, before: bytes) -> bytes:
    """Return a manifest without its lock; every line of comment stays.

    Where the lock has such lines inside, or no lines of its own, it stays and says that nothing is locked.
    """
    cut = without_key(manifest.file, before, KEY)
    if cut is not None and _comment_lines(cut) == _comment_lines(before):
        return cut
    return edit_manifest(manifest.file, before, {(KEY, LOCKED): False})


def _comment_lines(data: bytes) -> int:
    return sum(line.lstrip().startswith(b"#") for line in data.splitlines())
