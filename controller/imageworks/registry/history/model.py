"""What history says of models: changes in model words, commits with them, and who set which field."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from imageworks.foundation.errors import ImageworksError

if TYPE_CHECKING:
    from imageworks.git.values import CommitRecord

FORMAT_VERSION = 1


class HistoryError(ImageworksError):
    """History cannot say what was asked for."""


class RecordKind(StrEnum):
    """Which of a registry's files something is about."""

    MANIFEST = "manifest"
    ENTRY = "entry"
    SETTINGS = "settings"
    SNAPSHOT = "snapshot"


class ChangeKind(StrEnum):
    """What became of a model, in one word."""

    DECLARED = "declared"
    UNDECLARED = "undeclared"
    RENAMED = "renamed"
    CHANGED = "changed"
    REWRITTEN = "rewritten"
    UNREADABLE = "unreadable"
    INSTALLED = "installed"
    ADOPTED = "adopted"
    FOUND = "found"
    RECORDED = "recorded"
    UPDATED = "updated"
    MOVED = "moved"
    EMPTIED = "emptied"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Version:
    """One file of a registry as a state has it.

    Args:
        blob: Git object id of its bytes.
        fields: What it says; ``None`` when it cannot be read.
        problem: Why it cannot be read, naming file and line.
    """

    blob: str
    fields: Mapping[str, object] | None = None
    problem: str = ""


class FileVersion(Protocol):
    """One file of a registry as a state has it, read or to be read: what :class:`Version` says."""

    @property
    def blob(self) -> str:
        """Git object id of its bytes."""

    @property
    def fields(self) -> Mapping[str, object] | None:
        """What it says; ``None`` when it cannot be read."""

    @property
    def problem(self) -> str:
        """Why it cannot be read."""


Pairs = Mapping[str, tuple[FileVersion | None, FileVersion | None]]
"""What a file was and is, by registry path; ``None`` where there was or is none."""


class FieldChange(NamedTuple):  # a history of a thousand models has tens of thousands
    """One field's change.

    Args:
        field: The keys that lead to it, joined by dots.
        before: What it was; ``None`` when it was not there.
        after: What it is; ``None`` when it is gone.
    """

    field: str
    before: object
    after: object

    def document(self) -> dict[str, object]:
        """Return the change as JSON values."""
        return {"field": self.field, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True)
class FileChange:
    """Which of a model's recorded files differ.

    Args:
        added: Relative paths of new ones.
        removed: Relative paths of those that are gone.
        changed: Relative paths of those with other bytes.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def document(self) -> dict[str, list[str]]:
        """Return the change as JSON values."""
        return {"added": list(self.added), "removed": list(self.removed), "changed": list(self.changed)}


@dataclass(frozen=True, slots=True)
class ModelChange:
    """What became of one model (or of the settings) in one layer, between two states.

    Args:
        layer: Which of its files changed.
        name: The variant name afterwards; ``registry.yaml`` for the settings.
        kind: What became of it.
        host: Whose entry changed; ``None`` for other layers.
        previous_name: What it was called before a rename.
        source: Where it comes from, as people write it.
        revision: The pin or the installed commit, before and after.
        size: Recorded bytes, before and after.
        count: Recorded files afterwards.
        files: Which recorded files differ.
        fields: Every changed field, but the lists of files.
        problem: Why a file cannot be read.
    """

    layer: RecordKind
    name: str
    kind: ChangeKind
    host: str | None = None
    previous_name: str | None = None
    source: str | None = None
    revision: tuple[str | None, str | None] = (None, None)
    size: tuple[int | None, int | None] = (None, None)
    count: int = 0
    files: FileChange = field(default_factory=FileChange)
    fields: tuple[FieldChange, ...] = ()
    problem: str = ""

    def document(self) -> dict[str, object]:
        """Return the change as stable JSON values."""
        return {
            "layer": self.layer.value,
            "name": self.name,
            "kind": self.kind.value,
            "host": self.host,
            "previous_name": self.previous_name,
            "source": self.source,
            "revision": {"before": self.revision[0], "after": self.revision[1]},
            "size": {"before": self.size[0], "after": self.size[1]},
            "files": self.files.document(),
            "fields": [changed.document() for changed in self.fields],
            "problem": self.problem or None,
        }


@dataclass(frozen=True, slots=True)
class HistoryCommit:
    """One commit, and what it changed.

    Args:
        record: The commit.
        changes: What it changed of what was asked for.
        layers: Which layers it touched, the snapshot among them.
    """

    record: "CommitRecord"
    changes: Sequence[ModelChange]
    layers: tuple[RecordKind, ...]

    def __repr__(self) -> str:
        return f"<{self.record.short_id} {self.record.when:%Y-%m-%d} {self.record.author}: {self.record.subject}>"

    def document(self) -> dict[str, object]:
        """Return the commit as stable JSON values."""
        return {**self._record_values(), "models": [change.document() for change in self.changes]}

    def stream(self) -> dict[str, object]:
        """Return the same with its paths and models to be written one by one."""
        models: Iterator[dict[str, object]] = (change.document() for change in self.changes)
        return {**self._record_values(), "changed": iter(self.record.changed), "models": models}

    def _record_values(self) -> dict[str, object]:
        record = self.record
        return {
            "id": record.id,
            "parents": list(record.parents),
            "when": record.when.isoformat(),
            "author": record.author,
            "email": record.email,
            "subject": record.subject,
            "trailers": dict(record.trailers),
            "layers": [layer.value for layer in self.layers],
            "changed": list(record.changed),
        }


@dataclass(frozen=True, slots=True)
class Blamed:
    """Which commit set a field to what it is.

    Args:
        layer: Manifest or entry.
        field: The keys that lead to it, joined by dots.
        value: What it is.
        name: What the model was called when it was set.
        record: The commit.
    """

    layer: RecordKind
    field: str
    value: object
    name: str
    record: "CommitRecord"

    def document(self) -> dict[str, object]:
        """Return the finding as stable JSON values."""
        return {
            "layer": self.layer.value,
            "field": self.field,
            "value": self.value,
            "name": self.name,
            "commit": self.record.id,
            "when": self.record.when.isoformat(),
            "author": self.record.author,
            "email": self.record.email,
            "subject": self.record.subject,
        }
