"""Format detection as the earlier API had it: ranked formats from names, lists of files and configs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from imageworks.detection.claims.config_claims import claims_of_config, claims_of_side_file
from imageworks.detection.claims.evidence import Claim
from imageworks.detection.claims.name_claims import claim_of_repository
from imageworks.detection.describe import describe
from imageworks.detection.file_names import classify
from imageworks.detection.local_files import describe_folder
from imageworks.detection.model_facts import ModelFacts, Subject
from imageworks.foundation.json_values import parse_object

_BY_EXTENSION: Final = 0.9


@dataclass(frozen=True, slots=True)
class FormatInfo:
    """One format that a model seems to have.

    Args:
        format_type: A container (``gguf``, ``safetensors``) or a quantization (``awq``, ``q4_k_m``).
        confidence: From 0 to 1.
        evidence: What speaks for it.
        quantization_details: Bits, group size and the like.
    """

    format_type: str
    confidence: float
    evidence: tuple[str, ...] = ()
    quantization_details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Named:
    """A file of which only the name is known."""

    path: str
    size: int = 1


class FormatDetector:
    """Detects formats from whatever is at hand."""

    def detect_from_filename(self, filename: str) -> list[FormatInfo]:
        """Return what one file's name says: its container first, then its quantization.

        Args:
            filename: A name or a relative path.
        """
        named = classify(filename)
        found = []
        if named.container:
            found.append(FormatInfo(named.container.value, _BY_EXTENSION, (f"{filename}: extension",)))
        if named.quantization:
            found.append(FormatInfo(named.quantization, 0.6, (f"{filename}: its name",)))
        return found

    def detect_from_filelist(self, filenames: Sequence[str]) -> list[FormatInfo]:
        """Return what a list of files says, the most confident first.

        Args:
            filenames: Relative paths.
        """
        return self.detect_comprehensive(filenames=filenames)

    def detect_from_config(self, config_content: str | bytes | Mapping[str, object]) -> list[FormatInfo]:
        """Return what a ``config.json``, or a quantization's own config, says.

        Args:
            config_content: The file's content, or the parsed object.
        """
        parsed = config_content if isinstance(config_content, Mapping) else parse_object(config_content)
        if parsed is None:
            return []
        claims = list(claims_of_config(parsed)) or list(
            claims_of_side_file("quantization_config.json", parsed, "quantization_config.json")
        )
        return [_info(claim) for claim in claims]

    def detect_from_model_name(self, model_name: str) -> list[FormatInfo]:
        """Return what a model's name says; the weakest evidence.

        Args:
            model_name: ``owner/repo`` or any name.
        """
        claim = claim_of_repository(model_name, None)
        found = [_info(claim)] if claim else []
        words = set(model_name.lower().replace("_", "-").replace("/", "-").split("-"))
        found += [
            FormatInfo(name, 0.5, (f"{model_name}: its name",)) for name in ("gguf", "mlx", "onnx") if name in words
        ]
        return found

    def detect_comprehensive(
        self, model_name: str = "", filenames: Sequence[str] | None = (), config_content: str | bytes | None = None
    ) -> list[FormatInfo]:
        """Return all formats that everything together speaks for, the most confident first.

        Args:
            model_name: ``owner/repo`` or any name.
            filenames: Relative paths.
            config_content: The content of ``config.json``.
        """
        config = config_content.encode() if isinstance(config_content, str) else config_content
        filenames = tuple(filenames or ())
        names = list(dict.fromkeys((*filenames, "config.json"))) if config else list(filenames)
        facts = describe(
            [_Named(name) for name in names],
            lambda path: config if path == "config.json" else None,
            subject=Subject(repo=model_name),
        )
        found = formats_of(facts)
        if not filenames:
            found += [
                info for info in self.detect_from_model_name(model_name) if info.format_type != facts.quantization
            ]
        return sorted(found, key=lambda info: -info.confidence)

    def get_primary_format(self, formats: Iterable[FormatInfo]) -> str | None:
        """Return the most confident format's name, or ``None`` without any.

        Args:
            formats: What a detection returned.
        """
        return max(formats, key=lambda info: info.confidence, default=FormatInfo("", 0.0)).format_type or None

    def is_format_type(self, formats: Iterable[FormatInfo], format_type: str, min_confidence: float = 0.5) -> bool:
        """Tell whether a format was found with some confidence.

        Args:
            formats: What a detection returned.
            format_type: A container or a quantization.
            min_confidence: The least confidence that counts, from 0 to 1.
        """
        wanted = format_type.lower()
        return any(info.format_type == wanted and info.confidence >= min_confidence for info in formats)


def detect_format_and_quant(path: str | Path) -> tuple[str | None, str | None]:
    """Return container and quantization of a folder or a single file; what evidence does not tell is ``None``.

    Args:
        path: A model's folder, or one file of weights.
    """
    facts = describe_folder(Path(path))
    return facts.download_format, facts.quantization


def formats_of(facts: ModelFacts) -> list[FormatInfo]:
    """Return a model's containers and its quantization, the most confident first.

    Args:
        facts: What a description returned.
    """
    found = [
        FormatInfo(candidate.container.value, candidate.confidence, (candidate.evidence.text,))
        for candidate in facts.candidates
    ]
    if facts.quantization:
        evidence = tuple(f"{item.source}: {item.text}" for item in facts.detection.evidence)
        found.append(FormatInfo(facts.quantization, facts.detection.confidence, evidence, facts.detection.details))
    return sorted(found, key=lambda info: -info.confidence)


def _info(claim: Claim) -> FormatInfo:
    """Return a claim in the earlier API's form."""
    evidence = claim.evidence
    return FormatInfo(claim.label, evidence.level.confidence, (f"{evidence.source}: {evidence.text}",), claim.details)
