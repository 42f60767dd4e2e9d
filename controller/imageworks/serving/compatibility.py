"""Which models vLLM, LMDeploy and Ollama serve, and what each needs for them: one table with its sources. Pure.

Looked up in November 2026 in the documentation and sources of the versions in `VERSIONS`; `docs/servers.md` shows it.
"""

import json
import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from imageworks.detection.containers import ArtifactKind
from imageworks.detection.file_names import Container
from imageworks.detection.model_facts import ModelFacts
from imageworks.registry.settings.server_arguments import split_options
from imageworks.registry.settings.server_options import QWEN3_RERANKER

VERSIONS: Final = {"vllm": "0.33", "lmdeploy": "0.16.0", "ollama": "0.33"}
_PRODUCTS: Final = {"vllm": "vLLM", "lmdeploy": "LMDeploy", "ollama": "Ollama"}


class Answer(IntEnum):
    """Whether a server serves a model; of several that apply the largest counts."""

    SERVES = 0
    NEEDS = 1
    UNKNOWN = 2
    REFUSES = 3

    @property
    def word(self) -> str:
        """The answer as people and JSON read it."""
        return ("yes", "with", "unknown", "no")[self]


class Trait(StrEnum):
    """What a server may care about in a model."""

    SAFETENSORS = "safetensors"
    PYTORCH = "PyTorch weights"
    GGUF = "GGUF"
    MLX = "MLX"
    NO_CONFIG = "weights without config.json or params.json"
    OTHER_CONTAINER = "ONNX, OpenVINO, CTranslate2, Core ML and other runtimes' formats"
    PIPELINE = "diffusers pipeline"
    ADAPTER = "adapter without its base"
    NO_MODEL = "tokenizer or processor alone"
    AWQ = "AWQ"
    GPTQ = "GPTQ"
    FP8 = "FP8"
    MXFP4 = "MXFP4"
    INT4_COMPRESSED = "compressed-tensors, 4-bit integers"
    COMPRESSED = "compressed-tensors, other schemes"
    BITSANDBYTES = "bitsandbytes"
    MODERN_QUANT = "ModelOpt, Quark, TorchAO, AutoRound"
    EXLLAMA = "EXL2, EXL3"
    OTHER_QUANT = "other quantizations"
    EMBEDDING = "embeddings"
    MAYBE_EMBEDDING = "embeddings, by its name alone"
    RERANKER = "reranker or classifier"
    QWEN3_RERANKER = "Qwen3-Reranker as its makers published it"
    REMOTE_CODE = "code of its own (auto_map)"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one server says to one trait.

    Args:
        server: The server.
        trait: What the model has.
        answer: Whether it is served.
        said: What a person should know; empty where there is nothing.
        options: What its command line needs.
        source: Where that is written.
    """

    server: str
    trait: Trait
    answer: Answer
    said: str = ""
    options: tuple[str, ...] = ()
    source: str = ""


_VLLM_QUANT: Final = "docs.vllm.ai: features/quantization"
_VLLM_MODELS: Final = "docs.vllm.ai: models/supported_models"
_VLLM_POOLING: Final = "docs.vllm.ai: models/pooling_models"
_LM_MODELS: Final = "lmdeploy: docs/en/supported_models"
_LM_PYTORCH: Final = "lmdeploy: lmdeploy/pytorch/config.py"
_LM_TURBOMIND: Final = "lmdeploy: lmdeploy/turbomind/converter.py"
_OLLAMA: Final = "github.com/ollama/ollama: docs/import.mdx"
_POOLING: Final = ("--runner", "pooling")
_GGUF: Final = (
    "the plugin vllm-gguf-plugin (`pip install vllm-gguf-plugin`), and better the base model's tokenizer "
    "(`--tokenizer OWNER/BASE`); experimental, one file"
)
_NO_CONFIG: Final = "it tells a model's architecture from its configuration, and here is none"
_IN_STORE: Final = "only from its own store: declare it with `source: {ollama: hf.co/owner/repo:QUANT}`"
_Y, _N, _W, _U = Answer.SERVES, Answer.REFUSES, Answer.NEEDS, Answer.UNKNOWN

RULES: Final = tuple(
    Rule(*row)
    for row in (
        ("vllm", Trait.SAFETENSORS, _Y, "", (), _VLLM_MODELS),
        ("vllm", Trait.PYTORCH, _Y, "", (), _VLLM_MODELS),
        (
            "vllm",
            Trait.GGUF,
            _W,
            _GGUF,
            (),
            f"{_VLLM_QUANT}/gguf",
        ),
        ("vllm", Trait.MLX, _N, "MLX runs on Apple's own framework", (), _VLLM_QUANT),
        ("vllm", Trait.NO_CONFIG, _U, _NO_CONFIG, (), _VLLM_MODELS),
        ("vllm", Trait.OTHER_CONTAINER, _N, "it reads safetensors and PyTorch weights", (), _VLLM_MODELS),
        (
            "vllm",
            Trait.PIPELINE,
            _N,
            "vLLM-Omni, a program of its own, serves some",
            (),
            "docs.vllm.ai/projects/vllm-omni",
        ),
        (
            "vllm",
            Trait.ADAPTER,
            _N,
            "serve its base with `--enable-lora --lora-modules NAME=PATH`",
            (),
            "docs.vllm.ai: features/lora",
        ),
        ("vllm", Trait.NO_MODEL, _N, "there are no weights", (), _VLLM_MODELS),
        ("vllm", Trait.AWQ, _Y, "", (), f"{_VLLM_QUANT}/auto_awq"),
        ("vllm", Trait.GPTQ, _Y, "", (), f"{_VLLM_QUANT}/gptqmodel"),
        ("vllm", Trait.FP8, _Y, "", (), f"{_VLLM_QUANT}/llm_compressor/fp8"),
        ("vllm", Trait.MXFP4, _Y, "", (), _VLLM_QUANT),
        ("vllm", Trait.INT4_COMPRESSED, _Y, "", (), f"{_VLLM_QUANT}/llm_compressor"),
        ("vllm", Trait.COMPRESSED, _Y, "", (), f"{_VLLM_QUANT}/llm_compressor"),
        (
            "vllm",
            Trait.BITSANDBYTES,
            _W,
            "the plugin vllm-bnb-plugin (`pip install vllm-bnb-plugin`)",
            (),
            f"{_VLLM_QUANT}/bnb",
        ),
        ("vllm", Trait.MODERN_QUANT, _Y, "", (), _VLLM_QUANT),
        ("vllm", Trait.EXLLAMA, _N, "ExLlama's own formats", (), _VLLM_QUANT),
        ("vllm", Trait.OTHER_QUANT, _U, "not among the quantizations that it documents", (), _VLLM_QUANT),
        ("vllm", Trait.EMBEDDING, _W, "", _POOLING, _VLLM_POOLING),
        ("vllm", Trait.MAYBE_EMBEDDING, _W, "if it embeds", _POOLING, _VLLM_POOLING),
        ("vllm", Trait.RERANKER, _W, "", _POOLING, _VLLM_POOLING),
        (
            "vllm",
            Trait.QWEN3_RERANKER,
            _W,
            "",
            (*_POOLING, "--hf_overrides", json.dumps(QWEN3_RERANKER, separators=(",", ":"))),
            "docs.vllm.ai: examples/pooling/score",
        ),
        (
            "vllm",
            Trait.REMOTE_CODE,
            _W,
            "unless it knows the architecture itself",
            ("--trust-remote-code",),
            _VLLM_MODELS,
        ),
        ("lmdeploy", Trait.SAFETENSORS, _Y, "", (), _LM_MODELS),
        ("lmdeploy", Trait.PYTORCH, _Y, "", (), _LM_MODELS),
        ("lmdeploy", Trait.GGUF, _N, "it reads no GGUF files", (), _LM_MODELS),
        ("lmdeploy", Trait.MLX, _N, "MLX runs on Apple's own framework", (), _LM_MODELS),
        ("lmdeploy", Trait.NO_CONFIG, _U, _NO_CONFIG, (), _LM_MODELS),
        ("lmdeploy", Trait.OTHER_CONTAINER, _N, "it reads safetensors and PyTorch weights", (), _LM_MODELS),
        ("lmdeploy", Trait.PIPELINE, _N, "it serves language models", (), _LM_MODELS),
        (
            "lmdeploy",
            Trait.ADAPTER,
            _N,
            "serve its base with `--adapters NAME=PATH`",
            (),
            "lmdeploy: lmdeploy/cli/utils.py",
        ),
        ("lmdeploy", Trait.NO_MODEL, _N, "there are no weights", (), _LM_MODELS),
        ("lmdeploy", Trait.AWQ, _Y, "", (), _LM_PYTORCH),
        (
            "lmdeploy",
            Trait.GPTQ,
            _W,
            "TurboMind alone reads it, without desc_act",
            ("--backend", "turbomind"),
            _LM_TURBOMIND,
        ),
        ("lmdeploy", Trait.FP8, _Y, "", (), _LM_PYTORCH),
        ("lmdeploy", Trait.MXFP4, _W, "TurboMind alone reads it", ("--backend", "turbomind"), _LM_TURBOMIND),
        ("lmdeploy", Trait.INT4_COMPRESSED, _W, "TurboMind alone reads it", ("--backend", "turbomind"), _LM_TURBOMIND),
        ("lmdeploy", Trait.COMPRESSED, _N, "of compressed-tensors it reads packed 4-bit integers", (), _LM_TURBOMIND),
        ("lmdeploy", Trait.BITSANDBYTES, _N, "neither of its engines reads it", (), _LM_PYTORCH),
        ("lmdeploy", Trait.MODERN_QUANT, _N, "neither of its engines reads it", (), _LM_PYTORCH),
        ("lmdeploy", Trait.EXLLAMA, _N, "neither of its engines reads it", (), _LM_PYTORCH),
        ("lmdeploy", Trait.OTHER_QUANT, _U, "not among the quantizations that it documents", (), _LM_PYTORCH),
        ("lmdeploy", Trait.EMBEDDING, _N, "it serves no embeddings", (), _LM_MODELS),
        ("lmdeploy", Trait.MAYBE_EMBEDDING, _U, "it serves no embeddings", (), _LM_MODELS),
        ("lmdeploy", Trait.RERANKER, _N, "it serves no rerankers and no classifiers", (), _LM_MODELS),
        ("lmdeploy", Trait.QWEN3_RERANKER, _N, "it serves no rerankers", (), _LM_MODELS),
        (
            "lmdeploy",
            Trait.REMOTE_CODE,
            _W,
            "unless it knows the architecture itself",
            ("--trust-remote-code",),
            "lmdeploy: lmdeploy/cli/serve.py",
        ),
        ("ollama", Trait.GGUF, _W, _IN_STORE, (), _OLLAMA),
        ("ollama", Trait.SAFETENSORS, _N, "it serves what its own store holds; take a GGUF of the model", (), _OLLAMA),
        *(
            ("ollama", trait, _N, "it serves GGUF from its own store", (), _OLLAMA)
            for trait in (
                Trait.PYTORCH,
                Trait.MLX,
                Trait.OTHER_CONTAINER,
                Trait.PIPELINE,
                Trait.ADAPTER,
                Trait.NO_MODEL,
            )
        ),
    )
)

_CONTAINERS: Final = {
    Container.SAFETENSORS: Trait.SAFETENSORS,
    Container.PYTORCH: Trait.PYTORCH,
    Container.GGUF: Trait.GGUF,
    Container.MLX: Trait.MLX,
}
_KINDS: Final = {
    ArtifactKind.PIPELINE: Trait.PIPELINE,
    ArtifactKind.ADAPTER: Trait.ADAPTER,
    ArtifactKind.TOKENIZER: Trait.NO_MODEL,
    ArtifactKind.PROCESSOR: Trait.NO_MODEL,
}
_METHODS: Final = {
    "awq": Trait.AWQ,
    "gptq": Trait.GPTQ,
    "fp8": Trait.FP8,
    "fbgemm_fp8": Trait.FP8,
    "mxfp4": Trait.MXFP4,
    "bitsandbytes": Trait.BITSANDBYTES,
    "modelopt": Trait.MODERN_QUANT,
    "nvfp4": Trait.MODERN_QUANT,
    "quark": Trait.MODERN_QUANT,
    "torchao": Trait.MODERN_QUANT,
    "autoround": Trait.MODERN_QUANT,
    "exl2": Trait.EXLLAMA,
    "exl3": Trait.EXLLAMA,
}
_PLAIN: Final = frozenset({"bf16", "f16", "fp16", "f32", "fp32", "float16", "bfloat16", "float32"})
_EMBEDDING_TASKS: Final = frozenset({"feature-extraction", "sentence-similarity"})
_QWEN3_RERANKER_NAME: Final = re.compile(r"qwen3.*rerank", re.IGNORECASE)


def traits_of(facts: ModelFacts, name: str = "") -> frozenset[Trait]:
    """Return what servers may care about in a model."""
    # A model with what is left of its training is a model, and no adapter.
    kind = ArtifactKind.MODEL if facts.kind is ArtifactKind.ADAPTER and facts.adapter is None else facts.kind
    found = {_KINDS[kind]} if kind in _KINDS else set(_container(facts))
    if kind not in _KINDS and facts.detection.container is not Container.GGUF:
        found |= set(_quantization(facts))
    found |= set(_purpose(facts, f"{name} {facts.family or ''}"))
    return frozenset(found | ({Trait.REMOTE_CODE} if facts.safety.remote_code else set()))


def _container(facts: ModelFacts) -> Iterator[Trait]:
    if facts.detection.container is None:
        return
    found = _CONTAINERS.get(facts.detection.container, Trait.OTHER_CONTAINER)
    yield found
    if found in {Trait.SAFETENSORS, Trait.PYTORCH} and not facts.architecture.keys() - {"parameter_count"}:
        yield Trait.NO_CONFIG


def _quantization(facts: ModelFacts) -> Iterator[Trait]:
    method = str(facts.detection.details.get("method") or facts.quantization or "").lower()
    if method in {"compressed-tensors", "compressed_tensors"}:
        yield Trait.INT4_COMPRESSED if facts.quantization == "w4a16" else Trait.COMPRESSED
    elif method and method not in _PLAIN and facts.detection.container is not Container.MLX:
        known = next(
            (trait for word, trait in _METHODS.items() if method == word or method.startswith(f"{word}-")), None
        )
        yield known or Trait.OTHER_QUANT


def _purpose(facts: ModelFacts, names: str) -> Iterator[Trait]:
    classes = facts.architecture.get("architectures")
    words = " ".join(map(str, classes)) if isinstance(classes, list) else ""
    generates = any(end in words for end in ("CausalLM", "ConditionalGeneration", "LMHeadModel"))
    if "ForSequenceClassification" in words:
        yield Trait.RERANKER
    elif facts.task == "text-ranking" or "rerank" in names.lower():
        yield Trait.QWEN3_RERANKER if _QWEN3_RERANKER_NAME.search(names) and generates else Trait.RERANKER
    elif facts.kind is ArtifactKind.SENTENCE_TRANSFORMER or facts.task in _EMBEDDING_TASKS:
        yield Trait.EMBEDDING
    elif facts.capabilities.flags.get("embedding") and not facts.capabilities.flags.get("vision"):
        yield Trait.EMBEDDING if words and not generates else Trait.MAYBE_EMBEDDING


@dataclass(frozen=True, slots=True)
class ServerVerdict:
    """Whether a server serves a model, and by what.

    Args:
        server: The server.
        answer: Whether.
        rules: Those that apply and say something, the weightiest first.
    """

    server: str
    answer: Answer
    rules: tuple[Rule, ...]

    def sentences(self, words: Collection[str] = ()) -> list[str]:
        """Return what a person should know, without what a command line gives already."""
        given = {option.name for option in split_options(words)}
        told = []
        for rule in self.rules:
            missing = [option for option in split_options(rule.options) if option.name not in given]
            needed = " ".join(shlex.join(option.words) for option in missing)
            if rule.answer is Answer.NEEDS and rule.options and not missing:
                continue
            said = ", ".join(filter(None, (f"`{needed}`" if needed else "", rule.said)))
            verb = (
                "needs"
                if rule.answer is Answer.NEEDS
                else "does not serve that:"
                if rule.answer is Answer.REFUSES
                else "may not:"
            )
            told.append(f"{rule.trait}: {_PRODUCTS[self.server]} {VERSIONS[self.server]} {verb} {said}")
        return told

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "answer": self.answer.word,
            "version": VERSIONS[self.server],
            "options": [word for rule in self.rules for word in rule.options],
            "reasons": [
                {"trait": rule.trait.name.lower(), "told": rule.said, "source": rule.source} for rule in self.rules
            ],
        }


def verdict(server: str, traits: Collection[Trait]) -> ServerVerdict:
    """Return whether a server serves a model."""
    found = [rule for rule in RULES if rule.server == server and rule.trait in traits]
    answer = max((rule.answer for rule in found), default=Answer.UNKNOWN)
    telling = sorted((rule for rule in found if rule.answer is not Answer.SERVES), key=lambda rule: -rule.answer)
    if answer is Answer.REFUSES:
        telling = [rule for rule in telling if rule.answer is Answer.REFUSES]
    return ServerVerdict(server, answer, tuple(telling))


def verdicts(traits: Collection[Trait]) -> list[ServerVerdict]:
    """Return each server's verdict."""
    return [verdict(server, traits) for server in VERSIONS]
