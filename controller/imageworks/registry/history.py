"""Two states of a registry become changes in model words: declared, installed, updated, renamed. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from imageworks.registry import entry as entries
from imageworks.registry import manifest as manifests
from imageworks.registry.history_values import (
    FieldChange,
    FileChange,
    Kind,
    Layer,
    ModelChange,
    Pairs,
    Version,
)
from imageworks.registry.merge import SNAPSHOT_FOLDER
from imageworks.registry.settings import FILE as SETTINGS_FILE

ENTRY_PARTS: Final = 3  # discovered/<host>/<name>.json
MANIFEST_PARTS: Final = 2  # models/<name>.yaml
FILE_LISTS: Final = ("artifacts.files", "download_files", "download_directory_checksum")
"""Fields of an entry that are told as files."""
_ACQUIRED: Final = {"installed": Kind.INSTALLED, "adopted": Kind.ADOPTED}
_ONLY_TOLD: Final = frozenset({"Migrated", "NotChecked"})  # reasons in the conditions of migrated and restored entries
_SOURCES: Final = ("huggingface", "ollama", "path")


def layer_of(path: str) -> Layer | None:
    """Return which layer a registry path belongs to; ``None`` for a file that is none of ours.

    Args:
        path: A path within the registry.
    """
    parts = path.split("/")
    if path == SETTINGS_FILE:
        return Layer.SETTINGS
    if len(parts) == MANIFEST_PARTS and parts[0] == manifests.FOLDER and parts[1].endswith(manifests.SUFFIXES):
        return Layer.MANIFEST
    if len(parts) == ENTRY_PARTS and parts[0] == entries.FOLDER and parts[2].endswith(entries.SUFFIX):
        return Layer.ENTRY
    return Layer.SNAPSHOT if parts[0] == SNAPSHOT_FOLDER else None


def name_of(path: str) -> str:
    """Return the model's name that a manifest's or an entry's path gives."""
    return manifests.manifest_name(path)


def flatten(fields: Mapping[str, object]) -> dict[str, object]:
    """Return a document's values by their dotted keys; lists and empty objects are values.

    Args:
        fields: The document.
    """
    flat: dict[str, object] = {}
    pending: list[tuple[str, Mapping[str, object]]] = [("", fields)]
    while pending:
        base, part = pending.pop()
        for key, value in part.items():
            if isinstance(value, Mapping) and value:
                pending.append((f"{base}{key}.", value))
            else:
                flat[f"{base}{key}"] = value
    return flat


def compare(pairs: Pairs) -> tuple[ModelChange, ...]:
    """Return what became of the models between two states, sorted by name; renames are one change.

    Args:
        pairs: The files that differ, as they were and as they are.
    """
    changes: list[ModelChange] = []
    by_layer: dict[tuple[Layer, str], dict[str, tuple[Version | None, Version | None]]] = {}
    for path, pair in pairs.items():
        layer = layer_of(path)
        if layer is Layer.SETTINGS:
            changes.append(_settings(*pair))
        elif layer is Layer.MANIFEST or layer is Layer.ENTRY:
            host = path.split("/")[1] if layer is Layer.ENTRY else ""
            by_layer.setdefault((layer, host), {})[name_of(path)] = pair
    for (layer, host), named in by_layer.items():
        former = _renames(layer, named)
        vanished = set(former.values())
        for name, (before, after) in named.items():
            if name in former:
                before = named[former[name]][0]  # noqa: PLW2901 # the state under its former name
            elif name in vanished:
                continue
            change = _manifest(name, before, after) if layer is Layer.MANIFEST else _entry(name, host, before, after)
            changes.append(_renamed(change, former.get(name)))
    return tuple(sorted(changes, key=lambda change: (change.name, change.layer.value != "manifest", change.host or "")))


def _renamed(change: ModelChange, former: str | None) -> ModelChange:
    if former is None:
        return change
    kind = Kind.RENAMED if change.kind in {Kind.CHANGED, Kind.REWRITTEN, Kind.MOVED} else change.kind
    fields = tuple(item for item in change.fields if item.field not in {"name", "previously"})
    return replace(change, kind=kind, previous_name=former, fields=fields)


def _renames(layer: Layer, named: Mapping[str, tuple[Version | None, Version | None]]) -> dict[str, str]:
    """Return the former name of each model that appeared while another that was the same vanished."""
    gone = {name: before for name, (before, after) in named.items() if before is not None and after is None}
    found: dict[str, str] = {}
    for name, (before, after) in sorted(named.items()):
        if before is not None or after is None:
            continue
        former = _former(layer, after, gone)
        if former is not None:
            found[name] = former
            del gone[former]
    return found


def _former(layer: Layer, new: Version, gone: Mapping[str, Version]) -> str | None:
    fields = new.fields or {}
    if layer is Layer.MANIFEST:
        said = next((name for name in former_names(fields) if name in gone), None)
        return said or next((name for name, old in gone.items() if old.blob == new.blob), None)
    files = _digest(fields)
    return next((name for name, old in gone.items() if files and _digest(old.fields or {}) == files), None)


def former_names(fields: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names that a manifest says the model had before."""
    listed = fields.get("previously")
    return tuple(name for name in listed if isinstance(name, str)) if isinstance(listed, list) else ()


def _digest(fields: Mapping[str, object]) -> object:
    return _part(fields, "artifacts").get("aggregate_sha256")


def _settings(before: Version | None, after: Version | None) -> ModelChange:
    return ModelChange(
        Layer.SETTINGS,
        SETTINGS_FILE,
        _plain_kind(before, after),
        fields=_fields(before, after),
        problem=_problem(after),
    )


def _manifest(name: str, before: Version | None, after: Version | None) -> ModelChange:
    kind = _plain_kind(before, after)
    said = (after or before or Version("")).fields or {}
    return ModelChange(
        Layer.MANIFEST,
        name,
        kind,
        source=_source(said),
        revision=(_pin(before), _pin(after)),
        fields=_fields(before, after),
        problem=_problem(after),
    )


def _plain_kind(before: Version | None, after: Version | None) -> Kind:
    if after is None:
        return Kind.UNDECLARED
    if after.fields is None:
        return Kind.UNREADABLE
    if before is None:
        return Kind.DECLARED
    return Kind.REWRITTEN if before.fields == after.fields else Kind.CHANGED


def _entry(name: str, host: str, before: Version | None, after: Version | None) -> ModelChange:
    old, new = _said(before), _said(after)
    files = _files_between(old, new)
    return ModelChange(
        Layer.ENTRY,
        name,
        _entry_kind(before, after, files),
        host=host,
        source=_text(_part(new or old, "resolved").get("repo")),
        revision=(_installed(old), _installed(new)),
        size=(_number(old.get("download_size_bytes")), _number(new.get("download_size_bytes"))),
        count=_count(new),
        files=files,
        fields=tuple(change for change in _fields(before, after) if change.field not in FILE_LISTS),
        problem=_problem(after),
    )


def _entry_kind(before: Version | None, after: Version | None, files: FileChange) -> Kind:
    if after is None:
        return Kind.REMOVED
    if after.fields is None:
        return Kind.UNREADABLE
    old, new = _said(before), _said(after)
    had, has = bool(old.get("download_path")), bool(new.get("download_path"))
    if has and not had and not _only_told(new):
        acquired = _text(_part(new, "metadata").get("acquisition"))
        return _ACQUIRED.get(acquired or "", Kind.FOUND)
    if before is None:
        return Kind.RECORDED
    if had and not has:
        return Kind.EMPTIED
    if _installed(old) != _installed(new) or files:
        return Kind.UPDATED
    if old.get("download_path") != new.get("download_path"):
        return Kind.MOVED
    return Kind.REWRITTEN if old == new else Kind.CHANGED


def _only_told(fields: Mapping[str, object]) -> bool:
    """Say whether an entry repeats what was recorded elsewhere or before, and nothing was looked at."""
    conditions = fields.get("conditions")
    listed = conditions if isinstance(conditions, list) else []
    return any(isinstance(item, Mapping) and item.get("reason") in _ONLY_TOLD for item in listed)


def _fields(before: Version | None, after: Version | None) -> tuple[FieldChange, ...]:
    old, new = flatten(_said(before)), flatten(_said(after))
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
    listed = _part(fields, "artifacts").get("files")
    return dict(_listed(listed)) if isinstance(listed, list) else {}


def _count(fields: Mapping[str, object]) -> int:
    """Return how many files an entry has; by their names alone where nothing more was recorded."""
    names = fields.get("download_files")
    return len(_files(fields)) or (len(names) if isinstance(names, list) else 0)


def _listed(files: Iterable[object]) -> Iterator[tuple[str, object]]:
    for item in files:
        if isinstance(item, Mapping) and isinstance(item.get("path"), str):
            yield item["path"], item.get("sha256")


def _said(version: Version | None) -> Mapping[str, object]:
    return (version.fields if version is not None else None) or {}


def _problem(version: Version | None) -> str:
    return version.problem if version is not None else ""


def _source(fields: Mapping[str, object]) -> str | None:
    source = _part(fields, "source")
    return next((f"{key}:{source[key]}" for key in _SOURCES if isinstance(source.get(key), str)), None)


def _pin(version: Version | None) -> str | None:
    return _text(_part(_said(version), "source").get("revision"))


def _installed(fields: Mapping[str, object]) -> str | None:
    return _text(_part(fields, "resolved").get("revision"))


def _part(fields: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
