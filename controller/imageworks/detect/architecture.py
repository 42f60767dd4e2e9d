"""The shape of a model: layers, heads, context, vocabulary, vision tower; from ``config.json`` or a GGUF header."""

from collections.abc import Mapping
from typing import Final

from imageworks.detect.gguf import GgufHeader
from imageworks.detect.jsons import EMPTY, part, text, whole

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "num_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers", "encoder_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads"),
    "num_kv_heads": ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "multi_query_group_num"),
    "hidden_size": ("hidden_size", "n_embd", "d_model", "dim", "model_dim"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size", "hidden_dim"),
    "max_position_embeddings": (
        "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
        "max_sequence_length", "n_ctx", "max_target_positions",
    ),
    "vocab_size": ("vocab_size", "padded_vocab_size"),
    "head_dim": ("head_dim", "attention_head_dim"),
    "sliding_window": ("sliding_window",),
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts"),
}  # fmt: skip
_TEXT_PARTS: Final = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")
_VISION_PARTS: Final = ("vision_config", "vision_tower", "visual", "vision_encoder")
_VISION_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "image_size": ("image_size", "img_size"),
    "patch_size": ("patch_size", "spatial_patch_size"),
    "hidden_size": ("hidden_size", "embed_dim", "width"),
    "num_layers": ("num_hidden_layers", "depth", "layers"),
    "projection_dim": ("projection_dim", "out_hidden_size"),
}
_MOST: Final = 1 << 50
"""No sound figure of a model is larger."""


def architecture_of_config(config: Mapping[str, object], source: str = "config.json") -> dict[str, object]:
    """Return the figures of a ``config.json``, each with the place it was read from.

    Args:
        config: The parsed file.
        source: Its relative path.
    """
    parts = [(source, config)]
    for key in _TEXT_PARTS:
        inner = part(config, key)
        if inner:
            parts.append((f"{source}:{key}", inner))
            parts += [(f"{source}:{key}.{deep}", part(inner, deep)) for deep in _TEXT_PARTS if part(inner, deep)]
    found: dict[str, object] = {}
    places: dict[str, str] = {}
    for name, keys in _FIELDS.items():
        for place, holder in reversed(parts):  # the text part of a multimodal model is what its context and heads mean
            value = whole(holder, *keys)
            if value is not None and 0 < value < _MOST:
                found[name], places[name] = value, place
                break
    _add_rope(parts, found, places)
    _add_vision(config, source, found, places)
    kind = text(config, "model_type")
    if kind is not None:
        found["model_type"] = kind[:80]
    classes = config.get("architectures")
    if isinstance(classes, list):
        found["architectures"] = [name[:120] for name in classes[:8] if isinstance(name, str)]
    return _finish(found, places, source)


def _add_rope(parts: list[tuple[str, Mapping[str, object]]], found: dict[str, object], places: dict[str, str]) -> None:
    """Add how positions are encoded, where it is said."""
    for place, holder in reversed(parts):
        parameters = part(holder, "rope_parameters")
        for source in (holder, parameters):
            theta = source.get("rope_theta")
            if "rope_theta" not in found and isinstance(theta, (int, float)) and not isinstance(theta, bool):
                found["rope_theta"], places["rope_theta"] = theta, place
        scaling = part(holder, "rope_scaling") or parameters
        kept = {key: value for key, value in scaling.items() if isinstance(value, (int, float, str)) and len(key) <= 60}  # noqa: PLR2004
        kept.pop("rope_theta", None)
        if kept and "rope_scaling" not in found:
            found["rope_scaling"], places["rope_scaling"] = kept, place


def _add_vision(config: Mapping[str, object], source: str, found: dict[str, object], places: dict[str, str]) -> None:
    """Add the vision tower, where there is one."""
    for holder in (config, part(config, "thinker_config")):
        for key in _VISION_PARTS:
            tower = part(holder, key)
            if tower:
                figures = {name: whole(tower, *keys) for name, keys in _VISION_FIELDS.items()}
                found["vision"] = {name: value for name, value in figures.items() if value is not None}
                places["vision"] = f"{source}:{key}"
                return


def _finish(found: dict[str, object], places: dict[str, str], source: str) -> dict[str, object]:
    """Add what follows from the rest, and where it all comes from."""
    context = found.get("max_position_embeddings")
    if context is not None:
        found["context_length"], places["context_length"] = context, places["max_position_embeddings"]
    hidden, heads = found.get("hidden_size"), found.get("num_attention_heads")
    warnings = []
    if isinstance(hidden, int) and isinstance(heads, int):
        if "head_dim" not in found and hidden % heads == 0:
            found["head_dim"], places["head_dim"] = hidden // heads, f"{places['hidden_size']}: hidden_size / heads"
        groups = found.get("num_kv_heads")
        if isinstance(groups, int) and groups > heads:
            warnings.append(f"{groups} key-value heads for {heads} heads")
    if found:
        found["field_sources"] = places
        found["sources"] = [source]
    if warnings:
        found["warnings"] = warnings
    return found


def architecture_of_gguf(header: GgufHeader, source: str) -> dict[str, object]:
    """Return the figures of a GGUF header.

    Args:
        header: The header.
        source: The file's relative path.
    """
    name = header.architecture
    if name is None:
        return {}
    found: dict[str, object] = {"model_type": name}
    for key, place in _GGUF_FIELDS.items():
        value = header.metadata.get(f"{name}.{place}")
        if isinstance(value, tuple):  # a figure a layer, as in hybrid models
            numbers = [number for number in value if isinstance(number, int) and number > 0]
            value = max(numbers, default=None)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < _MOST:
            found[key] = value
    if "vocab_size" not in found and header.lengths.get("tokenizer.ggml.tokens"):
        found["vocab_size"] = header.lengths["tokenizer.ggml.tokens"]
    scaling = header.text(f"{name}.rope.scaling.type")
    if scaling and scaling != "none":
        kept: dict[str, object] = {"rope_type": scaling[:40]}
        for key, place in (("factor", "factor"), ("original_max_position_embeddings", "original_context_length")):
            value = header.metadata.get(f"{name}.rope.scaling.{place}")
            if isinstance(value, (int, float)):
                kept[key] = value
        found["rope_scaling"] = kept
    label = header.text("general.size_label")
    if label:
        found["size_label"] = label[:40]
    places = {key: source for key in found if key != "model_type"}
    return _finish(found, places, source)


_GGUF_FIELDS: Final[Mapping[str, str]] = {
    "num_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_kv_heads": "attention.head_count_kv",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "head_dim": "attention.key_length",
    "rope_theta": "rope.freq_base",
    "vocab_size": "vocab_size",
    "sliding_window": "attention.sliding_window",
    "num_experts": "expert_count",
    "num_experts_per_token": "expert_used_count",
}


def text_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the part of a config that describes the language model; the config itself when it has no parts.

    Args:
        config: A parsed ``config.json``.
    """
    for key in _TEXT_PARTS:
        inner = part(config, key)
        if inner:
            return inner
    return config or EMPTY
