"""Parameters and caches by a model's shape: what its config says of each layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.detection.sizes.layers import MOST_LAYERS, Layer, kind_of_model, layers_of
from imageworks.foundation.json_values import part, whole

_MOST: Final = 1 << 40
_WIDEST: Final = 1 << 20
_PARTS: Final = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")


def text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return what a config says of its language model, with what stands beside it where that is silent."""
    for key in _PARTS:
        inner = part(config, key)
        if inner:
            return text_config({**{name: config[name] for name in _SHARED if name in config}, **inner})
    return config


_SHARED: Final = ("tie_word_embeddings", "model_type", "vocab_size", "max_position_embeddings", "rope_scaling")


@dataclass(frozen=True, slots=True)
class Shape:
    """The figures of a language model that its size follows from."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    vocab: int
    kinds: tuple[Layer, ...]
    config: Mapping[str, object]

    @property
    def family(self) -> str:
        """The word that its architecture is named by."""
        return kind_of_model(self.config)

    def number(self, *keys: str) -> int:
        """Return one figure of the config, 0 when it is not said."""
        return whole(self.config, *keys) or 0


def shape_of(config: Mapping[str, object]) -> Shape | None:
    """Return a language model's shape, or ``None`` where its config does not say it."""
    told = text_config(config)
    layers = whole(told, "num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers")
    hidden = whole(told, "hidden_size", "n_embd", "d_model", "dim", "model_dim")
    heads = whole(told, "num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads") or 1
    if not layers or not hidden or not 0 < layers <= MOST_LAYERS or not 0 < hidden < _WIDEST or not 0 < heads < _WIDEST:
        return None
    kv = _kv_heads(told, heads)
    head = whole(told, "head_dim", "attention_head_dim", "kv_channels", "d_kv") or hidden // heads
    value = whole(told, "v_head_dim") or head
    vocab = whole(told, "vocab_size", "padded_vocab_size") or 0
    if not 0 <= kv < _MOST or not 0 < head < _MOST or not 0 < value < _MOST or not 0 <= vocab < _MOST:
        return None
    return Shape(layers, hidden, heads, kv, head, value, vocab, layers_of(told, layers), told)


def _kv_heads(config: Mapping[str, object], heads: int) -> int:
    """Return how many heads of keys and values there are; the figure may differ by layer, and be one for all."""
    said = config.get("num_key_value_heads", config.get("num_kv_heads", config.get("n_kv_heads")))
    if isinstance(said, list):
        return max((one for one in said if isinstance(one, int)), default=heads)
    if isinstance(said, int) and not isinstance(said, bool) and said > 0:
        return said
    if config.get("multi_query") is True:
        return whole(config, "multi_query_group_num") or 1
    if config.get("multi_query_attention") is True:
        return whole(config, "multi_query_group_num") or 1
    return whole(part(config, "attn_config"), "kv_n_heads") or heads


def attention_of(shape: Shape, kind: Layer) -> tuple[int, int, int]:
    """Return heads, heads of keys and values, and a head's size, which Gemma 4 and MiMo have two of each of."""
    if kind is Layer.FULL and shape.number("global_head_dim"):
        return (
            shape.heads,
            shape.number("num_global_key_value_heads") or shape.kv_heads,
            shape.number("global_head_dim"),
        )
    if kind is Layer.SLIDING and shape.number("swa_head_dim"):
        return shape.heads, shape.number("swa_num_key_value_heads") or shape.kv_heads, shape.number("swa_head_dim")
    return shape.heads, shape.kv_heads, shape.head_dim


def linear_of(shape: Shape) -> tuple[int, int, int]:
    """Return the width of keys and of values, and the heads of values, of a layer of linear attention."""
    own = part(shape.config, "linear_attn_config")
    heads = shape.number("linear_num_value_heads") or whole(own, "num_heads") or shape.heads
    size = whole(own, "head_dim") or shape.head_dim
    values = heads * (shape.number("linear_value_head_dim") or size)
    keys = (shape.number("linear_num_key_heads") or heads) * (shape.number("linear_key_head_dim") or size)
    return keys, values, heads


@dataclass(frozen=True, slots=True)
class Mamba:
    """The figures of a state-space layer: its inner width, its state, its heads (none in the first version), groups."""

    inner: int
    state: int
    heads: int
    groups: int
    kernel: int


def mamba_of(shape: Shape) -> Mamba:
    """Return the figures of a state-space layer under the names of Mamba, Jamba, Granite, Falcon and Nemotron."""
    heads = shape.number("mamba_n_heads", "mamba_num_heads", "n_mamba_heads")
    size = shape.number("mamba_d_head", "mamba_head_dim", "mamba_headdim")
    if shape.family == "mamba2":
        heads, size = shape.number("num_heads"), shape.number("head_dim")
    expand = shape.number("mamba_expand", "expand") or 2
    inner = shape.number("mamba_d_ssm", "d_inner", "mamba_intermediate_size") or heads * size or expand * shape.hidden
    state = shape.number("mamba_d_state", "ssm_state_size", "state_size", "mamba_state_dim") or 16
    return Mamba(inner, state, heads, shape.number("mamba_n_groups", "n_groups", "mamba_ngroups") or 1,
                 shape.number("mamba_d_conv", "conv_kernel", "conv_kernel_size") or 4)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Experts:
    """How a mixture of experts is made.

    Args:
        count: Experts of a layer.
        used: Of these, as many as one token passes through.
        width: An expert's inner width.
        shared: The width of what every token passes through besides.
        first: The first layer that has experts.
        every: Every how many layers there are some.
        listed: The layers that have some, where they are listed.
    """

    count: int = 0
    used: int = 0
    width: int = 0
    shared: int = 0
    first: int = 0
    every: int = 1
    listed: frozenset[int] | None = None

    def at(self, layer: int, kind: Layer) -> bool:
        """Tell whether a layer has experts."""
        if self.listed is not None:
            return layer in self.listed
        return bool(self.count) and layer >= self.first and (layer + 1) % self.every == 0 and kind is not Layer.NONE


def _listed_experts(config: Mapping[str, object]) -> frozenset[int] | None:
    """Return the layers that have experts, where a config lists these or those that have none."""
    pattern = config.get("hybrid_override_pattern")
    lettered = pattern if isinstance(pattern, str) and "E" in pattern else None
    for said in (config.get("mlp_layer_types"), config.get("moe_layer_freq"), lettered):
        if isinstance(said, (list, str)) and len(said) <= MOST_LAYERS:
            return frozenset(at for at, one in enumerate(said) if isinstance(one, (str, int)) and one in _SPARSE)
    enumerated = config.get("moe_layers_enum")  # Step writes them as one text
    if isinstance(enumerated, str) and len(enumerated) <= MOST_LAYERS * 5:
        return frozenset(int(one) for one in enumerated.split(",") if one.strip().isdecimal())
    without, layers = config.get("mlp_only_layers"), whole(config, "num_hidden_layers") or 0
    if isinstance(without, list) and without and 0 < layers <= MOST_LAYERS:
        return frozenset(range(layers)) - {one for one in without if isinstance(one, int)}
    return None


_SPARSE: Final = frozenset({"sparse", "moe", "hash_moe", "E", 1})


def figure(config: Mapping[str, object], *keys: str) -> int:
    """Return the first sound figure of several names, the largest where it is listed by layer; 0 when there is none."""
    for key in keys:
        value = config.get(key)
        if value is None:
            continue
        if isinstance(value, list):
            value = max((one for one in value if isinstance(one, int)), default=None)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST:
            return value
    return 0


_COUNT: Final = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")
_USED: Final = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_top_k",
    "top_k_experts",
    "moe_k",
    "moe_router_topk",
    "num_experts_per_topk",
)
_WIDTH: Final = ("moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size", "expert_hidden_dim")
_MERGED: Final = ("moe", "ffn_config")


def experts_of(config: Mapping[str, object]) -> Experts:
    """Return how a config's mixture of experts is made; none when it says nothing of one."""
    for key in _MERGED:  # Mistral's own params.json, DBRX
        config = {**part(config, key), **config}
    count = figure(config, *_COUNT)
    if count <= 1 or config.get("enable_moe_block") is False:
        return Experts()
    inner = figure(config, *_WIDTH) or figure(config, "ffn_hidden_size", "intermediate_size", "hidden_dim")
    shared = figure(config, "shared_expert_intermediate_size", "shared_intermediate_size",
        "shared_experts_intermediate_size", "share_expert_dim",
                     "moe_shared_expert_intermediate_size")  # fmt: skip
    shared = shared or inner * figure(
        config, "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"
    )
    if kind_of_model(config).startswith("llama4"):
        shared = inner
    return Experts(
        count,
        figure(config, *_USED) or 1,
        inner,
        shared,
        figure(config, "first_k_dense_replace", "moe_layer_start_index", "num_dense_layers"),
        figure(
            config,
            "interleave_moe_layer_step",
            "decoder_sparse_step",
            "expert_layer_period",
            "moe_layer_freq",
            "moe_layer_interval",
        )
        or 1,
        _listed_experts(config),
    )
