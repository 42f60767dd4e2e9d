"""Have each node of a cluster reconcile itself at one commit. What is done is in git.

Nodes plan first; where only some hosts are wanted, all are asked before who they are. Then canaries go, and only when
all of them went well, the others. A host whose plan says that nothing is left to do is done by that.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from imageworks import __version__
from imageworks.files.progress import Progress
from imageworks.fleet.engine import Engine, Node
from imageworks.fleet.node_task import NodeTask, NodeWork
from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.git.remote import Remote, RemoteError
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import DetachedHeadError
from imageworks.host.settings import HostSettings
from imageworks.operations.fleet.following import Following, HostResult, Job, Result
from imageworks.registry.load import settings_at

HOST_LABEL: Final = "imageworks-host"
"""The engine's label that says a node's host name."""


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
        dry_run: Whether it is only planned.
    """

    hosts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    canaries: tuple[str, ...] = ()
    most: int | None = None
    dry_run: bool = False


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
    agreed: Callable[[Sequence[HostResult], Sequence[str]], bool] = lambda *_: True,
) -> FleetRun | None:
    """Have the chosen hosts do a task; ``None`` where somebody did not agree to their plans.

    Args:
        engine: Reaches the nodes; connected.
        task: What each is to do.
        options: Which hosts, and in which order.
        progress: Told how it goes, each label with its host's name before it.
        labels: Returns the registry's labels of a host.
        agreed: Given what each host would do, and which hosts have anything to do, before anything begins.
    """
    asked = {node.id: node for node in engine.nodes()}
    if not asked:
        raise ImageworksError("the cluster has no node that is alive", remedy="`ray status` shows its nodes.")
    run = _Everywhere(Following(engine, progress), task, options)
    planned = run.plan(asked, labels)
    return run.called_off(planned) if run.is_interrupted() else run.carry_out(planned, agreed)


class _Everywhere:
    """One run on the hosts of a cluster."""

    def __init__(self, following: Following, task: NodeTask, options: FleetRunOptions) -> None:
        self._following = following
        self._task = task
        self._options = options
        self._jobs: list[Job] = []

    def is_interrupted(self) -> bool:
        """Return whether somebody called it off by now."""
        return self._following.interrupted

    def plan(self, nodes: Mapping[str, Node], labels: Callable[[str], Mapping[str, str]]) -> list[HostResult]:
        """Return what the chosen hosts would do; all are asked to plan at once where all are chosen."""
        only_some = bool(self._options.hosts or self._options.labels)
        first = replace(self._task, work=NodeWork.IDENTIFY if only_some else NodeWork.PLAN)
        asked = [Job(node, replace(first, proposed_host=_proposed(node))) for node in nodes.values()]
        answers = self._following.run(asked, None if only_some else self._options.most)
        if self.is_interrupted():
            return [*answers.values()]
        jobs, wrong = _choose(answers, nodes, self._task, self._options, labels)
        self._jobs = sorted(jobs, key=lambda job: job.host)
        known = {*(job.host for job in self._jobs), *(one.host for one in wrong)}
        if unfit := sorted({*self._options.canaries} - known):
            raise UsageError(f"--canary: {', '.join(unfit)} is not among the hosts that are chosen")
        if only_some:
            plan = replace(self._task, work=NodeWork.PLAN)
            chosen = [replace(job, task=replace(plan, proposed_host=job.host)) for job in self._jobs]
            answers = self._following.run(chosen, self._options.most)
        return [*wrong, *(answers[job.node.id] for job in self._jobs)]

    def called_off(self, planned: Iterable[HostResult]) -> FleetRun:
        """Return what a run came to that was called off before anything was done; what failed until then, failed."""
        return self._done(
            one if one.result is Result.FAILED else replace(one, result=Result.NOT_STARTED, error="called off")
            for one in planned
        )

    def carry_out(
        self, planned: Sequence[HostResult], agreed: Callable[[Sequence[HostResult], Sequence[str]], bool]
    ) -> FleetRun | None:
        """Have hosts do what they planned, canaries first."""
        left = {one.host: one.plan for one in planned if one.plan is not None and not one.answer.settled}
        jobs = [] if self._options.dry_run else [job for job in self._jobs if job.host in left]
        for job in jobs:
            job.plan = left[job.host]
        first = [job for job in jobs if job.host in self._options.canaries]
        rest = [job for job in jobs if job.host not in self._options.canaries]
        changing = [job.host for job in (*first, *rest) if left[job.host].has_changes]
        if not agreed(sorted(planned, key=lambda one: one.host), changing):
            return None
        going = {job.host for job in jobs}
        results = [one for one in planned if one.host not in going]
        for group in (first, rest):
            failed = [one.host for one in results if one.host in self._options.canaries and one.result is not Result.OK]
            if failed or self.is_interrupted():
                why = f"the canary {', '.join(failed)} failed" if failed else "called off"
                results += [
                    HostResult(job.host, str(job.node), Result.NOT_STARTED, why, plan=job.plan) for job in group
                ]
            else:
                results += self._following.run(group, self._options.most).values()
        return self._done(results)

    def _done(self, results: Iterable[HostResult]) -> FleetRun:
        ordered = tuple(sorted(results, key=lambda one: one.host))
        return FleetRun(self._task.revision, ordered, self.is_interrupted())


def _proposed(node: Node) -> str:
    return node.labels.get(HOST_LABEL) or node.name


def ask_nodes(engine: Engine, nodes: Iterable[Node], task: NodeTask, progress: Progress) -> list[HostResult]:
    """Return what each node answers to a question."""
    jobs = [Job(node, replace(task, proposed_host=_proposed(node))) for node in nodes]
    following = Following(engine, progress)
    answers = following.run(jobs, None)
    if following.interrupted:
        raise KeyboardInterrupt
    return sorted(answers.values(), key=lambda one: one.host)


def _choose(
    identified: Mapping[str, HostResult],
    nodes: Mapping[str, Node],
    task: NodeTask,
    options: FleetRunOptions,
    labels: Callable[[str], Mapping[str, str]],
) -> tuple[list[Job], list[HostResult]]:
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
            wrong.append(HostResult(name, result.node, Result.FAILED, _claimed(name, claims[name], nodes)))
        elif result.result is not Result.OK and result.plan is None:
            wrong.append(result)
        else:
            jobs.append(Job(nodes[node], replace(task, proposed_host=name), name))
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
