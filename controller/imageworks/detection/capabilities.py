"""What a model can do, by the strongest word: config, files, template, the Hub, Ollama, and last its name."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from imageworks.detection.families import Family, families, match_family
from imageworks.foundation.json_values import EMPTY, part, text, whole

FLAGS: Final = (
    "text", "vision", "video", "audio", "speech", "image", "embedding", "reranker", "classification",
    "thinking", "reasoning", "tools",
)  # fmt: skip
"""The capability flags of an entry; each is always said, as true or false.

What goes in: text, vision, video, audio (also the voice that speech is to have). What comes out: speech, image, video;
embedding, reranker and classification for vectors, ranks and labels. Text goes in or comes out.
"""
_MODALITIES: Final = frozenset({"text", "vision", "video", "audio", "speech", "image"})

_PARTS: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = (
    (re.compile(r"vision|visual|^vit_|image_encoder|img_processor|mm_projector"), ("vision",)),
    (re.compile(r"audio|speech_(?:encoder|config)|whisper"), ("audio",)),
    (re.compile(r"code2wav|token2wav|vocoder|^tts_config|^istftnet$|^hifigan"), ("speech", "audio")),
)
"""Parts of a config that a model has only with a modality, by their keys."""
_IDS: Final = {"image_token": "vision", "video_token": "video", "audio_token": "audio", "num_mel_bins": "audio"}
"""Beginnings of keys that hint at a modality where nothing is known of the type: text models of a family keep them."""
_DEEPEST: Final = 3

_TEMPLATE_WORDS: Final[Mapping[str, re.Pattern[str]]] = {
    "tools": re.compile(r"\btools\b|\btool_calls?\b|\btool_use\b|\bfunctions?_call"),
    "vision": re.compile(r"""['"](?:image|image_url|video)['"]|<\|?image|vision_start|\[IMG\]|<start_of_image>"""),
    "audio": re.compile(r"""['"](?:audio|input_audio|audio_url)['"]|<\|?audio"""),
    "thinking": re.compile(r"enable_thinking|reasoning_content|[<:/]think>|<\|?thinking|\bthinking(?:\b|_budget)"),
    "reasoning": re.compile(r"reasoning_effort|reasoning_content|enable_thinking|[<:/]think>|\breasoning\b"),
}
_NAMES: Final[Mapping[str, re.Pattern[str]]] = {
    "vision": re.compile(
        r"(?<![a-z])(?:vl|vision|(?:bak)?llava|pixtral|vlm|moondream|minicpm-v|internvl|paligemma)(?![a-z])|(?<=\d)vl(?![a-z])"
    ),
    "audio": re.compile(
        r"(?<![a-z])(?:audio|whisper|omni|voxtral|x?tts|asr|speech|kokoro|cosyvoice|chatterbox|parler|orpheus|vits|piper)(?![a-z])"
    ),
    "speech": re.compile(
        r"(?<![a-z])(?:x?tts|f5-?tts|kokoro|cosyvoice|chatterbox|fish-?speech|parler|orpheus|styletts2?|vits|piper)(?![a-z])"
    ),
    "reranker": re.compile(r"re-?rank|(?<![a-z])cross-?encoder|ms-?marco"),
    "embedding": re.compile(r"(?<![a-z])(?:embed|embedding|embeddings|bge|gte|e5|minilm)(?![a-z])"),
    "thinking": re.compile(r"(?<![a-z])(?:thinking|reasoner|r1|qwq)(?![a-z0-9])"),
    "reasoning": re.compile(r"(?<![a-z])(?:reasoning|reasoner|thinking|r1|qwq)(?![a-z0-9])"),
}  # fmt: skip
_REWARDS: Final = re.compile(r"reward|(?<![a-z])(?:o?rm|prm)(?![a-z])")
_OLLAMA: Final[Mapping[str, tuple[str, ...]]] = {
    "completion": ("text",),
    "insert": ("text",),
    "vision": ("vision",),
    "audio": ("audio",),
    "embedding": ("embedding",),
    "tools": ("tools",),
    "thinking": ("thinking", "reasoning"),
}
_POOLED: Final = {1: "embedding", 2: "embedding", 3: "embedding", 4: "reranker"}
"""llama.cpp's pooling types: mean, the first token, the last one; ranks."""
_PEFT_TASKS: Final = {"SEQ_CLS": "classification", "TOKEN_CLS": "classification", "FEATURE_EXTRACTION": "embedding"}


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
        config: The parsed ``config.json``; of an adapter, its ``adapter_config.json``.
        processors: The parsed configs of what prepares its input, by name.
        template: The chat template's text.
        names: File names without folders, in lower case.
        task: The Hub's pipeline tag.
        gguf_architecture: What a GGUF header names.
        pooling: The pooling type that it names.
        projector: What the projectors beside a GGUF take in.
        ollama: What Ollama lists.
        name: The repository's or the model's name.
        base: The model that an adapter changes.
        pipeline: The class of a diffusers pipeline.
    """

    config: Mapping[str, object] = field(default_factory=dict)
    processors: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    template: str = ""
    names: Collection[str] = ()
    task: str | None = None
    gguf_architecture: str | None = None
    pooling: int | None = None
    projector: Collection[str] = ()
    ollama: Iterable[str] = ()
    name: str = ""
    base: str = ""
    pipeline: str | None = None


def capabilities_of(hints: CapabilityHints) -> Capabilities:
    """Return what a model can do."""
    found = _Found(hints)
    for word in hints.ollama:  # which has read the model itself
        found.add(_OLLAMA.get(word, ()), "Ollama")
    known = found.of_type() or found.of_gguf() or found.of_pipeline()
    found.of_config(known=known)
    found.of_files(known=known)
    found.of_template()
    found.of_task(known=known)
    found.of_name(known=known)
    return found.capabilities(known=known)


class _Found:
    """What was found so far, each with what it rests on."""

    def __init__(self, hints: CapabilityHints) -> None:
        self.hints = hints
        self.evidence: dict[str, str] = {}
        self.without: set[str] = set()
        said = hints.config.get("architectures")
        mapped = text(part(hints.config, "auto_mapping"), "base_model_class")  # PEFT's, where no task says more
        self.classes = [name for name in said if isinstance(name, str)] if isinstance(said, list) else []
        self.classes += [mapped] if mapped else []
        self.typed = bool(self.classes or text(hints.config, "model_type"))

    def add(self, flags: Iterable[str], source: str) -> None:
        """Add flags that nothing stronger denies."""
        for flag in flags:
            if flag not in self.without:
                self.evidence.setdefault(flag, source)

    def deny(self, flags: Iterable[str]) -> None:
        """Take flags back, whatever weaker evidence says."""
        for flag in flags:
            self.without.add(flag)
            self.evidence.pop(flag, None)

    def of_type(self) -> bool:
        """Take what the type and the classes say; returns whether that is all about its modalities."""
        kind = text(self.hints.config, "model_type")
        family = families().find("type", kind)
        matched = [one for name in self.classes if (one := match_family("class", name[:200])) is not None]
        whole_ = next((one for one in matched if not one.adds), None)
        known = whole_ or family
        if known is not None:
            flags = {"text"} if known is family and self._is_text_member(known) else known.flags
            self.add(flags, f"config.json: {self.classes[0] if known is whole_ else f'model_type {kind}'}")
            self.without |= _MODALITIES - flags - {"text"}
        for one in matched:
            self.without -= one.flags
            self.add(one.flags, f"config.json: {self.classes[0]}")
            self.deny(one.without)
        if self.hints.config.get("vision_config", EMPTY) is None:
            self.deny(("vision", "video"))
        return known is not None

    def _is_text_member(self, family: Family) -> bool:
        """Return whether it is the text model of a family that sees or hears: another class, and no such part."""
        if not family.flags & {"vision", "audio"} or family.made in self.classes:
            return False
        causal = any(name.endswith(("ForCausalLM", "TextModel", "LMHeadModel")) for name in self.classes)
        return causal and not any(self._parts())

    def _parts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the parts of a config that say a modality, with what they say."""
        pending = [("", self.hints.config, 0)]
        while pending:
            path, holder, depth = pending.pop()
            for key, value in holder.items():
                if not value or isinstance(value, (int, float)):
                    continue
                flags = next((flags for pattern, flags in _PARTS if pattern.search(key)), None)
                if flags is not None:
                    yield f"{path}{key}", flags
                elif isinstance(value, Mapping) and depth < _DEEPEST and key.endswith(("_config", "_cfg", "config")):
                    inner = families().find("type", text(value, "model_type"))
                    if inner is not None:
                        yield f"{path}{key}", tuple(inner.flags & {"vision", "video", "audio"})
                    pending.append((f"{path}{key}.", value, depth + 1))

    def of_config(self, *, known: bool) -> None:
        """Take what the parts of a config say, and what judges instead of writing."""
        config, hints = self.hints.config, self.hints
        for place, flags in self._parts():
            self.without -= set(flags)
            self.add(flags, f"config.json: {place}")
        if not known:
            for key, value in config.items():
                hinted = next((flag for start, flag in _IDS.items() if key.startswith(start)), None)
                if hinted and value is not None:
                    self.add((hinted,), f"config.json: {key}")
            if "pretrained_cfg" in config or ("architecture" in config and "num_classes" in config):  # timm's
                judges = "classification" if whole(config, "num_classes") else "embedding"
                self.add(("vision", judges), "config.json: of timm")
                self.deny(("text",))
        peft = _PEFT_TASKS.get(text(config, "task_type") or "")
        self.add((peft,) if peft else (), "adapter_config.json: task_type")
        if self._ranks():
            self.add(
                ("text", "reranker"), "config.json: one label" if "classification" in self.evidence else "pipeline tag"
            )
            self.deny(("classification", "embedding"))
        if _REWARDS.search(_tail(hints.name)):
            self.deny(("embedding",))

    def _ranks(self) -> bool:
        """Return whether it judges how well two texts fit, and neither sorts texts nor turns them into vectors."""
        config, name = self.hints.config, _tail(self.hints.name)
        if self.hints.task == "text-ranking" or "sbert_ce_default_activation_function" in config:
            return True
        if "activation_fn" in part(config, "sentence_transformers"):
            return True
        if "classification" not in self.evidence or _REWARDS.search(name):
            return False
        labels = whole(config, "num_labels") or len(part(config, "id2label"))
        family = families().find("type", text(config, "model_type"))
        encoder = family is not None and "embedding" in family.flags
        return (encoder and labels == 1) or _NAMES["reranker"].search(name) is not None

    def of_gguf(self) -> bool:
        """Take what a GGUF header and the projectors beside it say."""
        hints = self.hints
        family = families().find("gguf", hints.gguf_architecture)
        self.add(family.flags if family else (), f"GGUF architecture {hints.gguf_architecture}")
        pooled = _POOLED.get(hints.pooling or 0)
        if pooled is not None:
            self.add((pooled,), "pooling type")
            self.deny({"embedding", "reranker"} - {pooled})
        self.add(hints.projector, "mmproj file")
        return family is not None

    def of_pipeline(self) -> bool:
        """Take what a diffusers pipeline, or one model of it, makes."""
        made = self.hints.pipeline or (text(self.hints.config, "_class_name") if not self.classes else None)
        family = match_family("pipeline", made[:200]) if made else None
        self.add(family.flags if family else (), f"pipeline {made}")
        return family is not None

    def of_files(self, *, known: bool) -> None:
        """Take what lies beside the weights."""
        for name, config in self.hints.processors.items() if not known else ():
            several = [config, *(one for one in config.values() if isinstance(one, Mapping))]
            classes = " ".join(value for one in several for value in one.values() if isinstance(value, str))
            for pattern, family in families().patterns["processor"]:
                self.add(family.flags if pattern.search(classes) else (), name)
            self.add(("vision",) if any("image_mean" in one for one in several) else (), name)
            self.add(("audio",) if any("sampling_rate" in one for one in several) else (), name)
        for name in ("config_sentence_transformers.json", "sentence_bert_config.json", "modules.json"):
            if name in self.hints.names and "reranker" not in self.evidence and "classification" not in self.evidence:
                self.add(("embedding",), name)

    def of_template(self) -> None:
        """Take what a template mentions; text models of a family keep its words for pictures and sound."""
        alone = not self.hints.config and not self.hints.gguf_architecture
        for flag, words in _TEMPLATE_WORDS.items():
            if (alone or flag not in _MODALITIES) and words.search(self.hints.template):
                self.add((flag,), "chat template")

    def of_task(self, *, known: bool) -> None:
        """Take what the pipeline tag says; of modalities only where the type does not say them."""
        family = families().find("task", self.hints.task)
        if family is None:
            return
        flags = family.flags - _MODALITIES if known else family.flags
        if "embedding" in flags and self.evidence.keys() & {"reranker", "classification"}:
            flags = flags - {"embedding"}
        self.add(flags, f"pipeline tag {self.hints.task}")
        if "text" not in family.flags and family.flags != {"embedding"} and not known:
            self.deny(("text",))
        if self.hints.task in {"question-answering", "text-classification", "token-classification"}:
            self.deny(("embedding",))

    def of_name(self, *, known: bool) -> None:
        """Take what the names hint at, last: never of owners, and of modalities only where nothing else is known."""
        hints = self.hints
        said = f"{_tail(hints.name)} {_tail(hints.base)}"
        sure = known or (self.typed and not hints.base) or bool(hints.template or hints.gguf_architecture)
        judged = self.evidence.keys() & {"reranker", "classification"}
        for flag, pattern in _NAMES.items():
            if (flag in _MODALITIES and sure) or (flag in {"embedding", "reranker"} and judged):
                continue
            if pattern.search(said):
                self.add((flag,), "name")
                judged = judged or ({"reranker"} if flag == "reranker" else set())
                if flag == "reranker":
                    self.deny(("embedding",))

    def capabilities(self, *, known: bool) -> Capabilities:
        """Return all flags, and text where nothing says that there is none."""
        hints, found = self.hints, self.evidence
        if "thinking" in found:
            self.add(("reasoning",), found["thinking"])
        anything = hints.config or hints.template or hints.gguf_architecture or hints.names or hints.name
        mute = known and "text" not in found and not found.keys() & {"tools", "thinking"}
        mute = mute or ("speech" in found and not self.typed and not found.keys() & {"tools", "thinking"})
        if "text" not in self.without and not mute and anything:
            self.add(("text",), "language model")
        return Capabilities(
            {flag: flag in found for flag in FLAGS}, {flag: found[flag] for flag in FLAGS if flag in found}
        )


def _tail(name: str) -> str:
    """Return a repository's own name: what its owner is called says nothing of it."""
    return name.rstrip("/").rpartition("/")[2].lower()
