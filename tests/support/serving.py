"""Models that servers can be launched with, and small real programs that stand for the servers."""

import json
from collections.abc import Mapping
from pathlib import Path

from support.registry import weights

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def chat_model(folder: Path, *, template: bool = True, generation: bool = True) -> Path:
    """Write a small complete chat model into a folder and return it."""
    folder.mkdir(parents=True)
    tokenizer = {"chat_template": TEMPLATE} if template else {}
    (folder / "model.safetensors").write_bytes(weights("chat", 64))
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    if generation:
        (folder / "generation_config.json").write_text("{}", encoding="utf-8")
    return folder


def merged(name: str, path: Path | str | None = None, **fields: object) -> Mapping[str, object]:
    """Return a merged model as a snapshot has it."""
    said: dict[str, object] = {"name": name, "backend": "vllm", "served_model_id": name, **fields}
    return said if path is None else {**said, "download_path": str(path)}


def program(folder: Path, name: str, *, code: int = 0) -> Path:
    """Make an executable that records its words, one a line, and ends with a code; returns the record's path."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{name}.words"
    script = folder / name
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{record}"\nexit {code}\n', encoding="utf-8")
    script.chmod(0o755)
    return record
