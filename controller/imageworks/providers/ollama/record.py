"""Compose the entry of a model that stands in Ollama's store; an import of what is there records it the same way."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from imageworks.detection.capabilities import CapabilityHints, capabilities_of
from imageworks.detection.formats.readme import license_of_file
from imageworks.naming.model_names import ollama_name, producer_of, split_ollama_tag
from imageworks.providers.ollama.address import WrittenAddress
from imageworks.providers.ollama.facts import (
    DIGEST_PREFIX,
    PROVIDER,
    SCHEME,
    SECTION,
    STALLED,
    artifacts_of,
    same_content,
)
from imageworks.providers.ollama.model import OllamaModel, ShownModel, UpstreamOllama
from imageworks.providers.record import KEPT, SCHEMA_VERSION
from imageworks.registry.entries.entry import Entry, aggregate_sha256, directory_checksum
from imageworks.registry.entries.queries import simple_names

GGUF: Final = "gguf"


@dataclass(frozen=True, slots=True)
class InstalledOllamaModel:
    """A model as it stands in Ollama, with all that is known of it.

    Args:
        model: What is installed.
        shown: What the daemon says of it; ``None`` when none answers.
        upstream: What the registry has under its name, if it was asked.
        pin: The manifest's digest that its content was proved to be of, where the installed manifest is another.
        made: What it was made of, where it was made.
    """

    model: OllamaModel
    shown: ShownModel | None = None
    upstream: UpstreamOllama | None = None
    pin: str | None = None
    made: Mapping[str, object] | None = None

    @property
    def proved(self) -> str | None:
        """The digest of the registry's manifest that it is, where that is known."""
        upstream = self.upstream
        return self.pin or (upstream.digest if upstream and same_content(self.model, upstream) else None)


def compose_ollama(
    name: str,
    found: InstalledOllamaModel,
    *,
    host: str,
    port: int | None = None,
    acquisition: str,
    before: Entry | None = None,
    now: datetime | None = None,
) -> Entry:
    """Return the entry that records a model as Ollama has it."""
    model, shown, proved = found.model, found.shown, found.proved
    named = ollama_name(model.name)
    base, tag = split_ollama_tag(model.name)
    files = artifacts_of(model)
    details = dict(shown.details if shown else {}) or dict(model.details)
    at = str(model.store) if model.store is not None else f"{SCHEME}{model.name}"
    kept = {key: before.fields[key] for key in KEPT if before is not None and key in before.fields}
    section = {
        "name": model.name,
        "digest": model.digest,
        "details": details or None,
        "parameters": dict(shown.parameters) if shown and shown.parameters else None,
        "requires": shown.requires if shown else None,
        "remote_host": model.remote_host,
        **(found.made or {}),
    }
    said = tuple(shown.capabilities if shown else ()) or model.capabilities
    fields: dict[str, object] = {
        **kept,
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "managed": True,
        "backend": PROVIDER,
        "backend_config": WrittenAddress(host, port).fields,
        "family": named.family,
        "served_model_id": model.name,
        "source_provider": PROVIDER,
        "producer": producer_of(served_model_id=model.name),
        "download_format": _text(details.get("format")) or GGUF,
        "quantization": named.quantization,
        "download_location": PROVIDER,
        "download_path": at,
        "download_files": [file.path for file in files],
        "download_size_bytes": model.size,
        "download_directory_checksum": directory_checksum(files) if files else None,
        "downloaded_at": (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "artifacts": {
            "aggregate_sha256": aggregate_sha256(files),
            "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in files],
        }
        if files
        else None,
        "resolved": {"repo": base, "revision": DIGEST_PREFIX + (proved or model.digest), "ref": tag},
        "verification": "pinned-digest" if proved else "trust-on-first-use",
        "capabilities": dict(capabilities_of(CapabilityHints(ollama=said, name=model.name)).flags),
        "chat_template": {"source": "embedded" if shown.template else "none"} if shown else None,
        "license": license_of_file(shown.license) if shown and shown.license else None,
        "conditions": [_ready(len(files), model)],
        "metadata": {
            "acquisition": acquisition,
            SECTION: {key: value for key, value in section.items() if value is not None},
        },
    }
    fields["display_name"] = simple_names(fields)[1]
    return Entry(name, {key: value for key, value in fields.items() if value is not None}, files)


def _ready(files: int, model: OllamaModel) -> dict[str, object]:
    if model.remote_host is not None:
        return {"type": "Ready", "status": "True", "reason": "Remote", "message": f"runs at {model.remote_host}"}
    told = f"{files} blobs verified by Ollama" if files else "verified by Ollama"
    return {"type": "Ready", "status": "True", "reason": "Verified", "message": told}


def stalled_entry(name: str, before: Entry | None, stall: Mapping[str, object], message: str, source: str) -> Entry:
    """Return an entry that says why a model is not tried again before something changes."""
    fields = dict(before.fields) if before is not None else _nothing_yet(name, source)
    metadata = dict(before.part("metadata")) if before is not None else {}
    section = metadata.get(SECTION)
    metadata[SECTION] = {**(section if isinstance(section, Mapping) else {}), "stalled": {**stall, "message": message}}
    stalled = {"type": STALLED, "status": "True", "reason": "NeedsNewerOllama", "message": message}
    conditions = fields.get("conditions")
    others = (
        [c for c in conditions if isinstance(c, Mapping) and c.get("type") != STALLED]
        if isinstance(conditions, list)
        else []
    )
    fields |= {"name": name, "metadata": metadata, "conditions": [*others, stalled]}
    return Entry(name, fields, before.files if before is not None else ())


def _nothing_yet(name: str, source: str) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "managed": True,
        "backend": PROVIDER,
        "source_provider": PROVIDER,
        "served_model_id": source,
        "conditions": [{"type": "Ready", "status": "False", "reason": "NotInstalled", "message": "never installed"}],
    }


def renamed_ollama(entry: Entry, name: str) -> Entry:
    """Return an entry of Ollama under another variant name; in Ollama nothing changes."""
    return Entry(name, {**entry.fields, "name": name, "managed": True}, entry.files)


def with_offer(entry: Entry, offer: Mapping[str, object] | None) -> Entry:
    """Return an entry of files of ours that says what Ollama was given of them."""
    metadata = {key: value for key, value in entry.part("metadata").items() if key != SECTION}
    if offer is None:
        return Entry(entry.name, {**entry.fields, "metadata": metadata}, entry.files)
    served = {"served_model_id": offer["name"]}
    return Entry(entry.name, {**entry.fields, **served, "metadata": {**metadata, SECTION: dict(offer)}}, entry.files)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value and value != "unknown" else None
