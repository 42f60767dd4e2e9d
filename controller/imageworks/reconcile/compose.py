"""Compose the entry of a model that stands verified on disk."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from imageworks.naming import family_of, producer_of
from imageworks.reconcile.situation import Case, Place, Upstream
from imageworks.registry.entry import ArtifactFile, Entry, aggregate_sha256, directory_checksum
from imageworks.registry.load import RegistryState
from imageworks.registry.manifest import HuggingFaceSource, PathSource
from imageworks.registry.views import simple_names

SCHEMA_VERSION = 1
UNASSIGNED = "unassigned"
KEPT = ("deprecated", "generation_defaults", "model_aliases", "version_lock")
"""What only an earlier tool or an import says of a model; no look at its files brings it back."""


def compose_entry(
    case: Case,
    place: Place,
    files: Iterable[ArtifactFile],
    described: Mapping[str, object],
    *,
    acquisition: str,
    now: datetime | None = None,
) -> Entry:
    """Return the entry that records a model as it stands.

    Args:
        case: What was declared and offered.
        place: Where it stands.
        files: Its verified files.
        described: What a look at the files said, by an entry's own keys.
        acquisition: ``installed`` by us, or ``adopted`` as found.
        now: When; the present when absent.
    """
    manifest, upstream = case.manifest, case.upstream if isinstance(case.upstream, Upstream) else Upstream(files=())
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
        "source_provider": "huggingface" if isinstance(manifest.source, HuggingFaceSource) else "local",
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
        "verification": "pinned-digest" if upstream.commit else "trust-on-first-use",
        "license": described.get("license") or upstream.license,
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Verified", "message": f"{len(listed)} files verified"},
            *(conditions if isinstance(conditions, list) else ()),
        ],
        "metadata": {
            **(metadata if isinstance(metadata, Mapping) else {}),
            **_provenance(case, place, upstream, acquisition),
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


def _below(place: Place) -> str:
    return place.path.relative_to(place.root).as_posix()


def _provenance(case: Case, place: Place, upstream: Upstream, acquisition: str) -> dict[str, object]:
    recorded: dict[str, object] = {"acquisition": acquisition}
    if case.manifest.selection:
        recorded["selection"] = case.manifest.selection
    source = case.manifest.source
    if isinstance(source, HuggingFaceSource) and source.repo != upstream.repo:
        recorded["source_repo"] = source.repo
    if isinstance(case.manifest.source, PathSource):
        recorded["source_path"] = case.manifest.source.path
        if case.manifest.location is None and len(upstream.files) == 1 and place.path.name == upstream.files[0].path:
            recorded["single_file"] = True
    if upstream.pipeline_tag:
        recorded["pipeline_tag"] = upstream.pipeline_tag
    return recorded


def undeclared_entry(entry: Entry, registry: RegistryState) -> Entry:
    """Return the entry of a model that stands without a manifest: what the manifest would have said is recorded in it.

    Args:
        entry: What would be recorded of a declared model.
        registry: The registry in which it is declared for this run only.
    """
    manifest = registry.manifests[entry.name]
    said = {key: value for key in ("backend", "display_name", "family") if (value := manifest.text(key)) is not None}
    return Entry(entry.name, {**entry.fields, **said, "managed": False}, entry.files)


def moved_entry(entry: Entry, name: str, place: Place, *, adopted: bool = False) -> Entry:
    """Return an entry under another name or at another place.

    Args:
        entry: What is recorded.
        name: The name from now on.
        place: Where the files are from now on.
        adopted: Whether they were there before us, and so are not ours to remove.
    """
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
    """Return an entry whose files are gone and whose description stays.

    Args:
        entry: What is recorded.
        name: The name from now on.
        reason: Why there are no files, as a condition says it.
        message: Why, as a sentence.
    """
    kept = {
        key: value
        for key, value in entry.fields.items()
        if not key.startswith("download") and key not in {"artifacts", "verification"}
    }
    config = {key: value for key, value in entry.part("backend_config").items() if key != "model_path"}
    kept["backend_config"] = config
    kept["conditions"] = [{"type": "Ready", "status": "False", "reason": reason, "message": message}]
    return Entry(name, {**kept, "name": name, "served_model_id": _served(entry, name)})
