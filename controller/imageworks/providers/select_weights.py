"""Which weights: one container and one quantization, every shard of it, or an error with the choices."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from imageworks.detect.filenames import UNLABELLED, Container, QuantVariant, Role, group_quants
from imageworks.providers.select_values import NamedRemote, QuantChoice, SelectionError
from imageworks.quant_labels import plain_label, quantization_label

PREFERENCE: Final = (
    Container.SAFETENSORS,
    Container.GGUF,
    Container.MLX,
    Container.PYTORCH,
    Container.ONNX,
    Container.OPENVINO,
    Container.TENSORFLOW,
    Container.FLAX,
    Container.COREML,
    Container.TFLITE,
)
DEFAULT_QUANTIZATION: Final = "q4_k_m"
SMALL: Final = 100_000_000  # bytes, below which a tenth of a GB says nothing
"""What `download` proposes for a repository of many quantizations; a manifest has to say."""

_PROJECTOR_PREFERENCE: Final = ("fp16", "bf16", "fp32", None)
_SHARD_NUMBER: Final = re.compile(r"\d{4,6}(?=-of-\d{4,6})")
_GGML_ONLY: Final = re.compile(r"t?i?q[1-9]|mxfp4")  # no safetensors name means a llama.cpp quantization
# Copies of the same weights that some other loader reads: Meta's and OpenAI's originals, a trainer's checkpoints.
COPIES: Final = re.compile(r"^(?:original|metal|checkpoint[-_]\d+|global_step\d+|checkpoints?)/")
_WHOLE_MODEL: Final = re.compile(r"^(?:model|pytorch_model)[^/]*\.(?:safetensors|bin)$")


def without_copies(weights: list[NamedRemote]) -> list[NamedRemote]:
    """Return the weights without a second set of them for another loader, as long as the first set is there.

    Args:
        weights: All weights of the listing.
    """
    kept = [one for one in weights if not COPIES.match(one.path)] or weights
    if any(_WHOLE_MODEL.match(one.path) for one in kept):  # Mistral ships the same weights once more in its own layout
        kept = [one for one in kept if not one.path.startswith("consolidated")]
    return kept


def choose_container(
    wanted: list[NamedRemote], format_: str | None, quantization: str | None, preference: Sequence[Container]
) -> Container:
    """Return the container to take: the named one, the one that carries the quantization, else the preferred one.

    Args:
        wanted: The weights to choose among.
        format_: A container or a scheme, as the manifest says it.
        quantization: As the manifest says it.
        preference: Containers, best first.

    Raises:
        SelectionError: There are no such weights.
    """
    present = {one.says.container for one in wanted if one.says.role is not Role.PROJECTOR}
    ranked = [container for container in (*preference, *PREFERENCE) if container in present]
    if format_ is None:
        label = quantization_label(quantization) if quantization else None
        if label and Container.GGUF in present and _GGML_ONLY.match(plain_label(label)):
            return Container.GGUF
        if ranked:
            return ranked[0]
    name = (format_ or Container.GGUF).strip().lower()
    if name in set(Container):
        if Container(name) in present:
            return Container(name)
        if name == Container.MLX and Container.SAFETENSORS in present:
            return Container.SAFETENSORS  # MLX keeps its own layout in safetensors files
    elif quantization_label(name) is not None:  # awq, gptq, fp8: schemes, carried by one of two containers
        carrier = next((one for one in (Container.SAFETENSORS, Container.PYTORCH) if one in present), None)
        if carrier is not None:
            return carrier
    raise SelectionError(
        f"there are no {name} weights here",
        remedy=f"Formats of this repository: {', '.join(dict.fromkeys(ranked)) or 'none'}.",
        reason="no-such-format",
    )


def choose_weights(  # each is a different fact about one listing
    wanted: list[NamedRemote],
    weights: list[NamedRemote],
    container: Container,
    quantization: str | None,
    *,
    explicit: bool,
    components: frozenset[str],
) -> tuple[list[NamedRemote], str | None, list[str]]:
    """Return the weights of one container and quantization, the label, and what to warn of.

    Args:
        wanted: The weights to choose among.
        weights: All weights of the listing.
        container: How the chosen ones are packed.
        quantization: As the manifest says it.
        explicit: The manifest named the files itself, so that several quantizations may be meant.
        components: Folders with a configuration of their own: parts of a model, not copies of it.

    Raises:
        SelectionError: The quantization is unknown here, or there are several.
    """
    if container is Container.GGUF:
        chosen, label = _choose_gguf(wanted, weights, quantization, explicit=explicit)
        return chosen, label, []
    of_container = [one for one in wanted if one.says.container is container]
    if explicit:
        return of_container, _common_label(of_container), []
    of_container = _without_single_file(of_container)
    warnings: list[str] = []
    if container is Container.SAFETENSORS:
        extra = _pickled_parts(of_container, wanted, components)
        of_container += extra
        warnings += [f"{one.path} is a pickle: this part of the model has no safetensors" for one in extra]
    chosen = _by_label(of_container, quantization)
    return chosen, _common_label(chosen), warnings


def _choose_gguf(
    wanted: list[NamedRemote], weights: list[NamedRemote], quantization: str | None, *, explicit: bool
) -> tuple[list[NamedRemote], str | None]:
    by_path = {one.path: one for one in [*weights, *wanted]}
    groups = group_quants(one.path for one in wanted)
    variants = groups.variants if quantization is None else groups.find(quantization)
    choices = quant_choices(groups.variants, {path: one.file.size for path, one in by_path.items()})
    if not variants and not explicit:
        raise SelectionError(
            f"there is no quantization {quantization!r} here",
            remedy=f"Choose one of: {_listed(choices)}.",
            reason="no-such-quantization",
            choices=choices,
        )
    labels = {variant.label for variant in variants}
    if len(labels) > 1 and not explicit:
        raise SelectionError(
            f"{quantization!r} could mean {len(labels)} quantizations of this repository"
            if quantization
            else f"this repository has {len(labels)} quantizations, and none is named",
            remedy=f"Write `quantization:` with one of: {_listed(choices)}.",
            reason="ambiguous-quantization",
            choices=[choice for choice in choices if choice.label in labels],
        )
    if len(variants) > 1 and not explicit:
        raise SelectionError(
            f"{len(variants)} models of this repository have the quantization {variants[0].label}",
            remedy=f"Name one with `include`: {', '.join(variant.files[0] for variant in variants[:5])}.",
            reason="ambiguous-quantization",
        )
    chosen = [by_path[path] for variant in variants for path in variant.files]
    chosen += [by_path[path] for path in groups.aside]
    projectors = [one for one in weights if one.says.role is Role.PROJECTOR]
    named_projectors = [one for one in projectors if explicit and one in wanted]
    chosen += named_projectors or _best_projector(projectors)
    return chosen, labels.pop() if len(labels) == 1 and UNLABELLED not in labels else None


def _best_projector(projectors: list[NamedRemote]) -> list[NamedRemote]:
    for label in _PROJECTOR_PREFERENCE:
        found = [one for one in projectors if one.says.quantization == label]
        if found:
            return found[:1]
    return projectors[:1]


def _listed(choices: Sequence[QuantChoice]) -> str:
    return ", ".join(f"{choice.label} ({_shown(choice.size)})" for choice in choices)


def _shown(size: int) -> str:
    """Return bytes in the decimal units of the Hub's own pages."""
    return f"{size / 1e9:.1f} GB" if size >= SMALL else f"{size / 1e6:.1f} MB"


def _without_single_file(weights: list[NamedRemote]) -> list[NamedRemote]:
    """Leave out a pipeline's checkpoint in one file when its components are there in folders (SDXL, Flux)."""
    folders = {one.folder for one in weights}
    pipeline = folders & {"unet", "transformer", "prior", "decoder"}
    return [one for one in weights if one.folder] if pipeline and "" in folders else weights


def _pickled_parts(
    chosen: list[NamedRemote], wanted: list[NamedRemote], components: frozenset[str]
) -> list[NamedRemote]:
    """Return the pickles of components that have no safetensors, such as ``2_Dense`` or ``safety_checker``."""
    lacking = components - {one.folder for one in chosen} - {""}
    return [one for one in wanted if one.says.container is Container.PYTORCH and one.folder in lacking]


def _by_label(weights: list[NamedRemote], quantization: str | None) -> list[NamedRemote]:
    """Return in each folder the variant that is asked for, else the plain one, else all."""
    label = quantization_label(quantization) if quantization else None
    folders: dict[str, list[NamedRemote]] = {}
    for one in weights:
        folders.setdefault(one.folder, []).append(one)
    chosen: list[NamedRemote] = []
    for ones in folders.values():
        asked = [one for one in ones if label is not None and one.says.quantization == label]
        plain = [one for one in ones if one.says.quantization is None]
        chosen += asked or plain or ones
    return chosen


def _common_label(weights: list[NamedRemote]) -> str | None:
    labels = {one.says.quantization for one in weights}
    return labels.pop() if len(labels) == 1 else None


def check_shards(chosen: list[NamedRemote], weights: list[NamedRemote]) -> None:
    """Raise when a chosen shard's fellows are missing, from the repository or from the choice.

    Args:
        chosen: The chosen weights.
        weights: All weights of the listing.

    Raises:
        SelectionError: Some are missing.
    """
    groups: dict[tuple[str, int], set[int]] = {}
    for one in chosen:
        if one.says.shards:
            key = (_SHARD_NUMBER.sub("#", one.path), one.says.shards)
            groups.setdefault(key, set()).add(one.says.shard)
    listed = {one.path for one in weights}
    for (pattern, shards), present in groups.items():
        # Some uploads count from 0, to N-1 or to N (gpt-oss): their index, which is content, settles the last one.
        needed = range(shards) if 0 in present else range(1, shards + 1)
        missing = sorted(set(needed) - present)
        if missing:
            some = ", ".join(str(number) for number in missing[:5])
            left = any(_SHARD_NUMBER.sub("#", path) == pattern for path in listed - {one.path for one in chosen})
            raise SelectionError(
                f"{pattern.replace('#', 'NNNNN')}: {len(missing)} of {shards} shards are missing ({some}"
                f"{', …' if len(missing) > 5 else ''})",  # noqa: PLR2004 # as many as were named
                remedy="Widen `include` to all shards."
                if left
                else "The upload is incomplete: choose another revision.",
                reason="incomplete-shards",
            )


def quant_choices(variants: Iterable[QuantVariant], sizes: Mapping[str, int]) -> tuple[QuantChoice, ...]:
    """Return quantizations with their sizes, smallest first.

    Args:
        variants: Quantizations of a repository.
        sizes: Path to size in bytes.
    """
    found: dict[str, QuantChoice] = {}
    for variant in variants:
        earlier = found.get(variant.label, QuantChoice(variant.label, 0, 0))
        size = earlier.size + sum(sizes[path] for path in variant.files)
        found[variant.label] = QuantChoice(variant.label, size, earlier.files + len(variant.files))
    return tuple(sorted(found.values(), key=lambda choice: (choice.size, choice.label)))
