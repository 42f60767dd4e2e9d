"""How much memory a model needs to run: its weights, the cache for a context, and what a runtime takes besides.

Weights are what their files hold. A token's cache is, for each layer that looks at all tokens, the keys and values of
its heads (``heads of keys and values x (head size + value size)``), or with multi-head latent attention one compressed
vector (``kv_lora_rank + qk_rope_head_dim``; DeepSeek-V2, arXiv 2405.04434, section 2.1). Layers with a window keep its
tokens and those of a batch; layers with a state keep that, whatever the context. Overhead is the buffer for a batch of
512 tokens, ``512 x 4 bytes x (vocabulary + hidden size)``, as llama.cpp allocates it, and 384 MiB for the runtime.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.detection.sizes.layers import ENCODERS, Layer, layers_of, window_of
from imageworks.detection.sizes.shape import Shape, attention_of, linear_of, mamba_of
from imageworks.foundation.json_values import whole

RUNTIME_BYTES: Final = 384 << 20
"""What a CUDA context with its libraries takes: 0.1 to 0.6 GiB, measured as the rest of what a card has in use."""
BATCH: Final = 512
USUAL_CONTEXT: Final = 8192
KV_TYPES: Final[Mapping[str, float]] = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "fp8": 1.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32,
    "q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip
"""Bytes a value of the cache takes: llama.cpp's types with their scales, and vLLM's fp8."""
_STATE_BYTES: Final = 4
_LONGEST: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class CachedLayers:
    """Layers whose caches are alike.

    Args:
        layers: How many.
        values: Values that each keeps of a token.
        window: How far each looks back; all of the context when absent.
        ratio: How many tokens one entry stands for.
    """

    layers: int
    values: int
    window: int | None = None
    ratio: int = 1

    def kept_of(self, context: int) -> int:
        """Return how many entries of a context each keeps: the window, and the batch that is being worked on."""
        return min(context, self.window + BATCH) if self.window else -(-context // self.ratio)


@dataclass(frozen=True, slots=True)
class Cache:
    """What a model keeps of the tokens before.

    Args:
        groups: Layers that keep tokens.
        state_bytes: What the others keep, whatever the context.
    """

    groups: tuple[CachedLayers, ...] = ()
    state_bytes: int = 0

    def size(self, context: int, kv_type: str = "f16") -> int:
        """Return its bytes for one sequence."""
        kept = sum(one.layers * one.values * one.kept_of(context) for one in self.groups)
        return round(kept * KV_TYPES[kv_type]) + self.state_bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """What a model needs to run one sequence.

    Args:
        weights: Bytes of its weights.
        cache: Bytes of the cache.
        overhead: Bytes of buffers and runtime.
        context: Tokens that the cache is for.
        kv_type: The cache's type.
    """

    weights: int
    cache: int
    overhead: int
    context: int
    kv_type: str

    @property
    def total(self) -> int:
        """All bytes together."""
        return self.weights + self.cache + self.overhead


@dataclass(frozen=True, slots=True)
class Demand:
    """What a model's need of memory follows from.

    Args:
        weights: Bytes of its weights.
        cache: What it keeps of tokens; ``None`` when its config does not say.
        buffer_bytes: The buffer of a batch.
        context: The longest context that it is made for.
    """

    weights: int
    cache: Cache | None
    buffer_bytes: int
    context: int | None

    def at(self, context: int, kv_type: str = "f16") -> Memory:
        """Return what it needs for a context."""
        cache = self.cache.size(context, kv_type) if self.cache is not None else 0
        return Memory(self.weights, cache, self.buffer_bytes + RUNTIME_BYTES, context, kv_type)

    def longest(self, available: int, kv_type: str = "f16") -> int | None:
        """Return the longest context that fits, up to the model's own; ``None`` when not even its weights do."""
        if self.at(1, kv_type).total > available:
            return None
        most = self.context or _LONGEST
        if self.at(most, kv_type).total <= available:
            return most
        low, high = 1, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.at(middle, kv_type).total <= available else (low, middle)
        return low

    def fields(self) -> dict[str, object]:
        """Return what an entry records of it."""
        if self.cache is None:
            return {}
        groups = [
            {
                "layers": one.layers,
                "values": one.values,
                **({"window": one.window} if one.window else {}),
                **({"ratio": one.ratio} if one.ratio > 1 else {}),
            }
            for one in self.cache.groups
        ]
        found = {"cache": groups, "state_bytes": self.cache.state_bytes, "buffer_bytes": self.buffer_bytes}
        return {key: value for key, value in found.items() if value}


def demand_of(shape: Shape | None, weights: int, context: int | None, *, cached: bool = True) -> Demand:
    """Return what a model's need of memory follows from."""
    buffer = BATCH * 4 * (shape.vocab + shape.hidden) if shape is not None else 0
    cache = cache_of(shape) if shape is not None else None if cached else Cache()
    return Demand(weights, cache, buffer, context)


def cache_of(shape: Shape) -> Cache:
    """Return what a model keeps of tokens."""
    if shape.family in ENCODERS:
        return Cache()
    decoder = whole(shape.config, "num_decoder_layers", "decoder_layers") or shape.layers
    kinds = shape.kinds if decoder == shape.layers else layers_of(shape.config, decoder)
    groups = _groups(shape, kinds)
    if whole(shape.config, "decoder_layers", "num_decoder_layers") and groups:
        groups = (*groups, *_crossed(shape, decoder))
    states = {
        Layer.LINEAR: _linear_state,
        Layer.MAMBA: _mamba_state,
        Layer.BOTH: _mamba_state,
        Layer.CONVOLUTION: _short,
    }
    state = sum(states[kind](shape) * kinds.count(kind) for kind in states if kind in kinds)
    return Cache(groups, state * _STATE_BYTES)


def _groups(shape: Shape, kinds: tuple[Layer, ...]) -> tuple[CachedLayers, ...]:
    by_layer = shape.config.get("num_key_value_heads")
    heads = by_layer if isinstance(by_layer, list) and len(by_layer) == len(kinds) else [None] * len(kinds)
    alike = Counter(zip(kinds, (one if isinstance(one, int) else None for one in heads), strict=True))
    window = window_of(shape.config)
    counted: Counter[tuple[int, int | None, int]] = Counter()
    for (kind, kept), layers in alike.items():
        if kind in _COMPRESSING:
            rate, index = _COMPRESSING[kind], shape.number("index_head_dim") if kind is Layer.COMPRESSED else 0
            counted[shape.head_dim, window, 1] += layers
            counted[shape.head_dim + index, None, rate] += layers
        elif kind in _CACHING and (values := _values(shape, kind, kept)):
            counted[values, window if kind is Layer.SLIDING else None, 1] += layers
    return tuple(CachedLayers(layers, *each) for each, layers in counted.items())


_CACHING: Final = frozenset({Layer.FULL, Layer.SLIDING, Layer.BOTH})
_COMPRESSING: Final = {Layer.COMPRESSED: 4, Layer.HEAVILY_COMPRESSED: 128}


def _values(shape: Shape, kind: Layer, heads: int | None) -> int:
    """Return how many values a layer keeps of a token."""
    rank = shape.number("kv_lora_rank")
    if rank:
        return rank + shape.number("qk_rope_head_dim") + shape.number("index_head_dim")
    _, kv, size = attention_of(shape, kind)
    value = shape.value_dim if size == shape.head_dim else size
    return (kv if heads is None else max(heads, 0)) * (size + value)


def _crossed(shape: Shape, decoder: int) -> tuple[CachedLayers, ...]:
    """Return what a decoder keeps of its encoder's output, which is of one length where that is sound."""
    return (CachedLayers(decoder, 2 * shape.heads * shape.head_dim, whole(shape.config, "max_source_positions")),)


def _linear_state(shape: Shape) -> int:
    keys, values, heads = linear_of(shape)
    kernel = shape.number("linear_conv_kernel_dim") or 4
    return values * (keys // max(shape.number("linear_num_key_heads") or heads, 1)) + (2 * keys + values) * (kernel - 1)


def _mamba_state(shape: Shape) -> int:
    own = mamba_of(shape)
    grouped = 2 * own.groups * own.state if own.heads else 0
    return own.inner * own.state + (own.inner + grouped) * (own.kernel - 1)


def _short(shape: Shape) -> int:
    return shape.hidden * ((shape.number("conv_L_cache") or 3) - 1)


_STATES: Final = {
    Layer.LINEAR: _linear_state,
    Layer.MAMBA: _mamba_state,
    Layer.BOTH: _mamba_state,
    Layer.CONVOLUTION: _short,
}
