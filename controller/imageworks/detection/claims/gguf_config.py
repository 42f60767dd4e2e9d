"""A GGUF header's figures in the words of a ``config.json``, so that one reader serves both."""

from collections.abc import Mapping
from typing import Final

from imageworks.detection.formats.gguf_header import GgufHeader
from imageworks.detection.sizes.layers import PATTERNS, kind_of_model

_FIGURES: Final[Mapping[str, str]] = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
    "head_dim": "attention.key_length",
    "v_head_dim": "attention.value_length",
    "swa_head_dim": "attention.key_length_swa",
    "vocab_size": "vocab_size",
    "rope_theta": "rope.freq_base",
    "sliding_window": "attention.sliding_window",
    "sliding_window_pattern": "attention.sliding_window_pattern",
    "num_kv_shared_layers": "attention.shared_kv_layers",
    "num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
    "n_shared_experts": "expert_shared_count",
    "first_k_dense_replace": "leading_dense_block_count",
    "interleave_moe_layer_step": "interleave_moe_layer_step",
    "full_attention_interval": "full_attention_interval",
    "q_lora_rank": "attention.q_lora_rank",
    "conv_L_cache": "shortconv.l_cache",
    "mamba_d_ssm": "ssm.inner_size",
    "mamba_d_state": "ssm.state_size",
    "mamba_d_conv": "ssm.conv_kernel",
    "mamba_n_groups": "ssm.group_count",
}
_MOST: Final = 1 << 50
_CHUNK: Final = 8192
"""Llama 4's, which its headers do not say."""


def config_of_gguf(header: GgufHeader) -> dict[str, object]:
    """Return a header's figures under the names that a ``config.json`` has for them."""
    name = header.architecture
    if name is None:
        return {}

    def get(key: str) -> object:
        return header.metadata.get(f"{name}.{key}")

    found: dict[str, object] = {"model_type": name}
    for key, place in _FIGURES.items():
        value = get(place)
        if isinstance(value, tuple):
            found[key] = list(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < _MOST:
            found[key] = value
    if "vocab_size" not in found and header.lengths.get("tokenizer.ggml.tokens"):
        found["vocab_size"] = header.lengths["tokenizer.ggml.tokens"]
    _settle_windows(found)
    latent = (
        "attention.kv_lora_rank",
        "attention.key_length_mla",
        "attention.value_length_mla",
        "rope.dimension_count",
    )
    _add_latent(found, *(get(key) for key in latent))
    _add_layers(found, get("ssm.time_step_rank"))
    label = header.text("general.size_label")
    if label:
        found["size_label"] = label[:40]
    found |= _rope_scaling(header, name)
    return found


def _rope_scaling(header: GgufHeader, name: str) -> dict[str, object]:
    """Return how positions are stretched, if they are."""
    way = header.text(f"{name}.rope.scaling.type")
    if not way or way == "none":
        return {}
    places = (("factor", "factor"), ("original_max_position_embeddings", "original_context_length"))
    said = {key: header.metadata.get(f"{name}.rope.scaling.{place}") for key, place in places}
    kept = {key: value for key, value in said.items() if isinstance(value, (int, float))}
    return {"rope_scaling": {"rope_type": way[:40], **kept}}


def _settle_windows(found: dict[str, object]) -> None:
    """Leave out a window that llama.cpp does not use: it keeps all tokens, whatever the header says."""
    kind = kind_of_model(found)
    if kind not in PATTERNS and "sliding_window_pattern" not in found:
        found.pop("sliding_window", None)
    if kind == "llama4":
        found["attention_chunk_size"] = _CHUNK


def _add_latent(found: dict[str, object], rank: object, keys: object, values: object, rope: object) -> None:
    """Add latent attention, where the file keeps it: those of before April 2025 keep every head's keys and values."""
    if isinstance(rank, int) and isinstance(keys, int) and isinstance(rope, int):
        found |= {"kv_lora_rank": rank, "qk_rope_head_dim": rope, "qk_nope_head_dim": keys - rope, "v_head_dim": values}


def _add_layers(found: dict[str, object], heads: object) -> None:
    """Add what each layer is, where a list of windows or of heads tells it; the heads of its state space besides."""
    windows, kept = found.get("sliding_window_pattern"), found.get("num_key_value_heads")
    kind = kind_of_model(found)
    if isinstance(windows, list):
        del found["sliding_window_pattern"]
        found["layer_types"] = ["sliding_attention" if one else "full_attention" for one in windows]
    elif isinstance(kept, list) and 0 in kept:
        other = "conv" if "conv_L_cache" in found else "linear_attention" if "next" in kind else "mamba"
        other = other if other != "mamba" or "mamba_d_ssm" in found else "mlp"
        found["layer_types"] = ["full_attention" if one else other for one in kept]
    if kind.startswith(("qwen3next", "qwen35")):
        values, state = found.pop("mamba_d_ssm", None), found.pop("mamba_d_state", None)
        if isinstance(heads, int) and isinstance(values, int) and heads > 0:
            found |= {"linear_num_value_heads": heads, "linear_value_head_dim": values // heads,
                      "linear_num_key_heads": found.get("mamba_n_groups"), "linear_key_head_dim": state}  # fmt: skip
            found.setdefault("full_attention_interval", 4)
    elif isinstance(heads, int) and kind not in {"mamba", "jamba"} and heads > 0 and "mamba_d_ssm" in found:
        found["mamba_n_heads"] = heads
