"""What the weights of a listing are parts of: component, container, precision, shard. Pure, from names and sizes alone.

Two sets of weights are one component where loaders would read one or the other: ``model.safetensors`` and
``onnx/model_q4.onnx``, but not ``model.safetensors`` and ``spk_dict.pt``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from imageworks.detection.containers import refined_container
from imageworks.detection.file_names import COMPILED, Container, NamedFile, Role, classify
from imageworks.detection.model_facts import ListedFile
from imageworks.naming.quantization_labels import find_quantizations, quantization_label

WHOLE: Final = ""
"""The component that is the model of its folder, whatever each framework calls it."""

_FORMS: Final = frozenset(
    {"onnx", "openvino", "original", "coreml", "flax", "tf", "tensorflow", "metal", "mlx", "gguf", "ggml", "tflite"}
)
"""Folders that hold another form of what is beside them."""

_STEP: Final = re.compile(r"(?:checkpoint|ckpt|epoch|step|iter|global[-_]?step)[-_]?\d+")
_PLAIN_FOLDERS: Final = frozenset({"checkpoints", "weights"})
_SHARD: Final = re.compile(r"[-_.]{1,2}\d{1,6}-of-\d{1,6}(?![a-z0-9])")
_NUMBERED: Final = re.compile(r"^(consolidated|weights)\.(\d{1,3})$")
_DATA: Final = re.compile(r"(\.onnx)[._]data(?:[-_.]?\d+)?$")
_SUFFIX: Final = re.compile(
    r"(?:\.onnx[._]data(?:[-_.]?\d+)?|\.data-\d{5}-of-\d{5}|\.pth\.tar|\.[a-z][a-z0-9_]{0,11})$", re.ASCII
)
_INDEX: Final = re.compile(r"^(.*?)\.(safetensors|bin|h5|msgpack)((?:\.[a-z0-9_]+)?)\.index(?:\.([a-z0-9_]+))?\.json$")
_INDEX_OF: Final = {
    "safetensors": Container.SAFETENSORS,
    "bin": Container.PYTORCH,
    "h5": Container.TENSORFLOW,
    "msgpack": Container.FLAX,
}
_VARIANT: Final = re.compile(r"[-_.](non[-_]?ema)(?=[-_.]|$)")
_EXPORT_LABEL: Final = re.compile(
    r"(?<![a-z0-9])(?:qu?int[48](?:[-_](?:avx\d+(?:_vnni)?|arm64))?(?:_quantized)?|quantized|bnb4|q[48]f16|uint8f16|o[1-4])"
    r"(?![a-z0-9])"
)
_DECORATION: Final = re.compile(r"[-_.](?:scaled|e[45]m[23](?:fn)?|mixed|fast)(?=[-_.]|$)")
_WHOLE_STEM: Final = re.compile(
    r"(?:(?:pytorch|tf|flax|rust|openvino|coreml|diffusion|diffusion_pytorch|diffusion_flax)[-_])?model[-_]?"
    r"|consolidated|saved_model|variables|weights"
)
_FRAMEWORK: Final = re.compile(
    r"(?<=[-_])(?:pytorch|flax|tf)[-_](?=model$)"
)  # open_clip_pytorch_model is open_clip_model
_EXPORTS: Final = re.compile(
    r"(?:text_|vision_|audio_)?(?:encoder|decoder)_model(?:_merged)?|decoder_with_past(?:_model)?|embed_tokens"
)
_ALWAYS_WHOLE: Final = frozenset(
    {
        Container.GGUF, Container.GGML, Container.OPENVINO, Container.RUST, Container.COREML, Container.TFLITE,
        Container.METAL, Container.CTRANSLATE2, Container.MLX, Container.FLAX,
    }
    | COMPILED - {Container.RKNN}  # which stands beside an .rkllm as its vision tower
)  # fmt: skip
"""Containers whose files are made from a model as a whole, under any name."""

_PART_WORDS: Final = re.compile(
    r"(?:^|[-_./])(?:vae|ae|clip(?:[-_][a-z0-9]+)?|t5(?:xxl)?|umt5(?:[-_]?xxl)?|text[-_]encoders?|image[-_]encoder"
    r"|vocoder|wavtokenizer|token2wav|codec|snac|vocos|mmproj|lora|loras|adapter|embeddings?|upscaler|upsampler"
    r"|audio|vision|tts|projector|controlnet)(?=[-_./]|\d|$)"
)
PREFERENCE: Final = (
    Container.SAFETENSORS,
    Container.GGUF,
    Container.PYTORCH,
    Container.CTRANSLATE2,
    Container.GGML,
    Container.MLX,
    Container.ONNX,
    Container.OPENVINO,
    Container.TENSORFLOW,
    Container.FLAX,
    Container.COREML,
    Container.TFLITE,
)
RANK: Final = {one: place for place, one in enumerate(dict.fromkeys((*PREFERENCE, *Container)))}
"""How early a container is taken where several hold the same."""

_NOISE: Final = re.compile(r"(?:high|low)[-_ ]?noise")


@dataclass(frozen=True, slots=True)
class Component:
    """One file of weights, and what it is a part of.

    Args:
        file: The file.
        says: What its name says.
        container: How its weights are packed, by its name and its company.
        home: The folder of its component, without folders that only say the form, the precision or the training step.
        component: `WHOLE`, or the name of a part that has its own.
        stem: Its name without precision and shard.
        label: The quantization, precision or variant that its name says.
        form: The folder that says that it is another form (``onnx``), if there is one.
        step: The folder of a training step (``checkpoint-500``), if there is one.
    """

    file: ListedFile
    says: NamedFile
    container: Container
    home: str
    component: str
    stem: str
    label: str | None = None
    form: str = ""
    step: str = ""

    @property
    def path(self) -> str:
        """Its path in the repository."""
        return self.file.path

    @property
    def folder(self) -> str:
        """The folder it is in, empty at the top."""
        return self.file.path.rpartition("/")[0]

    @property
    def direct(self) -> bool:
        """Whether it is where a loader looks first."""
        return not self.form and not self.step


@dataclass(frozen=True, slots=True)
class WeightSet:
    """The files that together are one component, in one container, precision and sharding.

    Args:
        parts: Its files, sorted by path.
    """

    parts: tuple[Component, ...]

    @property
    def first(self) -> Component:
        """Its first file, which has all that is the same for all of them."""
        return self.parts[0]

    @property
    def component(self) -> tuple[str, str]:
        """The component that it is one copy of."""
        return (self.first.home, self.first.component)

    @property
    def container(self) -> Container:
        """How it is packed."""
        return self.first.container

    @property
    def size(self) -> int:
        """All its bytes."""
        return sum(part.file.size for part in self.parts)

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the shards that its names promise and the listing lacks."""
        shards = self.first.says.shards
        present = {part.says.shard for part in self.parts}
        # Some uploads count from 0, to N-1 or to N (gpt-oss): their index, which is content, settles the last one.
        needed = range(min(shards, 100_000)) if 0 in present else range(1, min(shards, 100_000) + 1)
        return tuple(number for number in needed if number not in present)


def read_part(file: ListedFile, paths: frozenset[str]) -> Component | None:
    """Return what a file of weights is a part of; ``None`` for one that holds no weights."""
    says = classify(file.path)
    folder, _, name = file.path.lower().rpartition("/")
    container = says.container
    if name.endswith(".xml") and (name.startswith("openvino") or folder.endswith("openvino")):
        container = Container.OPENVINO  # the graph that the .bin beside it belongs to
    elif says.role not in (Role.WEIGHTS, Role.PROJECTOR):
        return None
    if container is None:
        return None
    container = refined_container(file.path, container, paths)
    return Component(file, says, container, *_placed(folder, name, container))


@lru_cache(maxsize=16_384)  # names repeat between repositories, and one answer asks several times
def _placed(folder: str, name: str, container: Container) -> tuple[str, str, str, str | None, str, str]:
    """Return home, component, stem, label, form and step of a file, by its lower-case names."""
    home, form, step, folder_label = _home(folder)
    stem, label = _stem(name, container)
    if container is Container.COREML:
        stem, label = f"{folder}/{name}" if folder else name, None
    whole = container in _ALWAYS_WHOLE or form in _FORMS - {"original"} or _WHOLE_STEM.fullmatch(stem) is not None
    whole = whole or name.endswith(".nemo") or (container is Container.ONNX and _EXPORTS.fullmatch(stem) is not None)
    component = WHOLE if whole else _FRAMEWORK.sub("", stem)
    return home, component, stem, label or folder_label, form, step


def weight_sets(parts: Iterable[Component]) -> tuple[WeightSet, ...]:
    """Return parts by component, container, name, precision, folder and sharding."""
    groups: dict[tuple[object, ...], list[Component]] = {}
    for part in parts:
        key = (part.home, part.component, part.container, part.stem, part.label or "", part.folder, part.says.shards)
        groups.setdefault(key, []).append(part)
    return tuple(WeightSet(tuple(sorted(ones, key=lambda part: part.path))) for ones in groups.values())


def one_copy(sets: Iterable[WeightSet], *, in_folders: bool = False) -> list[WeightSet]:
    """Return one set of each component, as a loader reads it where several hold the same."""
    components: dict[tuple[str, str], list[WeightSet]] = {}
    for one in sets:
        components.setdefault(one.component, []).append(one)
    homes = any(home for home, _ in components)
    return [
        min(ones, key=partial(_copy_rank, max(one.size for one in ones)))
        for (home, _), ones in components.items()
        if home or not (in_folders and homes)
    ]


def _copy_rank(largest: int, one: WeightSet) -> tuple[object, ...]:
    first = one.first
    label = _LABELS.index(first.label) if first.label in _LABELS else len(_LABELS)
    return (not first.direct, first.stem == "consolidated", bool(one.missing), one.size * _PART_OF < largest, label,
            first.folder.count("/") + bool(first.folder), first.says.shards or 0, first.path)  # fmt: skip


_LABELS: Final = (None, "fp16", "bf16", "fp32")
_PART_OF: Final = 4  # a set of less than a quarter of another is no copy of it


def index_key(path: str) -> tuple[Container, str, str | None] | None:
    """Return which weights of its folder a shard index speaks of: container, name and precision."""
    found = _INDEX.match(path.lower().rpartition("/")[2])
    if found is None:
        return None
    container = _INDEX_OF[found[2]]
    stem, label = _stem(f"{found[1]}{found[3]}.{found[2]}", container)
    return container, stem, label or (_label_of(found[4]) if found[4] else None)


def main_containers(sets: Iterable[WeightSet]) -> list[Container]:
    """Return the containers of a listing, the one that its model is in first."""
    best: dict[Container, tuple[object, ...]] = {}
    for one in sets:
        head = one.first
        depth = head.home.count("/") + 1 if head.home else 0
        beside = is_part(head) and head.component != WHOLE
        key = (beside, depth, head.component != WHOLE, bool(head.form), RANK[head.container])
        best[head.container] = min(best.get(head.container, key), key)
    return sorted(best, key=lambda container: best[container])


def is_part(part: Component) -> bool:
    """Return whether a name says that this is some part beside a model: a VAE, an encoder, an adapter."""
    return _PART_WORDS.search(part.path.lower()) is not None


def says_noise(path: str) -> bool:
    """Return whether a file is one of the two experts of a video model, which belong together."""
    return _NOISE.search(path.lower()) is not None


@lru_cache(maxsize=4096)
def _home(folder: str) -> tuple[str, str, str, str | None]:
    """Return a folder without what only says form, step or precision; the form, the step and the precision."""
    kept: list[str] = []
    walked: list[str] = []
    form = step = ""
    label: str | None = None
    for segment in folder.split("/") if folder else []:
        walked.append(segment)
        if segment in _FORMS or segment.endswith((".mlpackage", ".mlmodelc")) or segment.startswith("saved_model"):
            form = form or segment
            if segment not in {"onnx", "openvino", "original"}:
                break  # what is below is how that form keeps itself
        elif _STEP.fullmatch(segment):
            step = step or "/".join(walked)
        elif quantization_label(segment) is not None:
            label = quantization_label(segment)
        elif segment not in _PLAIN_FOLDERS:
            kept.append(segment)
    return "/".join(kept), form, step, label


@lru_cache(maxsize=4096)
def _stem(name: str, container: Container) -> tuple[str, str | None]:
    """Return a lower-case file name without suffix, shard and precision, and the precision."""
    base = _SHARD.sub("", _SUFFIX.sub("", _DATA.sub(r"\1", name)))
    base = _SUFFIX.sub("", base) if base.endswith((".safetensors", ".onnx")) else base
    if container is Container.TENSORFLOW and name.endswith((".index", ".meta")):
        return f"{base}.index", None
    if numbered := _NUMBERED.match(base):
        return numbered[1], None
    if variant := _VARIANT.search(base):
        return base[: variant.start()] + base[variant.end() :], "non_ema"
    label: str | None = None
    if container in (Container.ONNX, Container.OPENVINO, Container.TFLITE):
        found = _EXPORT_LABEL.search(base)
        if found is not None:
            label = found.group()
            base = base[: found.start()] + base[found.end() :]
    tokens = find_quantizations(base)
    for token in reversed(tokens):
        label = label or token.label
        base = base[: token.start] + base[token.end :]
    if label is not None:
        base = _DECORATION.sub("", base)
    return re.sub(r"[-_. ]{2,}", "_", base).strip("-_. "), label


def _label_of(text: str) -> str:
    return quantization_label(text) or text
