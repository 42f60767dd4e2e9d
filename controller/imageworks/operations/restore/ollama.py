"""Find entries of Ollama's models that this host no longer records, in its commits or in a file of the predecessor."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.git.repository import RegistryRepository
from imageworks.git.values import BlobReference
from imageworks.migration.entries import to_entry
from imageworks.migration.names import safe_names
from imageworks.migration.read import read_file
from imageworks.operations.restore.entries import EntryDeed, by_place, decide_entry
from imageworks.operations.restore.model import Restoration, RestoreError, RestoreRequest
from imageworks.operations.restore.restore import entries_at, usable_entry
from imageworks.reconcile.run import Run
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import Entry, entry_file, is_in_store, read_entry, render_entry
from imageworks.registry.history.reader import HistoryReader
from imageworks.registry.load import RegistryState

OLLAMA: Final = "ollama"


@dataclass(frozen=True, slots=True)
class RecoveredFrom:
    """Where entries are taken from; when neither is given, the latest state that had some which are gone.

    Args:
        revision: A commit.
        backup: A file of the predecessor.
    """

    revision: str | None = None
    backup: Path | None = None


def prepare_recovery(
    run: Run, reader: HistoryReader, revision: str | None, backup: Path | None, *, deprecated: bool
) -> Restoration:
    """Return which entries of Ollama's models come back from a revision, a file, or the latest state; see below."""
    commit = reader.repository.resolve(revision) if revision is not None else None
    return prepare_ollama(run, reader, RecoveredFrom(commit, backup), deprecated=deprecated)


def prepare_ollama(run: Run, reader: HistoryReader, origin: RecoveredFrom, *, deprecated: bool) -> Restoration:
    """Return which entries of Ollama's models come back; nothing is touched."""
    registry, repository = run.registry, reader.repository
    skipped: list[str] = []
    commit: str | None = None
    if origin.backup is not None:
        found, skipped = _from_backup(origin.backup, registry.entries)
    elif origin.revision is not None:
        entries, skipped = entries_at(repository, origin.revision, registry)
        found, commit = list(entries.values()), origin.revision
    else:
        found, commit = _latest(repository, registry)
    deeds: list[EntryDeed] = []
    present = by_place(registry.entries.values())
    for entry in sorted(found, key=lambda entry: entry.name):
        if not _of_ollama(entry):
            continue
        if entry.name in registry.entries:
            skipped.append(f"{entry.name}: recorded already")
        elif entry.fields.get("deprecated") is True and not deprecated:
            skipped.append(f"{entry.name}: deprecated; --include-deprecated brings it back too")
        else:
            deed = decide_entry(
                entry,
                None,
                declared=entry.name in registry.manifests,
                observe=run.observe,
                present=present,
            )
            deeds += [] if deed is None else [deed]
    words = origin.backup.name if origin.backup is not None else commit[:10] if commit is not None else "no commit"
    wish = RestoreRequest(commit or "", manifests=False, entries=True, title=f"Restore Ollama's entries from {words}")
    run.declare({}, (), title=wish.title)
    return Restoration(wish, {}, (), None, tuple(deeds), (), wish.title, tuple(skipped))


def _of_ollama(entry: Entry) -> bool:
    return is_in_store(entry) or entry.text("backend") == OLLAMA


def _latest(repository: RegistryRepository, registry: RegistryState) -> tuple[list[Entry], str | None]:
    """Return the entries of the latest state that had models of Ollama which the host has no more, and its commit.

    That is what the latest backup was to the earlier tool: one state, and not everything that ever was. A model that is
    recorded under another name by now is not gone.
    """
    folder = f"{ENTRIES}/{registry.host}"
    now = {file for file, _ in repository.unsized_files(registry.recorded, folder)}
    served = {_served(entry) for entry in registry.entries.values() if _of_ollama(entry)}
    renamed = {former for manifest in registry.manifests.values() for former in manifest.previously}
    known = {repository.tree_id(registry.recorded, folder)}  # states that have none which is gone
    for commit in repository.touching([folder], revision=registry.recorded):
        for parent in repository.record(commit).parents:
            state = repository.tree_id(parent, folder)
            if state in known:
                continue
            # A file that stands in a state that is known is not gone, and is not read again.
            beside = commit if repository.tree_id(commit, folder) in known else registry.recorded
            differing = repository.differences(beside, parent, folder=folder)
            then = {f"{folder}/{one.path}": one.after for one in differing if one.after is not None}
            gone = [
                entry
                for entry in _usable(repository, {file: one for file, one in then.items() if file not in now})
                if _of_ollama(entry) and entry.name not in renamed and _served(entry) not in served
            ]
            if gone:
                return gone, parent
            known.add(state)
    return [], None


def _served(entry: Entry) -> str:
    """Return what Ollama calls a model; its own name where nobody recorded that."""
    return (entry.text("served_model_id") or entry.name).removesuffix(":latest").lower()


def _usable(repository: RegistryRepository, files: Mapping[str, BlobReference]) -> Iterator[Entry]:
    reader = RevisionReader(repository, None)
    for file, found in files.items():
        with suppress(RestoreError):
            yield usable_entry(file, reader.content(repository.reference(found.id, found.mode)))


def _from_backup(backup: Path, known: Iterable[str]) -> tuple[list[Entry], list[str]]:
    file, passed = read_file(backup)
    records = [record for record in file.records if record.fields.get("backend") == OLLAMA]
    names = safe_names((record.name for record in records), set(known), {})
    found = []
    for record in records:
        entry = to_entry(record, names[record.name], declared=None)
        found.append(read_entry(entry_file("backup", entry.name), render_entry(entry.fields)))
    return found, list(passed)
