"""What a model can do, by the strongest word: its config, its template, the Hub, Ollama, and last its name."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from imageworks.detect.jsons import part, text

FLAGS: Final = ("text", "vision", "embedding", "audio", "thinking", "reasoning", "tools")
"""The capability flags of an entry; each is always said, as true or false."""

_CONFIG_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "vision": ("vision_config", "visual", "vision_tower", "mm_vision_tower", "image_token_id", "image_token_index",
               "img_processor", "vision_encoder",
               "vision_feature_layer"),
    "audio": ("audio_config", "audio_processor", "audio_encoder", "audio_token_index", "num_mel_bins",
              "audio_token_id"),
}  # fmt: skip
_MODEL_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "vision": frozenset({
        "clip", "siglip", "siglip2", "vit", "dinov2", "blip", "blip-2", "florence2", "mllama", "idefics", "idefics2",
        "idefics3", "paligemma", "pixtral", "llava", "llava_next", "moondream1", "phi3_v", "internvl_chat", "detr",
        "sam", "owlvit", "kosmos-2", "git", "swin", "convnext", "beit", "deit", "vision-encoder-decoder", "trocr",
        "grounding-dino", "depth_anything", "segformer", "yolos", "qwen2_vl", "qwen2_5_vl", "minicpmv", "smolvlm",
    }),
    "audio": frozenset({
        "whisper", "wav2vec2", "hubert", "seamless_m4t", "seamless_m4t_v2", "speecht5", "bark", "musicgen", "clap",
        "ultravox", "qwen2_audio", "voxtral", "encodec", "parler_tts", "vits", "moonshine", "speech_to_text", "xcodec",
    }),
    "embedding": frozenset({
        "bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "albert", "deberta", "deberta-v2", "nomic_bert", "new",
        "clip", "siglip", "siglip2", "modernbert", "electra", "camembert", "jina_clip", "xlm-roberta-flash",
    }),
}  # fmt: skip
_WITHOUT_TEXT: Final = frozenset({
    "vit", "dinov2", "detr", "sam", "swin", "convnext", "beit", "deit", "wav2vec2", "hubert", "encodec", "xcodec",
    "segformer", "yolos", "depth_anything",
})  # fmt: skip
_NOT_EMBEDDING_TASKS: Final = frozenset({
    "text-classification", "token-classification", "question-answering", "zero-shot-classification", "text-ranking",
})  # fmt: skip
_GGUF_EMBEDDING: Final = frozenset(
    {"bert", "nomic-bert", "jina-bert-v2", "modern-bert", "gemma-embedding", "nomic-bert-moe"}
)
_TASKS: Final[Mapping[str, tuple[str, ...]]] = {
    "vision": ("image-text-to-text", "image-to-text", "visual-question-answering", "video-text-to-text", "any-to-any",
               "document-question-answering", "image-classification", "zero-shot-image-classification",
               "image-feature-extraction", "object-detection", "image-segmentation", "zero-shot-object-detection",
               "depth-estimation", "mask-generation", "visual-document-retrieval"),
    "audio": ("automatic-speech-recognition", "audio-text-to-text", "text-to-speech", "text-to-audio", "any-to-any",
              "audio-classification", "audio-to-audio", "voice-activity-detection"),
    "embedding": ("feature-extraction", "sentence-similarity", "image-feature-extraction",
                  "visual-document-retrieval", "zero-shot-image-classification"),
}  # fmt: skip
_TASKS_WITHOUT_TEXT: Final = frozenset({
    "text-to-image", "image-to-image", "text-to-video", "image-to-video", "object-detection", "image-segmentation",
    "depth-estimation", "image-classification", "mask-generation", "text-to-speech", "text-to-audio",
    "audio-classification", "image-feature-extraction", "audio-to-audio", "voice-activity-detection",
})  # fmt: skip
_TEMPLATE_WORDS: Final[Mapping[str, re.Pattern[str]]] = {
    "tools": re.compile(r"\btools\b|\btool_calls?\b|\btool_use\b|\bfunctions?_call"),
    "vision": re.compile(r"""['"](?:image|image_url|video)['"]|<\|?image|vision_start|\[IMG\]|<start_of_image>"""),
    "audio": re.compile(r"""['"](?:audio|input_audio|audio_url)['"]|<\|?audio"""),
    "thinking": re.compile(r"enable_thinking|reasoning_content|<think>|</think>|<\|?thinking|\bthinking\b"),
    "reasoning": re.compile(r"reasoning_effort|reasoning_content|enable_thinking|<think>|</think>|\breasoning\b"),
}
_NAMES: Final[Mapping[str, re.Pattern[str]]] = {
    "vision": re.compile(
        r"(?<![a-z])(?:vl|vision|(?:bak)?llava|pixtral|vlm|moondream|minicpm-v|internvl|paligemma)(?![a-z])|(?<=\d)vl(?![a-z])"
    ),
    "audio": re.compile(r"(?<![a-z])(?:audio|whisper|omni|voxtral|tts|asr|speech)(?![a-z])"),
    "embedding": re.compile(r"(?<![a-z])(?:embed|embedding|embeddings|bge|gte|e5|minilm)(?![a-z])"),
    "thinking": re.compile(r"(?<![a-z])(?:thinking|reasoner|r1|qwq)(?![a-z0-9])"),
    "reasoning": re.compile(r"(?<![a-z])(?:reasoning|reasoner|thinking|r1|qwq)(?![a-z0-9])"),
}  # fmt: skip
_OLLAMA: Final[Mapping[str, tuple[str, ...]]] = {
    "completion": ("text",),
    "insert": ("text",),
    "vision": ("vision",),
    "audio": ("audio",),
    "embedding": ("embedding",),
    "tools": ("tools",),
    "thinking": ("thinking", "reasoning"),
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do.

    Args:
        flags: Every flag of `FLAGS`, true or false.
        evidence: What each true flag rests on.
    """

    flags: Mapping[str, bool]
    evidence: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CapabilityHints:
    """All that can say what a model can do.

    Args:
        config: The parsed ``config.json``.
        template: The chat template's text.
        names: File names without folders, in lower case.
        task: The Hub's pipeline tag.
        gguf_architecture: What a GGUF header names.
        projector: Whether an mmproj file stands beside the GGUF.
        ollama: What Ollama lists.
        name: The repository's or the model's name.
        pipeline: Whether it is a diffusers pipeline.
    """

    config: Mapping[str, object] = field(default_factory=dict)
    template: str = ""
    names: Collection[str] = ()
    task: str | None = None
    gguf_architecture: str | None = None
    projector: bool = False
    ollama: Iterable[str] = ()
    name: str = ""
    pipeline: bool = False


def capabilities_of(hints: CapabilityHints) -> Capabilities:
    """Return what a model can do.

    Args:
        hints: All that says something about it.
    """
    evidence: dict[str, str] = {}
    _from_ollama(hints, evidence)
    _from_config(hints, evidence)
    _from_files(hints, evidence)
    for flag, words in _TEMPLATE_WORDS.items():
        if words.search(hints.template):
            evidence.setdefault(flag, "chat template")
    for flag, tasks in _TASKS.items():
        if hints.task in tasks:
            evidence.setdefault(flag, f"pipeline tag {hints.task}")
    known = bool(hints.config or hints.template or hints.gguf_architecture)
    for flag, pattern in _NAMES.items():
        # a config would have told of another modality; thinking and embedding are trained in, and show in names alone
        if flag == "embedding" and ("rerank" in hints.name.lower() or hints.task in _NOT_EMBEDDING_TASKS):
            continue
        if (not known or flag not in {"vision", "audio"}) and pattern.search(hints.name.lower()):
            evidence.setdefault(flag, "name")
    if "thinking" in evidence:
        evidence.setdefault("reasoning", evidence["thinking"])
    if _has_text(hints):
        evidence.setdefault("text", "language model")
    return Capabilities(
        {flag: flag in evidence for flag in FLAGS}, {flag: evidence[flag] for flag in FLAGS if flag in evidence}
    )


def _from_ollama(hints: CapabilityHints, evidence: dict[str, str]) -> None:
    """Add what Ollama lists: it has read the model itself."""
    for word in hints.ollama:
        for flag in _OLLAMA.get(word, ()):
            evidence.setdefault(flag, "Ollama")


def _from_config(hints: CapabilityHints, evidence: dict[str, str]) -> None:
    """Add what the config says by its keys and its type."""
    nested = part(hints.config, "thinker_config")
    for flag, keys in _CONFIG_KEYS.items():
        for key in keys:
            if hints.config.get(key) is not None or nested.get(key) is not None:
                evidence.setdefault(flag, f"config.json: {key}")
                break
    kind = text(hints.config, "model_type") or ""
    classes = hints.config.get("architectures")
    words = " ".join(name for name in classes if isinstance(name, str)) if isinstance(classes, list) else ""
    decides = any(
        end in words for end in ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
    )
    for flag, kinds in _MODEL_TYPES.items():
        if kind in kinds and not (flag == "embedding" and (decides or hints.task in _NOT_EMBEDDING_TASKS)):
            evidence.setdefault(flag, f"config.json: model_type {kind}")
    if hints.gguf_architecture in _GGUF_EMBEDDING:
        evidence.setdefault("embedding", f"GGUF architecture {hints.gguf_architecture}")


def _from_files(hints: CapabilityHints, evidence: dict[str, str]) -> None:
    """Add what lies beside the weights."""
    if hints.projector:
        evidence.setdefault("vision", "mmproj file")
    for name in ("config_sentence_transformers.json", "sentence_bert_config.json", "modules.json"):
        if name in hints.names:
            evidence.setdefault("embedding", name)


def _has_text(hints: CapabilityHints) -> bool:
    """Tell whether the model reads or writes text, which most do; what is known to do without says so."""
    if hints.pipeline or hints.task in _TASKS_WITHOUT_TEXT:
        return False
    kind = text(hints.config, "model_type")
    return kind not in _WITHOUT_TEXT and bool(
        hints.config or hints.template or hints.gguf_architecture or hints.names or hints.name
    )
