"""What a node is asked to do and what it answers, as values and as the lines of JSON that travel, without secrets."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Final, Self

from imageworks.fleet.host_report import HostReport, read_report
from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.log import redact
from imageworks.plan.plan import Plan
from imageworks.plan.read_plan import read_plan

LONGEST_LINE: Final = 16 * 1024 * 1024
LONGEST_ERROR: Final = 4000
HEARTBEAT_SECONDS: Final = 10.0
"""How often a node tells at least that it is at work."""


class NodeWork(StrEnum):
    """What a node is asked for."""

    IDENTIFY = "identify"
    PLAN = "plan"
    RECONCILE = "reconcile"
    LOCATE = "locate"


@dataclass(frozen=True, slots=True)
class NodeTask:
    """What one node is to do.

    Args:
        work: What it is asked for.
        version: The version of this program that asks; a node with another one does nothing.
        proposed_host: What the engine would call the host, where the node itself has no name for it.
        revision: The commit whose declarations count.
        remote: Where the registry is cloned from where the node has none; without credentials.
        folder: The registry's folder in its git repository.
        branch: The branch of the remote that has the commit.
        names: The models to consider; all when empty.
        prune: Whether installed models go that no manifest declares.
        any_time: Whether downloads may run outside the registry's transfer window.
        report: Whether the run is reported on the host's ref; by default as registry.yaml says.
        mirrors: Where bytes come from before the hub, as addresses or names of hosts; else as the node's settings say.
    """

    work: NodeWork
    version: str
    proposed_host: str = ""
    revision: str = ""
    remote: str = ""
    folder: str = ""
    branch: str = ""
    names: tuple[str, ...] = ()
    prune: bool = False
    any_time: bool = False
    report: bool | None = None
    mirrors: tuple[str, ...] = ()

    def render(self) -> str:
        """Return the task as one line."""
        return json.dumps(asdict(self), ensure_ascii=True)

    @classmethod
    def read(cls, line: str) -> Self:
        """Return the task that a line holds; what this version does not know is for a later one."""
        found = json.loads(line)
        known = {one.name for one in fields(cls)}
        task = cls(**{key: value for key, value in found.items() if key in known})
        return replace(task, work=NodeWork(task.work), names=tuple(task.names), mirrors=tuple(task.mirrors))


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What a node says at the end of its task.

    Args:
        host: Which host it is.
        origin: Why it is called so.
        version: Of this program there.
        error: Why it could not do what it was asked for; empty where it could.
        plan: What it would do.
        settled: Whether that is nothing, at the commit that was named, with all that it has sent.
        report: What its reconcile came to, or would.
        unchanged: How many models are as declared already.
        path: Where a model is that was looked for.
        lacks: What loading it needs and its files have not, as far as can be told.
        revision: Which revision of it that is.
    """

    host: str = ""
    origin: str = ""
    version: str = ""
    error: str = ""
    plan: Plan | None = None
    settled: bool = False
    report: HostReport | None = None
    unchanged: int = 0
    path: str = ""
    lacks: str = ""
    revision: str = ""

    def render(self) -> str:
        """Return the answer as one line."""
        document = {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            "error": redact(self.error)[:LONGEST_ERROR],
            "plan": self.plan.document() if self.plan is not None else None,
            "report": self.report.document() if self.report is not None else None,
        }
        return json.dumps({"answer": document}, ensure_ascii=True)

    @classmethod
    def read(cls, found: Mapping[str, object]) -> Self:
        """Return the answer in a line's values; what is missing or of another kind counts as not said."""
        host = _text(found, "host")
        plan, report = found.get("plan"), found.get("report")
        unchanged = found.get("unchanged")
        return cls(
            host=host,
            **{key: _text(found, key) for key in ("origin", "version", "error", "path", "lacks", "revision")},
            plan=read_plan(plan) if isinstance(plan, dict) else None,
            settled=found.get("settled") is True,
            report=read_report(host, json.dumps(report).encode()) if isinstance(report, dict) else None,
            unchanged=unchanged if isinstance(unchanged, int) else 0,
        )


def progress_line(calls: list[list[object]]) -> str:
    """Return what a node tells of its progress: which methods of it were called with what."""
    return json.dumps({"progress": calls}, ensure_ascii=True)


def read_line(line: str) -> Mapping[str, object]:
    """Return the values in a line that came from a node; none where it is no such line."""
    try:
        found = read_json(line.encode()) if len(line) <= LONGEST_LINE else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(found: Mapping[str, object], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
