"""What names say of a quantization: those of the weights' files, and the repository's."""

from collections.abc import Mapping, Sequence
from typing import Final

from imageworks.detection.claims.evidence import Claim, Evidence, Level
from imageworks.detection.file_names import Container, NamedFile
from imageworks.naming.quantization_labels import find_quantizations, is_ggml_label

_SCHEMES: Final = (
    "awq", "gptq", "exl2", "exl3", "hqq", "aqlm", "squeezellm", "autoround", "mxfp4", "mxfp6", "mxfp8", "nvfp4", "fp8",
    "bnb-4bit", "bnb-8bit", "quip", "vptq", "eetq", "torchao", "spqr",
)  # fmt: skip
"""Schemes, which say more than the bits that a name gives beside them."""
_SAME: Final = {"fp8-dynamic": "fp8", "fp8-block": "fp8", "fp8-static": "fp8", "w8a8_fp8": "fp8", "w8a8-fp8": "fp8"}


def claim_of_files(weights: Sequence[str], named: Mapping[str, NamedFile]) -> Claim | None:
    """Return what the weights' names say, if all that say something say the same."""
    labels = {named[path].quantization for path in weights}
    if len(labels) != 1 or None in labels:
        return None
    (label,) = labels
    path = weights[0]
    return Claim(_SAME.get(label, label), Evidence(Level.NAME, path, f"its name says {label}")) if label else None


def claim_of_repository(repo: str, container: Container | None) -> Claim | None:
    """Return what a repository's name says; a scheme counts for more than the bits beside it."""
    tail = repo.rstrip("/").rpartition("/")[2]
    labels = [_SAME.get(token.label, token.label) for token in find_quantizations(tail)]
    if container is Container.GGUF:
        labels = [label for label in labels if is_ggml_label(label)]
    if not labels:
        return None
    label = next((scheme for scheme in _SCHEMES if scheme in labels), labels[-1])
    return Claim(label, Evidence(Level.NAME, "name", f"{tail} says {label}"))
