"""Merge manifests with entries into the snapshot: each field has one owner, and the table of owners is data."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final, overload

from imageworks.registry.documents.schema_files import schema_dir
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import Manifest

SNAPSHOT_FOLDER: Final = "snapshot"

Owners = Mapping[str, str]
MANIFEST: Final = "manifest"
ENTRY: Final = "entry"
MANIFEST_OVER_ENTRY: Final = "manifest-over-entry"


@dataclass(frozen=True, slots=True)
class HostModels:
    """What manifests and entries give for a host.

    Args:
        models: The merged models, sorted by name.
        entries: What the controller recorded alone, by name.
        unreadable: What is wrong with the documents of the models that are left out, by name.
    """

    models: Sequence[Mapping[str, object]] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)


def load_owners() -> Owners:
    """Return the table of field owners from the schema folder."""
    table = json.loads((schema_dir() / "ownership.json").read_text(encoding="utf-8"))
    owners: Owners = table["owners"]
    return owners


def snapshot_file(host: str) -> str:
    """Return a host's snapshot's path within the registry."""
    return f"{SNAPSHOT_FOLDER}/{host}.json"


def merge_one(manifest: Manifest | None, entry: Entry | None, owners: Owners) -> dict[str, object]:
    """Return one merged entry."""
    declared = manifest.fields if manifest else {}
    found = entry.fields if entry else {}
    merged: dict[str, object] = {}
    for key, owner in owners.items():
        if owner == MANIFEST:
            # Without a manifest there is nobody else to ask: a discovered-only entry speaks for itself.
            source = declared if manifest else found
            if key in source:
                merged[key] = source[key]
        elif owner == ENTRY:
            if key in found:
                merged[key] = found[key]
        elif key in declared or key in found:
            merged[key] = _overlay(found.get(key), declared.get(key))
    merged["name"] = manifest.name if manifest else (entry.name if entry else "")
    merged["managed"] = manifest is not None
    return merged


def _overlay(under: object, over: object) -> object:
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {key: _overlay(under.get(key), over.get(key)) for key in {**under, **over}}
    return under if over is None else over


def merge(manifests: Iterable[Manifest], entries: Iterable[Entry], owners: Owners) -> list[dict[str, object]]:
    """Return all merged entries sorted by name: the same input gives the same list, in whatever order it comes."""
    return list(merge_each(manifests, entries, owners))


def merge_each(manifests: Iterable[Manifest], entries: Iterable[Entry], owners: Owners) -> Iterator[dict[str, object]]:
    """Yield the same one by one, for what writes them: ten thousand at a time would fill the memory."""
    by_name = {manifest.name: manifest for manifest in manifests}
    found = {entry.name: entry for entry in entries}
    for name in sorted({**by_name, **found}):
        yield merge_one(by_name.get(name), found.get(name), owners)


class MergedModels(Sequence[Mapping[str, object]]):
    """The same as a sequence whose models are put together when something is asked of them, one at a time.

    Args:
        manifests: What is declared.
        entries: What is recorded.
        owners: Who has which field.
    """

    def __init__(self, manifests: Iterable[Manifest], entries: Iterable[Entry], owners: Owners) -> None:
        self._manifests = {manifest.name: manifest for manifest in manifests}
        self._entries = {entry.name: entry for entry in entries}
        self._owners = owners
        self._names = sorted({**self._manifests, **self._entries})
        self._latest: tuple[str, Mapping[str, object]] = ("", {})

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, at: int) -> Mapping[str, object]: ...

    @overload
    def __getitem__(self, at: slice) -> list[Mapping[str, object]]: ...

    def __getitem__(self, at: int | slice) -> Mapping[str, object] | list[Mapping[str, object]]:
        names = self._names[at]
        return _MergedModel(self, names) if isinstance(names, str) else [_MergedModel(self, name) for name in names]

    def fields(self, name: str) -> Mapping[str, object]:
        """Return a model's fields; who asks for one asks for others next."""
        latest = self._latest
        if latest[0] != name:
            merged = merge_one(self._manifests.get(name), self._entries.get(name), self._owners)
            latest = self._latest = (name, merged)
        return latest[1]


class _MergedModel(Mapping[str, object]):  # no mapping has one
    """One of them, which keeps its name alone.

    Args:
        models: Knows the others.
        name: Its name.
    """

    __slots__ = ("_models", "_name")

    def __init__(self, models: MergedModels, name: str) -> None:
        self._models = models
        self._name = name

    def __getitem__(self, key: str) -> object:
        return self._name if key == "name" else self._models.fields(self._name)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models.fields(self._name))

    def __len__(self) -> int:
        return len(self._models.fields(self._name))


def in_snapshot(model: Mapping[str, object]) -> Mapping[str, object]:
    """Return a merged model as a snapshot has it: with the number of its verified files, which stand in its entry."""
    artifacts = model.get("artifacts")
    if not isinstance(artifacts, Mapping) or "files" not in artifacts:
        return model
    listed = artifacts["files"]
    kept = {key: value for key, value in artifacts.items() if key != "files"}
    return {**model, "artifacts": {**kept, "count": len(listed) if isinstance(listed, list) else 0}}


def render_snapshot(merged: Iterable[Mapping[str, object]]) -> bytes:
    """Return a snapshot's bytes: a JSON list with one model a line, so that a diff names the models that changed."""
    written = BytesIO()  # which gives its bytes away without a copy
    written.writelines(json_lines(map(in_snapshot, merged)))
    return written.getvalue()


def json_lines(models: Iterable[Mapping[str, object]]) -> Iterator[bytes]:
    """Yield a JSON list with one model a line; each is made before the next is looked at."""
    write = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
    before = b"[\n"
    for model in models:
        yield before + write(model).encode()
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"
