"""From what the predecessor left to the commits that it becomes. Pure: files as values in, steps out."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from imageworks.migration.entries import SCHEMA_VERSION, to_entry, with_legacy
from imageworks.migration.manifests import declare
from imageworks.migration.model import (
    Declaration,
    Fields,
    LegacyFile,
    LegacyFolder,
    LegacyLayer,
    MigratedModel,
    Migration,
    MigrationCommit,
    MigrationError,
    Record,
    Tally,
)
from imageworks.migration.names import safe_names
from imageworks.migration.sources import SourceChoice, Surroundings, choices
from imageworks.registry.documents.document import Document
from imageworks.registry.manifests.manifest import FOLDER
from imageworks.registry.validate import CheckedDocument, check_manifest, validate_documents

CURATED_REST: Final = "curated"
_ID_DIGITS: Final = 32
Records = Mapping[str, Record]


@dataclass(frozen=True, slots=True)
class MigrationTarget:
    """The registry that a migration writes to, as far as it decides what is written.

    Args:
        around: Host, locations, form of manifests.
        others: Its manifests that this migration did not write, after their own checks, by path.
        settings: Its valid registry.yaml.
        names: Names of models that it has and this migration did not write.
        known: Names that an earlier run of this migration gave.
    """

    around: Surroundings
    others: Mapping[str, CheckedDocument] = field(default_factory=dict)
    settings: Document | None = None
    names: Collection[str] = ()
    known: Mapping[str, str] = field(default_factory=dict)


def identities(folder: LegacyFolder) -> tuple[str, ...]:
    """Return the ids of the steps that a folder of the predecessor becomes."""
    used, _ = _used(folder)
    now = [file for file in used if not file.backup]
    return tuple(_identity(files) for files in (*([file] for file in used if file.backup), *([now] if now else [])))


def plan_migration(folder: LegacyFolder, target: MigrationTarget) -> Migration:
    """Return the commits that a folder of the predecessor becomes.

    Each backup is one, in the order of time, and what is valid now is the last.
    """
    used, notes = _used(folder)
    now = [file for file in used if not file.backup]
    names = safe_names({record.name for file in used for record in file.records}, target.names, target.known)
    curated: Records = {}
    found: Records = {}
    steps: list[MigrationCommit] = []
    memory = _Memory()
    for file in (file for file in used if file.backup):
        if file.layer is LegacyLayer.CURATED:
            curated = file.by_name()
        else:
            found = file.by_name()
        count = len(file.records)
        title = f"Bring in {file.name}: {count} {'model' if count == 1 else 'models'}"
        steps.append(_Builder(curated, found, names, target, memory).step((file,), title))
    for file in now:
        if file.layer is LegacyLayer.CURATED:
            curated = file.by_name()
        else:
            found = file.by_name()
    if now:
        count = len({*curated, *found})
        title = f"Migrate {count} {'model' if count == 1 else 'models'} from an earlier tool"
        steps.append(replace(_Builder(curated, found, names, target, memory).step(now, title), when=None))
    snapshot = folder.current(LegacyLayer.SNAPSHOT)
    known = {*curated, *found}
    alone = tuple(record.name for record in snapshot.records if record.name not in known) if snapshot else ()
    return Migration(tuple(steps), {there: here for there, here in names.items() if there != here}, alone, tuple(notes))


def _used(folder: LegacyFolder) -> tuple[list[LegacyFile], list[str]]:
    """Return the files that become commits: the layers, and merged snapshots only where no layer stands beside them."""
    layers = [file for file in folder.files if file.layer is not LegacyLayer.SNAPSHOT]
    dated = {file.when for file in layers if file.backup and file.layer is LegacyLayer.DISCOVERED}
    used, notes = list[LegacyFile](), list[str]()
    for file in folder.files:
        if file.layer is not LegacyLayer.SNAPSHOT:
            used.append(file)
        elif file.backup and file.when not in dated:
            used.append(file)
            notes.append(f"{file.name}: a merged snapshot, taken for what was found on the host then")
        elif not file.backup and not any(not layer.backup for layer in layers):
            used.append(file)
            notes.append(f"{file.name}: no layer stands beside it, so it is taken for what was found on the host")
    for layer in (LegacyLayer.CURATED, LegacyLayer.DISCOVERED):
        if folder.current(layer) is None and any(file.layer is layer for file in used):
            notes.append(f"model_registry.{layer}.json is not there: its last backup stays valid")
    return used, notes


def _identity(files: Iterable[LegacyFile]) -> str:
    named = "\n".join(sorted(f"{file.name} {file.sha256}" for file in files))
    return hashlib.sha256(named.encode()).hexdigest()[:_ID_DIGITS]


@dataclass
class _Memory:
    """What was last made of each model: most are the same in one backup after the other.

    Args:
        entries: The record and what was declared of it, with the entry, by name there.
        manifests: The record, the choice and the entry's fields, with the manifest, by name there.
    """

    entries: dict[str, tuple[Record, Record | None, MigratedModel]] = field(default_factory=dict)
    manifests: dict[str, tuple[Record, SourceChoice, MigratedModel | None, Declaration]] = field(default_factory=dict)

    def entry(self, record: Record, declared: Record | None, name: str) -> MigratedModel:
        """Return a model's entry."""
        known = self.entries.get(record.name)
        if known is None or known[:2] != (record, declared):
            fields = declared.fields if declared else None
            known = self.entries[record.name] = (record, declared, to_entry(record, name, declared=fields))
        return known[2]

    def manifest(
        self, record: Record, name: str, choice: SourceChoice, found: MigratedModel | None, around: Surroundings
    ) -> Declaration:
        """Return a model's manifest; see `declare`."""
        known = self.manifests.get(record.name)
        if known is None or known[:3] != (record, choice, found):
            declaration = declare(record, name, choice, found, around)
            known = self.manifests[record.name] = (record, choice, found, declaration)
        return known[3]


@dataclass
class _Builder:
    """Makes one state of the registry of one state of the predecessor.

    Args:
        curated: The curated models by their names there.
        found: The discovered ones.
        names: The name here by the name there.
        target: The registry.
        memory: What was made for the state before.
    """

    curated: Records
    found: Records
    names: Mapping[str, str]
    target: MigrationTarget
    memory: _Memory

    def step(self, files: Collection[LegacyFile], title: str) -> MigrationCommit:
        """Return the state as a commit to be."""
        entries = {
            self.names[there]: self.memory.entry(record, self.curated.get(there), self.names[there])
            for there, record in self.found.items()
        }
        declared = self._declared(entries)
        for name, declaration in declared.items():
            if declaration.overflow:
                entries[name] = _with_overflow(entries.get(name), declaration)
        return MigrationCommit(
            id=_identity(files),
            files=tuple(file.name for file in files),
            when=max(file.when for file in files),
            title=title,
            declared=declared,
            found=entries,
        )

    def _declared(self, entries: Mapping[str, MigratedModel]) -> dict[str, Declaration]:
        """Return the manifests: each the best of its choices with which all of them are valid together."""
        passed_over: dict[str, int] = {}
        while True:
            declared = dict(self._declare_all(entries, passed_over))
            refused = self._refused(declared)
            if not refused:
                return declared
            for name, message in refused.items():
                if declared[name].source == SourceChoice().label:
                    raise MigrationError(f"{name} cannot be declared: {message}", remedy="Rename one of the two there.")
                passed_over[name] = passed_over.get(name, 0) + 1

    def _declare_all(
        self, entries: Mapping[str, MigratedModel], passed_over: Mapping[str, int]
    ) -> Iterator[tuple[str, Declaration]]:
        claimed: set[tuple[str, ...]] = set()
        for there, record in sorted(self.curated.items()):
            name = self.names[there]
            possible = choices(record, self.found.get(there), self.target.around)
            choice = next(one for one in islice(possible, passed_over.get(name, 0), None) if one.folder not in claimed)
            if choice.folder is not None:
                claimed.add(choice.folder)
            yield name, self.memory.manifest(record, name, choice, entries.get(name), self.target.around)

    def _refused(self, declared: Mapping[str, Declaration]) -> dict[str, str]:
        """Return which manifests are not valid beside all others, with the reason."""
        own = {
            f"{FOLDER}/{name}.yaml": check_manifest(f"{FOLDER}/{name}.yaml", one.data) for name, one in declared.items()
        }
        others = {file: checked for file, checked in self.target.others.items() if file not in own}
        hosts: dict[str, dict[str, Document]] = {self.target.around.host: {}} if self.target.around.host_known else {}
        _, problems = validate_documents({**others, **own}, self.target.settings, hosts)
        return {name: problems[file][0].message for name in declared if (file := f"{FOLDER}/{name}.yaml") in problems}


def _with_overflow(found: MigratedModel | None, declaration: Declaration) -> MigratedModel:
    """Return an entry that also keeps what no manifest could hold of its model."""
    fields: Fields = (
        dict(found.fields) if found else {"schema_version": SCHEMA_VERSION, "name": declaration.name, "managed": True}
    )
    with_legacy(fields, {CURATED_REST: dict(declaration.overflow)})
    return replace(found, fields=fields) if found else MigratedModel(declaration.name, fields, Tally())
