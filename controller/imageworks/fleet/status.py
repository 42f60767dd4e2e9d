"""The standing of all hosts of a registry as one value: which model is where, and which host is not as declared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Final

from imageworks.fleet.host_report import HostReport

FORMAT_VERSION: Final = 1


class Standing(StrEnum):
    """How a model stands on a host, as far as commits and the host's last report say."""

    AS_DECLARED = "as-declared"
    MISSING = "missing"
    OUTDATED = "outdated"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    BLOCKED = "blocked"
    LEFT_OVER = "left-over"
    SUSPENDED = "suspended"
    UNDECLARED = "undeclared"


RIGHT: Final = frozenset({Standing.AS_DECLARED, Standing.SUSPENDED, Standing.UNDECLARED})
"""What nobody needs to do anything about."""


@dataclass(frozen=True, slots=True)
class ModelOnHost:
    """One model on one host.

    Args:
        name: The variant name.
        standing: How it stands.
        revision: The installed revision; empty where there is none.
        size: Bytes of its files there.
        complete: Whether it has all that loading it needs; ``None`` where that is not known.
        reason: Why it is not as declared, or not complete; else empty.
    """

    name: str
    standing: Standing
    revision: str = ""
    size: int = 0
    complete: bool | None = None
    reason: str = ""

    @property
    def is_there(self) -> bool:
        """Whether the host has files of it."""
        return self.size > 0 or bool(self.revision)

    def document(self) -> dict[str, object]:
        """Return the model in JSON's data model."""
        return {
            "name": self.name,
            "standing": self.standing.value,
            "revision": self.revision or None,
            "bytes": self.size,
            "complete": self.complete,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class FleetHost:
    """One host of the registry.

    Args:
        name: Its name.
        labels: What registry.yaml says of it.
        revision: The commit of the registry that it applied last; ``None`` where that is not known.
        behind: How many commits that change what is declared came after it; ``None`` where that cannot be counted.
        last: When it was last heard of; ``None`` where it never was.
        report: What its last run reported; ``None`` without ``--report``.
        silent: Whether it reports, and has not for too long.
        current: Whether it is the host that this runs on.
        models: By name.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
    behind: int | None = None
    last: datetime | None = None
    report: HostReport | None = None
    silent: bool = False
    current: bool = False
    models: tuple[ModelOnHost, ...] = ()

    @cached_property
    def wrong(self) -> tuple[ModelOnHost, ...]:
        """The models that are not as declared."""
        return tuple(model for model in self.models if model.standing not in RIGHT)

    @property
    def declared(self) -> int:
        """How many models are meant for it."""
        return sum(model.standing is not Standing.UNDECLARED for model in self.models)

    @property
    def size(self) -> int:
        """Bytes of all its models."""
        return sum(model.size for model in self.models)

    @property
    def problem(self) -> str:
        """What is wrong with the host itself; empty when nothing is."""
        if self.report is not None and self.report.error:
            return f"its last run failed: {self.report.error}"
        return "silent for long" if self.silent else ""

    @property
    def as_declared(self) -> bool:
        """Whether everything on it is as declared, as far as is known here."""
        return not self.wrong and not self.problem

    def document(self) -> dict[str, object]:
        """Return the host in JSON's data model."""
        report = self.report
        return {
            "name": self.name,
            "labels": dict(self.labels),
            "current": self.current,
            "revision": self.revision,
            "behind": self.behind,
            "last_seen": None if self.last is None else self.last.isoformat(),
            "silent": self.silent,
            "as_declared": self.as_declared,
            "problem": self.problem,
            "bytes": self.size,
            "version": report.version if report is not None else None,
            "last_run": None if report is None else report.document(),
            "models": [model.document() for model in self.models],
        }


@dataclass(frozen=True)
class FleetStatus:
    """All hosts of a registry.

    Args:
        revision: The commit that they are held against.
        hosts: By name.
        notes: What a person should know.
    """

    revision: str | None
    hosts: tuple[FleetHost, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def as_declared(self) -> bool:
        """Whether every host is as declared."""
        return all(host.as_declared for host in self.hosts)

    @cached_property
    def copies(self) -> Mapping[str, tuple[str, ...]]:
        """The hosts that have files of each model, by the model's name."""
        found: dict[str, list[str]] = {}
        for host in self.hosts:
            for model in host.models:
                found.setdefault(model.name, []).extend([host.name] if model.is_there else [])
        return {name: tuple(hosts) for name, hosts in sorted(found.items())}

    def document(self) -> dict[str, object]:
        """Return the status as stable, versioned JSON values."""
        return {
            "format_version": FORMAT_VERSION,
            "revision": self.revision,
            "as_declared": self.as_declared,
            "hosts": [host.document() for host in self.hosts],
            "models": [
                {"name": name, "copies": len(hosts), "hosts": list(hosts)} for name, hosts in self.copies.items()
            ],
            "notes": list(self.notes),
        }


def count_standings(models: Iterable[ModelOnHost]) -> dict[Standing, int]:
    """Return how many models stand how; every standing is there, so that a graph has no gaps."""
    counts = dict.fromkeys(Standing, 0)
    for model in models:
        counts[model.standing] += 1
    return counts
