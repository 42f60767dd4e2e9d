"""What came of applying a plan: one outcome a model, the commit, and what a person should know."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from imageworks.detection.problems import condition_of
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.tables import html_table
from imageworks.plan.plan import Action, Change, Plan
from imageworks.registry.entries.entry import Entry

FORMAT_VERSION: Final = 1
CANCELLED: Final = "cancelled"
"""The reason of what was called off."""


class OperationCancelledError(ImageworksError):
    """Whoever called it called it off; what was finished before is recorded, the rest can be resumed.

    Args:
        report: What was done until then, where anything was begun.
    """

    def __init__(self, report: "Report | None" = None) -> None:
        super().__init__("called off", remedy="What came so far is kept; the same call resumes it.")
        self.report = report


class UnfinishedError(ImageworksError):
    """Not every model is as it is declared."""


@dataclass(frozen=True, slots=True)
class ModelResult:
    """What came of one change.

    Args:
        change: What was planned.
        entry: The entry to record; ``None`` with ``recorded`` means that the entry goes.
        recorded: Whether the registry changes because of it.
        error: What went wrong; ``None`` when it was done.
        reason: A word for the error.
        seconds: How long it took.
        told: What a commit says of it; empty for the word of the change's action.
    """

    change: Change
    entry: Entry | None = None
    recorded: bool = False
    error: str | None = None
    reason: str | None = None
    seconds: float = 0.0
    told: str = ""

    @property
    def incomplete(self) -> str | None:
        """Why what was brought cannot be loaded, although it is as its source has it."""
        condition = condition_of(self.entry.fields) if self.entry is not None else None
        if condition is None or condition.get("status") != "False":
            return None
        return f"{condition.get('reason')}: {condition.get('message')}"

    @property
    def done(self) -> bool:
        """Whether it was done."""
        return self.error is None


def still_planned(chosen: Iterable[Change], now: Plan) -> tuple[list[Change], list[ModelResult]]:
    """Return what is still to be done of what was agreed to, as it is planned now, and the outcomes of the rest.

    What another run has done meanwhile is done; what would be something else by now is not done.
    """
    planned = {change.name: change for change in now.changes}
    left, outcomes = [], []
    for change in chosen:
        found = planned.get(change.name)
        if found is None:
            outcomes.append(ModelResult(change))
        elif _does(found) == _does(change):
            left.append(found)
        else:
            why = (
                found.message
                if found.action is Action.BLOCKED
                else "its manifest, record or files changed while its bytes came"
            )
            error = f"{why}; what came is kept: run again to see what is to be done"
            outcomes.append(ModelResult(change, error=error, reason=found.reason.value))
    return left, outcomes


def _does(change: Change) -> tuple[object, ...]:
    """Return what a change does, wherever its bytes come from."""
    files = frozenset(change.fetch) | frozenset(change.reuse)
    return change.action, change.revision, change.path, change.previous_name, files, frozenset(change.drop)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a whole plan.

    Args:
        host: The host's name.
        outcomes: By name.
        skipped: Changes that were not confirmed, with why.
        commit: The commit that records it, if one was made.
        notes: What a person should know.
        blocked: What the plan could not bring about, by name with the reason.
    """

    host: str
    outcomes: tuple[ModelResult, ...] = ()
    skipped: Mapping[str, str] | None = None
    commit: str | None = None
    notes: tuple[str, ...] = ()
    blocked: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[ModelResult, ...]:
        """The outcomes that went wrong."""
        return tuple(outcome for outcome in self.outcomes if not outcome.done)

    @property
    def ok(self) -> bool:
        """Whether every model is as declared: none failed, none was blocked, none waits for a confirmation."""
        return not (self.failed or self.blocked or self.skipped)

    def raise_for_failures(self) -> None:
        """Raise where `ok` is false."""
        why = {one.change.name: one.error or "" for one in self.failed} | {**self.blocked, **(self.skipped or {})}
        if why:
            raise UnfinishedError("\n".join(f"{name}: {reason}" for name, reason in sorted(why.items())))

    def __repr__(self) -> str:
        done = len(self.outcomes) - len(self.failed)
        parts = [f"{done} of {len(self.outcomes)} done"]
        parts += [f"{len(self.blocked)} blocked"] if self.blocked else []
        parts += [f"{len(self.skipped)} skipped"] if self.skipped else []
        parts += [f"committed {self.commit[:10]}"] if self.commit else []
        return f"<Report of {self.host}: {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        """Return the report as a notebook shows it."""
        rows = [(one.change.action.symbol, one.change.name, one.error or "done") for one in self.outcomes]
        rows += [("!", name, why) for name, why in self.blocked.items()]
        rows += [("", name, why) for name, why in (self.skipped or {}).items()]
        return html_table(("", "model", "result"), rows, caption=repr(self)[1:-1], below="\n".join(self.notes))

    def document(self) -> dict[str, object]:
        """Return the report as stable, versioned JSON values."""
        return {
            "format_version": FORMAT_VERSION,
            "host": self.host,
            "commit": self.commit,
            "outcomes": [
                {
                    "name": outcome.change.name,
                    "action": outcome.change.action.value,
                    "reason": outcome.change.reason.value,
                    "done": outcome.done,
                    "error": outcome.error,
                    "error_reason": outcome.reason,
                    **({"incomplete": outcome.incomplete} if outcome.incomplete else {}),
                }
                for outcome in self.outcomes
            ],
            "skipped": dict(self.skipped or {}),
            "notes": list(self.notes),
        }
