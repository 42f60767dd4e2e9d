"""What a model needs to run, held against figures that others measured and published."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imageworks.detection.claims.gguf_config import config_of_gguf
from imageworks.detection.formats.gguf_header import GgufHeader, Value
from imageworks.detection.sizes.layers import Layer, layers_of
from imageworks.detection.sizes.memory import KV_TYPES, RUNTIME_BYTES, Cache, CachedLayers, Demand, demand_of
from imageworks.detection.sizes.shape import shape_of

MIB = 1 << 20
PUBLISHED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("published_memory.json").read_text())


def config_in(row: Mapping[str, Any]) -> Mapping[str, object]:
    """Return a row's config, or the same of its GGUF header."""
    return row.get("config") or config_of_gguf(GgufHeader(3, row["gguf"], {}, {}, 0, 32, 32))


def cache_in(config: Mapping[str, object]) -> Cache | None:
    return demand_of(shape_of(config), 0, None).cache


def test_there_are_figures_of_many_models_and_each_has_its_source() -> None:
    assert len({row["model"].split(",")[0] for row in PUBLISHED}) >= 15
    assert all(len(row["source"]) > 10 for row in PUBLISHED)
    assert {row["part"] for row in PUBLISHED} == {"cache", "engine", "card"}


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["model"])
def test_the_need_is_within_15_percent_of_what_was_published(row: Mapping[str, Any]) -> None:
    weights = row.get("weights", row.get("weights_mib", 0) * MIB)
    needed = demand_of(shape_of(config_in(row)), weights, None).at(row["context"], row["kv_type"])
    ours = {"cache": needed.cache, "engine": needed.total - RUNTIME_BYTES, "card": needed.total}[row["part"]]
    assert ours == pytest.approx(row.get("bytes") or row["mib"] * MIB, rel=0.15)
    if row["part"] == "cache":
        assert ours == pytest.approx(row.get("bytes") or row["mib"] * MIB, rel=0.04)


LLAMA = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip
KINDS: dict[str, tuple[Mapping[str, object], dict[str, int]]] = {
    "every layer": ({**LLAMA, "sliding_window": None}, {"full": 32}),
    "a window on every layer": ({**LLAMA, "model_type": "mistral", "sliding_window": 4096}, {"sliding": 32}),
    "a window of nobody knows which layers": (
        {**LLAMA, "model_type": "something", "sliding_window": 4096},
        {"full": 32},
    ),
    "rwkv": ({**LLAMA, "model_type": "rwkv6"}, {"linear": 32}),
    "a window that is not used": ({**LLAMA, "model_type": "qwen2", "sliding_window": 4096}, {"full": 32}),
    "a window from some layer on": (
        {
            **LLAMA, "model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True,
            "max_window_layers": 28,
        },
        {"full": 28, "sliding": 4},
    ),
    "gemma2": ({**LLAMA, "model_type": "gemma2", "sliding_window": 4096}, {"full": 16, "sliding": 16}),
    "gemma3": ({**LLAMA, "model_type": "gemma3_text", "sliding_window": 512}, {"full": 5, "sliding": 27}),
    "a pattern of letters": (
        {**LLAMA, "model_type": "exaone4", "sliding_window": 4096, "sliding_window_pattern": "LLLG"},
        {"full": 8, "sliding": 24},
    ),
    "chunks": ({**LLAMA, "model_type": "llama4_text", "attention_chunk_size": 8192}, {"full": 8, "sliding": 24}),
    "jamba": (
        {**LLAMA, "model_type": "jamba", "attn_layer_period": 8, "attn_layer_offset": 4}, {"full": 4, "mamba": 28},
    ),
    "qwen3-next": ({**LLAMA, "model_type": "qwen3_next", "full_attention_interval": 4}, {"full": 8, "linear": 24}),
    "kimi-linear": (
        {**LLAMA, "model_type": "kimi_linear", "linear_attn_config": {"full_attn_layers": [4, 8]}},
        {"full": 2, "linear": 30},
    ),
    "nemotron-h": (
        {**LLAMA, "model_type": "nemotron_h", "num_hidden_layers": 8, "hybrid_override_pattern": "M-M*M-ME"},
        {"full": 1, "mamba": 4, "none": 3},
    ),
    "minimax-01": ({**LLAMA, "attn_type_list": ([0] * 7 + [1]) * 4}, {"full": 4, "linear": 28}),
    "state spaces under the newer word": (
        {**LLAMA, "mamba_d_state": 128, "layer_types": ["linear_attention"] * 3 + ["full_attention"]},
        {"full": 8, "mamba": 24},
    ),
    "ling-linear": ({**LLAMA, "model_type": "bailing_hybrid", "layer_group_size": 8}, {"full": 4, "linear": 28}),
    "afmoe": (
        {**LLAMA, "model_type": "afmoe", "sliding_window": 2048, "global_attn_every_n_layers": 4},
        {"full": 8, "sliding": 24},
    ),
    "mimo": (
        {**LLAMA, "sliding_window": 128, "hybrid_layer_pattern": [0, 1, 1, 1, 1, 1, 0, 1] * 4},
        {"full": 8, "sliding": 24},
    ),
    "deepseek-v4": (
        {**LLAMA, "compress_ratios": [0, 0] + [4, 128] * 15},
        {"sliding": 2, "compressed": 15, "heavily compressed": 15},
    ),
    "layers that share": (
        {**LLAMA, "num_kv_shared_layers": 20}, {"full": 12, "none": 20},
    ),
    "mamba": ({**LLAMA, "model_type": "falcon_mamba"}, {"mamba": 32}),
    "listed, and too short": ({**LLAMA, "layer_types": ["conv", "full_attention"]}, {"full": 16, "convolution": 16}),
    "listed absurdly": ({**LLAMA, "layer_types": [None, 7, {}]}, {"full": 32}),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_layers_are_told_apart_by_what_each_family_writes(case: str) -> None:
    config, expected = KINDS[case]
    found = layers_of(config, 32 if config["num_hidden_layers"] == 32 else 8)
    assert {kind.value: found.count(kind) for kind in Layer if kind in found} == expected


def test_what_keeps_no_cache_needs_none_and_what_is_unknown_is_not_zero() -> None:
    assert cache_in({"model_type": "bert", "num_hidden_layers": 12, "hidden_size": 768}) == Cache()
    assert cache_in({"model_type": "something"}) is None
    states = cache_in({"model_type": "mamba2", "num_hidden_layers": 2, "hidden_size": 64})
    assert states is not None
    assert (states.groups, states.state_bytes > 0) == ((), True)


def test_an_entry_for_many_tokens_costs_that_much_less() -> None:
    config = {
        **LLAMA, "num_key_value_heads": 1, "head_dim": 512, "index_head_dim": 128, "sliding_window": 128,
        "compress_ratios": [4, 128] * 16,
    }  # fmt: skip
    cache = cache_in(config)
    assert cache is not None
    tokens = 16 * (640 * 32768 + 512 * 1024) + 32 * 512 * 640
    assert cache.size(131072) == 2 * tokens


def test_layers_may_each_have_their_own_heads() -> None:
    metadata: dict[str, Value] = {
        "general.architecture": "lfm2", "lfm2.block_count": 4, "lfm2.embedding_length": 1024,
        "lfm2.shortconv.l_cache": 3,
        "lfm2.attention.head_count": 16, "lfm2.attention.head_count_kv": (0, 8, 0, 4), "lfm2.vocab_size": 9,
    }  # fmt: skip
    cache = cache_in(config_of_gguf(GgufHeader(3, metadata, {}, {}, 0, 32, 32)))
    assert cache == Cache((CachedLayers(1, 1024), CachedLayers(1, 512)), state_bytes=2 * 2 * 1024 * 4)


@pytest.mark.parametrize(
    ("name", "sliding"), [("gemma3", 27), ("gpt-oss", 16), ("olmo2", 24), ("llama4", 24), ("llama", 0), ("phi3", 0)]
)
def test_windows_of_gguf_files_are_those_that_llama_cpp_knows(name: str, sliding: int) -> None:
    metadata: dict[str, Value] = {
        "general.architecture": name, f"{name}.block_count": 32, f"{name}.embedding_length": 4096,
        f"{name}.attention.head_count": 32, f"{name}.attention.sliding_window": 128, f"{name}.vocab_size": 9,
    }  # fmt: skip
    shape = shape_of(config_of_gguf(GgufHeader(3, metadata, {}, {}, 0, 32, 32)))
    assert shape is not None
    assert shape.kinds.count(Layer.SLIDING) == sliding


def test_the_longest_context_that_fits_is_found_to_the_token() -> None:
    demand = Demand(1 << 30, Cache((CachedLayers(32, 2048),)), 0, 131_072)
    longest = demand.longest(8 << 30)
    assert longest is not None
    assert demand.at(longest).total <= 8 << 30 < demand.at(longest + 1).total
    assert demand.longest(1 << 30) is None
    assert demand.longest(1 << 40) == 131_072
    assert demand.longest(8 << 30, "q8_0") == pytest.approx(longest * 32 / 17, rel=0.001)


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_a_cache_of_fewer_bits_is_smaller_and_states_stay(kv_type: str) -> None:
    cache = Cache((CachedLayers(2, 64), CachedLayers(1, 64, window=128)), state_bytes=7)
    assert cache.size(10_000, kv_type) == round((2 * 10_000 + 640) * 64 * KV_TYPES[kv_type]) + 7
