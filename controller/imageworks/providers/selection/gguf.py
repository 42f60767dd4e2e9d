"""Which GGUF files: one model in one quantization with its projectors, or an error with the choices."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from imageworks.detection.claims.projectors import MODALITIES, fitting_projectors, telling_words, words_of
from imageworks.detection.components import Component, says_noise
from imageworks.detection.file_names import UNLABELLED, QuantVariant, Role, group_quants
from imageworks.providers.selection.model import (
    DEFAULT_QUANTIZATION,
    Choice,
    QuantChoice,
    SelectionError,
    Why,
)

SMALL: Final = 100_000_000  # bytes, below which a tenth of a GB says nothing
_MOST_NAMED: Final = 16
_PROJECTOR_PREFERENCE: Final = ("fp16", "bf16", "fp32", None)
_PART_NAME: Final = re.compile(
    r"(?:^|[-_.])(?:vae|vocoder|wavtokenizer|token2wav|codec|snac|clip_[lg]|(?:um)?t5(?:[-_]?v1[-_]1)?[-_]?xxl|umt5"
    r"|text_encoder)(?=[-_.]|\d|$)"
)
_PART_FOLDER: Final = re.compile(
    r"vae|audio|vision|tts|vocoder|codec|token2wav(?:[-_]gguf)?|clip|(?:text|image)[-_]encoders?|projectors?|mmproj"
)


def choose_gguf(parts: Sequence[Component], quantization: str | None, choice: Choice, *, explicit: bool) -> None:
    """Take the files of one GGUF model in one quantization, every shard of it, and the projectors that fit it."""
    sizes = {part.path: part.file.size for part in parts}
    groups = group_quants(sizes)
    variants = groups.variants if quantization is None else groups.find(quantization)
    if explicit and groups.variants and not variants:
        there = quant_choices(groups.variants, sizes)
        raise SelectionError(
            f"none of the weights that are named is {quantization}",
            remedy=f"They are: {listed(there)}. Leave `quantization` out, or name other weights.",
            reason="no-such-quantization",
            choices=there,
        )
    chosen = variants if explicit else _one_model(variants, groups.variants, quantization, sizes)
    if not explicit:
        chosen += tuple(_best_of_each(filter(is_beside, groups.variants), chosen))
    choice.proven = quantization is not None
    choice.taken |= {path for one in chosen for path in one.files}
    by_model = {(one.stem, one.folder): one for one in reversed(chosen)}
    for one in groups.variants:
        same = by_model.get((one.stem, one.folder))
        why = (Why.PRECISION, same.files[0]) if same else (Why.OTHER_MODEL, "")
        choice.left.update({path: why for path in one.files if path not in choice.taken})
    projectors = [part for part in parts if part.says.role is Role.PROJECTOR]
    if explicit and quantization is None:
        choice.taken |= {part.path for part in projectors}
    elif chosen and projectors:
        _choose_projectors(projectors, chosen[0], groups.variants, choice)


def is_beside(variant: QuantVariant) -> bool:
    """Return whether a GGUF file is a part beside a model, such as a vocoder, rather than a model."""
    return bool(_PART_NAME.search(variant.stem)) or any(
        _PART_FOLDER.fullmatch(one) for one in variant.folder.split("/")
    )


def _one_model(
    variants: Sequence[QuantVariant],
    every: Sequence[QuantVariant],
    quantization: str | None,
    sizes: Mapping[str, int],
) -> tuple[QuantVariant, ...]:
    choices = quant_choices(every, sizes)
    if not variants:
        raise SelectionError(
            f"there is no quantization {quantization!r} here" if every else "the repository has no GGUF model",
            remedy=f"Choose one of: {listed(choices)}." if every else "Name its files with `include`.",
            reason="no-such-quantization",
            choices=choices,
        )
    by_label: dict[str, list[QuantVariant]] = {}
    for one in [one for one in variants if not is_beside(one)] or variants:
        by_label.setdefault(one.label, []).append(one)
    models = {label: _one_sharding(ones) for label, ones in by_label.items()}
    if len(models) == 1:
        label, ones = models.popitem()
        if len(ones) > 1 and not _belong_together(ones):
            raise SelectionError(
                f"{len(ones)} models of this repository have the quantization {label}",
                remedy=f"Name one with `weights` (`--weights`): {named(ones)}.",
                reason="ambiguous-quantization",
            )
        return tuple(ones)
    settled = [label for label, ones in models.items() if len(ones) == 1 or _belong_together(ones)]
    offered = [one for one in choices if one.label in settled]
    every_one = sorted((one for ones in models.values() for one in ones), key=lambda one: (one.stem, one.files))
    if len(settled) == len(models) or DEFAULT_QUANTIZATION in settled:
        open_ones = [one for one in every_one if one.label not in settled]
        or_named = f" Or name a file with `weights` (`--weights`): {named(open_ones)}." if open_ones else ""
        raise SelectionError(
            f"{quantization!r} could mean {len(models)} quantizations of this repository"
            if quantization
            else f"this repository has {len(models)} quantizations, and none is named",
            remedy=f"Write `quantization:` (`--quant`) with one of: {listed(offered)}.{or_named}",
            reason="ambiguous-quantization",
            choices=offered,
        )
    count = len({(one.stem, one.folder) for one in every_one})
    alone = f" Or write `quantization:` (`--quant`) with one of: {listed(offered)}." if offered else ""
    raise SelectionError(
        f"this repository has {count} models in {len(models)} quantizations, and "
        + ("none is named" if quantization is None else f"{quantization!r} does not say which"),
        remedy=f"Name one with `weights` (`--weights`): {named(every_one)}.{alone}",
        reason="ambiguous-variant",
    )


def _belong_together(variants: Iterable[QuantVariant]) -> bool:
    return all(says_noise(one.files[0]) for one in variants)


def named(variants: Sequence[QuantVariant]) -> str:
    """Return models as `weights` names each of them with all its shards, for a message."""
    shown = [
        re.sub(r"\d{1,6}(?=-of-\d)", "*", one.files[0]) if len(one.files) > 1 else one.files[0] for one in variants
    ]
    more = f" and {len(shown) - _MOST_NAMED} more" if len(shown) > _MOST_NAMED else ""
    return ", ".join(shown[:_MOST_NAMED]) + more


def _one_sharding(variants: Iterable[QuantVariant]) -> list[QuantVariant]:
    """Return each model once: the complete one where a file stands beside the same in shards."""
    best: dict[tuple[str, str], QuantVariant] = {}
    for one in variants:
        key = (one.stem, one.folder)
        other = best.get(key)
        if other is None or (bool(one.missing), len(one.files)) < (bool(other.missing), len(other.files)):
            best[key] = one
    return list(best.values())


def _best_of_each(beside: Iterable[QuantVariant], chosen: Sequence[QuantVariant]) -> Iterable[QuantVariant]:
    """Yield each part beside a model once, in the precision of the model or the most usual one."""
    parts: dict[tuple[str, str], list[QuantVariant]] = {}
    for one in beside:
        parts.setdefault((one.stem, one.folder), []).append(one)
    for key, ones in parts.items():
        if key in {(one.stem, one.folder) for one in chosen}:
            continue
        order = [chosen[0].label, "fp16", "bf16", "fp32", UNLABELLED, "q8_0"] if chosen else []
        yield min(ones, key=lambda one: (order.index(one.label) if one.label in order else len(order), one.files))


def choose_projectors(projectors: Sequence[Component], named: Sequence[Component], choice: Choice) -> None:
    """Take the projectors that fit a model whose files were named, unless one of them was named too."""
    models = group_quants(part.path for part in named).variants
    if models and projectors and not any(part.says.role is Role.PROJECTOR for part in named):
        _choose_projectors(projectors, models[0], models, choice)


def _choose_projectors(
    projectors: Sequence[Component], model: QuantVariant, every: Sequence[QuantVariant], choice: Choice
) -> None:
    """Take the projector of a model: from its own folder first, then by its name; of each kind one precision."""
    fitting = fitting_projectors(projectors, model, every)
    kinds: dict[tuple[str, ...], list[Component]] = {}
    for part in fitting:
        kinds.setdefault(tuple(sorted(words_of(part) & MODALITIES)), []).append(part)
    for ones in kinds.values():
        names = {tuple(sorted(telling_words(part))) for part in ones}
        if len(names) > 1:
            raise SelectionError(
                f"{len(names)} projectors could belong to {model.files[0]}",
                remedy="Leave all but one out with `exclude` (`--exclude`): "
                f"{', '.join(part.path for part in ones[:5])}.",
                reason="ambiguous-projector",
            )
        order = {label: place for place, label in enumerate(_PROJECTOR_PREFERENCE)}
        best = min(ones, key=lambda part: (order.get(part.says.quantization, len(order)), part.path))
        choice.taken.add(best.path)
        choice.left.update({part.path: (Why.PRECISION, best.path) for part in ones if part is not best})
    others = [part for part in projectors if part.path not in choice.taken and part.path not in choice.left]
    choice.left.update({part.path: (Why.OTHER_MODEL, "") for part in others})


def quant_choices(variants: Iterable[QuantVariant], sizes: Mapping[str, int]) -> tuple[QuantChoice, ...]:
    """Return quantizations with their sizes, smallest first."""
    found: dict[str, QuantChoice] = {}
    for variant in variants:
        earlier = found.get(variant.label, QuantChoice(variant.label, 0, 0))
        size = earlier.size + sum(sizes[path] for path in variant.files)
        found[variant.label] = QuantChoice(variant.label, size, earlier.files + len(variant.files))
    return tuple(sorted(found.values(), key=lambda choice: (choice.size, choice.label)))


def listed(choices: Iterable[QuantChoice]) -> str:
    """Return quantizations with their sizes, for a message."""
    return ", ".join(f"{choice.label} ({_shown(choice.size)})" for choice in choices)


def _shown(size: int) -> str:
    """Return bytes in the decimal units of the Hub's own pages."""
    return f"{size / 1e9:.1f} GB" if size >= SMALL else f"{size / 1e6:.1f} MB"
