"""What a config says of a model: layers, heads, context, vocabulary, vision tower, each with its place."""

from collections.abc import Mapping
from typing import Final

from imageworks.detection.sizes.layers import kind_of_model
from imageworks.detection.sizes.shape import experts_of, figure, text_config
from imageworks.foundation.json_values import EMPTY, part, text, whole

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


def architecture_of_config(config: Mapping[str, object], source: str = "config.json") -> dict[str, object]:
    """Return the figures of a ``config.json``, each with the place it was read from."""
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
            value = figure(holder, *keys)
            if value:
                found[name], places[name] = value, place
                break
    _add_rope(parts, found, places)
    _add_context(config, found, places)
    _add_experts(parts, found, places)
    _add_vision(config, source, found, places)
    for key in ("model_type", "size_label"):
        word = text(config, key)
        if word is not None:
            found[key] = word[:80]
    classes = config.get("architectures")
    if isinstance(classes, list):
        found["architectures"] = [name[:120] for name in classes[:8] if isinstance(name, str)]
    return _finish(found, places, source)


def _add_rope(parts: list[tuple[str, Mapping[str, object]]], found: dict[str, object], places: dict[str, str]) -> None:
    """Add how positions are encoded, where it is said."""
    for place, holder in reversed(parts):
        parameters = part(holder, "rope_parameters")
        parameters = part(parameters, "full_attention") or parameters  # where each kind of layer has its own
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


def _add_context(config: Mapping[str, object], found: dict[str, object], places: dict[str, str]) -> None:
    """Add the context that the model is set up for, and the one before its positions were stretched.

    YaRN stretches what it says that it was trained for; linear and dynamic scaling stretch what stands beside them, as
    transformers asks; the others, and Gemma, already say the stretched length.
    """
    told = text_config(config)
    kind, said = kind_of_model(told), found.get("max_position_embeddings")
    scaling = found.get("rope_scaling")
    scaling = scaling if isinstance(scaling, Mapping) else EMPTY
    if not isinstance(said, int):
        return
    place = places["max_position_embeddings"]
    if kind in _OFFSET and said % _BLOCK == _OFFSET_BY:
        said -= _OFFSET_BY  # two of its positions stand for padding
    original = whole(scaling, "original_max_position_embeddings") or whole(told, "original_max_position_embeddings")
    factor, way = scaling.get("factor"), scaling.get("rope_type", scaling.get("type"))
    context = said
    stretched = way in _STRETCHING and not kind.startswith("gemma")
    if stretched and isinstance(factor, (int, float)) and 1 < factor < _MOST_STRETCHED:
        context = max(said, round((original or said) * factor))
    found["context_length"], places["context_length"] = context, place
    if original and 0 < original < context:
        found["original_context_length"], places["original_context_length"] = original, place
    elif context > said:
        found["original_context_length"], places["original_context_length"] = said, place


_OFFSET: Final = frozenset({"roberta", "xlm_roberta", "camembert", "mpnet"})
_OFFSET_BY: Final = 2
_STRETCHING: Final = frozenset({"yarn", "linear", "dynamic", "ntk"})
_BLOCK: Final = 128
_MOST_STRETCHED: Final = 10_000


def _add_experts(
    parts: list[tuple[str, Mapping[str, object]]], found: dict[str, object], places: dict[str, str]
) -> None:
    """Add how many experts there are, and how many of them a token is shown to."""
    for place, holder in reversed(parts):
        experts = experts_of(holder)
        if experts.count:
            found |= {"num_experts": experts.count, "num_experts_per_token": experts.used}
            places |= dict.fromkeys(("num_experts", "num_experts_per_token"), place)
            return


def _finish(found: dict[str, object], places: dict[str, str], source: str) -> dict[str, object]:
    """Add what follows from the rest, and where it all comes from."""
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


def text_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the part of a config that describes the language model; the config itself when it has no parts."""
    for key in _TEXT_PARTS:
        inner = part(config, key)
        if inner:
            return inner
    return config or EMPTY
