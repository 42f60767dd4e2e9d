"""What an engine must offer so that each node of a cluster can be given a task: nodes, lines that come, an end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Node:
    """One node that an engine reaches.

    Args:
        id: By which the engine knows it.
        name: What the engine calls it; empty where nobody named it.
        address: Where it is, for people.
        labels: The engine's own labels of it.
        gpus: How many GPUs the engine sees there.
    """

    id: str
    name: str = ""
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    gpus: float = 0.0

    def __str__(self) -> str:
        told = f"{self.name} ({self.address})" if self.name and self.address else self.name or self.address
        return told or self.id[:12]


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """What came of a task on a node: a line that it told, or its end.

    Args:
        node: The node's id.
        line: What it told; ``None`` at the end.
        lost: Why it ended without having come to its end; empty where it did.
    """

    node: str
    line: str | None = None
    lost: str = ""


class Engine(Protocol):
    """Reaches the nodes of one cluster; a node has one task at a time."""

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive."""

    def start(self, node: Node, task: str) -> None:
        """Give a node its task, which may not go to another one."""

    def wait(self, seconds: float) -> Sequence[NodeEvent]:
        """Return what came from any node, at the latest after some seconds."""

    def cancel(self, node: Node) -> None:
        """Ask a node's task to end; its end comes as an event."""

    def __enter__(self) -> Self:
        """Return itself, connected."""

    def __exit__(self, *_: object) -> None:
        """Let the cluster go; tasks that still run are ended."""
