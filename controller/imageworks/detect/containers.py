"""Which containers a listing holds, which of them is the model, and what kind of model it is."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from imageworks.detect.evidence import Evidence, Level
from imageworks.detect.filenames import Container, NamedFile, Role, classify

_ORDER: Final = tuple(Container)
_ELSEWHERE: Final = frozenset({"onnx", "openvino", "original", "coreml", "tf", "flax", "gguf", "metal", "checkpoints"})
"""Folders that hold a second form of a model whose first form is elsewhere."""


PROCESSORS: Final = frozenset({"preprocessor_config.json", "processor_config.json", "feature_extractor_config.json"})


class Kind(StrEnum):
    """What kind of thing a listing is."""

    MODEL = "model"
    PIPELINE = "pipeline"
    ADAPTER = "adapter"
    SENTENCE_TRANSFORMER = "sentence-transformer"
    TOKENIZER = "tokenizer"
    PROCESSOR = "processor"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Candidate:
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


def rank_containers(files: Mapping[str, int], named: Mapping[str, NamedFile]) -> tuple[Candidate, ...]:
    """Return the containers of a listing, the one to load first.

    Weights at the root (or in a pipeline's parts) outrank those in a folder such as ``onnx/``; then safetensors come
    before older forms.

    Args:
        files: Relative paths and sizes in bytes.
        named: What each file's name says.
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
        if not _ELSEWHERE & set(path.lower().split("/")[:-1]):
            main.add(container)
    ranked = sorted(count, key=lambda container: (container not in main, _rank(container)))
    return tuple(
        Candidate(
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


def refined_container(path: str, container: Container, files: Collection[str]) -> Container:
    """Return the container of a ``.bin`` by its company: CTranslate2 and ggml files are no pickles.

    Args:
        path: The file's relative path.
        container: What its name alone says.
        files: All paths of the listing.
    """
    if container is not Container.PYTORCH or not path.endswith(".bin"):
        return container
    folder, _, name = path.rpartition("/")
    if folder == "metal":
        return Container.METAL
    beside = f"{folder}/" if folder else ""
    if name == "model.bin" and any(
        beside + other in files for other in ("vocabulary.json", "vocabulary.txt", "shared_vocabulary.json")
    ):
        return Container.CTRANSLATE2
    return Container.GGML if "ggml" in name.lower() else container


def kind_of(paths: Iterable[str]) -> Kind:
    """Return what kind of thing a listing is.

    Args:
        paths: Its relative paths.
    """
    names = set(paths)
    if "model_index.json" in names or "modular_model_index.json" in names:
        return Kind.PIPELINE
    if "adapter_config.json" in names or "pytorch_lora_weights.safetensors" in names:
        return Kind.ADAPTER
    if "modules.json" in names:
        return Kind.SENTENCE_TRANSFORMER
    roles = {classify(name).role for name in names}
    if not roles & {Role.WEIGHTS, Role.PROJECTOR, Role.INDEX, Role.ASSET}:
        if any(name.rpartition("/")[2] in PROCESSORS for name in names):
            return Kind.PROCESSOR
        if Role.TOKENIZER in roles:
            return Kind.TOKENIZER
    return Kind.MODEL if names else Kind.UNKNOWN
