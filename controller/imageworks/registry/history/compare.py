"""Two states of a registry become changes in model words: declared, installed, updated, renamed. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, overload

from imageworks.foundation.json_values import part, text, whole
from imageworks.registry.entries import entry as entries
from imageworks.registry.entries.merge import SNAPSHOT_FOLDER
from imageworks.registry.history.model import (
    ChangeKind,
    FieldChange,
    FileChange,
    FileVersion,
    ModelChange,
    Pairs,
    RecordKind,
)
from imageworks.registry.manifests import manifest as manifests
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE

_PLAIN: Final = (str, int, list)
"""What most values are; to ask an abstract class of each takes long."""
ENTRY_PARTS: Final = 3  # discovered/<host>/<name>.json
MANIFEST_PARTS: Final = 2  # models/<name>.yaml
FILE_LISTS: Final = ("artifacts.files", "download_files", "download_directory_checksum")
"""Fields of an entry that are told as files."""
_ACQUIRED: Final = {"installed": ChangeKind.INSTALLED, "adopted": ChangeKind.ADOPTED}
_ONLY_TOLD: Final = frozenset({"Migrated", "NotChecked"})  # reasons in the conditions of migrated and restored entries
_SOURCES: Final = ("huggingface", "ollama", "path")


def layer_of(path: str) -> RecordKind | None:
    """Return which layer a registry path belongs to; ``None`` for a file that is none of ours."""
    parts = path.split("/")
    if path == SETTINGS_FILE:
        return RecordKind.SETTINGS
    if len(parts) == MANIFEST_PARTS and parts[0] == manifests.FOLDER and parts[1].endswith(manifests.SUFFIXES):
        return RecordKind.MANIFEST
    if len(parts) == ENTRY_PARTS and parts[0] == entries.FOLDER and parts[2].endswith(entries.SUFFIX):
        return RecordKind.ENTRY
    return RecordKind.SNAPSHOT if parts[0] == SNAPSHOT_FOLDER else None


def name_of(path: str) -> str:
    """Return the model's name that a manifest's or an entry's path gives."""
    return manifests.manifest_name(path)


def flatten(fields: Mapping[str, object]) -> dict[str, object]:
    """Return a document's values by their dotted keys; lists and empty objects are values."""
    flat: dict[str, object] = {}
    pending: list[tuple[str, Mapping[str, object]]] = [("", fields)]
    while pending:
        base, part = pending.pop()
        for key, value in part.items():
            if value and not isinstance(value, _PLAIN) and isinstance(value, Mapping):
                pending.append((f"{base}{key}.", value))
            else:
                flat[f"{base}{key}"] = value
    return flat


@dataclass(frozen=True, slots=True)
class _Difference:
    """What one change is made of.

    Args:
        layer: Which of the model's files differs.
        host: Whose entry; empty for other layers.
        name: The model's name afterwards.
        before: What the file was.
        after: What it is.
        former: What the model was called before a rename.
    """

    layer: RecordKind
    host: str
    name: str
    before: FileVersion | None
    after: FileVersion | None
    former: str | None = None

    def change(self) -> ModelChange:
        """Return what it says in model words; reads the files."""
        if self.layer is RecordKind.SETTINGS:
            return _settings(self.before, self.after)
        if self.layer is RecordKind.MANIFEST:
            return _renamed(_manifest(self.name, self.before, self.after), self.former)
        return _renamed(_entry(self.name, self.host, self.before, self.after), self.former)


class ModelChanges(Sequence[ModelChange]):
    """What became of models, sorted by name. Each is read when it is asked for: one commit may have twenty thousand."""

    def __init__(self, differences: Iterable[_Difference]) -> None:
        # By name, manifest before entries, host: without sixty thousand keys at a time that say so.
        self._differences = sorted(differences, key=lambda one: one.host)
        self._differences.sort(key=lambda one: one.layer is not RecordKind.MANIFEST)
        self._differences.sort(key=lambda one: one.name)

    def __len__(self) -> int:
        return len(self._differences)

    def of(self, layer: RecordKind) -> Iterator[ModelChange]:
        """Yield those of one layer; no other is read."""
        return (one.change() for one in self._differences if one.layer is layer)

    def called(self, names: Collection[str]) -> "ModelChanges":
        """Return those of models that are called so, or were before; none is read."""
        return ModelChanges(one for one in self._differences if one.name in names or one.former in names)

    def renames(self) -> Iterator[tuple[str, str]]:
        """Yield what each renamed model is called and was called before; no change is read."""
        return ((one.name, one.former) for one in self._differences if one.former is not None)

    @overload
    def __getitem__(self, index: int) -> ModelChange: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ModelChange, ...]: ...
    def __getitem__(self, index: int | slice) -> ModelChange | tuple[ModelChange, ...]:
        """Return a change, or some."""
        if isinstance(index, slice):
            return tuple(one.change() for one in self._differences[index])
        return self._differences[index].change()


def compare(pairs: Pairs) -> ModelChanges:
    """Return what became of the models between two states, sorted by name; renames are one change."""
    found: list[_Difference] = []
    by_layer: dict[tuple[RecordKind, str], dict[str, tuple[FileVersion | None, FileVersion | None]]] = {}
    for path, pair in pairs.items():
        layer = layer_of(path)
        if layer is RecordKind.SETTINGS:
            found.append(_Difference(layer, "", SETTINGS_FILE, *pair))
        elif layer is RecordKind.MANIFEST or layer is RecordKind.ENTRY:
            host = path.split("/")[1] if layer is RecordKind.ENTRY else ""
            by_layer.setdefault((layer, host), {})[name_of(path)] = pair
    for (layer, host), named in by_layer.items():
        former = _renames(layer, named)
        vanished = set(former.values())
        for name, (before, after) in named.items():
            if name in former:  # the state under its former name
                found.append(_Difference(layer, host, name, named[former[name]][0], after, former[name]))
            elif name not in vanished:
                found.append(_Difference(layer, host, name, before, after))
    return ModelChanges(found)


def _renamed(change: ModelChange, former: str | None) -> ModelChange:
    if former is None:
        return change
    kind = (
        ChangeKind.RENAMED
        if change.kind in {ChangeKind.CHANGED, ChangeKind.REWRITTEN, ChangeKind.MOVED}
        else change.kind
    )
    fields = tuple(item for item in change.fields if item.field not in {"name", "previously"})
    return replace(change, kind=kind, previous_name=former, fields=fields)


def _renames(layer: RecordKind, named: Mapping[str, tuple[FileVersion | None, FileVersion | None]]) -> dict[str, str]:
    """Return the former name of each model that appeared while another that was the same vanished."""
    gone = {name: before for name, (before, after) in named.items() if before is not None and after is None}
    alike: dict[object, list[str]] = {}
    for name, old in reversed(gone.items()):
        alike.setdefault(old.blob if layer is RecordKind.MANIFEST else _digest(old.fields or {}), []).append(name)
    found: dict[str, str] = {}
    for name, (before, after) in sorted(named.items()) if gone else ():
        if before is None and after is not None and (former := _former(layer, after, gone, alike)) is not None:
            found[name] = former
            del gone[former]
    return found


def _former(
    layer: RecordKind, new: FileVersion, gone: Mapping[str, FileVersion], alike: Mapping[object, list[str]]
) -> str | None:
    """Return which of the models that are gone another was; of several with the same bytes the first that is left."""
    fields = new.fields or {}
    said = former_names(fields) if layer is RecordKind.MANIFEST else ()
    same = alike.get(new.blob if layer is RecordKind.MANIFEST else _digest(fields) or None, [])
    while same and same[-1] not in gone:
        same.pop()
    return next((name for name in (*said, *same[-1:]) if name in gone), None)


def former_names(fields: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names that a manifest says the model had before."""
    listed = fields.get("previously")
    return tuple(name for name in listed if isinstance(name, str)) if isinstance(listed, list) else ()


def _digest(fields: Mapping[str, object]) -> object:
    return part(fields, "artifacts").get("aggregate_sha256")


def _settings(before: FileVersion | None, after: FileVersion | None) -> ModelChange:
    return ModelChange(
        RecordKind.SETTINGS,
        SETTINGS_FILE,
        _plain_kind(before, after),
        fields=_fields(before, after),
        problem=_problem(after),
    )


def _manifest(name: str, before: FileVersion | None, after: FileVersion | None) -> ModelChange:
    kind = _plain_kind(before, after)
    said = _said(after or before)
    return ModelChange(
        RecordKind.MANIFEST,
        name,
        kind,
        source=_source(said),
        revision=(_pin(before), _pin(after)),
        fields=_fields(before, after),
        problem=_problem(after),
    )


def _plain_kind(before: FileVersion | None, after: FileVersion | None) -> ChangeKind:
    if after is None:
        return ChangeKind.UNDECLARED
    if after.fields is None:
        return ChangeKind.UNREADABLE
    if before is None:
        return ChangeKind.DECLARED
    return ChangeKind.REWRITTEN if before.fields == after.fields else ChangeKind.CHANGED


def _entry(name: str, host: str, before: FileVersion | None, after: FileVersion | None) -> ModelChange:
    old, new = _said(before), _said(after)
    files = _files_between(old, new)
    return ModelChange(
        RecordKind.ENTRY,
        name,
        _entry_kind(before, after, files),
        host=host,
        source=text(part(new or old, "resolved"), "repo"),
        revision=(_installed(old), _installed(new)),
        size=(whole(old, "download_size_bytes"), whole(new, "download_size_bytes")),
        count=_count(new),
        files=files,
        fields=tuple(change for change in _fields(before, after) if change.field not in FILE_LISTS),
        problem=_problem(after),
    )


def _entry_kind(before: FileVersion | None, after: FileVersion | None, files: FileChange) -> ChangeKind:
    if after is None:
        return ChangeKind.REMOVED
    if after.fields is None:
        return ChangeKind.UNREADABLE
    old, new = _said(before), _said(after)
    had, has = bool(old.get("download_path")), bool(new.get("download_path"))
    if has and not had and not _only_told(new):
        acquired = text(part(new, "metadata"), "acquisition")
        return _ACQUIRED.get(acquired or "", ChangeKind.FOUND)
    if before is None:
        return ChangeKind.RECORDED
    if had and not has:
        return ChangeKind.EMPTIED
    if _installed(old) != _installed(new) or files:
        return ChangeKind.UPDATED
    if old.get("download_path") != new.get("download_path"):
        return ChangeKind.MOVED
    return ChangeKind.REWRITTEN if old == new else ChangeKind.CHANGED


def _only_told(fields: Mapping[str, object]) -> bool:
    """Say whether an entry repeats what was recorded elsewhere or before, and nothing was looked at."""
    conditions = fields.get("conditions")
    listed = conditions if isinstance(conditions, list) else []
    return any(isinstance(item, Mapping) and item.get("reason") in _ONLY_TOLD for item in listed)


def _fields(before: FileVersion | None, after: FileVersion | None) -> tuple[FieldChange, ...]:
    old, new = flatten(_said(before)), flatten(_said(after))
    if not old:
        return tuple(FieldChange(key, None, new[key]) for key in sorted(new))
    return tuple(
        FieldChange(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if key not in old or key not in new or old[key] != new[key]
    )


def _files_between(old: Mapping[str, object], new: Mapping[str, object]) -> FileChange:
    was, now = _files(old), _files(new)
    return FileChange(
        added=tuple(sorted(now.keys() - was.keys())),
        removed=tuple(sorted(was.keys() - now.keys())),
        changed=tuple(sorted(path for path in was.keys() & now.keys() if was[path] != now[path])),
    )


def _files(fields: Mapping[str, object]) -> dict[str, object]:
    listed = part(fields, "artifacts").get("files")
    return dict(_listed(listed)) if isinstance(listed, list) else {}


def _count(fields: Mapping[str, object]) -> int:
    """Return how many files an entry has; by their names alone where nothing more was recorded."""
    names = fields.get("download_files")
    return len(_files(fields)) or (len(names) if isinstance(names, list) else 0)


def _listed(files: Iterable[object]) -> Iterator[tuple[str, object]]:
    for item in files:
        if isinstance(item, Mapping) and isinstance(item.get("path"), str):
            yield item["path"], item.get("sha256")


def _said(version: FileVersion | None) -> Mapping[str, object]:
    return (version.fields if version is not None else None) or {}


def _problem(version: FileVersion | None) -> str:
    return version.problem if version is not None else ""


def _source(fields: Mapping[str, object]) -> str | None:
    source = part(fields, "source")
    return next((f"{key}:{source[key]}" for key in _SOURCES if isinstance(source.get(key), str)), None)


def _pin(version: FileVersion | None) -> str | None:
    return text(part(_said(version), "source"), "revision")


def _installed(fields: Mapping[str, object]) -> str | None:
    return text(part(fields, "resolved"), "revision")
