"""The snapshot in the shape that the predecessor's consumers read: every field, of the type that they expect.

Pure, but for a look whether chat templates are there. The predecessor's program makes files of its own beside what it
reads. Where it is to go on reading, a complete set of its three files stands in a folder of its own, so that it finds
nothing to make and nothing to change.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from imageworks.host.predecessor_files import COMPATIBILITY_FILE
from imageworks.registry.entries.chat_templates import template_file
from imageworks.registry.entries.queries import (
    LEGACY,
    Model,
    name_for_people,
    part,
    size_of,
    text,
    texts,
)

FOLDER: Final = "compat"
"""Where in a registry the complete set stands, if registry.yaml asks for it."""

IGNORE_FILE: Final = ".gitignore"
IGNORE: Final = b"# Made anew by each run of imageworks-models from the registry around it; edits are lost.\n*\n"
CURATED: Final = "model_registry.curated.json"
DISCOVERED: Final = "model_registry.discovered.json"
DEFAULT_PORTS: Final[Mapping[str, int]] = {"vllm": 24001, "lmdeploy": 24001, "ollama": 11434, "triton": 9000}
OTHER_PORT: Final = 8000

_PROVIDERS: Final = {"huggingface": "hf"}
_PLAIN: Final = (
    *("license", "family", "quantization", "download_format", "download_location", "download_path"),
    *("download_directory_checksum", "producer", "verification"),
)
_DYNAMIC: Final = frozenset(
    {
        *("download_format", "download_location", "download_path", "download_size_bytes", "download_files"),
        *("download_directory_checksum", "downloaded_at", "last_accessed", "artifacts", "performance", "probes"),
        "version_lock",
    }
)
"""What the predecessor never looks for in its curated layer."""

_NO_PERFORMANCE: Final[Mapping[str, object]] = {
    "rolling_samples": 0,
    "ttft_ms_avg": None,
    "throughput_toks_per_s_avg": None,
    "last_sample": None,
}
_GENERATION: Final = (
    *("max_tokens", "min_tokens", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"),
    *("stop_sequences", "context_window"),
)


def consumer_models(
    models: Iterable[Model], *, registry: Path, allows: Callable[[Path], bool] | None = None
) -> Iterator[dict[str, object]]:
    """Yield merged models as the predecessor's consumers read them; what those do not know is there as it was."""
    return (_consumer_model(model, template_file(model, registry=registry, allows=allows)) for model in models)


def render_set(models: Iterable[Mapping[str, object]]) -> dict[str, bytes]:
    """Return the predecessor's three files, by name, as its loader would leave them."""
    everything = list(models)
    declared = [model for model in everything if model["managed"]]
    curated = [{key: value for key, value in model.items() if key not in _DYNAMIC} for model in declared]
    # There a curated value only ever meets the same one, so what is merged is the discovered layer, byte by byte.
    whole = _written(everything)
    return {DISCOVERED: whole, CURATED: _written(curated), COMPATIBILITY_FILE: whole, IGNORE_FILE: IGNORE}


def _written(models: list[Mapping[str, object]] | list[dict[str, object]]) -> bytes:
    return (json.dumps(models, indent=2) + "\n").encode()


def _consumer_model(model: Model, template: str | None) -> dict[str, object]:
    name, backend = text(model, "name"), text(model, "backend") or "unassigned"
    legacy, lock = part(part(model, "metadata"), LEGACY), part(model, "version_lock")
    artifacts, generation = part(model, "artifacts"), part(model, "generation_defaults")
    managed = model.get("managed") is True
    probes, performance = part(legacy, "probes"), part(legacy, "performance")
    plain: dict[str, object] = {key: text(model, key) or None for key in _PLAIN}
    return {
        **model,
        **plain,
        "name": name,
        "display_name": name_for_people(model),
        "managed": managed,
        "backend": backend,
        "backend_config": _backend_config(model, backend),
        "capabilities": {key: value is not False for key, value in part(model, "capabilities").items()},
        "generation_defaults": {key: generation[key] for key in _GENERATION if generation.get(key) is not None},
        "artifacts": {"files": [], **artifacts, "aggregate_sha256": text(artifacts, "aggregate_sha256")},
        "chat_template": _chat_template(part(model, "chat_template"), template),
        "version_lock": {
            "locked": lock.get("locked") is True,
            "expected_aggregate_sha256": text(lock, "expected_aggregate_sha256") or None,
            "last_verified": text(part(legacy, "version_lock"), "last_verified") or None,
        },
        "performance": {**_NO_PERFORMANCE, **performance},
        "probes": {"vision": part(probes, "vision") or None},
        "profiles_placeholder": legacy.get("profiles_placeholder"),
        "metadata": _metadata(model, managed=managed),
        # Of a null there, the loader makes the text "None".
        "served_model_id": text(model, "served_model_id"),
        "model_aliases": texts(model, "model_aliases"),
        "roles": texts(model, "roles"),
        "role_priority": {
            role: rank for role, rank in part(model, "role_priority").items() if isinstance(rank, int) and role
        },
        "source": _source(model),
        "source_provider": _PROVIDERS.get(text(model, "source_provider"), text(model, "source_provider")) or None,
        "deprecated": model.get("deprecated") is True,
        "backend_alternatives": texts(legacy, "backend_alternatives"),
        "download_size_bytes": size_of(model) or None,
        "download_files": texts(model, "download_files"),
        "downloaded_at": _offset(text(model, "downloaded_at")),
        "last_accessed": None,
    }


def _backend_config(model: Model, backend: str) -> dict[str, object]:
    config = part(model, "backend_config")
    port = config.get("port")
    usual = DEFAULT_PORTS.get(backend, OTHER_PORT)
    return {
        "port": port if isinstance(port, int) and not isinstance(port, bool) and port > 0 else usual,
        "model_path": text(config, "model_path") or text(model, "download_path"),
        "extra_args": texts(config, "extra_args"),
        **{key: text(config, key) for key in ("host", "base_url") if text(config, key)},
    }


def _chat_template(recorded: Mapping[str, object], file: str | None) -> dict[str, object]:
    """Return where the template is: one inside the tokenizer has no file that a server could be given."""
    if file is not None:
        return {"source": "external", "path": file, "sha256": text(recorded, "sha256") or None}
    source = text(recorded, "source")
    return {"source": source if source == "none" else "embedded", "path": None, "sha256": None}


def _metadata(model: Model, *, managed: bool) -> dict[str, object]:
    return {
        **part(model, "metadata"),
        **({"created_from_download": True} if text(model, "download_path") else {}),
        "registry_layer": "curated" if managed else "discovered",
    }


def _source(model: Model) -> dict[str, object] | None:
    source = dict(part(model, "source"))
    repo = text(source, "huggingface") or text(part(model, "resolved"), "repo")
    return {**source, "huggingface_id": repo} if repo and "huggingface_id" not in source else source or None


def _offset(moment: str) -> str | None:
    """Return a time with its offset in digits: Python before 3.11 reads no ``Z``."""
    return f"{moment[:-1]}+00:00" if moment.endswith("Z") else moment or None
