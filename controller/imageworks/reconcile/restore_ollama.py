"""Find entries of Ollama's models that this host no longer records, in its commits or in a file of the predecessor."""

from collections.abc import Iterable, Iterator
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
from imageworks.registry.git_values import BlobRefusedError, UnsafePathError
from imageworks.registry.history_read import HistoryReader
from imageworks.registry.reader import Refusal

OLLAMA: Final = "ollama"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where entries are taken from; each from the newest commit that held it when neither is given.

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
        found = list(_newest(repository, registry.host, registry.recorded))
        words = "the commits that held them"
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


def _newest(repository: RegistryRepository, host: str, recorded: str | None) -> Iterator[Entry]:
    """Yield each entry that the host once had and has no more, as the newest commit that held it has it."""
    folder = f"{ENTRIES}/{host}/"
    seen = set(repository.list_files(recorded, folder.rstrip("/")))
    for commit in repository.touching([folder.rstrip("/")], revision=recorded):
        for parent in repository.record(commit).parents:
            try:
                differing = repository.differences(parent, commit)
            except UnsafePathError:
                continue
            for one in differing:
                if one.before is None or one.path in seen or not one.path.startswith(folder):
                    continue
                seen.add(one.path)
                content: bytes | Refusal = Refusal(one.before.refusal)
                try:
                    if not one.before.refusal:
                        content = repository.read_blob(one.before.id)
                    yield usable_entry(one.path, content)
                except (RestoreError, BlobRefusedError):
                    seen.discard(one.path)  # an older commit may hold one that can be used


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
