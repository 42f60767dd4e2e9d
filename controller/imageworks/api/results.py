"""What the methods of a registry return, and which columns their tables have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from imageworks.foundation.tables import ResultTable
from imageworks.foundation.texts import human_bytes
from imageworks.model_loader.entries import RegistryEntry
from imageworks.operations.scan.find_models import Passed
from imageworks.operations.updates.pin import PinChange, short
from imageworks.plan.status import ModelStatus
from imageworks.plan.updates import ModelUpdate
from imageworks.plan.verification import Verified
from imageworks.registry.documents.diagnostic import Diagnostic
from imageworks.registry.history.model import HistoryCommit

STATUS: Final[Mapping[str, Callable[[ModelStatus], object]]] = {
    "model": lambda one: one.name,
    "sync": lambda one: one.sync,
    "health": lambda one: one.health,
    "reason": lambda one: one.reason,
}
PROBLEMS: Final[Mapping[str, Callable[[Diagnostic], object]]] = {
    "file": lambda one: one.file,
    "line": lambda one: one.line,
    "problem": lambda one: one.message,
    "remedy": lambda one: one.remedy,
}
VERIFIED: Final[Mapping[str, Callable[[Verified], object]]] = {
    "model": lambda one: one.name,
    "verdict": lambda one: one.verdict,
    "files": lambda one: one.files,
    "size": lambda one: human_bytes(one.size),
    "problems": lambda one: "; ".join(f"{problem.path or ''} {problem.message}".strip() for problem in one.problems),
}
COMMITS: Final[Mapping[str, Callable[[HistoryCommit], object]]] = {
    "commit": lambda one: one.record.short_id,
    "when": lambda one: f"{one.record.when:%Y-%m-%d %H:%M}",
    "who": lambda one: one.record.author,
    "what": lambda one: one.record.subject,
    "models": lambda one: ", ".join(dict.fromkeys(change.name for change in one.changes)),
}
UPDATES: Final[Mapping[str, Callable[[ModelUpdate], object]]] = {
    "model": lambda one: one.name,
    "standing": lambda one: "held" if one.held else one.standing,
    "follows": lambda one: one.ref or one.repo,
    "at": lambda one: short(one.commit),
    "newest": lambda one: short(one.latest),
    "": lambda one: one.message,
}


@dataclass(frozen=True, slots=True)
class PinMoves:
    """What moving pins did.

    Args:
        moved: The pins that moved; `reconcile` brings their bytes.
        refused: Why a model that should have moved did not, by name.
        commit: The commit that moved them, if one was made.
    """

    moved: tuple[PinChange, ...]
    refused: Mapping[str, str]
    commit: str | None

    def __repr__(self) -> str:
        lines = [f"<{len(self.moved)} pins moved, {len(self.refused)} refused>"]
        return "\n".join([*lines, *(move.line for move in self.moved), *(f"{n}: {w}" for n, w in self.refused.items())])


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan recorded.

    Args:
        recorded: The models that were recorded.
        passed: What was found and is not recorded, each with its path and why.
        known: How many were recorded already.
        commit: The commit that records them, if one was made.
    """

    recorded: ResultTable[RegistryEntry]
    passed: tuple[Passed, ...] = field(repr=False)
    known: int
    commit: str | None

    def _repr_html_(self) -> str:
        return self.recorded._repr_html_()
