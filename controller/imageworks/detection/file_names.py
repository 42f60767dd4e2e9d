"""What names say: each file's role, container and quantization, and the variants of a GGUF repository."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from imageworks.naming.quantization_labels import (
    FoundLabel,
    find_quantizations,
    is_ggml_label,
    plain_label,
    quantization_label,
)

UNLABELLED: Final = "unlabelled"
"""The key of GGUF files whose names say no quantization."""


class Container(StrEnum):
    """How weights are packed; the values are what ``download_format`` holds."""

    __hash__ = str.__hash__  # the one of enumerations is Python code, and runs a hundred times an answer

    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    PYTORCH = "pytorch"
    MLX = "mlx"
    ONNX = "onnx"
    OPENVINO = "openvino"
    TENSORFLOW = "tensorflow"
    FLAX = "flax"
    COREML = "coreml"
    TFLITE = "tflite"
    CTRANSLATE2 = "ctranslate2"
    GGML = "ggml"
    METAL = "metal"
    RUST = "rust"
    PADDLE = "paddle"
    PICKLE = "pickle"  # scikit-learn and its like
    MLC = "mlc"
    RKLLM = "rkllm"
    RKNN = "rknn"
    EXECUTORCH = "executorch"
    TENSORRT = "tensorrt"
    MNN = "mnn"
    NCNN = "ncnn"
    QNN = "qnn"
    HAILO = "hailo"
    LLAMAFILE = "llamafile"
    DDUF = "dduf"
    TFJS = "tfjs"
    RUNTIME = "runtime"  # compiled for another device or engine


class Role(StrEnum):
    """What a file is for."""

    __hash__ = str.__hash__

    WEIGHTS = "weights"
    PROJECTOR = "projector"  # mmproj: the vision or audio tower that stands beside a GGUF
    INDEX = "index"
    CONFIG = "config"
    QUANTIZATION_CONFIG = "quantization-config"
    TOKENIZER = "tokenizer"
    CHAT_TEMPLATE = "chat-template"
    CODE = "code"
    README = "readme"
    LICENSE = "license"
    ASSET = "asset"  # anything else that a loader may read: voices, arrays, dictionaries, archives
    DATA = "data"  # calibration: importance matrices and the like
    OPTIONAL = "optional"  # pictures, documents, notebooks, examples, logs, training state


@dataclass(frozen=True, slots=True)
class NamedFile:
    """What one file's name says.

    Args:
        role: What it is for.
        container: How its weights are packed; ``None`` for files that hold no weights.
        quantization: The label that its name, else its nearest folder's, says.
        stem: Weights only: the name without shard number, suffix and quantization, to tell models of one repo apart.
        shard: Which shard, from 1; 0 for a whole file.
        shards: How many shards the name says there are; 0 for a whole file.
    """

    role: Role
    container: Container | None = None
    quantization: str | None = None
    stem: str = ""
    shard: int = 0
    shards: int = 0


@dataclass(frozen=True, slots=True)
class QuantVariant:
    """The files of one quantization of one model within a repository.

    Args:
        label: The quantization as its names say it, with the packager's prefix (``ud-q4_k_xl``).
        stem: The model that the files' names say.
        files: Paths in shard order.
        missing: Numbers of the shards that the names promise and the listing lacks.
        folder: The folder that tells it from other models, in lower case: one that only says the quantization does not.
    """

    label: str
    stem: str
    files: tuple[str, ...]
    missing: tuple[int, ...] = ()
    folder: str = ""


@dataclass(frozen=True, slots=True)
class QuantGroups:
    """A listing's GGUF files by quantization.

    Args:
        variants: One a quantization and model, ordered by label and then by name.
        projectors: The mmproj files, which belong to every variant.
        aside: GGUF files that are no model: importance matrices, adapters, vocabularies.
    """

    variants: tuple[QuantVariant, ...]
    projectors: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()

    @property
    def files(self) -> Mapping[str, tuple[str, ...]]:
        """Quantization label to paths; a label that several models of the repo share has the files of all."""
        merged: dict[str, tuple[str, ...]] = {}
        for variant in self.variants:
            merged[variant.label] = merged.get(variant.label, ()) + variant.files
        return merged

    def find(self, wanted: str) -> tuple[QuantVariant, ...]:
        """Return the variants that a person's word for a quantization means.

        The exact label wins; else the same one under a packager's prefix; else those that refine it, so that ``q4``
        finds ``q4_k_m``. More than one result means that the word is ambiguous here.
        """
        label = quantization_label(wanted) or wanted.strip().lower()
        exact = tuple(variant for variant in self.variants if variant.label == label)
        if exact:
            return exact
        prefixed = tuple(variant for variant in self.variants if plain_label(variant.label) == label)
        return prefixed or tuple(
            variant for variant in self.variants if plain_label(variant.label).startswith(f"{label}_")
        )


_SHARD: Final = re.compile(r"[-_.](\d{1,6})-of-(\d{1,6})(?=\.|$)")
_PART: Final = re.compile(r"\.(?:part(\d{1,3})of(\d{1,3})|split-([a-z])|gguf-split-([a-z]))$")
_PROJECTOR: Final = re.compile(r"(?:^|[-_.])mm[-_]?proj(?:ector)?(?:[-_.]|$)")
_GGUF_ASIDE: Final = re.compile(r"(?:^|[-_.])(?:i-?matrix|vocab)(?:[-_.]|$)")
_GGUF_ADAPTER: Final = re.compile(r"(?:^|[-_.])(?:lora|adapter|control[-_]vector)(?:[-_.]|$)")
_SUFFIXES: Final = {
    ".gguf": Container.GGUF,
    ".safetensors": Container.SAFETENSORS,
    ".bin": Container.PYTORCH,
    ".pt": Container.PYTORCH,
    ".pth": Container.PYTORCH,
    ".ckpt": Container.PYTORCH,
    ".awq": Container.PYTORCH,
    ".nemo": Container.PYTORCH,
    ".onnx": Container.ONNX,
    ".onnx_data": Container.ONNX,
    ".ort": Container.ONNX,
    ".h5": Container.TENSORFLOW,
    ".keras": Container.TENSORFLOW,
    ".pb": Container.TENSORFLOW,
    ".tflite": Container.TFLITE,
    ".litertlm": Container.TFLITE,
    ".task": Container.TFLITE,
    ".msgpack": Container.FLAX,
    ".mlmodel": Container.COREML,
    ".th": Container.PYTORCH,
    ".distcp": Container.PYTORCH,
    ".ot": Container.RUST,
    ".pdparams": Container.PADDLE,
    ".pdiparams": Container.PADDLE,
    ".pdmodel": Container.PADDLE,
    ".pkl": Container.PICKLE,
    ".pickle": Container.PICKLE,
    ".joblib": Container.PICKLE,
    ".skops": Container.PICKLE,
    ".pte": Container.EXECUTORCH,
    ".mnn": Container.MNN,
    ".rknn": Container.RKNN,
    ".rkllm": Container.RKLLM,
    ".engine": Container.TENSORRT,
    ".plan": Container.TENSORRT,
    ".hef": Container.HAILO,
    ".dlc": Container.QNN,
    ".llamafile": Container.LLAMAFILE,
    ".dduf": Container.DDUF,
} | dict.fromkeys((".ptl", ".om", ".bmodel", ".axmodel", ".neff", ".xmodel"), Container.RUNTIME)
COMPILED: Final = frozenset(
    {
        *(Container.EXECUTORCH, Container.MNN, Container.RKNN, Container.RKLLM, Container.TENSORRT, Container.HAILO),
        *(Container.QNN, Container.LLAMAFILE, Container.DDUF, Container.RUNTIME),
    }
)
"""Containers of which a file is a whole model, made for one device or program."""
_MLX_ARRAYS: Final = re.compile(r"^(?:weights|model|adapters)(?:\.\d+)?\.npz$")  # other arrays prove nothing
_TF_CHECKPOINT: Final = re.compile(r"(?:\.data-\d{5}-of-\d{5}|\.ckpt[^/]*\.(?:index|meta)|^variables\.index)$")
_TRAINING: Final = re.compile(
    r"^(?:(?:training_args|optimizer|scheduler|scaler|rng_state.*|trainer_state|random_states.*|events\.out.*"
    r"|zero_pp_rank.*optim.*|.*optim_states|mp_rank_.*optim.*|distrib_optim)\.(?:bin|pt|pth|pb|pkl)"
    r"|trainer_state\.json|training_args\.json|events\.out\.tfevents.*|zero_to_fp32\.py|(?:hidden_states|cal_data)\.safetensors)$"
)
_TRAINING_FOLDER: Final = re.compile(r"(?:^|/)(?:optimizer_\d+|wandb|tensorboard|runs)(?:/|$)")
_NOT_WEIGHTS: Final = re.compile(r"^dict\.(?:bin|pt|pth)$")
_EXAMPLES: Final = re.compile(
    r"(?:^|/)(?:[^/]*examples?[^/]*|samples?|demos?|docs?|tests?|notebooks?|evals?|evaluations?|benchmarks?|\.github)(?:/|$)"
)
_OWN_SCRIPTS: Final = re.compile(
    r"^(?:train(?:ing)?|demo|example|test|benchmark|eval|evaluate|evaluation|finetune|fine_tune|convert|export|setup|app"
    r"|gradio)(?:[-_].*)?\.py$"
)  # at the top of a repository; a module that configurations name is never called so
_TOKENIZER: Final = frozenset(
    {
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "special_tokens_map.json",
        "added_tokens.json",
        "spiece.model",
        "sentencepiece.bpe.model",
        "spm.model",
        "source.spm",
        "target.spm",
        "tekken.json",
        "bpe.codes",
        "normalizer.json",
        "tokenizer.model.v3",
        "tokenizer.tiktoken",
        "qwen.tiktoken",
        "tiktoken.model",
        "vocab.bpe",
        "encoder.json",
        "dict.txt",
        "sentencepiece.model",
        "unigram.json",
        "tokenization.json",
    }
)
_QUANTIZATION_CONFIGS: Final = frozenset(
    {
        "quantize_config.json",
        "quantization_config.json",
        "quant_config.json",
        "awq_config.json",
        "hf_quant_config.json",
        "recipe.yaml",
        "hqq_config.json",
        "quant_cfg.json",
        "openvino_config.json",
        "qmodel.json",
        "quant_strategy.json",
    }
)
_CHAT_TEMPLATES: Final = re.compile(r"^(?:chat_template.*\.(?:jinja2?|json)|.*\.jinja2?)$")
_PICTURES: Final = (
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".webp",
    ".svg",
    ".bmp",
    ".tiff",
    ".heic",
    ".avif",
    ".ico",
    ".mp4",
    ".webm",
    ".mov",
    ".avi",
    ".mkv",
    ".pdf",
    ".ipynb",
    ".log",
    ".md",
    ".html",
    ".docx",
    ".pptx",
    ".whl",
    ".sh",
    ".bat",
    ".ps1",
    ".css",
    ".js",
    ".tfevents",
)
_SOUNDS: Final = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a")
_HIDDEN_DATA: Final = frozenset({".metadata", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})
"""What torch's distributed checkpoints and arrays in Zarr (Orbax, T5X) are read by."""
_VOICES: Final = re.compile(r"(?:^|[-_/.])(?:voices?|speakers?|prompts?|ref|refs|reference)(?:[-_/.]|$)")
_CONFIGS: Final = (".json", ".yaml", ".yml", ".xml", ".txt", ".toml", ".model", ".cfg", ".ini")
_LICENSE: Final = re.compile(r"^(?:licen[cs]e|copying|notice|use_?policy|usage_?policy|acceptable_use)[^/]*$")
_INDEX: Final = re.compile(r"\.index(?:\.[a-z0-9]+)?\.json$")
_OPENVINO_BIN: Final = re.compile(r"(?:^|/)openvino[^/]*\.bin$")


@lru_cache(maxsize=16_384)  # one answer asks for each name several times, and names repeat between repositories
def classify(path: str) -> NamedFile:
    """Return what a file's name says; never touches the file."""
    folder, _, name = path.rpartition("/")
    return _classify(name.lower(), folder.lower())


def _classify(name: str, folder: str) -> NamedFile:
    """Return what a lower-case name in a lower-case folder says."""
    if _resumes_training(name, folder):
        return NamedFile(Role.OPTIONAL)
    container = _container(name, folder)
    if container is None:
        return NamedFile(_role(name, folder))
    if container is Container.GGUF:
        return _classify_gguf(name, folder)
    shard, shards = _shard_numbers(name)
    labels = find_quantizations(name)
    return NamedFile(Role.WEIGHTS, container, labels[-1].label if labels else None, name, shard, shards)


def is_training_state(path: str) -> bool:
    """Return whether a file only resumes a training run: optimizers, schedulers, random states."""
    folder, _, name = path.lower().rpartition("/")
    return _resumes_training(name, folder)


def _resumes_training(name: str, folder: str) -> bool:
    return _TRAINING.match(name) is not None or _TRAINING_FOLDER.search(folder) is not None


def _container(name: str, folder: str) -> Container | None:
    """Return how the weights in a file are packed, or ``None`` when it holds none."""
    if ".gguf" in name and (name.endswith(".gguf") or _PART.search(name)):
        return Container.GGUF
    dot = name.rfind(".")
    container = _SUFFIXES.get(name[dot:]) if dot >= 0 else None
    if ".mlpackage" in folder or ".mlmodelc" in folder:
        return Container.COREML if name in {"weight.bin", "model.mlmodel", "coremldata.bin", "model.mil"} else None
    if name == "weights.pb":
        return Container.ONNX  # where diffusers' exports keep what is too large for the graph
    if container is None and _MLX_ARRAYS.match(name):
        return Container.MLX
    if container is None and _TF_CHECKPOINT.search(name):
        return Container.TENSORFLOW
    if container is None or name in _TOKENIZER or _NOT_WEIGHTS.match(name):
        return Container.ONNX if ".onnx_data" in name or name.endswith(".onnx.data") else None
    if container is Container.PYTORCH and (name.startswith("openvino") or folder.endswith("openvino")):
        return Container.OPENVINO
    return container


def _role(name: str, folder: str) -> Role:  # noqa: PLR0911 - a table in words: one line a role, first match wins
    """Return what a file without weights is for."""
    if name.startswith("readme"):
        return Role.README
    if _LICENSE.match(name):
        return Role.LICENSE
    if _is_optional(name, folder):
        return Role.OPTIONAL
    if name in _TOKENIZER or name.startswith(("tokenizer", "vocab.")):
        return Role.TOKENIZER
    if name in _QUANTIZATION_CONFIGS:
        return Role.QUANTIZATION_CONFIG
    if _CHAT_TEMPLATES.match(name):
        return Role.CHAT_TEMPLATE
    if _INDEX.search(name):
        return Role.INDEX
    if name.endswith(".py"):
        return Role.CODE
    if "imatrix" in name or name == "measurement.json":
        return Role.DATA
    return Role.CONFIG if name.endswith(_CONFIGS) else Role.ASSET


def _is_optional(name: str, folder: str) -> bool:
    """Return whether no loader asks for a file: pictures, documents, sounds that are no voices, examples."""
    if name.endswith(_PICTURES) or (name.startswith(".") and name not in _HIDDEN_DATA):
        return True
    if name.endswith(_SOUNDS):
        return not _VOICES.search(f"{folder}/{name}") or bool(_EXAMPLES.search(f"{folder}/{name}/"))
    return bool(_EXAMPLES.search(folder)) or (not folder and _OWN_SCRIPTS.match(name) is not None)


def _classify_gguf(name: str, folder: str) -> NamedFile:
    """Return what a GGUF file's name says; a folder such as ``Q4_K_M/`` or ``X-UD-IQ1_S/`` speaks when it does not."""
    shard, shards = _shard_numbers(name)
    stem = _SHARD.sub("", _PART.sub("", name).removesuffix(".gguf"))
    token = _last_ggml(stem)
    spoken = token or _last_ggml(folder.rpartition("/")[2])
    role = Role.WEIGHTS
    if _PROJECTOR.search(stem) or _PROJECTOR.search(folder):
        role = Role.PROJECTOR
    elif _GGUF_ASIDE.search(stem):
        role = Role.DATA
    elif _GGUF_ADAPTER.search(stem):
        role = Role.ASSET
    model = stem[: token.start].rstrip("-_. ") if token else stem
    return NamedFile(role, Container.GGUF, spoken.label if spoken else None, model, shard, shards)


def _last_ggml(text: str) -> FoundLabel | None:
    """Return the last quantization in a text that a GGUF file can carry; packagers put it at the end."""
    for token in reversed(find_quantizations(text)):
        if is_ggml_label(token.label):
            return token
    return None


def _shard_numbers(name: str) -> tuple[int, int]:
    """Return which shard of how many a name says, or zeros."""
    found = _SHARD.search(name)
    if found:
        return int(found[1]), int(found[2])
    part = _PART.search(name)
    if part is None:
        return 0, 0
    if part[1]:
        return int(part[1]), int(part[2])
    return ord(part[3] or part[4]) - ord("a") + 1, 0


def group_quants(paths: Iterable[str], *, projectors: Collection[str] = ()) -> QuantGroups:
    """Return the GGUF files of a listing by quantization: shards together, mmproj files and matrices kept aside."""
    groups: dict[tuple[str, str, str, int], list[tuple[int, str]]] = {}
    towers: list[str] = []
    aside: list[str] = []
    for path in sorted(paths):
        named = classify(path)
        if named.container is not Container.GGUF:
            continue
        if named.role is Role.PROJECTOR or path in projectors:
            towers.append(path)
        elif named.role in (Role.DATA, Role.ASSET):
            aside.append(path)
        else:
            label = named.quantization or UNLABELLED
            key = (label, named.stem, _telling_folder(path, label), named.shards)
            groups.setdefault(key, []).append((named.shard, path))
    variants: list[QuantVariant] = []
    for (label, stem, folder, shards), files in sorted(groups.items()):
        if len(files) > 1 and not shards and not any(number for number, _ in files):
            variants += [QuantVariant(label, _whole_stem(path), (path,), folder=folder) for _, path in sorted(files)]
        else:
            missing = _missing(files, shards)
            variants.append(QuantVariant(label, stem, tuple(path for _, path in sorted(files)), missing, folder))
    return QuantGroups(tuple(variants), tuple(towers), tuple(aside))


def _whole_stem(path: str) -> str:
    """Return a GGUF file's name without its quantization, with what stands behind that."""
    stem = path.lower().rpartition("/")[2].removesuffix(".gguf")
    token = _last_ggml(stem)
    return stem if token is None else (stem[: token.start].rstrip("-_. ") + stem[token.end :])


def _telling_folder(path: str, label: str) -> str:
    """Return a file's folder without the parts of it that only say the quantization or the format."""
    parts = path.lower().split("/")[:-1]
    return "/".join(part for part in parts if part != "gguf" and not _says(part, label))


@lru_cache(maxsize=1024)
def _says(part: str, label: str) -> bool:
    return any(found.label == label for found in find_quantizations(part))


def _missing(files: Sequence[tuple[int, str]], shards: int) -> tuple[int, ...]:
    """Return the numbers of the shards that are not there."""
    present = {number for number, _ in files}
    last = shards or max(present)  # parts named a, b, c do not say how many there are: gaps alone can be seen
    return tuple(number for number in range(1, min(last, 100_000) + 1) if number not in present)
