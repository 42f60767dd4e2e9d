"""Compose the entry of a model that stands verified on disk."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from imageworks.naming.model_names import family_of, producer_of
from imageworks.plan.facts import DeclaredModel, ResolvedSource, TargetFolder
from imageworks.providers.dispatch import FOLDERS, file_provider
from imageworks.registry.entries.entry import ArtifactFile, Entry, aggregate_sha256, directory_checksum
from imageworks.registry.entries.queries import simple_names
from imageworks.registry.load import RegistryState

SCHEMA_VERSION = 1
UNASSIGNED = "unassigned"
KEPT = ("deprecated", "generation_defaults", "model_aliases", "version_lock")
"""What only an earlier tool or an import says of a model; no look at its files brings it back."""


def compose_entry(
    case: DeclaredModel,
    place: TargetFolder,
    files: Iterable[ArtifactFile],
    described: Mapping[str, object],
    *,
    acquisition: str,
    now: datetime | None = None,
) -> Entry:
    """Return the entry that records a model as it stands."""
    source = file_provider(case.manifest.source.provider if case.manifest.source is not None else FOLDERS)
    manifest, upstream = (
        case.manifest,
        case.upstream if isinstance(case.upstream, ResolvedSource) else ResolvedSource(files=()),
    )
    listed = tuple(sorted(files, key=lambda file: file.path))
    container = described.get("download_format") or upstream.container or manifest.text("format")
    quantization = _text(described.get("quantization") or upstream.quantization or manifest.text("quantization"))
    # What people declare is merged in for the snapshot and not recorded here: taken back, it must be gone.
    family = _text(described.get("family")) or family_of(manifest.name)
    metadata, conditions = described.get("metadata"), described.get("conditions")
    producer = described.get("producer") or producer_of(relative_path=_below(place))
    before = case.entry.fields if case.entry is not None else {}
    fields: dict[str, object] = {
        **{key: before[key] for key in KEPT if key in before},
        **described,
        "schema_version": SCHEMA_VERSION,
        "name": manifest.name,
        "managed": True,
        "backend": UNASSIGNED,
        "backend_config": {"model_path": str(place.path)},
        "family": family,
        "served_model_id": _served(case.entry, manifest.name),
        "source_provider": source.recorded_as,
        "producer": producer,
        "download_format": container,
        "quantization": quantization,
        "download_location": place.location,
        "download_path": str(place.path),
        "download_files": [file.path for file in listed],
        "download_size_bytes": sum(file.size for file in listed),
        "download_directory_checksum": directory_checksum(listed),
        "downloaded_at": (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "artifacts": {
            "aggregate_sha256": aggregate_sha256(listed),
            "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in listed],
        },
        "resolved": {"repo": upstream.repo, "revision": upstream.commit, "ref": upstream.ref},
        "verification": "pinned-digest" if upstream.commit or upstream.pinned else "trust-on-first-use",
        "license": described.get("license") or upstream.license,
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Verified", "message": f"{len(listed)} files verified"},
            *(conditions if isinstance(conditions, list) else ()),
        ],
        "metadata": {
            **(metadata if isinstance(metadata, Mapping) else {}),
            **_provenance(case, upstream, acquisition),
            **source.provenance(case, place, upstream),
        },
    }
    fields["display_name"] = simple_names({**fields, "family": manifest.text("family") or fields.get("family")})[1]
    return Entry(manifest.name, {key: value for key, value in fields.items() if value is not None}, listed)


def _served(entry: Entry | None, name: str) -> str:
    """Return what clients call a model: what was recorded, unless that was only the name it had."""
    recorded = entry.text("served_model_id") if entry is not None else None
    return name if entry is None or recorded in {None, "", entry.name} else str(recorded)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _below(place: TargetFolder) -> str:
    return place.path.relative_to(place.root).as_posix()


def _provenance(case: DeclaredModel, upstream: ResolvedSource, acquisition: str) -> dict[str, object]:
    recorded: dict[str, object] = {"acquisition": acquisition}
    if case.manifest.selection:
        recorded["selection"] = case.manifest.selection
    if upstream.pipeline_tag:
        recorded["pipeline_tag"] = upstream.pipeline_tag
    return recorded


def undeclared_entry(entry: Entry, registry: RegistryState) -> Entry:
    """Return the entry of a model that stands without a manifest."""
    manifest = registry.manifests[entry.name]
    said = {key: value for key in ("backend", "display_name", "family") if (value := manifest.text(key)) is not None}
    return Entry(entry.name, {**entry.fields, **said, "managed": False}, entry.files)


def moved_entry(entry: Entry, name: str, place: TargetFolder, *, adopted: bool = False) -> Entry:
    """Return an entry under another name or at another place."""
    backend_config = {**entry.part("backend_config"), "model_path": str(place.path)}
    fields = {
        **entry.fields,
        "name": name,
        "served_model_id": _served(entry, name),
        "download_path": str(place.path),
        "download_location": place.location,
        "backend_config": backend_config,
    }
    if adopted:
        fields["metadata"] = {**entry.part("metadata"), "acquisition": "adopted"}
    return Entry(name, fields, entry.files)


def emptied_entry(entry: Entry, name: str, reason: str = "DeclaredAbsent", message: str = "files removed") -> Entry:
    """Return an entry whose files are gone and whose description stays."""
    kept = {
        key: value
        for key, value in entry.fields.items()
        if not key.startswith("download") and key not in {"artifacts", "verification"}
    }
    config = {key: value for key, value in entry.part("backend_config").items() if key != "model_path"}
    kept["backend_config"] = config
    kept["conditions"] = [{"type": "Ready", "status": "False", "reason": reason, "message": message}]
    return Entry(name, {**kept, "name": name, "served_model_id": _served(entry, name)})
