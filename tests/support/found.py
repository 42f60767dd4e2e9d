"""Models that somebody put on this machine, for what records them."""

import json
from collections.abc import Mapping
from pathlib import Path

from support.registry import weights
from support.transfer import write


def awq(seed: str = "awq") -> dict[str, bytes]:
    """Return the files of a small model whose configuration says AWQ."""
    config = {"model_type": "llama", "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    return {"config.json": json.dumps(config).encode(), "model.safetensors": weights(seed, 3000)}


def put(folder: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """Write a model's files and return its folder."""
    write(folder, dict(files if files is not None else awq()))
    return folder
