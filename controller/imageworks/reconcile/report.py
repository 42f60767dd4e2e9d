"""What came of applying a plan: one outcome a model, the commit, and what a person should know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.detect.problems import condition_of
from imageworks.reconcile.plan import Change
from imageworks.registry.entry import Entry

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Outcome:
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


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a whole plan.

    Args:
        host: The host's name.
        outcomes: By name.
        skipped: Changes that were not confirmed, with why.
        commit: The commit that records it, if one was made.
        notes: What a person should know.
    """

    host: str
    outcomes: tuple[Outcome, ...] = ()
    skipped: Mapping[str, str] | None = None
    commit: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes that went wrong."""
        return tuple(outcome for outcome in self.outcomes if not outcome.done)

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
