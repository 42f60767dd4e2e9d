"""An engine for tests whose nodes are processes of this machine, each with a home and disks of its own."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Event, Thread
from typing import Self

from imageworks import __version__
from imageworks.fleet.engine import Engine, Node, NodeEvent
from imageworks.fleet.node_task import NodeTask, NodeWork, read_line
from imageworks.operations.fleet.node_process import run_task


@dataclass
class LocalEngine:
    """Gives tasks to processes of this machine.

    Args:
        environments: Each node's environment, by the node.
        tasks: What each node was given, in order.
    """

    environments: Mapping[Node, Mapping[str, str]]
    tasks: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events: Queue[NodeEvent] = Queue()
        self._running: dict[str, tuple[Thread, Event]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        running = [*self._running.values()]
        for one in running:
            one[1].set()
        for one in running:
            one[0].join()

    def nodes(self) -> Sequence[Node]:
        return list(self.environments)

    def start(self, node: Node, task: str) -> None:
        self.tasks.append((node.id, task))
        if node not in self.environments:
            self._events.put(NodeEvent(node.id, lost="the node is gone"))
            return
        cancelled = Event()
        thread = Thread(target=self._follow, args=(node, task, cancelled))
        self._running[node.id] = thread, cancelled
        thread.start()

    def _follow(self, node: Node, task: str, cancelled: Event) -> None:
        lines: Iterator[str] = run_task(task, self.environments[node], cancelled.is_set)
        for line in lines:
            self._events.put(NodeEvent(node.id, line))
        self._events.put(NodeEvent(node.id, lost="called off" if cancelled.is_set() else ""))

    def wait(self, seconds: float) -> Sequence[NodeEvent]:
        try:
            return [self._events.get(timeout=seconds)]
        except Empty:
            return ()

    def cancel(self, node: Node) -> None:
        self._running[node.id][1].set()


def check_engine(engine: Engine) -> None:
    """Fail unless an engine of two nodes or more does what the protocol says."""
    first, second, *_ = engine.nodes()
    question = NodeTask(NodeWork.IDENTIFY, __version__).render()
    for node in (first, second):
        engine.start(node, question)
    told = _until_ended(engine, 2)
    for node in (first, second):
        *lines, end = told[node.id]
        assert [list(read_line(event.line or "")) for event in lines] == [["answer"]]
        assert (end.line, end.lost) == (None, "")
    engine.start(first, NodeTask(NodeWork.RECONCILE, "another").render())  # whose child has an answer, whatever it is
    engine.cancel(first)
    assert _until_ended(engine, 1)[first.id][-1].line is None
    engine.start(Node("0" * 56), question)
    assert _until_ended(engine, 1)["0" * 56][-1].lost
    assert list(engine.wait(0.1)) == []


def _until_ended(engine: Engine, tasks: int) -> dict[str, list[NodeEvent]]:
    """Return what came of some tasks, by node."""
    told: dict[str, list[NodeEvent]] = {}
    deadline = time.monotonic() + 120
    while sum(events[-1].line is None for events in told.values()) < tasks:
        assert time.monotonic() < deadline, told
        for event in engine.wait(1.0):
            told.setdefault(event.node, []).append(event)
    return told
