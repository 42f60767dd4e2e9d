"""The message of a controller's commit: a summary, a line a change, and trailers that say what was reconciled."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from imageworks.plan.plan import Action
from imageworks.plan.report import ModelResult

_DONE: Final = {
    Action.INSTALL: "installed",
    Action.UPDATE: "updated",
    Action.MOVE: "moved",
    Action.ADOPT: "adopted",
    Action.REPAIR: "repaired",
    Action.REMOVE: "removed",
}


def summary(outcomes: Iterable[ModelResult]) -> str:
    """Return what was done in a few words, such as ``2 installed, 1 removed``."""
    counts = Counter(_word(outcome) for outcome in outcomes if outcome.done and outcome.recorded)
    order = list(_DONE.values())
    words = sorted(counts, key=lambda word: (order.index(word) if word in order else len(order), word))
    return ", ".join(f"{counts[word]} {word}" for word in words if word)


def _word(outcome: ModelResult) -> str:
    return outcome.told or _DONE.get(outcome.change.action, "")


def commit_message(title: str, outcomes: Iterable[ModelResult], *, otherwise: str = "refresh the snapshot") -> str:
    """Return a commit's message without its trailers."""
    recorded = [outcome for outcome in outcomes if outcome.recorded]
    done = [outcome for outcome in recorded if outcome.done]
    stalled = [f"! {outcome.change.name} ({outcome.reason})" for outcome in recorded if not outcome.done]
    parts = [summary(done), f"{len(stalled)} stalled" if stalled else ""]
    head = f"{title}: {', '.join(filter(None, parts)) or otherwise}"
    lines = [*(_line(outcome) for outcome in done), *stalled]
    return "\n\n".join([head, "\n".join(lines)] if lines else [head])


def _line(outcome: ModelResult) -> str:
    change = outcome.change
    old, new = ((revision or "")[:12] for revision in change.revision)
    revision = f" {old}..{new}" if old and new and old != new else f" {new or old}" if new or old else ""
    return f"{change.action.symbol} {change.name} ({outcome.told or change.reason.value}){revision}"


def trailers(host: str, revision: str | None) -> dict[str, str]:
    """Return the trailers that say which commit's manifests were reconciled, and where."""
    named = {"Reconciled-Revision": revision} if revision else {}
    return {**named, "Host": host}
