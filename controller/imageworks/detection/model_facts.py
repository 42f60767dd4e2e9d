"""The answer to what a set of files is, as a value, and what is asked about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Protocol

from imageworks.detection.adapters import Adapter
from imageworks.detection.capabilities import Capabilities
from imageworks.detection.claims.evidence import Detection
from imageworks.detection.containers import ArtifactKind, RankedContainer
from imageworks.detection.file_names import QuantGroups
from imageworks.detection.formats.chat_template import FoundTemplate
from imageworks.detection.formats.executable_files import Safety
from imageworks.detection.formats.readme import Readme
from imageworks.detection.problems import MissingPart, complete_condition
from imageworks.detection.sizes.memory import Demand
from imageworks.detection.sizes.parameters import ParameterCount

_CHAT_TASKS: Final = frozenset({"text-generation", "image-text-to-text", "any-to-any", "audio-text-to-text"})


class ListedFile(Protocol):
    """A file of a listing: what a hub, an entry or a directory says of it."""

    @property
    def path(self) -> str:
        """Relative path, ``/``-separated."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...


SmallReader = Callable[[str], bytes | None]
"""Returns a small file's content by its path, or ``None`` when it cannot be had."""
HeaderReader = Callable[[str, int, int], bytes]
"""``read(path, offset, length)`` for the beginnings of large files."""


def read_nothing(path: str) -> bytes | None:  # noqa: ARG001 - stands in for a reader
    """Return nothing: for callers that have names only."""
    return None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of a model besides its files.

    Args:
        repo: ``owner/repo``, or the folder's name.
        revision: The branch or tag that was asked for.
        task: The Hub's pipeline tag.
        library: The library that the Hub names.
        license: The licence that the Hub's API names.
        ollama_capabilities: What Ollama lists.
        fallback_container: What ``--format`` said; used only when detection finds nothing.
        fallback_quantization: Likewise for the quantization.
    """

    repo: str = ""
    revision: str | None = None
    task: str | None = None
    library: str | None = None
    license: str | None = None
    ollama_capabilities: tuple[str, ...] = ()
    fallback_container: str | None = None
    fallback_quantization: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a set of files is.

    Args:
        detection: Container and quantization with their evidence.
        candidates: All containers in it, ranked.
        kind: A model, a pipeline, an adapter and so on.
        family: The family that names the variant.
        producer: Who made it.
        quants: GGUF files by quantization.
        capabilities: What it can do.
        chat_template: Where its template is.
        architecture: Layers, heads, context and the like, with their source.
        license: Its licence's identifier.
        readme_file: The README's path.
        readme: What it says.
        safety: What can run code.
        problems: What makes it incomplete.
        doubts: Why it cannot be told whether it is complete.
        adapter: What it says of its base, where it is an adapter.
        warnings: Where evidence disagrees or could not be read.
        total_size: Bytes of all files.
        parameters: How many parameters it has, and how that was counted.
        memory: What its need of memory follows from.
        library: The library that loads it.
        task: The Hub's pipeline tag.
        preflight: What a serving backend would miss, by backend; empty where nothing.
    """

    detection: Detection
    candidates: tuple[RankedContainer, ...]
    kind: ArtifactKind
    family: str | None
    producer: str | None
    quants: QuantGroups
    capabilities: Capabilities
    chat_template: FoundTemplate
    architecture: Mapping[str, object]
    license: str | None
    readme_file: str | None
    readme: Readme | None
    safety: Safety
    problems: tuple[MissingPart, ...]
    warnings: tuple[str, ...]
    total_size: int
    parameters: ParameterCount | None
    memory: Demand
    library: str | None
    task: str | None
    doubts: tuple[MissingPart, ...] = ()
    adapter: Adapter | None = None
    preflight: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def download_format(self) -> str | None:
        """The container's word in an entry."""
        return self.detection.container.value if self.detection.container else None

    @property
    def quantization(self) -> str | None:
        """The quantization's label."""
        return self.detection.quantization

    @property
    def chats(self) -> bool:
        """Whether people chat with it, so that a missing template matters."""
        if self.task:
            return self.task in _CHAT_TASKS
        flags = self.capabilities.flags
        classes = self.architecture.get("architectures")
        causal = isinstance(classes, list) and any(
            "CausalLM" in name or "ConditionalGeneration" in name for name in classes
        )
        return flags["text"] and not flags["embedding"] and (causal or self.chat_template.source != "none")

    def entry_fields(self) -> dict[str, object]:
        """Return what an entry records, by the entry's own keys; what is not known is left out."""
        licenses = self.readme.card.licenses if self.readme else ()
        metadata: dict[str, object] = {
            "architecture": dict(self.architecture) or None,
            "readme_file": self.readme_file,
            "readme_sha256": self.readme.sha256 if self.readme else None,
            "readme_signals": dict(self.readme.signals) if self.readme else None,
            "adapter_of": self.adapter.base if self.adapter else None,
            "base_model": list(self.readme.card.base_model) if self.readme else None,
            "licenses": list(licenses) if len(licenses) > 1 else None,
            "language": list(self.readme.card.language) if self.readme else None,
            "model_type": self.task,
            "library": self.library,
            "kind": self.kind.value,
            "parameters": self.parameters.total if self.parameters else None,
            "parameters_counted": self.parameters.counted if self.parameters else None,
            "active_parameters": self.parameters.active if self.parameters else None,
            "memory": self.memory.fields(),
            "quantization_details": dict(self.detection.details) or None,
            "detection": {
                "confidence": self.detection.confidence,
                "evidence": [f"{item.source}: {item.text}" for item in self.detection.evidence],
            },
            "safety": self.safety.fields() if self.safety.is_worth_recording else None,
            "warnings": list(self.warnings) or None,
            "preflight": {backend: list(missing) for backend, missing in self.preflight.items()} or None,
        }
        found: dict[str, object] = {
            "download_format": self.download_format,
            "quantization": self.quantization,
            "family": self.family,
            "producer": self.producer,
            "capabilities": dict(self.capabilities.flags),
            "chat_template": self.chat_template.fields(),
            "license": self.license,
            "conditions": [complete_condition(self.problems, self.doubts)],
            "metadata": {key: value for key, value in metadata.items() if value not in (None, [], {})},
        }
        return {key: _writable(value) for key, value in found.items() if value is not None}


def _writable(value: object) -> object:
    """Return what can be written as JSON and read again: strangers' configs hold NaN and halves of characters."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(_writable(key)): _writable(item) for key, item in value.items()}
    return [_writable(item) for item in value] if isinstance(value, list | tuple) else value
