"""Answers with what they rest on: evidence outranks guesses, and every answer says its evidence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from imageworks.detection.file_names import Container


class Level(IntEnum):
    """How strong evidence is; the lower the number, the stronger. A weaker level never overrides a stronger one."""

    HEADER = 1
    CONFIG = 2
    TENSOR_NAMES = 3
    NAME = 4
    DTYPE = 5

    @property
    def confidence(self) -> float:
        """How far an answer that rests on this alone can be trusted, from 0 to 1."""
        return _CONFIDENCE[self]


_CONFIDENCE: Final = {
    Level.HEADER: 1.0,
    Level.CONFIG: 0.95,
    Level.TENSOR_NAMES: 0.8,
    Level.NAME: 0.6,
    Level.DTYPE: 0.5,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that speaks for an answer.

    Args:
        level: How strong it is.
        source: The file, or ``name`` for the repository's name.
        text: What it says, in a few words.
    """

    level: Level
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One quantization that one piece of evidence speaks for.

    Args:
        label: The quantization, by our label.
        evidence: What it rests on.
        details: Bits, group size and the like.
        container: A container that only this evidence can tell (MLX looks like safetensors by its names).
        others: Labels that this evidence does not exclude: what is weaker and says one of them is right.
    """

    label: str
    evidence: Evidence
    details: Mapping[str, object] = field(default_factory=dict)
    container: Container | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """What a set of files is.

    Args:
        container: How the weights are packed; ``None`` when nothing tells.
        quantization: The quantization's label; ``None`` when evidence is insufficient.
        details: What is known of the quantization: method, bits, group size, ``compact`` label.
        evidence: All that was found, strongest first, also what was overruled.
        confidence: From 0 to 1, that of the evidence behind ``quantization``, or behind ``container`` without one.
        warnings: Where evidence disagrees.
        labels: What the content itself says, the strongest first, also what was overruled.
    """

    container: Container | None
    quantization: str | None
    details: Mapping[str, object] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    confidence: float = 0.0
    warnings: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def decide(
    container: Container | None, claims: Iterable[Claim], *, container_evidence: Iterable[Evidence] = ()
) -> Detection:
    """Return the answer that the strongest claim gives; weaker ones that agree add details, others are told."""
    ranked = sorted(claims, key=lambda claim: claim.evidence.level)
    told = tuple(container_evidence)
    if not ranked:
        level = min((item.level for item in told), default=None)
        return Detection(container, None, {}, told, level.confidence if level else 0.0)
    best = ranked[0]
    label = best.label
    details: dict[str, object] = dict(best.details)
    warnings: list[str] = []
    settled = False
    for claim in ranked[1:]:
        open_ = not settled and claim.label in best.others
        if open_ or refines(claim.label, label):
            label = claim.label
        settled = settled or open_ or claim.label == label
        if agrees(claim.label, label) or label in claim.others or claim.label in best.others:
            details = {**claim.details, **details}
        elif claim.evidence.level is not Level.DTYPE:
            warnings.append(
                f"{claim.evidence.source} says {claim.label} ({claim.evidence.text}), "
                f"but {best.evidence.source} says {best.label} ({best.evidence.text}), which is stronger evidence"
            )
    packed = next((claim.container for claim in ranked if claim.container), container)
    level = best.evidence.level
    evidence = tuple(sorted((*told, *(claim.evidence for claim in ranked)), key=lambda item: item.level))
    said = tuple(claim.label for claim in ranked if claim.evidence.level < Level.NAME)
    return Detection(packed, label, details, evidence, level.confidence, tuple(dict.fromkeys(warnings)), said)


_FAMILIES: Final = {
    "awq": ("int4", "4bit", "w4a16"),
    "gptq": ("int4", "int8", "int3", "4bit", "8bit", "w4a16", "w8a16", "marlin"),
    "autoround": ("int4", "4bit", "gptq", "w4a16", "awq"),
    "fp8": ("w8a8", "fp8-dynamic", "fp8-block", "fp8-static", "w8a8-fp8", "int8", "8bit"),
    "w4a16": ("int4", "4bit", "gptq", "awq", "autoround"),
    "w8a8": ("int8", "8bit", "gptq"),
    "w8a16": ("int8", "8bit", "gptq"),
    "w4a8": ("int4", "4bit", "w4afp8", "awq", "w4a8-fp8"),
    "bnb-4bit": ("4bit", "int4", "nf4", "fp4"),
    "bnb-8bit": ("8bit", "int8"),
    "nvfp4": ("fp4", "w4a4", "nvfp4a16", "w4a16", "4bit"),
    "mxfp4": ("fp4", "w4a16", "4bit", "w4a4", "w4a8"),
    "mxfp8": ("fp8", "w8a8", "8bit"),
    "int8": ("8bit", "eetq", "quanto"),
    "hqq": ("4bit", "8bit", "int4"),
    "exl2": ("exl3",),
    "torchao": ("int4", "int8", "fp8", "w4a16", "w8a8"),
}
"""Words of names that say less than a label, but do not contradict it."""


def refines(weaker: str, stronger: str) -> bool:
    """Tell whether a name's label says more than a header can, without contradicting it.

    llama.cpp has no number for packagers' mixes: an ``UD-Q4_K_XL`` or ``Q6_K_L`` file carries the number of the plain
    one; and tensor types alone say ``q4_k``, not which mix.
    """
    if weaker == stronger:
        return False
    if weaker.startswith(("ud-", "i1-")):
        return _bits(weaker) == _bits(stronger) and _bits(stronger) != ""
    if weaker.startswith(f"{stronger}_"):
        return True
    mixed = weaker.endswith(("_l", "_xl", "_xxl")) and weaker != "q3_k_l"
    return mixed and _bits(weaker) == _bits(stronger)


def agrees(weaker: str, stronger: str) -> bool:
    """Tell whether two labels can be of one model."""
    if weaker == stronger or weaker in _FAMILIES.get(stronger, ()) or stronger in _FAMILIES.get(weaker, ()):
        return True
    if weaker.endswith("bpw"):
        return stronger in {"exl2", "exl3"}
    return bool(_bits(weaker)) and (weaker.startswith(f"{stronger}_") or stronger.startswith(f"{weaker}_"))


def _bits(label: str) -> str:
    """Return the bits that a llama.cpp label names as text, or nothing for another kind of label."""
    plain = label.removeprefix("ud-").removeprefix("i1-").removeprefix("i")
    return plain[1] if len(plain) > 1 and plain[0] == "q" and plain[1].isdigit() else ""
