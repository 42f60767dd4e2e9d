"""Small files of the predecessor, with its shapes and its quirks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from imageworks.migration.entries import SYNONYMS
from imageworks.registry.documents.document import JsonValue

Fields = dict[str, JsonValue]
SHA = "ab" * 32


def synonyms(*true: str) -> Fields:
    """Return a block of capabilities as it was written: every word there is, true or false."""
    return {word: flag in true for flag, words in SYNONYMS.items() for word in (flag, *words)}


def legacy_model(name: str, repo: str | None = "acme/Tiny-7B", **fields: object) -> Fields:
    """Return a model as both layers have it."""
    path = f"/home/ada/ai-models/weights/{repo}"
    told: Mapping[str, object] = {
        "name": name,
        "display_name": name,
        "backend": "vllm",
        "backend_config": {"port": 24001, "model_path": path, "extra_args": ["--max-model-len", "4096"]},
        "capabilities": synonyms("text", "tools"),
        "generation_defaults": {"temperature": 0.3, "top_p": None},
        "chat_template": {"source": "embedded", "path": None, "sha256": None},
        "profiles_placeholder": None,
        "metadata": {"producer": "acme", "default_system_prompt": "Be kind.", "registry_layer": "curated"},
        "served_model_id": "None",
        "model_aliases": [repo] if repo else [],
        "roles": ["caption"],
        "license": None,
        "source": {"huggingface_id": repo} if repo else None,
        "deprecated": False,
        "family": "tiny-7b",
        "source_provider": "hf",
        "quantization": "fp16",
        "backend_alternatives": [],
        "role_priority": {"caption": 75},
        **fields,
    }
    return cast("Fields", told)


def found_model(name: str, repo: str | None = "acme/Tiny-7B", **fields: object) -> Fields:
    """Return a model as the discovered layer has it."""
    told: Mapping[str, object] = {
        "metadata": {"producer": "acme", "created_from_download": True},
        "artifacts": {"aggregate_sha256": SHA, "files": [{"path": "config.json", "sha256": SHA}]},
        "version_lock": {"locked": False, "expected_aggregate_sha256": None, "last_verified": None},
        "performance": {"rolling_samples": 0, "ttft_ms_avg": None},
        "probes": {"vision": None},
        "download_format": "safetensors",
        "download_location": "linux_wsl",
        "download_path": f"/home/ada/ai-models/weights/{repo}",
        "download_size_bytes": 1234,
        "download_files": ["config.json", "config.json:Zone.Identifier"],
        "download_directory_checksum": "0123456789abcdef",
        "downloaded_at": "2025-10-22T08:45:29.853707+00:00",
        "last_accessed": "2025-10-22T10:37:52.015892+00:00",
        **fields,
    }
    return legacy_model(name, repo, **told)


def ollama_model(name: str, served: str, **fields: object) -> Fields:
    """Return a model of Ollama's, with the slash that the predecessor lost."""
    told: Mapping[str, object] = {
        "backend": "ollama",
        "backend_config": {"port": 11434, "model_path": f"ollama:/{served}", "extra_args": [], "host": "box"},
        "served_model_id": served,
        "source_provider": "ollama",
        "quantization": "q4_k_m",
        "roles": [],
        "role_priority": {},
        **fields,
    }
    return legacy_model(name, None, **told)


def write_configs(folder: Path, files: Mapping[str, JsonValue]) -> Path:
    """Write files of the predecessor; returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folder


BACKUP_1 = "model_registry.discovered.20251020-080000.bak.json"
BACKUP_2 = "model_registry.discovered.backup.20251021_090000.json"
CURATED_BACKUP = "model_registry.curated.20251020-120000.bak.json"


def usual() -> dict[str, JsonValue]:
    """Return a folder with both layers, the snapshot and three backups."""
    gone = found_model("gone_(FP32)", "acme/Gone")
    return {
        BACKUP_1: [gone, found_model("tiny_(FP16)", quantization="fp32")],
        BACKUP_2: [found_model("tiny_(FP16)"), gone],
        CURATED_BACKUP: [legacy_model("tiny_(FP16)", display_name="Old name")],
        "model_registry.curated.json": [legacy_model("tiny_(FP16)"), ollama_model("qwen_(Q4_K_M)", "qwen3:8b")],
        "model_registry.discovered.json": [
            found_model("tiny_(FP16)"),
            found_model("extra_(FP32)", "acme/Extra", roles=[], role_priority={}),
            ollama_model("qwen_(Q4_K_M)", "qwen3:8b", download_path="ollama:/qwen3:8b"),
        ],
        "model_registry.json": [legacy_model("tiny_(FP16)"), legacy_model("phantom", "acme/Phantom")],
    }
