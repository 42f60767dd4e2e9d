"""Find entries of Ollama's models that this host no longer records, in its commits or in a file of the predecessor."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.reconcile.decide import is_ollamas
from imageworks.reconcile.report import Report
from imageworks.reconcile.restore import entries_at, usable_entry
from imageworks.reconcile.restore_entries import Deed, EntryDeed, decide_entry
from imageworks.reconcile.restore_values import RestoreError
from imageworks.reconcile.run import Run
from imageworks.registry.entry import FOLDER as ENTRIES
from imageworks.registry.entry import Entry, entry_file, read_entry, render_entry
from imageworks.registry.git import RegistryRepository
from imageworks.registry.history_read import HistoryReader
from imageworks.registry.load import RegistryState
from imageworks.registry.reader import Refusal

OLLAMA: Final = "ollama"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where entries are taken from; when neither is given, the latest state that had some which are gone.

    Args:
        revision: A commit.
        backup: A file of the predecessor.
    """

    revision: str | None = None
    backup: Path | None = None


@dataclass(frozen=True, slots=True)
class Recovered:
    """What comes back.

    Args:
        deeds: The entries, by name.
        skipped: What does not, and why.
        origin: Where it comes from, in words.
    """

    deeds: tuple[EntryDeed, ...]
    skipped: tuple[str, ...]
    origin: str


def prepare_ollama(run: Run, reader: HistoryReader, origin: Origin, *, deprecated: bool) -> Recovered:
    """Return which entries of Ollama's models come back; nothing is touched.

    Args:
        run: An open run.
        reader: The registry's history.
        origin: Where they are taken from.
        deprecated: Whether those that were deprecated come back too.

    Raises:
        RestoreError: The file is none of the predecessor's.
    """
    registry, repository = run.registry, reader.repository
    skipped: list[str] = []
    if origin.backup is not None:
        found, skipped = _from_backup(origin.backup, registry.entries)
        words = origin.backup.name
    elif origin.revision is not None:
        entries, skipped = entries_at(repository, origin.revision, registry.host)
        found, words = list(entries.values()), origin.revision[:10]
    else:
        found, commit = _latest(repository, registry)
        words = commit[:10] if commit is not None else "no commit"
    deeds = []
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
                present=registry.entries.values(),
            )
            if deed is not None and deed.deed is not Deed.KEEP:
                deeds.append(deed)
            elif deed is not None:
                skipped.append(f"{entry.name}: {deed.why}")
    return Recovered(tuple(deeds), tuple(skipped), words)


def record_ollama(run: Run, found: Recovered) -> Report:
    """Commit what was found.

    Args:
        run: The run that it was prepared with.
        found: What comes back.
    """
    run.declare({}, (), title=f"Restore Ollama's entries from {found.origin}")
    return run.record([deed.outcome for deed in found.deeds])


def _of_ollama(entry: Entry) -> bool:
    return is_ollamas(entry) or entry.text("backend") == OLLAMA


def _latest(repository: RegistryRepository, registry: RegistryState) -> tuple[list[Entry], str | None]:
    """Return the entries of the latest state that had models of Ollama which the host has no more, and its commit.

    That is what the latest backup was to the earlier tool: one state, and not everything that ever was. A model that is
    recorded under another name by now is not gone.
    """
    folder = f"{ENTRIES}/{registry.host}"
    now = set(repository.list_files(registry.recorded, folder))
    served = {_served(entry) for entry in registry.entries.values() if _of_ollama(entry)}
    renamed = {former for manifest in registry.manifests.values() for former in manifest.previously}
    for commit in repository.touching([folder], revision=registry.recorded):
        for parent in repository.record(commit).parents:
            then = set(repository.list_files(parent, folder))
            gone = [
                entry
                for entry in _usable(repository, parent, then - now)
                if _of_ollama(entry) and entry.name not in renamed and _served(entry) not in served
            ]
            if gone:
                return gone, parent
    return [], None


def _served(entry: Entry) -> str:
    """Return what Ollama calls a model; its own name where nobody recorded that."""
    return (entry.text("served_model_id") or entry.name).removesuffix(":latest").lower()


def _usable(repository: RegistryRepository, commit: str, files: Iterable[str]) -> Iterator[Entry]:
    reader = repository.at(commit)
    for file in sorted(files):
        content = reader.file(file)
        with suppress(RestoreError):
            yield usable_entry(file, content if content is not None else Refusal("not there"))


def _from_backup(backup: Path, known: Iterable[str]) -> tuple[list[Entry], list[str]]:
    from imageworks.registry.legacy_fields import to_entry
    from imageworks.registry.legacy_names import safe_names
    from imageworks.registry.legacy_read import read_file

    file, passed = read_file(backup)
    records = [record for record in file.records if record.fields.get("backend") == OLLAMA]
    names = safe_names((record.name for record in records), set(known), {})
    found = []
    for record in records:
        entry = to_entry(record, names[record.name], declared=None)
        found.append(read_entry(entry_file("backup", entry.name), render_entry(entry.fields)))
    return found, list(passed)
