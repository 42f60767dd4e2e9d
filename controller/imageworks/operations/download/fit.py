"""How much memory each form of a repository's model needs, and whether it fits."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from imageworks.detection.components import one_copy, read_part, weight_sets
from imageworks.detection.file_names import Container, Role
from imageworks.detection.model_facts import ModelFacts
from imageworks.detection.sizes.memory import KV_TYPES, USUAL_CONTEXT, Memory
from imageworks.files.artifact import RemoteFile
from imageworks.foundation.errors import UsageError
from imageworks.providers.selection.model import QuantChoice, Selection

_SIZE: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*([KMGT])(I?)(B?)", re.IGNORECASE)
_POWERS: Final = {"K": 1, "M": 2, "G": 3, "T": 4}
_LONGEST: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class MemoryQuestion:
    """What is asked.

    Args:
        available: Bytes of memory that there are; ``None`` when only the need is asked for.
        context: Tokens; 8,192, or all that the model can do where that is fewer, when absent.
        kv_type: The type of the cache.
    """

    available: int | None = None
    context: int | None = None
    kv_type: str = "f16"

    @classmethod
    def of(cls, fit: str | None, context: int | None, kv_type: str) -> "MemoryQuestion":
        """Return the question that options ask."""
        if kv_type not in KV_TYPES:
            raise UsageError(f"--kv-type {kv_type!r} is not known", remedy=f"Choose one of: {', '.join(KV_TYPES)}.")
        if context is not None and not 0 < context <= _LONGEST:
            raise UsageError(f"--context {context} is no number of tokens", remedy="Give one such as --context 32768.")
        return cls(bytes_of(fit) if fit is not None else None, context, kv_type)


def bytes_of(said: str) -> int:
    """Return a size in bytes: ``24GiB`` and ``24G`` are binary, ``24GB`` is decimal."""
    found = _SIZE.fullmatch(said.strip())
    if found is None or not float(found[1]):
        raise UsageError(f"--fit {said!r} is no size of memory", remedy="Write it with its unit, such as --fit 24GiB.")
    base = 1000 if found[4] and not found[3] else 1024
    return round(float(found[1]) * float(base ** _POWERS[found[2].upper()]))


@dataclass(frozen=True, slots=True)
class Fit:
    """One form of a model, and what it needs.

    Args:
        label: Its quantization; ``None`` where there is one form only.
        need: What it needs for the context that was asked for.
        longest: The longest context that fits; ``None`` when nothing does, or when nothing was asked.
    """

    label: str | None
    need: Memory
    longest: int | None = None

    def document(self, available: int | None) -> dict[str, object]:
        """Return it as stable JSON values."""
        asked = {} if available is None else {"fits": self.need.total <= available, "longest_context": self.longest}
        return {
            "label": self.label,
            "weights": self.need.weights,
            "cache": self.need.cache,
            "overhead": self.need.overhead,
            "total": self.need.total,
            **asked,
        }


@dataclass(frozen=True, slots=True)
class MemoryAnswer:
    """What each form of a model needs.

    Args:
        question: What was asked, with the context that was taken.
        forms: The forms, smallest first; none when there are no weights.
        cached: Whether it is known what a token of context costs.
        longest: The longest context that the model is made for.
    """

    question: MemoryQuestion
    forms: tuple[Fit, ...]
    cached: bool
    longest: int | None

    def document(self) -> dict[str, object]:
        """Return it as stable JSON values."""
        question = self.question
        return {
            "available": question.available,
            "context": question.context,
            "kv_type": question.kv_type,
            "cache_known": self.cached,
            "context_length": self.longest,
            "forms": [one.document(question.available) for one in self.forms],
        }


def memory_answer(
    question: MemoryQuestion,
    facts: ModelFacts,
    files: Sequence[RemoteFile],
    selection: Selection | None,
    quantizations: Iterable[QuantChoice],
) -> MemoryAnswer:
    """Return what each form of a repository's model needs."""
    demand = facts.memory
    context = question.context or min(USUAL_CONTEXT, demand.context or USUAL_CONTEXT)
    asked = replace(question, context=context)
    sizes = _forms(facts, files, selection, tuple(quantizations))
    forms = []
    for label, size in sizes:
        own = replace(demand, weights=size)
        longest = own.longest(asked.available, asked.kv_type) if asked.available is not None else None
        forms.append(Fit(label, own.at(context, asked.kv_type), longest))
    return MemoryAnswer(asked, tuple(forms), demand.cache is not None, demand.context)


def _forms(
    facts: ModelFacts, files: Sequence[RemoteFile], selection: Selection | None, quantizations: tuple[QuantChoice, ...]
) -> list[tuple[str | None, int]]:
    """Return the forms that the weights are there in, with their bytes, smallest first."""
    paths = frozenset(file.path for file in files)
    parts = [part for file in files if (part := read_part(file, paths)) is not None]
    if facts.detection.container is Container.GGUF:
        projectors = [part.file.size for part in parts if part.says.role is Role.PROJECTOR]
        beside = min(projectors, default=0)
        if quantizations:
            return [(one.label, one.size + beside) for one in sorted(quantizations, key=lambda one: one.size)]
    if selection is not None:
        chosen = {file.path for file in selection.files}
        taken = [part for part in parts if part.path in chosen]
        container = taken[0].container if taken else None
        sets = [one for one in weight_sets(parts) if one.container is container]
        labels = {one.first.label for one in sets}
        if len(labels) > 1:
            copies = {label: one_copy(one for one in sets if one.first.label == label) for label in labels}
            sized = [(label or facts.quantization, sum(one.size for one in ones)) for label, ones in copies.items()]
            return sorted(sized, key=lambda one: (one[1], one[0] or ""))
        return [(facts.quantization, sum(part.file.size for part in taken))] if taken else []
    return [(facts.quantization, facts.memory.weights)] if facts.memory.weights else []
