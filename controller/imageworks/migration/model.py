"""What the predecessor left and what becomes of it, as values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from imageworks.foundation.errors import ImageworksError
from imageworks.registry.documents.diagnostic import Diagnostic
from imageworks.registry.documents.document import JsonValue

Fields = dict[str, JsonValue]


class LegacyLayer(StrEnum):
    """What a file of the predecessor held."""

    CURATED = "curated"
    DISCOVERED = "discovered"
    SNAPSHOT = "snapshot"


class MigrationError(ImageworksError):
    """What the predecessor left cannot be read; nothing was written."""

    def __init__(self, message: str, problems: Iterable[Diagnostic] = (), *, remedy: str | None = None) -> None:
        self.problems = tuple(problems)
        lines = [message, *(problem.render() for problem in self.problems)]
        super().__init__("\n".join(lines) if message else "\n".join(lines[1:]), remedy=remedy)


@dataclass(frozen=True, slots=True)
class Record:
    """One model as a file of the predecessor has it.

    Args:
        name: Its name there.
        fields: Everything that is said of it.
    """

    name: str
    fields: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class LegacyFile:
    """One file of the predecessor.

    Args:
        name: Its name in the folder.
        layer: What it holds.
        sha256: The digest of its bytes.
        when: When it was written, in UTC.
        dated_by: ``name`` or ``mtime``: where ``when`` comes from.
        backup: Whether it is a backup, and so an earlier state.
        records: Its models in the order of the file.
    """

    name: str
    layer: LegacyLayer
    sha256: str
    when: datetime
    dated_by: str
    backup: bool
    records: tuple[Record, ...]

    def by_name(self) -> dict[str, Record]:
        """Return its models by name."""
        return {record.name: record for record in self.records}


@dataclass(frozen=True, slots=True)
class LegacyFolder:
    """The predecessor's ``configs/``.

    Args:
        files: What was read, in the order of time; backups before what is valid now.
        passed: Files of the folder that were not read, each with the reason.
    """

    files: tuple[LegacyFile, ...]
    passed: tuple[tuple[str, str], ...] = ()

    def current(self, layer: LegacyLayer) -> LegacyFile | None:
        """Return the file of a layer that is no backup."""
        return next((file for file in self.files if file.layer is layer and not file.backup), None)


@dataclass
class Tally:
    """Where the fields of one model went; filled while they are read.

    Args:
        kept: Fields that are as they were.
        changed: What was said otherwise, by field.
        legacy: Fields that are below ``metadata.legacy``, each with the reason.
        same: Fields that a manifest need not repeat, since the entry says the same.
        outside: Fields that are kept outside git.
        empty: Fields that said nothing.
    """

    kept: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    legacy: dict[str, str] = field(default_factory=dict)
    same: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many fields went where."""
        return {
            "kept": len(self.kept),
            "changed": len(self.changed),
            "legacy": len(self.legacy),
            "same": len(self.same),
            "outside": len(self.outside),
            "empty": len(self.empty),
        }

    def document(self) -> Fields:
        """Return it in JSON's data model."""
        return {
            "counts": dict(self.counts()),
            "changed": dict(self.changed),
            "legacy": dict(self.legacy),
            "same": list(self.same),
            "outside": list(self.outside),
            "empty": list(self.empty),
        }


@dataclass(frozen=True, slots=True)
class Declaration:
    """A curated model as a manifest.

    Args:
        name: The variant name.
        data: The manifest's bytes.
        source: Its source as people read it.
        tally: Where the fields went.
        overflow: What no manifest can hold; the entry keeps it.
    """

    name: str
    data: bytes
    source: str
    tally: Tally
    overflow: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MigratedModel:
    """A discovered model as an entry.

    Args:
        name: The variant name.
        fields: The entry's fields, but for ``managed``.
        tally: Where the fields went.
        last_accessed: When it was last used, which belongs to the host and not to git.
    """

    name: str
    fields: Mapping[str, JsonValue]
    tally: Tally
    last_accessed: str | None = None


@dataclass(frozen=True, slots=True)
class MigrationCommit:
    """One commit to be: the whole state of the predecessor at one time.

    Args:
        id: What tells it from every other: digests of the files it is made of.
        files: The names of these files.
        when: Their date; ``None`` for the last step, which is made now.
        title: The commit's subject.
        declared: The manifests by name.
        found: The entries by name.
    """

    id: str
    files: tuple[str, ...]
    when: datetime | None
    title: str
    declared: Mapping[str, Declaration]
    found: Mapping[str, MigratedModel]


@dataclass(frozen=True, slots=True)
class Migration:
    """Everything that a folder of the predecessor becomes.

    Args:
        steps: The commits to be, in the order of time.
        names: The name here by the name there, where the two differ.
        snapshot_only: Models of the merged snapshot that neither layer has.
        notes: What a person should know.
    """

    steps: tuple[MigrationCommit, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    snapshot_only: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
