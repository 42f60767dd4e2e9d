"""Merge manifests with entries into the snapshot: each field has one owner, and the table of owners is data."""

import json
from collections.abc import Iterable, Mapping
from typing import Final

from imageworks.registry.entry import Entry
from imageworks.registry.manifest import Manifest

SNAPSHOT_FOLDER: Final = "snapshot"

Owners = Mapping[str, str]
MANIFEST: Final = "manifest"
ENTRY: Final = "entry"
MANIFEST_OVER_ENTRY: Final = "manifest-over-entry"


def load_owners() -> Owners:
    """Return the table of field owners from the schema folder."""
    from imageworks.registry.schema import schema_dir

    table = json.loads((schema_dir() / "ownership.json").read_text(encoding="utf-8"))
    owners: Owners = table["owners"]
    return owners


def snapshot_file(host: str) -> str:
    """Return a host's snapshot's path within the registry."""
    return f"{SNAPSHOT_FOLDER}/{host}.json"


def merge_one(manifest: Manifest | None, entry: Entry | None, owners: Owners) -> dict[str, object]:
    """Return one merged entry.

    Args:
        manifest: What people declare, if they do.
        entry: What the controller found, if it did.
        owners: Field to owner: ``manifest``, ``entry`` or ``manifest-over-entry`` (deep, the manifest wins).
    """
    declared = manifest.fields if manifest else {}
    found = entry.fields if entry else {}
    merged: dict[str, object] = {}
    for field, owner in owners.items():
        if owner == MANIFEST:
            # Without a manifest there is nobody else to ask: a discovered-only entry speaks for itself.
            source = declared if manifest else found
            if field in source:
                merged[field] = source[field]
        elif owner == ENTRY:
            if field in found:
                merged[field] = found[field]
        elif field in declared or field in found:
            merged[field] = _overlay(found.get(field), declared.get(field))
    merged["name"] = manifest.name if manifest else (entry.name if entry else "")
    merged["managed"] = manifest is not None
    return merged


def _overlay(under: object, over: object) -> object:
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {key: _overlay(under.get(key), over.get(key)) for key in {**under, **over}}
    return under if over is None else over


def merge(manifests: Iterable[Manifest], entries: Iterable[Entry], owners: Owners) -> list[dict[str, object]]:
    """Return all merged entries sorted by name: the same input gives the same list, in whatever order it comes.

    Args:
        manifests: Those that apply to the host and are valid.
        entries: The host's entries.
        owners: Field to owner.
    """
    by_name = {manifest.name: manifest for manifest in manifests}
    found = {entry.name: entry for entry in entries}
    return [merge_one(by_name.get(name), found.get(name), owners) for name in sorted({**by_name, **found})]


def render_snapshot(merged: Iterable[Mapping[str, object]]) -> bytes:
    """Return a snapshot's bytes: a JSON list with one model a line, so that a diff names the models that changed."""
    lines = [json.dumps(entry, sort_keys=True, ensure_ascii=False, separators=(",", ":")) for entry in merged]
    return ("[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n").encode()
