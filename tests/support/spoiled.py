"""Mutants of headers, configs and cards: sound files with bytes changed, cut, doubled or swapped, by a number."""
# ruff: noqa: E501 - files as their makers write them

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from imageworks.detection.describe import describe
from imageworks.detection.model_facts import ModelFacts, Subject
from support.weights import ARRAY, STRING, U32, gguf_file, safetensors_file

LONGEST: Final = 0.05
"""Seconds of processor time that one answer may take."""

_GGUF: Final = gguf_file(
    [
        ("general.architecture", STRING, "qwen2vl"),
        ("general.file_type", U32, 15),
        ("general.license", STRING, "apache-2.0"),
        ("qwen2vl.block_count", U32, 28),
        ("qwen2vl.context_length", U32, 32768),
        ("qwen2vl.pooling_type", U32, 3),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, [f"t{number}" for number in range(40)])),
        ("tokenizer.chat_template", STRING, "{% if tools %}<tool_call>{% endif %}<think>"),
    ],
    [("token_embd.weight", [256, 8], 14, 0), ("blk.0.ffn_up.weight", [256, 8], 12, 1696)],
    data=b"\0" * 2848,
)
_CLIP: Final = gguf_file([("general.architecture", STRING, "clip"), ("clip.projector_type", STRING, "qwen2.5o")])
_SAFETENSORS: Final = safetensors_file(
    {
        "a.weight": ("U8", [32, 64], 2048), "a.weight_scale": ("F8_E4M3", [32, 8], 256), "a.weight_scale_2": ("F32", [], 4),
        "b.weight": ("F8_E4M3", [32, 64], 2048), "b.weight_scale_inv": ("F32", [1, 1], 4), "c.qweight": ("I32", [8, 64], 2048),
        "c.qzeros": ("I32", [1, 8], 32), "m.experts.gate_up_proj_blocks": ("U8", [2, 4, 4, 16], 512),
        "m.experts.gate_up_proj_scales": ("U8", [2, 4, 4], 32), "d.weight.quant_state.bitsandbytes__nf4": ("U8", [64], 64),
    },
    {"format": "pt"},
)  # fmt: skip
_CARD: Final = b"""---
license: [apache-2.0, "mit"]
license_name: 'x'
tags:
- mlx
- a: b # c
base_model: >-
  o/base
language: no
pipeline_tag: image-text-to-text
model-index:
- name: x
  results: &a [*a]
---
# Title
Licensed under the Apache License, Version 2.0. 4-bit, group size 128, vLLM, tool calling.
"""
_WEIGHTS: Final = {"num_bits": 4, "type": "float", "group_size": 16, "scale_dtype": "torch.float8_e4m3fn"}
_BLOCKS: Final[tuple[Mapping[str, object], ...]] = (
    {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": {"quant_algo": "NVFP4"}}},
    {
        "quant_method": "compressed-tensors",
        "format": "nvfp4",
        "config_groups": {"g": {"weights": _WEIGHTS, "targets": ["x"]}},
    },
    {
        "quant_method": "quark",
        "global_quant_config": {"weight": [{"dtype": "fp4", "group_size": 32}], "input_tensors": {}},
    },
    {
        "quant_method": "torchao",
        "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 32}}},
    },
    {"quant_method": "vptq", "config_for_layers": {"a": {"vector_lens": [-1, 8], "num_centroids": [-1, 65536]}}},
    {"quant_method": "aqlm", "in_group_size": 8, "out_group_size": 1, "num_codebooks": 1, "nbits_per_codebook": 16},
    {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}},
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "dynamic": {"+:a": {"bits": 8}}},
    {"quant_method": "fp8", "weight_block_size": [128, 128], "expert_dtype": "fp4"},
    {"bits": 4, "group_size": 64, "mode": "affine", "a": {"bits": 8}},
)
_CONFIG: Final[Mapping[str, object]] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", "num_hidden_layers": 28,
    "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "torch_dtype": "bfloat16",
    "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    "max_position_embeddings": 131072, "vision_config": {"depth": 32}, "id2label": {"0": "x"}, "auto_map": {"A": "m.A"},
}  # fmt: skip
_WORDS: Final[tuple[object, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1 << 40,
    1 << 200,
    1e308,
    float("nan"),
    "",
    "x" * 300,
    "\ud800",
    [],
    [[]],
    {},
    {"a": {}},
)


@dataclass(frozen=True, slots=True)
class _Listed:
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Mutant:
    """One spoiled model.

    Args:
        name: What was spoiled.
        files: Its files.
    """

    name: str
    files: Mapping[str, bytes]

    def describe(self) -> ModelFacts:
        """Return what detection makes of it, with everything that an entry would record."""
        listed = [_Listed(path, len(data)) for path, data in self.files.items()]
        facts = describe(
            listed,
            self.files.get,
            lambda path, offset, length: self.files[path][offset : offset + length],
            subject=Subject(repo="o/Spoiled-7B-Instruct-AWQ"),
            most_headers=8,
            heads={path: data[:512] for path, data in self.files.items()},
            every_file=True,
        )
        json.dumps(facts.entry_fields(), allow_nan=False)
        return facts


def spoiled(number: int) -> Mutant:
    """Return the mutant of a number; the same number gives the same one.

    Args:
        number: Its number.
    """
    random = Random(number)  # noqa: S311 - no secret
    name = random.choice(("gguf", "clip", "safetensors", "card", "config", "quantization", "index", "text"))
    block = random.choice(_BLOCKS)
    key = "quantization" if "mode" in block else "quantization_config"
    config: object = {**_CONFIG, key: block}
    if name in {"config", "quantization"}:
        config = _spoil_value(random, config, 3)
    files = {
        "config.json": json.dumps(config).encode(),
        "README.md": _CARD,
        "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
        "hf_quant_config.json": json.dumps({"quantization": block}).encode(),
        "model.safetensors": _SAFETENSORS,
    }
    if name in {"gguf", "clip"}:
        files |= {"m-Q4_K_M.gguf": _GGUF, "mmproj-m.gguf": _CLIP}
        files.pop("model.safetensors")
    if name == "index":
        files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a.weight": "model.safetensors"}}).encode()
    target = {
        "gguf": "m-Q4_K_M.gguf", "clip": "mmproj-m.gguf", "safetensors": "model.safetensors", "card": "README.md",
        "index": "model.safetensors.index.json", "text": "config.json",
    }.get(name)  # fmt: skip
    if target is not None:
        files[target] = _spoil_bytes(random, files[target])
    return Mutant(name, files)


def _spoil_bytes(random: Random, data: bytes) -> bytes:
    """Return bytes with a few changes, most of them in the beginning, where headers are."""
    for _ in range(random.randint(1, 4)):
        at = random.randrange(max(1, min(len(data), 600 if random.random() < 0.8 else len(data))))
        change: Callable[[bytes], bytes] = random.choice(
            (
                lambda part: bytes([random.randrange(256)]) + part[1:],
                lambda part: part[random.randint(1, 40) :],
                lambda part: random.randbytes(random.randint(1, 12)) + part,
                lambda part: part[:20] * random.randint(2, 60) + part,
                lambda part: (
                    (random.choice((0, 1, 255, 1 << 31, 1 << 62, (1 << 64) - 1))).to_bytes(8, "little") + part[8:]
                ),
                lambda _part: b"",
            )
        )
        data = data[:at] + change(data[at:])
    return data


def _spoil_value(random: Random, value: object, changes: int) -> object:
    """Return JSON with a few values replaced, keys dropped or nested."""
    for _ in range(changes):
        value = _spoiled(random, value)
    return value


def _spoiled(random: Random, value: object) -> object:
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: _spoiled(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.6:
        return [*value[:-1], _spoiled(random, value[-1])]
    return random.choice((*_WORDS, {"a": value}, [value] * 3))
