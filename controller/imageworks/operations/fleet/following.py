"""Give nodes their tasks, so many at once, and follow each to its end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from imageworks.files.progress import Progress
from imageworks.fleet.engine import Engine, Node, NodeEvent
from imageworks.fleet.node_task import NodeAnswer, NodeTask, read_line
from imageworks.plan.plan import Plan

WAIT_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 120.0
"""After which a node that says nothing is given up; one that works tells at least each ten seconds."""
CANCEL_SECONDS: Final = 30.0


class Result(StrEnum):
    """How it went on one host."""

    OK = "ok"
    FAILED = "failed"
    CALLED_OFF = "called-off"
    NOT_STARTED = "not-started"


@dataclass(frozen=True, slots=True)
class HostResult:
    """What came of one host.

    Args:
        host: Its name; the node's where it never said one.
        node: Its node, for people.
        result: How it went.
        error: Why not, in words.
        answer: What it answered.
        plan: What it would have done; ``None`` where it could not say.
        seconds: How long it took.
    """

    host: str
    node: str
    result: Result
    error: str = ""
    answer: NodeAnswer = field(default_factory=NodeAnswer)
    plan: Plan | None = None
    seconds: float = 0.0

    def document(self) -> dict[str, object]:
        """Return the result in JSON's data model."""
        report = self.answer.report
        return {
            "host": self.host,
            "node": self.node,
            "result": self.result.value,
            "error": self.error,
            "seconds": round(self.seconds, 3),
            "unchanged": self.answer.unchanged,
            "plan": self.plan.document() if self.plan is not None else None,
            "report": report.document() if report is not None else None,
        }


@dataclass(slots=True)
class Job:
    """A node's task, and what came of it so far."""

    node: Node
    task: NodeTask
    host: str = ""
    answer: NodeAnswer | None = None
    plan: Plan | None = None
    began: float = 0.0
    heard: float = 0.0
    given_up: str = ""
    running: set[str] = field(default_factory=set)

    @property
    def shown(self) -> str:
        """What it is called in what people see."""
        return self.host or str(self.node)

    def result(self, lost: str) -> HostResult:
        """Return what came of it, where it ended and why it was lost, if it was."""
        answer = self.answer or NodeAnswer()
        report = answer.report
        error = self.given_up or answer.error or lost or ("" if self.answer else "it ended without an answer")
        if not error and report is not None and not report.succeeded:
            error = report.error or "; ".join(f"{one.name}: {one.error}" for one in report.failed.values())
        return HostResult(
            answer.host or self.shown,
            str(self.node),
            Result.FAILED if error else Result.OK,
            error,
            answer,
            self.plan or answer.plan,
            time.monotonic() - self.began,
        )


class Following:
    """Gives jobs to nodes, so many at once, and follows them to their ends; ^C asks all to end."""

    def __init__(self, engine: Engine, progress: Progress) -> None:
        self._engine = engine
        self._progress = progress
        self._running: dict[str, Job] = {}
        self._results: dict[str, HostResult] = {}
        self.interrupted = False

    def run(self, jobs: Sequence[Job], most: int | None) -> dict[str, HostResult]:
        """Return what came of each job, by the node's id."""
        self._running, self._results, waiting = {}, {}, list(jobs)
        try:
            while waiting or self._running:
                while waiting and (most is None or len(self._running) < most):
                    self._start(waiting.pop(0))
                self._listen()
        except KeyboardInterrupt:
            self.interrupted = True
            for job in waiting:
                self._results[job.node.id] = HostResult(job.shown, str(job.node), Result.NOT_STARTED, "called off")
            self._cancel_all()
        return self._results

    def _start(self, job: Job) -> None:
        job.began = job.heard = time.monotonic()
        self._running[job.node.id] = job
        self._engine.start(job.node, job.task.render())

    def _listen(self, seconds: float = WAIT_SECONDS) -> bool:
        """Hear what comes within some time, and return whether anything came."""
        events = self._engine.wait(seconds)
        for event in events:
            if (job := self._running.get(event.node)) is not None:
                job.heard = time.monotonic()
                self._hear(job, event)
        for job in list(self._running.values()):
            silent = time.monotonic() - job.heard
            if silent > SILENT_SECONDS:
                job.given_up = job.given_up or f"it has said nothing for {silent:.0f} s"
                self._engine.cancel(job.node)
                self._end(job, "")
        return bool(events)

    def _hear(self, job: Job, event: NodeEvent) -> None:
        if event.line is None:
            self._end(job, event.lost)
            return
        found = read_line(event.line)
        if isinstance(answer := found.get("answer"), dict):
            job.answer = NodeAnswer.read(answer)
        elif isinstance(calls := found.get("progress"), list):
            for call in calls:
                relay(self._progress, job.shown, call, job.running)

    def _end(self, job: Job, lost: str) -> None:
        del self._running[job.node.id]
        for label in job.running:
            self._progress.finish(label)
        self._results[job.node.id] = job.result(lost)

    def _cancel_all(self) -> None:
        """Ask every node to end, and hear what each has to say; those that do not in time are told so."""
        self._hear_what_is_there()
        cancelled = list(self._running.values())
        for job in cancelled:
            self._engine.cancel(job.node)
        until = time.monotonic() + CANCEL_SECONDS
        while self._running and time.monotonic() < until:
            self._listen()
        for job in list(self._running.values()):
            self._end(job, "it did not end when it was asked to")
        for job in cancelled:
            result = self._results[job.node.id]
            if result.result is Result.FAILED:
                self._results[job.node.id] = replace(result, result=Result.CALLED_OFF)

    def _hear_what_is_there(self) -> None:
        """Take what nodes said by now: one that has failed already was not called off."""
        until = time.monotonic() + WAIT_SECONDS
        while self._running and time.monotonic() < until and self._listen(0.0):
            pass


def relay(progress: Progress, host: str, call: object, running: set[str]) -> None:
    """Tell progress what a node told of it; what is no such call is left out.

    Args:
        progress: Whom to tell.
        host: Whose label it is.
        call: A method's name and what it was called with.
        running: The labels that have begun and not ended, which this keeps.
    """
    match call:
        case ["note", str(label), str(text)]:
            progress.note(f"{host}: {label}", text)
        case ["expect", str(label), int(total), int(here)]:
            progress.expect(f"{host}: {label}", total, here)
        case ["start", str(label), int(total), str(work)]:
            running.add(f"{host}: {label}")
            progress.start(f"{host}: {label}", total, work)
        case ["advance", str(label), int(count)]:
            progress.advance(f"{host}: {label}", count)
        case ["reuse", str(label), int(count)]:
            progress.reuse(f"{host}: {label}", count)
        case ["finish", str(label)]:
            running.discard(f"{host}: {label}")
            progress.finish(f"{host}: {label}")
        case _:
            return
