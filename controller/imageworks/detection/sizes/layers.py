"""What each layer of a model does with the tokens before: all of them, a window, or a state of fixed size."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from imageworks.foundation.json_values import part, text, whole

MOST_LAYERS: Final = 1_000
ENCODERS: Final = frozenset(
    {
        "bert", "roberta", "xlm_roberta", "camembert", "distilbert", "mpnet", "electra", "deberta", "deberta_v2",
        "albert", "modernbert", "nomic_bert", "new", "gte", "vit", "clip", "siglip", "siglip2", "dinov2", "dinov3_vit",
        "wav2vec2", "hubert", "wavlm", "esm", "detr", "sam", "sam2", "swin", "convnext",
        "jina_bert", "gemma_embedding", "clip_text_model", "siglip_text_model",
    }
)  # fmt: skip
"""Families that read all their input at once and keep no cache."""


class Layer(StrEnum):
    """How a layer looks back."""

    FULL = "full"
    SLIDING = "sliding"
    LINEAR = "linear"
    MAMBA = "mamba"
    BOTH = "both"  # attention and a state beside it
    CONVOLUTION = "convolution"
    COMPRESSED = "compressed"  # a window, and one entry for some tokens before
    HEAVILY_COMPRESSED = "heavily compressed"
    NONE = "none"


_WORDS: Final = {
    "full_attention": Layer.FULL,
    "attention": Layer.FULL,
    "global": Layer.FULL,
    "sliding_attention": Layer.SLIDING,
    "chunked_attention": Layer.SLIDING,
    "window_attention": Layer.SLIDING,
    "hybrid_sliding": Layer.BOTH,
    "compressed_sparse_attention": Layer.COMPRESSED,
    "heavily_compressed_attention": Layer.HEAVILY_COMPRESSED,
    "local": Layer.SLIDING,
    "linear_attention": Layer.LINEAR,
    "mamba": Layer.MAMBA,
    "mamba2": Layer.MAMBA,
    "recurrent": Layer.MAMBA,
    "hybrid": Layer.BOTH,
    "conv": Layer.CONVOLUTION,
    "moe": Layer.NONE,
    "mlp": Layer.NONE,
}
_LETTERS: Final = {
    "M": Layer.MAMBA, "*": Layer.FULL, "-": Layer.NONE, "E": Layer.NONE, "L": Layer.SLIDING, "G": Layer.FULL,
}  # fmt: skip
_RATIOS: Final = {0: Layer.SLIDING, 4: Layer.COMPRESSED, 128: Layer.HEAVILY_COMPRESSED}
"""DeepSeek-V4's layers by how many tokens one entry stands for."""
PATTERNS: Final = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3_text": 6,
    "gemma3n": 5,
    "gemma3n_text": 5,
    "cohere2": 4,
    "gpt_oss": 2,
    "llama4": 4,
    "llama4_text": 4,
    "olmo2": 4,
    "olmo3": 4,
    "smallthinker": 4,
    "exaone4": 4,
    "afmoe": 4,
    "gemma4": 6,
    "gemma4_text": 6,
    "gemma4_unified": 6,
    "gemma4_unified_text": 6,
    "diffusion_gemma": 6,
    "embedding_gemma2": 6,
    "cohere2_moe": 4,
    "exaone_moe": 4,
    "granite_swa": 4,
    "granitemoe_swa": 4,
    "cwm": 4,
    "dory": 4,
}
"""Every how many layers one looks at all tokens, where the config need not say it: the families' own defaults."""
_EVERYWHERE: Final = frozenset(
    {"mistral", "mixtral", "ministral", "starcoder2", "phi3", "phi3_v", "phimoe", "phi4mm", "phi4_multimodal"}
)
"""Families whose window is every layer's; of others that name one and no layers, it is not known which."""
_ASKED_FOR: Final = ("qwen", "qwq")
"""Families whose window holds only where ``use_sliding_window`` says so."""
_STATES: Final = {
    "mamba": Layer.MAMBA,
    "mamba2": Layer.MAMBA,
    "falcon_mamba": Layer.MAMBA,
    "falcon_h1": Layer.BOTH,
    "hymba": Layer.BOTH,
}


def kind_of_model(config: Mapping[str, object]) -> str:
    """Return the word that a config, or a GGUF header, names its architecture by, in one spelling."""
    return (text(config, "model_type") or "").lower().replace("-", "_")


def layers_of(config: Mapping[str, object], count: int) -> tuple[Layer, ...]:
    """Return what each layer is, from the first to the last."""
    count = min(count, MOST_LAYERS)
    kind = kind_of_model(config)
    found: Sequence[Layer] | None = _listed(config) or _placed(config, count)
    if found is None:
        state = Layer.LINEAR if kind.startswith("rwkv") else _STATES.get(kind)
        found = [state] * count if state is not None else _windowed(config, kind, count)
    return _with_shared((tuple(found) * -(-count // max(len(found), 1)))[:count], config)


def window_of(config: Mapping[str, object]) -> int | None:
    """Return how many tokens a sliding layer keeps, if it keeps fewer than all."""
    window = whole(config, "sliding_window", "attention_chunk_size", "sliding_window_size", "attention_window_size")
    return window if window and window > 0 else None


def _listed(config: Mapping[str, object]) -> list[Layer] | None:
    """Read a list of words, or a pattern of letters."""
    for key in ("layer_types", "layers_block_type", "block_types"):
        said = config.get(key)
        if isinstance(said, list) and said and len(said) <= MOST_LAYERS:
            found = [_WORDS.get(word, Layer.FULL) if isinstance(word, str) else Layer.FULL for word in said]
            return [Layer.MAMBA if one is Layer.LINEAR else one for one in found] if _has_mamba(config) else found
    for key in ("hybrid_override_pattern", "sliding_window_pattern"):
        letters = config.get(key)
        if isinstance(letters, str) and letters and len(letters) <= MOST_LAYERS:
            return [_LETTERS.get(letter, Layer.FULL) for letter in letters]
    ratios = config.get("compress_ratios")
    if isinstance(ratios, list) and ratios and len(ratios) <= MOST_LAYERS:
        return [_RATIOS.get(one, Layer.COMPRESSED) if isinstance(one, int) else Layer.COMPRESSED for one in ratios]
    for key, other in (("attn_type_list", Layer.LINEAR), ("hybrid_layer_pattern", Layer.FULL)):
        flags = config.get(key)
        if isinstance(flags, list) and flags and len(flags) <= MOST_LAYERS:
            one = Layer.FULL if other is Layer.LINEAR else Layer.SLIDING
            return [one if flag == 1 else other for flag in flags]
    return None


def _has_mamba(config: Mapping[str, object]) -> bool:
    """Tell whether what is called linear attention is a state space: transformers' newer word for both."""
    return any(key in config for key in ("mamba_d_state", "ssm_state_size", "mamba_num_heads"))


def _placed(config: Mapping[str, object], count: int) -> list[Layer] | None:
    """Read where among other layers those with attention are."""
    period, interval = whole(config, "attn_layer_period"), whole(config, "full_attention_interval", "layer_group_size")
    if period and period > 0:
        offset = whole(config, "attn_layer_offset") or 0
        return [Layer.FULL if (at - offset) % period == 0 else Layer.MAMBA for at in range(count)]
    if interval and interval > 0:
        return [Layer.FULL if (at + 1) % interval == 0 else Layer.LINEAR for at in range(count)]
    places = part(config, "linear_attn_config").get("full_attn_layers")
    if isinstance(places, list):
        return [Layer.FULL if at + 1 in places else Layer.LINEAR for at in range(count)]
    places = config.get("attn_layer_indices")
    if isinstance(places, list):
        return [Layer.FULL if at in places else Layer.MAMBA for at in range(count)]
    return None


def _windowed(config: Mapping[str, object], kind: str, count: int) -> Sequence[Layer]:
    """Tell layers with a window from those without."""
    if window_of(config) is None or config.get("use_sliding_window") is False:
        return [Layer.FULL] * count
    if kind.startswith(_ASKED_FOR):
        if config.get("use_sliding_window") is not True:
            return [Layer.FULL] * count
        first = whole(config, "max_window_layers") or 0
        return [Layer.FULL if at < first else Layer.SLIDING for at in range(count)]
    pattern = whole(config, *_EVERY) or PATTERNS.get(kind)
    if not pattern or pattern < 1:
        return [Layer.SLIDING if kind in _EVERYWHERE else Layer.FULL] * count
    return [Layer.FULL if (at + 1) % pattern == 0 else Layer.SLIDING for at in range(count)]


_EVERY: Final = ("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers", "window_pattern")


def _with_shared(found: tuple[Layer, ...], config: Mapping[str, object]) -> tuple[Layer, ...]:
    """Leave out the last layers of those that read the cache of earlier ones (Gemma 3n)."""
    shared = whole(config, "num_kv_shared_layers") or 0
    return found[: len(found) - shared] + (Layer.NONE,) * shared if 0 < shared < len(found) else found
