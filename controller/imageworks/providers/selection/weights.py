"""Which weights: of each component one container, one precision and one sharding, or an error with the choices."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from imageworks.detection.components import RANK, WHOLE, Component, WeightSet, is_part, main_containers, weight_sets
from imageworks.detection.file_names import COMPILED, Container, Role
from imageworks.naming.quantization_labels import is_ggml_label, plain_label, quantization_label
from imageworks.providers.selection.gguf import choose_gguf, choose_projectors, listed
from imageworks.providers.selection.model import Choice, QuantChoice, SelectionError, SelectionRequest, Why

_PRECISIONS: Final = ("fp16", "bf16", "fp32", "fp64")  # of equal content, so that one may be taken unasked
_GGML_ONLY: Final = re.compile(r"t?i?q[1-9]|mxfp4")  # no safetensors name means a llama.cpp quantization
_PIPELINE_PARTS: Final = frozenset({"unet", "transformer", "prior"})
_OF_PIPELINE: Final = re.compile(r"lora|adapter|control|upscaler|upsampler|refiner|embedding|textual|inversion")
_VAE: Final = re.compile(r"(?:^|[-_.])(?:vae|ae)(?=[-_.])")
_SPLIT: Final = {"vae_encoder": "vae", "vae_decoder": "vae", "text_encoders": "text_encoder"}
"""Folders whose weights another form of the same pipeline keeps in one folder."""
_ROLES: Final = re.compile(
    r"(?:^|[-_.])(?:(?:en|de)coder|joiner|vision|visual|audio|text|image|llm|lm|embed(?:s|dings?|der|[-_]tokens)?|head|prefill"
    r"|decode|(?:pre|post)process(?:or)?|coarse|fine|codec|unet|vae|vocoder|(?:rank|part|chunk)[-_]?\d+)(?=[-_.]|$)"
)
"""Words that tell the parts of one compiled model: its encoder and decoder, or what each of several devices runs."""
_FRACTION: Final = 16  # a file of less than a sixteenth of a pipeline's body is no checkpoint of it
_MOSTLY: Final = 4  # a file of less than a quarter of its shards is no copy of them


def choose_weights(
    parts: Sequence[Component],
    beside: Sequence[Component],
    paths: frozenset[str],
    request: SelectionRequest,
) -> Choice:
    """Return which weights are taken, and why not the others."""
    choice = Choice()
    sets = list(weight_sets(parts))
    if not request.explicit:
        sets = _without_steps(sets, choice)
        sets = _without_single_files(sets, paths, choice)
        _check_whole_folders(sets, paths)
    choice.container = _main_container(sets, request)
    label = asked_label(request)
    if choice.container is Container.GGUF:
        gguf = [part for one in sets for part in one.parts if part.container is Container.GGUF]
        every = [part for part in beside if part.container is Container.GGUF]
        choose_gguf(gguf, request.quantization, choice, explicit=request.explicit)
        if request.weights and not request.include:
            choose_projectors([part for part in every if part.says.role is Role.PROJECTOR], gguf, choice)
        label = None
    if request.explicit:
        choice.taken |= {part.path for one in sets for part in one.parts if part.path not in choice.left}
        choice.proven = choice.proven or any(one.first.label == label for one in sets if label)
        return choice
    _choose_components(sets, choice, label)
    standing = min(choice.taken, default="")
    for path, (why, instead) in choice.left.items():
        if instead and instead not in choice.taken:  # it stood for others, and a precision of it was not asked for
            choice.left[path] = (why, standing)
    return choice


def asked_label(request: SelectionRequest) -> str | None:
    """Return our spelling of the quantization that is asked for, else the word itself, as exports have their own."""
    word = (request.quantization or "").strip().lower()
    return quantization_label(word) or word or None


def _main_container(sets: Sequence[WeightSet], request: SelectionRequest) -> Container:
    # Beside a model at the top, what only holds parts of it is no format that the model has.
    whole = [one for one in sets if one.first.component == WHOLE]
    ranked = main_containers(whole if any(not one.first.home for one in whole) else sets)
    name = (request.format or "").strip().lower()
    if not name:
        label = asked_label(request)
        named = {one.container for one in sets if label and one.first.label == label}
        if label and Container.GGUF in ranked and _GGML_ONLY.match(plain_label(label)) and not named - {Container.GGUF}:
            return Container.GGUF
        if label not in _PRECISIONS and named:  # a precision of equal content can be that of weights that do not say it
            return next((one for one in main_containers(sets) if one in named), ranked[0])
        if ranked:
            return ranked[0]
    elif name in set(Container):
        if Container(name) in ranked:
            return Container(name)
        if name == Container.MLX and Container.SAFETENSORS in ranked:
            return Container.SAFETENSORS  # MLX keeps its own layout in safetensors files
    elif quantization_label(name) is not None:  # awq, gptq, fp8: schemes, carried by one of two containers
        carrier = next((one for one in (Container.SAFETENSORS, Container.PYTORCH) if one in ranked), None)
        if carrier is not None:
            return carrier
    raise SelectionError(
        f"there are no {name or 'known'} weights here",
        remedy=f"Formats of this repository: {', '.join(ranked) or 'none'}.",
        reason="no-such-format",
    )


def _leave(sets: Iterable[WeightSet], choice: Choice, why: Why, instead: str = "") -> None:
    for one in sets:
        for part in one.parts:
            choice.left.setdefault(part.path, (why, instead))


def _without_steps(sets: list[WeightSet], choice: Choice) -> list[WeightSet]:
    """Leave out what a training run saved on its way, where its result is there; of several steps alone none is it."""
    results = [one for one in sets if not one.first.step]
    steps: dict[str, list[WeightSet]] = {}
    for one in sets:
        if one.first.step:
            steps.setdefault(one.first.step, []).append(one)
    kept: list[WeightSet] = list(results)
    alone: dict[str, list[WeightSet]] = {}
    for step, ones in steps.items():
        parent = step.rpartition("/")[0]
        result = next((r for r in results if r.first.folder.lower() == parent or not parent), None)
        if result is not None:
            _leave(ones, choice, Why.TRAINING, result.first.path)
        else:
            alone.setdefault(parent, []).extend(ones)
    for parent, ones in alone.items():
        names = sorted({one.first.step for one in ones})
        if len(names) > 1:
            raise SelectionError(
                f"the repository holds {len(names)} training steps{f' in {parent}' if parent else ''}, and no result",
                remedy=f"Name the folder of one (`subfolder`, or its URL …/tree/…): {', '.join(names[:8])}.",
                reason="ambiguous-variant",
            )
        kept += ones
    return kept


def _without_single_files(sets: list[WeightSet], paths: frozenset[str], choice: Choice) -> list[WeightSet]:
    """Leave out a pipeline's checkpoints in one file when its components are there in folders (SDXL, Flux)."""
    homes = {one.first.home: one for one in sets if one.first.component == WHOLE and one.first.direct}
    body = next((homes[name] for name in sorted(_PIPELINE_PARTS & homes.keys())), None)
    if body is None and "model_index.json" in paths:
        body = next((homes[name] for name in sorted(homes) if name), None)
    if body is None:
        return sets
    top = [one for one in sets if not one.first.folder]
    _leave((one for one in top if "example" in one.first.path.lower()), choice, Why.OPTIONAL)
    single = [one for one in top if one.first.path in choice.left or _is_checkpoint(one, body, homes.keys())]
    single += [one for one in sets if one.first.home == "text_encoders" and "text_encoder" in homes]
    _leave(single, choice, Why.COUNTERPART, body.first.path)
    gone = {id(one) for one in single}
    return [one for one in sets if id(one) not in gone]


def _is_checkpoint(one: WeightSet, body: WeightSet, homes: Collection[str]) -> bool:
    """Return whether a file at the top holds a pipeline, or a part that has a folder; what is small has none."""
    path = one.first.path.lower()
    if _OF_PIPELINE.search(path):
        return False
    return one.size * _FRACTION >= body.size or ("vae" in homes and _VAE.search(path) is not None)


def _check_whole_folders(sets: Sequence[WeightSet], paths: frozenset[str]) -> None:
    """Raise where several folders each hold the whole model for one device, as ONNX Runtime GenAI lays them out."""
    folders = {path.rpartition("/")[0] for path in paths if path.endswith("/genai_config.json")}
    held = sorted({one.first.folder for one in sets} & folders)
    if len(held) > 1:
        raise SelectionError(
            f"{len(held)} folders of the repository each hold the model",
            remedy=f"Name one (`subfolder`, or its URL …/tree/…): {', '.join(held[:8])}.",
            reason="ambiguous-variant",
        )


def _choose_components(sets: Sequence[WeightSet], choice: Choice, label: str | None) -> None:
    taken = [one for one in sets if one.first.path in choice.taken]
    components: dict[tuple[str, str], list[WeightSet]] = {}
    for one in sets:
        # Each GGUF or ggml file is a model as a whole: beside other weights it is another form of them.
        if one.container is not Container.GGUF and (
            one.container is not Container.GGML or choice.container is one.container
        ):
            components.setdefault(one.component, []).append(one)
    picked = {key: _one_container(ones, choice.container) for key, ones in components.items()}
    _drop_other_forms(picked, choice.container, taken, choice)
    for key, ones in components.items():
        chosen = _of_component(picked[key], label, choice) if picked[key] else []
        choice.taken |= {part.path for one in chosen for part in one.parts}
        instead = chosen[0].first.path if chosen else ""
        for one in ones:
            if one not in chosen:
                precision = one in picked[key] and _differs(one, chosen)
                _leave([one], choice, Why.PRECISION if precision else Why.COUNTERPART, instead)
    some = min(choice.taken, default="")
    rest = [one for one in sets if one.first.path not in choice.taken and one.first.path not in choice.left]
    _leave(rest, choice, Why.COUNTERPART, some)


def _differs(one: WeightSet, chosen: Sequence[WeightSet]) -> bool:
    return all(one.first.label != other.first.label for other in chosen if other.first.stem == one.first.stem)


def _one_container(ones: Sequence[WeightSet], main: Container | None) -> list[WeightSet]:
    """Return the copies of a component in the main container, else in the most usual one."""
    held = {one.container for one in ones}
    direct = {one.container for one in ones if one.first.direct} or held
    container = main if main in held else min(direct, key=lambda one: RANK[one])
    same = [one for one in ones if one.container is container]
    same = [one for one in same if one.first.direct] or same
    named = [one for one in same if one.first.stem != "consolidated"]
    return named if named and not all(one.missing for one in named) else same  # Mistral's second layout of the same


def _drop_other_forms(
    picked: dict[tuple[str, str], list[WeightSet]], main: Container | None, taken: Sequence[WeightSet], choice: Choice
) -> None:
    """Empty what is chosen of a component that is only another form of what is chosen beside it."""
    firsts = [ones[0].first for ones in picked.values() if ones] + [one.first for one in taken]
    mains = [first for first in firsts if first.container is main]
    homes = {first.home for first in mains}
    names = {re.sub(r"[-_. ]", "", first.stem) for one in taken for first in one.parts}
    for key, ones in picked.items():
        first = ones[0].first
        if first.container is main and not (first.form == "original" and any(other.direct for other in mains)):
            continue
        form_of = first.form and any(other.direct or other.container is main for other in mains)
        split_of = _SPLIT.get(first.home) in homes
        whole_of = main is Container.GGUF and (key[1] == WHOLE or re.sub(r"[-_. ]", "", first.stem) in names)
        # A pipeline's parts and a model's own folders are no second model beside GGUF files of the same.
        if form_of or split_of or (whole_of and not is_part(first)):
            _leave(ones, choice, Why.COUNTERPART, mains[0].path if mains else "")
            picked[key] = []


def _of_component(sets: Sequence[WeightSet], label: str | None, choice: Choice) -> list[WeightSet]:
    """Return of each file of a component, all in one container, one precision in one sharding."""
    names: dict[str, list[WeightSet]] = {}
    for one in sets:
        names.setdefault(one.first.stem, []).append(one)
    whole = {_ROLES.sub("", name).strip("-_.") for name in names}
    if len(whole) > 1 and all(is_a_model(one.first) for one in sets):
        raise SelectionError(
            f"the repository holds {len(whole)} models",
            remedy="Name one with `weights` (`--weights`): "
            f"{', '.join(sorted(one.first.path for one in sets)[:12])}{', …' if len(sets) > 12 else ''}.",  # noqa: PLR2004
            reason="ambiguous-variant",
        )
    return [_one_sharding(_one_label(ones, label, choice)) for ones in names.values()]


def is_a_model(part: Component) -> bool:
    """Return whether a file is a whole model by itself, and not a part of one."""
    return part.container in COMPILED | {Container.GGML} or part.path.endswith((".task", ".litertlm"))


def _one_label(ones: Sequence[WeightSet], label: str | None, choice: Choice) -> list[WeightSet]:
    by_label: dict[str | None, list[WeightSet]] = {}
    for one in ones:
        by_label.setdefault(one.first.label, []).append(one)
    if label is not None and label in by_label:
        choice.proven = True
        return by_label[label]
    for usual in (None, *_PRECISIONS):
        if usual in by_label:
            return by_label[usual]
    if len(by_label) == 1:
        return next(iter(by_label.values()))
    choices = quant_choices(ones)
    raise SelectionError(
        f"{ones[0].first.stem or 'the model'} is here in {len(by_label)} quantizations, and none is named",
        remedy=f"Write `quantization:` (`--quant`) with one of: {listed(choices)}.",
        reason="ambiguous-quantization",
        choices=choices,
    )


def _one_sharding(ones: Sequence[WeightSet]) -> WeightSet:
    """Return one complete copy: as one file, where that holds as much as the shards do, else the shards."""
    whole = [one for one in ones if not one.missing] or list(ones)
    single = [one for one in whole if not one.first.says.shards]
    sharded = [one for one in whole if one.first.says.shards]
    shards = max((one.size for one in sharded), default=0)
    single = [one for one in single if one.size * _MOSTLY >= shards] or (single if not sharded else [])
    found = single or sharded
    nearest = min(one.first.folder.count("/") + bool(one.first.folder) for one in found)
    found = [one for one in found if one.first.folder.count("/") + bool(one.first.folder) == nearest]
    if len(found) > 1:
        raise SelectionError(
            f"{len(found)} complete copies of the same weights are here: "
            f"{', '.join(one.first.path for one in found[:4])}",
            remedy="Leave one out with `exclude` (`--exclude`), or name the files of the other with `weights`.",
            reason="ambiguous-variant",
        )
    return found[0]


def quant_choices(sets: Iterable[WeightSet]) -> tuple[QuantChoice, ...]:
    """Return the precisions and quantizations that names of weights say, with their sizes, smallest first."""
    found: dict[str, QuantChoice] = {}
    for one in sets:
        if (label := one.first.label) is not None:
            earlier = found.get(label, QuantChoice(label, 0, 0))
            found[label] = QuantChoice(label, earlier.size + one.size, earlier.files + len(one.parts))
    return tuple(sorted(found.values(), key=lambda choice: (choice.size, choice.label)))


def check_quantization(quantization: str, sets: Sequence[WeightSet]) -> None:
    """Raise where no file and no content can be the quantization that was asked for."""
    label = quantization_label(quantization)
    if label is not None and not (_GGML_ONLY.match(plain_label(label)) and is_ggml_label(label)):
        return
    raise no_such_quantization(quantization, sets)


def no_such_quantization(
    quantization: str, sets: Sequence[WeightSet], *, held: str | None = None, branches: Sequence[str] = ()
) -> SelectionError:
    """Return the error of a quantization that is not there, with what is."""
    choices = quant_choices(sets)
    formats = ", ".join(main_containers(sets)) or "none"
    there = listed(choices) if choices else f"{held or 'no quantization by name'}, as {formats}"
    remedy = f"It has: {there}; leave the quantization out to take that."
    if branches:
        remedy = f"There is a branch of that name: {', '.join(f'@{name}' for name in branches[:5])}. {remedy}"
    return SelectionError(
        f"there is no quantization {quantization!r} here",
        remedy=remedy,
        reason="no-such-quantization",
        choices=choices,
    )


def check_shards(chosen: Iterable[Component], every: Iterable[Component]) -> None:
    """Raise when a chosen shard's fellows are missing, from the repository or from the choice."""
    listed_sets: Mapping[tuple[object, ...], WeightSet] | None = None
    for one in weight_sets(part for part in chosen if part.says.shards):
        if not one.missing:
            continue
        listed_sets = listed_sets or {_set_key(other): other for other in weight_sets(every)}
        whole = listed_sets[_set_key(one)]
        shards, missing = one.first.says.shards, one.missing
        some = ", ".join(str(number) for number in missing[:5])
        pattern = re.sub(r"\d{1,6}(?=-of-)", "NNNNN", one.first.path)
        raise SelectionError(
            f"{pattern}: {len(missing)} of {shards} shards are missing ({some}{', …' if len(missing) > 5 else ''})",  # noqa: PLR2004 # as many as were named
            remedy=f"Widen `include` or `weights` to all shards: {pattern.replace('NNNNN', '*')}."
            if len(whole.parts) > len(one.parts)
            else "The upload is incomplete: choose another revision.",
            reason="incomplete-shards",
        )


def _set_key(one: WeightSet) -> tuple[object, ...]:
    first = one.first
    return (first.folder, first.container, first.stem, first.label, first.says.shards)
