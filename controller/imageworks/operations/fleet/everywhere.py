"""Have each node of a cluster reconcile itself at one commit, and follow how that goes. What is done is in git.

Nodes are asked who they are first. Then canaries go, and only when all of them went well, the others.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from imageworks import __version__
from imageworks.files.progress import Progress
from imageworks.fleet.engine import Engine, Node, NodeEvent
from imageworks.fleet.node_task import NodeAnswer, NodeTask, NodeWork, read_line
from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.git.remote import Remote, RemoteError
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import DetachedHeadError
from imageworks.host.settings import HostSettings
from imageworks.registry.load import settings_at

HOST_LABEL: Final = "imageworks-host"
"""The engine's label that says a node's host name."""
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
        seconds: How long it took.
    """

    host: str
    node: str
    result: Result
    error: str = ""
    answer: NodeAnswer = field(default_factory=NodeAnswer)
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
            "report": report.document() if report is not None else None,
        }


@dataclass(frozen=True, slots=True)
class FleetRun:
    """What a run on all chosen hosts came to.

    Args:
        revision: The commit that they reconciled.
        hosts: By name.
        interrupted: Whether somebody called it off.
    """

    revision: str
    hosts: tuple[HostResult, ...]
    interrupted: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether all went well everywhere."""
        return not self.interrupted and all(one.result is Result.OK for one in self.hosts)


@dataclass(frozen=True, slots=True)
class FleetRunOptions:
    """Which hosts are asked, and in which order.

    Args:
        hosts: By name; all when empty.
        labels: ``key=value``, each of which a host has by registry.yaml or by the engine.
        canaries: The hosts that go first.
        most: How many go at once; all when absent.
    """

    hosts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    canaries: tuple[str, ...] = ()
    most: int | None = None


def name_commit(root: Path, host: HostSettings) -> NodeTask:
    """Return the task of reconciling at the checked-out commit, which the remote must have."""
    repository = RegistryRepository.open(root, host=host.host)
    head, branch = repository.head(), repository.branch()
    if branch is None or head is None:
        raise DetachedHeadError(
            f"{root}: no branch with a commit is checked out", remedy="Check one out, for example: git switch main"
        )
    remote = Remote(repository.program(os.environ))
    there = remote.counterpart(branch)
    tip = remote.fetch(there)
    if tip is None or not remote.is_ancestor(head, tip):
        raise RemoteError(
            f"{there.name} does not have {head[:10]}, which is checked out here, so no node could bring it",
            remedy=f"Send it: git push {there.remote} {branch}",
        )
    return NodeTask(
        NodeWork.RECONCILE,
        __version__,
        revision=head,
        remote=there.address,
        folder=repository.prefix,
        branch=there.name.partition("/")[2],
    )


def labels_of(root: Path, host: HostSettings) -> Callable[[str], Mapping[str, str]]:
    """Return what tells the labels that registry.yaml gives a host."""
    repository = RegistryRepository.open(root, host=host.host)
    head = repository.head()
    return lambda name: settings_at(repository, head, name).labels


def run_everywhere(
    engine: Engine,
    task: NodeTask,
    options: FleetRunOptions,
    progress: Progress,
    *,
    labels: Callable[[str], Mapping[str, str]],
    agreed: Callable[[Sequence[str]], bool] = lambda _: True,
) -> FleetRun | None:
    """Have the chosen hosts do a task; ``None`` where somebody did not agree to them.

    Args:
        engine: Reaches the nodes; connected.
        task: What each is to do.
        options: Which hosts, and in which order.
        progress: Told how it goes, each label with its host's name before it.
        labels: Returns the registry's labels of a host.
        agreed: Asked with the hosts' names before anything begins.
    """
    asked = {node.id: node for node in engine.nodes()}
    if not asked:
        raise ImageworksError("the cluster has no node that is alive", remedy="`ray status` shows its nodes.")
    following = _Following(engine, progress)
    identified = following.run([_Job(node, _identification(task, node)) for node in asked.values()], None)
    if following.interrupted:
        ended = (replace(one, result=Result.NOT_STARTED, error="called off") for one in identified.values())
        return FleetRun(task.revision, tuple(ended), interrupted=True)
    jobs, wrong = _choose(identified, asked, task, options, labels)
    if unfit := sorted({*options.canaries} - {job.host for job in jobs} - {one.host for one in wrong}):
        raise UsageError(f"--canary: {', '.join(unfit)} is not among the hosts that are chosen")
    first = [job for job in jobs if job.host in options.canaries]
    rest = [job for job in jobs if job.host not in options.canaries]
    if jobs and not agreed([job.host for job in (*first, *rest)]):
        return None
    results = list(wrong)
    for group in (first, rest):
        failed = [one.host for one in results if one.host in options.canaries and one.result is not Result.OK]
        if failed or following.interrupted:
            why = f"the canary {', '.join(failed)} failed" if failed else "called off"
            results += [HostResult(job.host, str(job.node), Result.NOT_STARTED, error=why) for job in group]
        else:
            results += following.run(group, options.most).values()
    return FleetRun(task.revision, tuple(sorted(results, key=lambda one: one.host)), following.interrupted)


def _identification(task: NodeTask, node: Node) -> NodeTask:
    return replace(task, work=NodeWork.IDENTIFY, proposed_host=node.labels.get(HOST_LABEL) or node.name)


def ask_nodes(engine: Engine, nodes: Iterable[Node], task: NodeTask, progress: Progress) -> list[HostResult]:
    """Return what each node answers to a question."""
    jobs = [_Job(node, replace(_identification(task, node), work=task.work)) for node in nodes]
    following = _Following(engine, progress)
    answers = following.run(jobs, None)
    if following.interrupted:
        raise KeyboardInterrupt
    return sorted(answers.values(), key=lambda one: one.host)


@dataclass(slots=True)
class _Job:
    """A node's task, and what came of it so far."""

    node: Node
    task: NodeTask
    host: str = ""
    answer: NodeAnswer | None = None
    began: float = 0.0
    heard: float = 0.0
    given_up: str = ""
    running: set[str] = field(default_factory=set)

    @property
    def shown(self) -> str:
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
            time.monotonic() - self.began,
        )


class _Following:
    """Gives jobs to nodes, so many at once, and follows them to their ends; ^C asks all to end."""

    def __init__(self, engine: Engine, progress: Progress) -> None:
        self._engine = engine
        self._progress = progress
        self._running: dict[str, _Job] = {}
        self._results: dict[str, HostResult] = {}
        self.interrupted = False

    def run(self, jobs: Sequence[_Job], most: int | None) -> dict[str, HostResult]:
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

    def _start(self, job: _Job) -> None:
        job.began = job.heard = time.monotonic()
        self._running[job.node.id] = job
        self._engine.start(job.node, job.task.render())

    def _listen(self) -> None:
        for event in self._engine.wait(WAIT_SECONDS):
            if (job := self._running.get(event.node)) is not None:
                job.heard = time.monotonic()
                self._hear(job, event)
        for job in list(self._running.values()):
            silent = time.monotonic() - job.heard
            if silent > SILENT_SECONDS:
                job.given_up = job.given_up or f"it has said nothing for {silent:.0f} s"
                self._engine.cancel(job.node)
                self._end(job, "")

    def _hear(self, job: _Job, event: NodeEvent) -> None:
        if event.line is None:
            self._end(job, event.lost)
            return
        found = read_line(event.line)
        if isinstance(answer := found.get("answer"), dict):
            job.answer = NodeAnswer.read(answer)
        elif isinstance(calls := found.get("progress"), list):
            for call in calls:
                relay(self._progress, job.shown, call, job.running)

    def _end(self, job: _Job, lost: str) -> None:
        del self._running[job.node.id]
        for label in job.running:
            self._progress.finish(label)
        self._results[job.node.id] = job.result(lost)

    def _cancel_all(self) -> None:
        """Ask every node to end, and hear what each has to say; those that do not in time are told so."""
        for job in self._running.values():
            self._engine.cancel(job.node)
        until = time.monotonic() + CANCEL_SECONDS
        while self._running and time.monotonic() < until:
            self._listen()
        for job in list(self._running.values()):
            self._end(job, "it did not end when it was asked to")
        for node, result in self._results.items():
            if result.result is Result.FAILED:
                self._results[node] = replace(result, result=Result.CALLED_OFF)


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


def _choose(
    identified: Mapping[str, HostResult],
    nodes: Mapping[str, Node],
    task: NodeTask,
    options: FleetRunOptions,
    labels: Callable[[str], Mapping[str, str]],
) -> tuple[list[_Job], list[HostResult]]:
    """Return the jobs of the chosen hosts, and what is wrong with others that were chosen too."""
    claims: dict[str, list[str]] = defaultdict(list)
    for node, result in identified.items():
        claims[result.answer.host].append(node)
    wanted = {*options.hosts, *options.canaries}
    unknown = sorted(wanted - claims.keys())
    jobs, wrong = [], []
    for node, result in identified.items():
        name = result.answer.host
        if not _is_chosen(name, nodes[node], options, labels, unknown):
            continue
        if name and len(claims[name]) > 1:
            wrong.append(replace(result, result=Result.FAILED, error=_claimed(name, claims[name], nodes)))
        elif result.result is not Result.OK:
            wrong.append(result)
        else:
            jobs.append(_Job(nodes[node], replace(task, proposed_host=name), name))
    wrong += [HostResult(name, "", Result.FAILED, f"no node that is alive is the host {name}") for name in unknown]
    if not jobs and not wrong:
        raise UsageError("no host has these labels", remedy=f"There are: {', '.join(sorted(filter(None, claims)))}.")
    return jobs, _once(wrong)


def _is_chosen(
    name: str, node: Node, options: FleetRunOptions, labels: Callable[[str], Mapping[str, str]], unknown: Sequence[str]
) -> bool:
    if not name:  # it may be any that is missing
        return not options.hosts or bool(unknown)
    has = {**node.labels, **labels(name)}
    wanted = (label.partition("=") for label in options.labels)
    return (not options.hosts or name in options.hosts) and all(has.get(key) == value for key, _, value in wanted)


def _claimed(name: str, claiming: Iterable[str], nodes: Mapping[str, Node]) -> str:
    told = ", ".join(sorted(f"{nodes[node]} [{node[:8]}]" for node in claiming))
    return (
        f"several nodes say that they are {name}: {told}\n  Give each its own name: IMAGEWORKS_HOST where its Ray "
        f"starts, or `ray start --labels={HOST_LABEL}=NAME`."
    )


def _once(results: Iterable[HostResult]) -> list[HostResult]:
    """Return results without those that say the same of the same host again."""
    return list({(one.host, one.error): one for one in results}.values())
