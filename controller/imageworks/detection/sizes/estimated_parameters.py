"""How many parameters a model of a shape has, layer by layer."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.detection.sizes.layers import ENCODERS, Layer, kind_of_model
from imageworks.detection.sizes.shape import (
    Experts,
    Shape,
    attention_of,
    experts_of,
    figure,
    linear_of,
    mamba_of,
)
from imageworks.foundation.json_values import part, whole

_TWO_MATRICES: Final = frozenset(
    {
        "bert", "roberta", "xlm_roberta", "camembert", "distilbert", "mpnet", "electra", "deberta", "deberta_v2",
        "albert", "gpt2", "gpt_neo", "gpt_neox", "gptj", "codegen", "gpt_bigcode", "opt", "bloom", "falcon", "mpt",
        "phi", "starcoder2", "whisper", "nemotron", "nemotron_h", "vit", "clip_vision_model", "siglip_vision_model",
        "wav2vec2", "apertus", "persimmon", "fuyu", "arcee", "nanochat", "jais2", "biogpt", "xglm",
    }
)  # fmt: skip
"""Families whose feed-forward layers have two matrices and not a gate besides."""
_TIED: Final = frozenset(
    {
        "gpt2", "gpt_neo", "gpt_bigcode", "bloom", "opt", "falcon", "mpt", "xglm", "biogpt", "phi4flash", "openelm",
        "t5", "longt5", "bart", "mbart", "pegasus", "marian", "m2m_100", "led", "florence2", "whisper",
    }
) | ENCODERS  # fmt: skip
"""Families whose embedding is their output layer too where the config need not say it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many parameters a shape has.

    Args:
        total: All of them.
        inactive: Those that a token passes by: experts that are not asked, and the table of all tokens.
    """

    total: int
    inactive: int = 0


def estimate_parameters(shape: Shape | None, config: Mapping[str, object]) -> Estimate | None:
    """Return how many parameters a model of a shape has, its encoders for pictures and sound included."""
    if shape is None or not shape.vocab or shape.family in _OTHERWISE:
        return None
    table = shape.vocab * shape.hidden
    tied = _is_tied(shape, config)
    per_layer = shape.number("hidden_size_per_layer_input") * shape.number("vocab_size_per_layer_input") * shape.layers
    total = table * (1 if tied else 2) + per_layer
    holders = (config, part(config, "thinker_config"))
    total += sum(_tower(part(holder, key)) for holder in holders for key in _TOWERS)
    encoder = _encoder_layers(shape)
    if encoder is not None:
        return Estimate(total + encoder)
    experts = experts_of(shape.config)
    mixed = experts.count > 0
    alike = Counter((kind, mixed and experts.at(at, kind)) for at, kind in enumerate(shape.kinds))
    total += sum(
        count * (_mixer(shape, kind) + _feed_forward(shape, experts if has else None, kind))
        for (kind, has), count in alike.items()
    )
    if not experts.count:
        return Estimate(total)
    held = sum(count for (_, has), count in alike.items() if has)
    unasked = (
        held * (experts.count - min(experts.used, experts.count)) * _matrices(shape) * shape.hidden * experts.width
    )
    return Estimate(total, unasked + (0 if tied else table))


_OTHERWISE: Final = frozenset(
    {"zamba", "zamba2", "recurrent_gemma", "longcat_flash", "hymba", "rwkv", "rwkv7", "xlstm", "switch_transformers"}
)
"""Families whose layers share weights, or are made otherwise: their bytes or their names say more."""


def _matrices(shape: Shape) -> int:
    return 2 if shape.family in _TWO_MATRICES else 3


_TOWERS: Final = ("vision_config", "audio_config", "vision_encoder", "vision_tower")


def _is_tied(shape: Shape, config: Mapping[str, object]) -> bool:
    """Tell whether the embedding is the output layer too."""
    said = (holder.get(key) for holder in (shape.config, config) for key in ("tie_word_embeddings", "tied_embeddings"))
    tied = next((one for one in said if one is not None), None)
    if isinstance(tied, bool):
        return tied
    kind = shape.family
    return kind in _TIED or kind.startswith(("gemma", "cohere"))


def _mixer(shape: Shape, kind: Layer) -> int:
    """Return the parameters of what a layer looks back with."""
    hidden = shape.hidden
    if kind is Layer.LINEAR:
        return _linear(shape)
    state = _mamba(shape) if kind in {Layer.MAMBA, Layer.BOTH} else 0
    if kind is Layer.CONVOLUTION:
        return 4 * hidden * hidden
    if kind is Layer.MAMBA or (kind is Layer.NONE and not shape.number("num_kv_shared_layers")):
        return state
    if shape.number("o_lora_rank") and shape.number("q_lora_rank"):
        return _compressed(shape, kind)
    rank = shape.number("kv_lora_rank")
    if rank:
        rope, plain = shape.number("qk_rope_head_dim"), shape.number("qk_nope_head_dim")
        queries = shape.number("q_lora_rank")
        wide = shape.heads * (plain + rope)
        query = queries * (hidden + wide) if queries else hidden * wide
        return (
            query
            + hidden * (rank + rope)
            + rank * shape.heads * (plain + shape.value_dim)
            + shape.heads * shape.value_dim * hidden
        )
    heads, kv, size = attention_of(shape, kind)
    query = heads * size * (2 if shape.config.get("attn_output_gate") is True or _gated_queries(shape) else 1)
    return (
        hidden * (query + kv * (size + shape.value_dim if size == shape.head_dim else 2 * size) + heads * size) + state
    )


def _compressed(shape: Shape, kind: Layer) -> int:
    """DeepSeek-V4: one head of keys that are values too, queries and outputs of low rank, what compresses and finds."""
    wide, groups = shape.heads * shape.head_dim, shape.number("o_groups") or 1
    query, output = shape.number("q_lora_rank"), shape.number("o_lora_rank")
    found = query * (shape.hidden + wide) + shape.hidden * shape.head_dim + output * (wide + groups * shape.hidden)
    if kind is Layer.COMPRESSED:
        found += query * shape.number("index_n_heads") * shape.number("index_head_dim")
    return found + (4 * shape.hidden * shape.head_dim if kind is not Layer.SLIDING else 0)


def _gated_queries(shape: Shape) -> bool:
    return shape.family.startswith(("qwen3_next", "qwen3_5"))


def _linear(shape: Shape) -> int:
    """Gated DeltaNet and its like."""
    keys, values, heads = linear_of(shape)
    return shape.hidden * (2 * keys + 3 * values + 2 * heads) + 4 * (2 * keys + values)


def _mamba(shape: Shape) -> int:
    own = mamba_of(shape)
    if own.heads:
        grouped = 2 * own.groups * own.state
        return shape.hidden * (3 * own.inner + grouped + own.heads) + (own.inner + grouped) * own.kernel
    rank = shape.number("mamba_dt_rank", "time_step_rank") or -(-shape.hidden // 16)
    return own.inner * (3 * shape.hidden + 2 * rank + 3 * own.state + own.kernel)


def _feed_forward(shape: Shape, experts: Experts | None, kind: Layer) -> int:
    """Return the parameters of a layer's feed-forward part."""
    one = _matrices(shape) * shape.hidden
    inner = figure(shape.config, *_INNER) or shape.hidden * 4
    if experts is not None:
        beside = experts.shared + (inner if shape.family == "gemma4_text" else 0)
        return experts.count * (one * experts.width + shape.hidden) + one * beside
    if "hybrid_override_pattern" in shape.config:
        return one * inner if kind is Layer.NONE else 0
    if kind is Layer.MAMBA and shape.family in {"mamba", "mamba2", "falcon_mamba"}:
        return 0
    inner = shape.number("intermediate_size_mlp") or inner
    return one * inner * (2 if kind is Layer.NONE and shape.config.get("use_double_wide_mlp") is True else 1)


_INNER: Final = (
    "intermediate_size",
    "n_inner",
    "ffn_hidden_size",
    "ffn_dim",
    "d_ff",
    "hidden_dim",
    "decoder_ffn_dim",
)


def _encoder_layers(shape: Shape) -> int | None:
    """Return the layers of a model that has an encoder and a decoder; ``None`` for one that has not."""
    config, hidden = shape.config, shape.hidden
    encoder = whole(config, "encoder_layers")
    wide = shape.number("decoder_ffn_dim") or shape.number("d_ff") or 4 * hidden
    if encoder and whole(config, "decoder_layers"):
        matrices, inner = 2, hidden
    elif config.get("is_encoder_decoder") is True or kind_of_model(config) in {"t5", "mt5", "umt5", "longt5"}:
        encoder, inner = shape.layers, shape.heads * shape.head_dim
        matrices = 3 if "gated" in str(config.get("feed_forward_proj")) else 2
    else:
        return None
    decoder = whole(config, "decoder_layers", "num_decoder_layers") or encoder
    feed = matrices * hidden * wide
    return encoder * (4 * hidden * inner + feed) + decoder * (8 * hidden * inner + feed)


def _tower(config: Mapping[str, object]) -> int:
    """Return the parameters of an encoder for pictures or sound, which is small beside the language model."""
    layers = figure(config, "num_hidden_layers", "depth", "layers", "encoder_layers")
    hidden = figure(config, "embed_dim", "hidden_size", "width", "d_model")
    inner = figure(config, "intermediate_size", "encoder_ffn_dim") or 4 * hidden
    return min(layers, 1_000) * (4 * hidden * hidden + 2 * hidden * inner) if hidden < 1_000_000 else 0  # noqa: PLR2004
