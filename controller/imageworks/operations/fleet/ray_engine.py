"""Ray as an engine: one task pinned to each node of a cluster that runs already. The only module that imports Ray.

Nothing of the driver travels but the task itself: no environment, no working folder, no code. Each node runs what is
installed there.
"""

import logging
import os
import platform
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, redirect_stdout
from io import StringIO
from threading import get_ident
from typing import Any, Final, Self

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from imageworks.fleet.engine import Node, NodeEvent
from imageworks.foundation.errors import ImageworksError
from imageworks.operations.fleet.node_process import run_task

CONNECT_SECONDS: Final = 10.0
GET_SECONDS: Final = 30.0
GONE_SECONDS: Final = 2.0
GONE_AT_ONCE: Final = 64
ADDRESS_VARIABLE: Final = "RAY_ADDRESS"
CLIENT_SCHEME: Final = "ray://"
NOT_IMPORTED: Final = ("No module named 'imageworks", "failed to import")
REASONS: Final = {
    "TaskCancelledError": "called off",
    "NodeDiedError": "the node died",
    "TaskUnschedulableError": "the node is gone",
    "WorkerCrashedError": "the node, or its worker, died",
    "LocalRayletDiedError": "the node died",
    "OutOfMemoryError": "Ray ended its worker: the node has no memory left",
    "RaySystemError": "the connection to the cluster was lost",
}
"""What Ray's errors mean here, by the names of their classes."""


class RayEngineError(ImageworksError):
    """The cluster cannot be reached or used."""


def open_engine(address: str) -> "RayEngine":
    """Return the engine for a cluster: that at an address, else the one that this machine is a node of."""
    return RayEngine(address or os.environ.get(ADDRESS_VARIABLE, ""))


class RayEngine:
    """Gives tasks to the nodes of a Ray cluster.

    Args:
        address: The address of its GCS; empty for the cluster that this machine is a node of.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._running: dict[Any, str] = {}
        self._muted = ExitStack()

    def __enter__(self) -> Self:
        """Connect; Ray takes over signals meanwhile, which are ours again afterwards."""
        _refuse_unreachable(self._address)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            # Some versions hint at what later ones do with GPUs, of which our tasks use none.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                ray.init(address=self._address or "auto", log_to_driver=False, logging_level=logging.FATAL)
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            raise _unusable(self._address, error) from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self._muted.enter_context(redirect_stdout(_OutputOfThisThread()))
        return self

    def __exit__(self, *_: object) -> None:
        """Let the cluster go, which ends what still runs for us."""
        self._running.clear()
        with redirect_stdout(StringIO()):  # it says there what it has kept back
            ray.shutdown()
        self._muted.close()

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive; Ray itself takes half a minute to notice that one is not."""
        alive = [one for one in ray.nodes() if one["Alive"]]
        with ThreadPoolExecutor(GONE_AT_ONCE) as pool:
            return [_node(one) for one, gone in zip(alive, pool.map(_is_gone, alive), strict=True) if not gone]

    def start(self, node: Node, task: str) -> None:
        """Give a node its task; where the node is gone, so is the task."""
        pinned = ray.remote(run_task).options(
            num_cpus=0,
            num_returns="streaming",
            max_retries=0,
            name="imageworks-models",
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        self._running[pinned.remote(task)] = node.id

    def wait(self, seconds: float) -> Sequence[NodeEvent]:
        """Return what came from any node."""
        if not self._running:
            return ()
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [self._next(lines) for lines in ready]

    def _next(self, lines: Any) -> NodeEvent:  # noqa: ANN401 # Ray's generator of references
        node = self._running[lines]
        try:
            return NodeEvent(node, line=str(ray.get(next(lines), timeout=GET_SECONDS)))
        except GetTimeoutError:
            return NodeEvent(node, line="")
        except StopIteration:
            lost = ""
        except RayError as error:
            lost = _lost(error)
        del self._running[lines]
        return NodeEvent(node, lost=lost)

    def cancel(self, node: Node) -> None:
        """Ask a node's task to end."""
        for lines, owner in self._running.items():
            if owner == node.id:
                ray.cancel(lines)


class _OutputOfThisThread(StringIO):
    """stdout without what other threads print: one of Ray's tells of dead nodes there, which are events here."""

    def __init__(self) -> None:
        super().__init__()
        self._stream, self._thread = sys.stdout, get_ident()

    def write(self, text: str) -> int:
        return self._stream.write(text) if get_ident() == self._thread else len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


def _is_gone(found: dict[str, Any]) -> bool:
    """Return whether nothing is left where a node's raylet answered; one that merely does not answer may come back."""
    try:
        with closing(socket.create_connection((found["NodeManagerAddress"], found["NodeManagerPort"]), GONE_SECONDS)):
            return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def _node(found: dict[str, Any]) -> Node:
    labels = {str(key): str(value) for key, value in (found.get("Labels") or {}).items()}
    name, address = str(found.get("NodeName") or ""), str(found.get("NodeManagerAddress") or "")
    return Node(
        id=found["NodeID"],
        name="" if name == address else name,  # Ray calls a node by its address where nobody named it
        address=address,
        labels={key: value for key, value in labels.items() if not key.startswith("ray.io/")},
        gpus=float((found.get("Resources") or {}).get("GPU", 0)),
    )


def _lost(error: RayError) -> str:
    told = str(error)
    if any(sign in told for sign in NOT_IMPORTED):
        return "imageworks-models is not installed there for the Python of its Ray, or is another version"
    for kind in (*(one.__name__ for one in type(error).__mro__), type(getattr(error, "cause", None)).__name__):
        if kind in REASONS:
            return REASONS[kind]
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no reason was given'}"


def _refuse_unreachable(address: str) -> None:
    """Refuse an address that does not answer: Ray would try for minutes, and may take the process down with it."""
    if address.startswith(CLIENT_SCHEME):
        raise RayEngineError(
            f"{address}: Ray's client protocol cannot follow tasks as they go",
            remedy="Run this on a node of the cluster with --on ray, or by `ray job submit`.",
        )
    host, _, port = address.rpartition(":")
    if not address or address in {"auto", "local"} or not (host and port.isdigit()):
        return
    try:
        with closing(socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS)):
            return
    except (OSError, OverflowError) as error:
        raise RayEngineError(
            f"{address}: no Ray cluster answers there: {error}",
            remedy="`ray status --address ADDRESS` says whether one does.",
        ) from error


def _unusable(address: str, error: Exception) -> RayEngineError:
    """Return why a cluster could not be joined; where Ray gives no reason, what it met before may be one."""
    met: BaseException | None = error
    while met is not None and not str(met).strip():
        met = met.__cause__ or met.__context__
    return RayEngineError(
        f"the Ray cluster {address or 'of this machine'} cannot be used: {' '.join(str(met or error).split())}",
        remedy="Run this on a node of the cluster, or name it: --on ray=ADDRESS:PORT. Ray and Python must be those of "
        f"the cluster; here they are {ray.__version__} and {platform.python_version()}.",
    )
