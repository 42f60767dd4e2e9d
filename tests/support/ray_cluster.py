"""A real Ray cluster of this machine alone: several raylets, each with a home, a token and disks of its own.

It has to run where only the loopback interface is, for Ray takes any other address that it finds: see ``tests/on_ray``.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.registry import wait_for

PORT = 6399
ADDRESS = f"127.0.0.1:{PORT}"
START_SECONDS = 120.0
NOT_IN_TIME = "timed out during startup"
PATIENCE = {"RAY_health_check_failure_threshold": "10", "RAY_health_check_timeout_ms": "30000"}
"""A node that a busy machine keeps from answering is not dead."""
OBJECT_STORE = 80_000_000  # bytes, close to the least that Ray takes


@dataclass
class RayCluster:
    """Some raylets.

    Args:
        folder: Where Ray keeps sockets and logs; a short path, as sockets allow no long one.
        homes: Each node's home, by its host.
    """

    folder: Path
    homes: dict[str, Path] = field(default_factory=dict)

    def start(self, host: str, environment: Mapping[str, str], *words: str) -> None:
        """Start a raylet with an environment; the first one is the head."""
        home = Path(environment["HOME"])
        home.mkdir(parents=True, exist_ok=True)
        head = ("--head", "--port", str(PORT), "--temp-dir", str(self.folder), "--include-dashboard=false")
        here = ("--address", ADDRESS) if self.homes else head
        started = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ray")), "start", "--node-ip-address", "127.0.0.1", *here),
                *("--num-cpus", "1", "--object-store-memory", str(OBJECT_STORE), "--disable-usage-stats", *words),
            ],
            env={**environment, **PATIENCE, "PATH": os.environ["PATH"]},
            capture_output=True,
            timeout=START_SECONDS,
            check=False,
            text=True,
        )
        told = started.stdout + started.stderr
        if NOT_IN_TIME in told:  # Ray gives up after 30 s, whatever one wishes
            pytest.skip("this machine is too busy for Ray to come up")
        assert started.returncode == 0, told
        self.homes[host] = home

    def kill(self, host: str) -> None:
        """Let a node die as by a power cut of its Ray: its workers notice it."""
        victims = self._raylets(host)
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self._raylets(host))

    def _raylets(self, host: str) -> list[int]:
        """Return the processes of a node's raylet."""
        found = []
        wanted = f"HOME={self.homes[host]}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"/raylet") and wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """Return a cluster without nodes; what it started ends with the namespace of processes around it."""
    folder = Path(tempfile.mkdtemp(prefix="iwr", dir="/tmp"))  # a short path
    try:
        yield RayCluster(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
