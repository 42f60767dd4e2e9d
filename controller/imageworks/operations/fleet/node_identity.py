"""Which host a node is, and whether it can be asked at all; light, as each node is asked so before anything else."""

import os
import shutil
from dataclasses import replace
from typing import Final

from imageworks import __version__
from imageworks.fleet.node_task import NodeAnswer, NodeTask
from imageworks.foundation.errors import ImageworksError
from imageworks.host.settings import load_host_settings

HOST_VARIABLE: Final = "IMAGEWORKS_HOST"
DEFAULT_ORIGIN: Final = "default"


class NodeError(ImageworksError):
    """A node cannot do what it is asked for."""


def identify(task: NodeTask) -> NodeAnswer:
    """Return which host this node is; what keeps it from being asked for more is part of the answer."""
    answer = NodeAnswer(version=__version__)
    try:
        host, origin = _named(task.proposed_host)
        answer = replace(answer, host=host, origin=origin)
        if task.version != __version__:
            raise NodeError(
                f"imageworks-models is {__version__} there, and {task.version} here",
                remedy=f"Install the same everywhere, for example there: pip install imageworks-models=={task.version}",
            )
        if shutil.which("git") is None:
            raise NodeError("git is not installed there", remedy="Install it, for example: sudo apt install git")
    except ImageworksError as error:
        return replace(answer, error=error.render())
    return answer


def _named(proposed: str) -> tuple[str, str]:
    """Return this node's host name and why: what the node says itself, else what its engine says, else the system's."""
    found = load_host_settings()
    origin = found.origin_of("host")
    if origin != DEFAULT_ORIGIN or not proposed:
        return found.host, origin
    os.environ[HOST_VARIABLE] = proposed  # so that all that this process does is that host's
    return load_host_settings().host, "the engine"
