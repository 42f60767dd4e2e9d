"""Which containers a listing holds, which of them is the model, and what kind of model it is."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from imageworks.detection.claims.evidence import Evidence, Level
from imageworks.detection.file_names import Container, NamedFile, Role, classify

_ORDER: Final = tuple(Container)
_ELSEWHERE: Final = frozenset({"onnx", "openvino", "original", "coreml", "tf", "flax", "gguf", "metal", "checkpoints"})
"""Folders that hold a second form of a model whose first form is elsewhere."""


PROCESSORS: Final = (
    "preprocessor_config.json",
    "processor_config.json",
    "feature_extractor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
)


class ArtifactKind(StrEnum):
    """What kind of thing a listing is."""

    MODEL = "model"
    PIPELINE = "pipeline"
    ADAPTER = "adapter"
    SENTENCE_TRANSFORMER = "sentence-transformer"
    TOKENIZER = "tokenizer"
    PROCESSOR = "processor"
    PROJECTOR = "projector"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RankedContainer:
    """A container that a listing holds.

    Args:
        container: The container.
        files: How many files of weights are in it.
        size: Their bytes.
        confidence: How sure it is that this is the form to load, from 0 to 1.
        evidence: What speaks for it.
    """

    container: Container
    files: int
    size: int
    confidence: float
    evidence: Evidence


def rank_containers(files: Mapping[str, int], named: Mapping[str, NamedFile]) -> tuple[RankedContainer, ...]:
    """Return the containers of a listing, the one to load first.

    Weights at the root (or in a pipeline's parts) outrank those in a folder such as ``onnx/``; then safetensors come
    before older forms.
    """
    count: dict[Container, int] = {}
    size: dict[Container, int] = {}
    main: set[Container] = set()
    example: dict[Container, str] = {}
    for path, file in named.items():
        if file.container is None or file.role is not Role.WEIGHTS:
            continue
        container = refined_container(path, file.container, files)
        count[container] = count.get(container, 0) + 1
        size[container] = size.get(container, 0) + files[path]
        example.setdefault(container, path)
        if "/" not in path or _ELSEWHERE.isdisjoint(path.lower().split("/")[:-1]):
            main.add(container)
    ranked = sorted(count, key=lambda container: (container not in main, _rank(container)))
    return tuple(
        RankedContainer(
            container,
            count[container],
            size[container],
            round(0.95 / (place + 1), 2),
            Evidence(Level.NAME, example[container], f"{count[container]} file(s) of {container.value}"),
        )
        for place, container in enumerate(ranked)
    )


def _rank(container: Container) -> int:
    """Return how early a container is tried: safetensors, GGUF, then as declared."""
    return -1 if container is Container.SAFETENSORS else _ORDER.index(container)


_BINARIES: Final = (
    (
        re.compile(r"^params_shard_\d+\.bin$"),
        ("ndarray-cache.json", "tensor-cache.json", "mlc-chat-config.json"),
        Container.MLC,
    ),
    (re.compile(r"^group\d+-shard\d+of\d+\.bin$"), (), Container.TFJS),
    (
        re.compile(r"^model\.bin$"),
        ("vocabulary.json", "vocabulary.txt", "shared_vocabulary.json"),
        Container.CTRANSLATE2,
    ),
    (re.compile(r"\.serialized\.bin$|^weight_sharing_model"), (), Container.QNN),
    (re.compile(r"\.bin$"), ("genie_config.json",), Container.QNN),
    (re.compile(r"ggml"), (), Container.GGML),
)
"""Binaries that are no pickles: their name, what is beside them, and what they are."""


def refined_container(path: str, container: Container, files: Collection[str]) -> Container:
    """Return the container of a ``.bin`` by its company: CTranslate2 and ggml files are no pickles."""
    if container is not Container.PYTORCH or not path.endswith(".bin"):
        return container
    folder, _, name = path.rpartition("/")
    beside = f"{folder}/" if folder else ""
    for pattern, company, found in _BINARIES:
        if pattern.search(name.lower()) and (not company or any(beside + other in files for other in company)):
            return found
    if f"{path.removesuffix('.bin')}.param" in files:
        return Container.NCNN
    return Container.METAL if folder == "metal" else container


def kind_of(paths: Iterable[str]) -> ArtifactKind:
    """Return what kind of thing a listing is."""
    names = set(paths)
    if "model_index.json" in names or "modular_model_index.json" in names:
        return ArtifactKind.PIPELINE
    if "adapter_config.json" in names or "pytorch_lora_weights.safetensors" in names:
        return ArtifactKind.ADAPTER
    if "modules.json" in names:
        return ArtifactKind.SENTENCE_TRANSFORMER
    roles = {classify(name).role for name in names}
    if not roles & {Role.WEIGHTS, Role.PROJECTOR, Role.INDEX, Role.ASSET}:
        if any(name.rpartition("/")[2] in PROCESSORS for name in names):
            return ArtifactKind.PROCESSOR
        if Role.TOKENIZER in roles:
            return ArtifactKind.TOKENIZER
    return ArtifactKind.MODEL if names else ArtifactKind.UNKNOWN
