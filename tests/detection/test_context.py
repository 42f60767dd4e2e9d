"""How long a context a model is set up for, and how long it was before its positions were stretched."""

from collections.abc import Mapping

import pytest

from imageworks.detection.architecture import architecture_of_config
from imageworks.detection.claims.gguf_config import config_of_gguf
from imageworks.detection.formats.gguf_header import GgufHeader, Value

CASES: dict[str, tuple[Mapping[str, object], int | None, int | None]] = {
    "plain": ({"max_position_embeddings": 8192}, 8192, None),
    "llama3": (
        {
            "max_position_embeddings": 131072,
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
        },
        131072,
        8192,
    ),
    "yarn that a user asked for": (
        {
            "max_position_embeddings": 32768,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        },
        131072,
        32768,
    ),
    "yarn that is in the figure": (
        {
            "max_position_embeddings": 163840,
            "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
        },
        163840,
        4096,
    ),
    "longrope": (
        {
            "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
            "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.1]},
        },
        131072,
        4096,
    ),
    "su": (
        {
            "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
            "rope_scaling": {"type": "su", "factor": 32.0},
        },
        131072,
        4096,
    ),
    "linear": ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384, 4096),
    "dynamic": ({"max_position_embeddings": 32768, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, 65536, 32768),
    "linear of gemma": (
        {
            "model_type": "gemma3",
            "text_config": {
                "model_type": "gemma3_text", "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
        },
        131072,
        None,
    ),
    "by kind of layer": (
        {
            "model_type": "olmo3", "max_position_embeddings": 65536,
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192, "rope_theta": 5e5,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 5e5},
            },
        },
        65536,
        8192,
    ),
    "mrope": (
        {"max_position_embeddings": 128000, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}},
        128000,
        None,
    ),
    "positions for padding": ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512, None),
    "positions for padding, many": ({"model_type": "xlm-roberta", "max_position_embeddings": 8194}, 8192, None),
    "chatglm": ({"model_type": "chatglm", "seq_length": 8192}, 8192, None),
    "dbrx": ({"model_type": "dbrx", "max_seq_len": 32768}, 32768, None),
    "whisper": ({"model_type": "whisper", "max_target_positions": 448}, 448, None),
    "absurd": ({"max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "factor": 1e300}}, 4096, None),
    "not a number": ({"max_position_embeddings": 4096, "rope_scaling": {"type": ["yarn"], "factor": {}}}, 4096, None),
    "nan": ({"max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "factor": float("nan")}}, 4096, None),
    "silent": ({"model_type": "mamba"}, None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_trained_and_stretched_contexts_are_told_apart(case: str) -> None:
    config, context, original = CASES[case]
    found = architecture_of_config(config)
    assert (found.get("context_length"), found.get("original_context_length")) == (context, original)


def gguf(name: str, **metadata: Value) -> GgufHeader:
    named = {f"{name}.{key.replace('__', '.')}": value for key, value in metadata.items()}
    return GgufHeader(3, {"general.architecture": name, **named}, {"tokenizer.ggml.tokens": 32000}, {}, 0, 32, 32)


@pytest.mark.parametrize(
    ("scaling", "context", "original"),
    [
        ({}, 32768, None),
        (
            {
                "rope__scaling__type": "yarn", "rope__scaling__factor": 4.0,
                "rope__scaling__original_context_length": 32768,
            },
            131072,
            32768,
        ),
        ({"rope__scaling__type": "linear", "rope__scaling__factor": 2.0}, 65536, 32768),
        ({"rope__scaling__type": "none", "rope__scaling__factor": 4.0}, 32768, None),
        (
            {
                "rope__scaling__type": "yarn", "rope__scaling__factor": 8.0,
                "rope__scaling__original_context_length": 4096,
            },
            32768,
            4096,
        ),
    ],
)  # fmt: skip
def test_a_gguf_header_tells_them_apart_too(scaling: Mapping[str, Value], context: int, original: int | None) -> None:
    found = architecture_of_config(config_of_gguf(gguf("qwen2", context_length=32768, **scaling)), "m.gguf")
    assert (found.get("context_length"), found.get("original_context_length")) == (context, original)


@pytest.mark.parametrize(
    ("config", "experts", "used"),
    [
        ({"num_local_experts": 8, "num_experts_per_tok": 2}, 8, 2),
        ({"n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1}, 256, 8),
        ({"num_experts": 64, "moe_topk": [8] * 32}, 64, 8),
        ({"moe_num_experts": 64, "moe_k": 6}, 64, 6),
        ({"ffn_config": {"moe_num_experts": 16, "moe_top_k": 4}}, 16, 4),
        ({"moe": {"num_experts": 8, "num_experts_per_tok": 2}}, 8, 2),
        ({"text_config": {"num_experts": 128, "top_k_experts": 8, "enable_moe_block": False}}, None, None),
        ({"num_experts": 1}, None, None),
        ({"num_experts": 0, "num_local_experts": None}, None, None),
    ],
)
def test_experts_are_read_under_their_families_names(
    config: Mapping[str, object], experts: int | None, used: int | None
) -> None:
    found = architecture_of_config(config)
    assert (found.get("num_experts"), found.get("num_experts_per_token")) == (experts, used)
