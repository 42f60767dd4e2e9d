"""Each model's standing in two words: is it as declared (sync), and are its bytes good (health). Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from imageworks.plan.facts import HostState, Observation
from imageworks.plan.plan import Action, Plan, Reason
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import State

NOT_LOOKED_AT: Final = frozenset({Reason.INVALID_ENTRY, Reason.INVALID_MANIFEST, Reason.INTERNAL_ERROR})
"""Why nobody knows which files a model has."""


class Sync(StrEnum):
    """Whether a model is as declared."""

    SYNCED = "synced"
    OUT_OF_SYNC = "out-of-sync"
    BLOCKED = "blocked"
    SUSPENDED = "suspended"
    UNDECLARED = "undeclared"


class Health(StrEnum):
    """Whether a model's recorded bytes are there and unchanged."""

    HEALTHY = "healthy"
    DAMAGED = "damaged"
    MISSING = "missing"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"
    NONE = "no-files"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model's standing.

    Args:
        name: The variant name.
        sync: Whether it is as declared.
        health: Whether its bytes are good.
        reason: Why not, or empty.
    """

    name: str
    sync: Sync
    health: Health
    reason: str = ""

    @property
    def wrong(self) -> bool:
        """Whether a person should do something about it."""
        return self.sync is Sync.BLOCKED or self.health in {Health.DAMAGED, Health.MISSING, Health.INCOMPLETE}

    @property
    def remedy(self) -> str:
        """What a person may do about it, as a command; empty where nothing is to be done or the reason says it."""
        if self.sync is Sync.OUT_OF_SYNC:
            return f"reconcile {self.name}"
        if self.sync is Sync.BLOCKED or not self.wrong:
            return ""
        return f"verify {self.name} --repair"

    def document(self) -> dict[str, str]:
        """Return the status as JSON values."""
        return {
            "name": self.name,
            "sync": self.sync.value,
            "health": self.health.value,
            "reason": self.reason,
            "remedy": self.remedy,
        }


def model_statuses(
    plan: Plan, situation: HostState, why_incomplete: Callable[[Entry], str | None] = lambda _: None
) -> list[ModelStatus]:
    """Return the standing of every model that a plan considered, by name."""
    observed = {case.manifest.name: case.observation for case in situation.cases}
    observed |= {orphan.entry.name: orphan.observation for orphan in situation.orphans}
    observed |= {entry.name: observation for entry, observation in situation.unmanaged}
    found: dict[str, ModelStatus] = {}
    for case in situation.cases:
        suspended = case.manifest.state is State.SUSPENDED
        name = case.manifest.name
        found[name] = ModelStatus(name, Sync.SUSPENDED if suspended else Sync.SYNCED, _health(case.observation))
    for drift in plan.drift:
        reason = f"{drift.reason.value}: {drift.message}"
        found[drift.name] = ModelStatus(drift.name, Sync.UNDECLARED, _health(observed.get(drift.name)), reason)
    for entry, observation in situation.unmanaged:
        found.setdefault(entry.name, ModelStatus(entry.name, Sync.UNDECLARED, _health(observation)))
    for change in plan.changes:
        sync = Sync.BLOCKED if change.action is Action.BLOCKED else Sync.OUT_OF_SYNC
        if change.reason in {Reason.UNDECLARED, Reason.HOST_EXCLUDED}:
            sync = Sync.UNDECLARED
        reason = f"{change.reason.value}: {change.message}" if change.message else change.reason.value
        unseen = change.name not in observed and change.reason in NOT_LOOKED_AT
        health = Health.UNKNOWN if unseen else _health(observed.get(change.name))
        found[change.name] = ModelStatus(change.name, sync, health, reason)
    entries = [*(case.entry for case in situation.cases), *(orphan.entry for orphan in situation.orphans)]
    recorded = {entry.name: entry for entry in (*entries, *(entry for entry, _ in situation.unmanaged)) if entry}
    return [_with_what_lacks(found[name], recorded.get(name), why_incomplete) for name in sorted(found)]


def _with_what_lacks(
    status: ModelStatus, entry: Entry | None, why_incomplete: Callable[[Entry], str | None]
) -> ModelStatus:
    """Return the standing of a model whose right bytes may not be all that it needs."""
    why = why_incomplete(entry) if entry is not None and status.health is Health.HEALTHY else None
    if why is None:
        return status
    reason = f"{status.reason}; {why}" if status.reason else why
    return replace(status, health=Health.INCOMPLETE, reason=reason)


def _health(observation: Observation | None) -> Health:
    if observation is None:
        return Health.NONE
    if observation.unknown is not None:
        return Health.UNKNOWN
    if not observation.exists:
        return Health.MISSING
    return Health.DAMAGED if observation.damaged else Health.HEALTHY
