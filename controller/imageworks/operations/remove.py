"""Remove a model by name: its record, its files where asked, and what its manifest says, in one commit."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from imageworks.foundation.errors import ImageworksError
from imageworks.operations.session import Session
from imageworks.plan.facts import FileState, Observation
from imageworks.plan.plan import Action, Change, Plan, Reason
from imageworks.plan.report import ModelResult, Report
from imageworks.providers.base import StoreProvider
from imageworks.providers.dispatch import store_of, store_provider
from imageworks.providers.folder.decide import removal
from imageworks.providers.folder.disk_limits import DiskRefusals
from imageworks.providers.record import emptied_entry
from imageworks.providers.shared_files import SharedFiles
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.cross_checks import declare
from imageworks.registry.entries.entry import Entry, has_files, is_in_store
from imageworks.registry.entries.lookup import UnknownModelError, find_in
from imageworks.registry.manifests.edit import edit_manifest
from imageworks.registry.manifests.manifest import Manifest, State

if TYPE_CHECKING:
    import os

LISTED: Final = 3


class RemoveError(ImageworksError):
    """A model cannot be removed as asked."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What removing a model does.

    Args:
        name: The variant name.
        entry: What is recorded; ``None`` for a model that was declared and never brought.
        manifests: What the manifest is to say, by registry path; ``None`` deletes it; empty where nothing declares it.
        change: What happens to entry and files.
        bytes_freed: What the filesystem gets back.
        delete_files: Whether files go.
        purge: Whether the entry goes.
        said: What a person should know before agreeing, a line each.
    """

    name: str
    entry: Entry | None
    manifests: Mapping[str, bytes | None]
    change: Change | None
    bytes_freed: int
    delete_files: bool
    purge: bool
    said: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """Return it in JSON's data model."""
        return {
            "name": self.name,
            "entry": "gone" if self.purge else "kept",
            "manifests": {file: data is not None for file, data in self.manifests.items()},
            "deleted_files": list(self.change.drop) if self.change is not None else [],
            "bytes_freed": self.bytes_freed,
        }


@contextmanager
def open_for_removal(session: Session, *, read_only: bool, wait: float) -> Iterator[Run]:
    """Open a run in which models can be removed; it asks no network."""
    with Run.open(session.root, session.host, RunOptions(offline=True, read_only=read_only), wait=wait) as run:
        yield run


def prepare(run: Run, name: str, *, delete_files: bool, purge: bool, whole: bool = True) -> Removal:
    """Return what removing a model would do; nothing is touched."""
    registry = run.registry
    try:
        name = find_in(registry, name, whole=whole)
    except UnknownModelError as error:
        raise RemoveError(error.message, remedy=error.remedy) from error
    entry, manifest = registry.entries.get(name), registry.manifests.get(name)
    entry = run.places.current(entry) if entry is not None else None
    if purge and not delete_files and name in registry.unreadable:
        return _unreadable(run, name)
    if problems := registry.blocked.get(name):
        raise RemoveError(f"{name}: {problems[0].render()}", remedy="Put that right first; nothing was removed.")
    manifests, said = _manifests(run, manifest, name, purge=purge)
    recorded = entry is not None and (has_files(entry) or entry.text("download_path") is not None)
    if not (purge or recorded or manifests):
        raise RemoveError(f"{name} records no files", remedy="--purge removes the entry itself.")
    change, freed = None, 0
    if entry is not None:
        reason = Reason.UNDECLARED if purge else Reason.DECLARED_ABSENT
        change, why = _change(run, entry, reason, delete_files=delete_files)
        said += why
        freed = change.bytes_freed
    return Removal(name, entry, manifests, change, freed, delete_files, purge, said)


def _unreadable(run: Run, name: str) -> Removal:
    """Return the removal of a record that nobody can read, and of the manifest with it."""
    document = run.registry.documents.get(name)
    manifest = None if document is None else declare(document).manifest
    manifests, said = _manifests(run, manifest, name, purge=True)
    problem = run.registry.blocked[name][0]
    said = (*said, f"{problem.render()}: which files it lists nobody can say, and all of them stay")
    change = Change(name, Action.REMOVE, Reason.UNDECLARED, problem.message)
    return Removal(name, None, manifests, change, 0, delete_files=False, purge=True, said=said)


def carry_out(run: Run, asked: Removal) -> Report:
    """Remove what was prepared, in one commit of entry, snapshot and manifest."""
    run.declare(asked.manifests, (asked.name,), title=f"Remove {asked.name}")
    if asked.entry is None or asked.change is None:
        gone = [] if asked.change is None else [ModelResult(asked.change, entry=None, recorded=True)]
        return run.record(gone)
    if not asked.delete_files:
        emptied = emptied_entry(asked.entry, asked.name, "Removed", "no longer recorded; the files stay where they are")
        return run.record([ModelResult(asked.change, entry=None if asked.purge else emptied, recorded=True)])
    plan = run.plan()
    report = run.apply(Plan(plan.host, plan.registry_revision, changes=(asked.change,)))
    for outcome in report.failed:
        seen = run.observe(asked.entry)
        if seen is not None and not seen.intact:
            # Some of it is gone, as was asked: what is declared follows, so that no run brings it back.
            run.record([])
        raise RemoveError(f"{asked.name}: {outcome.error}")
    return report


def freed_bytes(entry: Entry, paths: Iterable[str]) -> int:
    """Return what the filesystem gets back when files go: a file with a name elsewhere gives nothing."""
    names: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[int, int], os.stat_result] = {}
    for path in paths:
        try:
            stat = (entry.base / path).lstat()
        except OSError:
            continue
        inode = (stat.st_dev, stat.st_ino)
        names[inode] += 1
        found[inode] = stat
    return sum(stat.st_size for inode, stat in found.items() if names[inode] == stat.st_nlink)


def _manifests(
    run: Run, manifest: Manifest | None, name: str, *, purge: bool
) -> tuple[dict[str, bytes | None], tuple[str, ...]]:
    """Return how the manifest must change, for reconcile would bring the model back, and what to say of it."""
    if manifest is None:
        return {}, ()
    file = manifest.file
    before = run.committed(file)
    if before is None or run.uncommitted(file):
        raise RemoveError(f"{file} has uncommitted changes", remedy="Commit them or take them back first.")
    host, labels = run.registry.host, run.registry.settings.labels
    if not manifest.applies_to(host, labels):
        return {}, ()
    elsewhere = [one for one in manifest.hosts if not _meant(manifest, one, host, labels)]
    others = sorted({*elsewhere, *run.other_hosts(name)})
    if others:
        # The manifest speaks for them too: deleted or absent, it would take their files with the next reconcile.
        content = edit_manifest(file, before, {("hosts",): [*others]})
        changed: dict[str, bytes | None] = {file: content} if content != before else {}
        return changed, (f"{file} will leave this host out; it stays for {', '.join(others)}",)
    if purge:
        return {file: None}, (f"{file} will be deleted",)
    if manifest.state is State.ABSENT:
        return {}, ()
    content = edit_manifest(file, before, {("state",): State.ABSENT.value})
    return {file: content}, (f"{file} will say `state: absent`, so that reconcile does not bring it back",)


def _meant(manifest: Manifest, wanted: str, host: str, labels: Mapping[str, str]) -> bool:
    """Return whether one item of ``hosts`` means a host."""
    return replace(manifest, fields={"hosts": [wanted]}).applies_to(host, labels)


def _change(run: Run, entry: Entry, reason: Reason, *, delete_files: bool) -> tuple[Change, tuple[str, ...]]:
    """Return what happens to an entry and its files, and what to say of it."""
    if delete_files and (store := store_of(entry)) is not None:
        return _from_store(run, entry, store, reason)
    if not delete_files or not has_files(entry):
        stays = _elsewhere(entry) or ((_staying(run, entry),) if has_files(entry) else ())
        return replace(removal(entry, reason, "", None), drop=(), bytes_freed=0, keep=len(entry.files)), stays
    if entry.managed and not entry.installed_by_us and entry.part("metadata").get("source_path") is not None:
        stays = (f"its files stay at {entry.path}: they are the source itself, and nothing could bring them back",)
        return replace(removal(entry, reason, "", None), drop=(), bytes_freed=0), stays
    if (refused := DiskRefusals().to_remove(entry)) is not None:
        raise RemoveError(f"{entry.name}: {refused.message}", remedy="Nothing was removed.")
    run.distrust(entry)
    observation = run.observe(entry) or Observation(entry.base, exists=False)
    if observation.unknown is not None:
        raise RemoveError(
            f"{entry.name}: its files cannot be deleted now: {observation.unknown.message}",
            remedy=f"Nothing was removed. Without --delete-files, `remove {entry.name}` leaves them where they are.",
        )
    owners = SharedFiles(run.registry.entries.values()).owners(entry)
    drop = tuple(f.path for f in entry.files if f.path not in owners and f.path not in observation.damaged)
    change = replace(removal(entry, reason, "", observation, shared=frozenset(owners)), drop=drop, asked=True)
    said = [f"{len(drop)} of {len(entry.files)} files at {entry.path} will be deleted"]
    if owners:
        names = sorted({name for names in owners.values() for name in names})
        said.append(f"{len(owners)} files stay, which {', '.join(names[:LISTED])} has too")
    changed = sorted(path for path, state in observation.damaged.items() if state is not FileState.MISSING)
    if changed:
        said.append(f"{', '.join(changed[:LISTED])}: not as recorded, so not ours to delete")
    return replace(change, bytes_freed=freed_bytes(entry, drop)), tuple(said)


def _staying(run: Run, entry: Entry) -> str:
    """Return what is said of files that nobody asked to delete."""
    away = run.places.obstacle_at(entry.base) if entry.path is not None else None
    if away is None:
        return f"its files stay at {entry.path}"
    return f"its files at {entry.path} stay as they are, wherever their drive is now ({away.reason.value})"


def _from_store(run: Run, entry: Entry, store: StoreProvider, reason: Reason) -> tuple[Change, tuple[str, ...]]:
    """Return the removal of a model by the program in whose store it is, and what to say of it."""
    change = store.asked_removal(run.orphan(entry), reason)
    if change.action is Action.BLOCKED:
        if change.reason is store.unreachable and not entry.installed_by_us:
            return replace(removal(entry, reason, "", None), drop=(), bytes_freed=0), _elsewhere(entry)
        raise RemoveError(change.message, remedy="Nothing was removed.")
    said = [f"{name} will be removed from {store.title}" for name in change.drop]
    return change, (*said, *change.warnings)


def _elsewhere(entry: Entry) -> tuple[str, ...]:
    store = store_provider(str(entry.fields["source_provider"])) if is_in_store(entry) else None
    told = store.how_to_free(entry) if store is not None else None
    return () if told is None else (told,)
