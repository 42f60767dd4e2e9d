"""Whether every node that would load a model has it, complete and at the same path, as servers on Ray expect."""

import shlex
from pathlib import Path

from imageworks import __version__
from imageworks.files.progress import Progress
from imageworks.fleet.engine import Engine
from imageworks.fleet.node_task import NodeAnswer, NodeTask, NodeWork
from imageworks.foundation.errors import ImageworksError
from imageworks.operations.fleet.everywhere import ask_nodes
from imageworks.operations.fleet.following import HostResult
from imageworks.operations.fleet.node import locate


class NotReadyError(ImageworksError):
    """A node that would load the model cannot."""


def refuse_unready(engine: Engine, name: str, registry: Path | None, *, on: str) -> int:
    """Return how many nodes have a model as it is here; raise where one of them has not.

    Nodes with GPUs load it; where the engine sees none anywhere, all nodes count.

    Args:
        engine: Reaches the nodes; connected.
        name: The variant name.
        registry: The registry here, where one was named.
        on: How the engine was named, for the remedy.
    """
    here = locate(name, NodeAnswer(), registry)
    if here.error:
        raise NotReadyError(here.error, remedy=f"Bring it here first: imageworks-models verify {name} --repair")
    nodes = engine.nodes()
    nodes = [node for node in nodes if node.gpus] or nodes
    answers = ask_nodes(engine, nodes, NodeTask(NodeWork.LOCATE, __version__, names=(name,)), Progress())
    wrong = {one.host: why for one in answers if (why := _why_not(one, here))}
    if wrong:
        hosts = " ".join(f"--host {shlex.quote(host)}" for host in wrong)
        told = "; ".join(f"{host}: {why.splitlines()[0]}" for host, why in wrong.items())
        raise NotReadyError(
            f"not every node has {name} as it is here: {told}",
            remedy=f"Bring it: imageworks-models fleet reconcile {shlex.quote(name)} --on {shlex.quote(on)} {hosts}",
        )
    return len(nodes)


def _why_not(one: HostResult, here: NodeAnswer) -> str:
    there = one.answer
    if one.error:
        return one.error
    if there.lacks != here.lacks:  # what it lacks here too, such as a tokenizer, was given to the server in another way
        return f"incomplete: {there.lacks}" if there.lacks else f"it is complete there, and here not: {here.lacks}"
    if there.path != here.path:
        return f"it is at {there.path}, and here at {here.path}: its location must lead to one path on all nodes"
    if there.revision != here.revision:
        return f"revision {there.revision[:10] or 'unknown'} is there, and {here.revision[:10] or 'unknown'} here"
    return ""
