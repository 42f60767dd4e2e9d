"""A watch of 300 cycles with changes and faults, in a process of its own: nothing of it may grow. For the night.

    python -m benchmarks.endurance [--cycles 300] [--keep FILE]

A colleague pushes changes, new models, removals and broken manifests to a real git server; server and hub go away and
come back. After each cycle the process is looked at from outside: its memory, open files, threads and children.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import BenchmarkError
from benchmarks.scratch import CHECKOUT, Scratch, program
from benchmarks.servers import free_port

from imageworks.loopback_hub.server import HubServer

WARM: Final = 40
"""Cycles after which everything was loaded and met once."""
MOST_GROWTH: Final = 1.1
CYCLE_SECONDS: Final = 120.0
MODELS: Final = 3
FILES: Final = {"config.json": b'{"model_type": "llama"}\n', "model.safetensors": bytes(300_000)}


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of the process after one cycle.

    Args:
        cycle: How many cycles there were.
        memory: Its private and shared memory, in KiB.
        files: Open files.
        threads: Its threads.
        children: Processes that it started and that are still there.
        folders: Folders of its host, without those of git's objects.
        loose: Objects of the registry that no pack holds.
    """

    cycle: int
    memory: int
    files: int
    threads: int
    children: int
    folders: int
    loose: int


@dataclass
class Place:
    """The registry's host, its remote, its hub, and a colleague who pushes."""

    scratch: Scratch
    colleague: Path
    server: Path
    hub: HubServer

    def write(self, name: str, text: str | None) -> None:
        """Push a manifest, or that it is gone."""
        file = self.colleague / f"models/{name}.yaml"
        git(self.colleague, "pull", "--quiet", "--rebase")
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        git(self.colleague, "add", "--all")
        git(self.colleague, "commit", "--quiet", "--allow-empty", "--message", f"Change {name}")
        git(self.colleague, "push", "--quiet")

    def turn(self, number: int) -> None:
        """Do what happens before a cycle."""
        name = f"model-{number // 10 % MODELS}"
        match number % 10:
            case 1:
                self.write(name, manifest(name))
            case 2:
                self.write(name, manifest(name, f"labels: {{turn: t{number}}}\n"))
            case 3:
                self.write("broken", "schema_version: 1\nsource: {huggingface: 7}\n")
            case 4:
                self.write("broken", None)
            case 5:
                (self.server / "HEAD").rename(self.server / "gone")
            case 6:
                (self.server / "gone").rename(self.server / "HEAD")
            case 7:
                self.write(name, manifest(name, "state: absent\n"))
            case 8:
                self.hub.stop()
                self.write(name, manifest(name))
            case 9:
                self.hub.start()
            case _:
                return


def manifest(name: str, more: str = "") -> str:
    return f"schema_version: 1\nsource: {{huggingface: acme/{name}}}\nbackend: vllm\nlocation: linux_wsl\n{more}"


def main() -> int:
    """Run it and return 1 where something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=300)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write what was seen as JSON")
    asked = parser.parse_args()
    sys.path.insert(0, str(CHECKOUT / "tests"))
    with tempfile.TemporaryDirectory(prefix="endurance-") as folder, place(Scratch(Path(folder) / "host")) as there:
        looks = watch(there, asked.cycles)
        commits = int(git(there.scratch.registry, "rev-list", "--all", "--count"))
        stored = sum(int(line.split()[1]) for line in counted(there) if line.startswith(("count", "in-pack")))
    if asked.keep is not None:
        asked.keep.write_text(json.dumps([asdict(one) for one in looks]), encoding="utf-8")
    print(f"{commits} commits, {stored} objects: {stored / commits:.1f} a commit")
    wrong = judged(looks)
    print("\n".join(wrong) or "nothing grew")
    return 1 if wrong else 0


@contextmanager
def place(scratch: Scratch) -> Iterator[Place]:
    """Make everything and clear it away."""
    from support.git_server import serve_git

    scratch.root.mkdir(parents=True)
    os.environ.update(scratch.environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1"))
    (scratch.root / "home").mkdir()
    for number in range(MODELS):
        repository = scratch.root / f"hub/acme/model-{number}"
        repository.mkdir(parents=True)
        for name, data in FILES.items():
            (repository / name).write_bytes(data + str(number).encode() if name == "config.json" else data)
    hub = HubServer(scratch.root / "hub", port=free_port(), record=False)
    with serve_git(scratch.root / "remote.git") as server, ExitStack() as stack:
        hub.start()
        stack.callback(hub.stop)
        os.environ["HF_ENDPOINT"] = hub.url
        run(program("imageworks-models"), "init", str(scratch.registry))
        git(scratch.registry, "remote", "add", "origin", server.address)
        git(scratch.registry, "push", "--quiet", "--set-upstream", "origin", "HEAD:main")
        git(scratch.root, "clone", "--quiet", server.address, "colleague")
        yield Place(scratch, scratch.root / "colleague", server.folder, hub)


def watch(there: Place, cycles: int) -> list[Look]:
    """Return what was seen of a watch after each of its cycles."""
    words = ("reconcile", "--watch", "--yes", "--interval", "1h", "--port", "0", "--report")
    looks: list[Look] = []
    with subprocess.Popen(
        (program("imageworks-models"), *words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            line = next(line for line in child.stderr or () if "/healthz" in line)
            metrics = line.partition(" at ")[2].partition("/healthz")[0] + "/metrics"
            for number in range(1, cycles + 1):
                wait_for(lambda number=number: finished(metrics) >= number)  # type: ignore[misc]
                looks.append(look(there, child.pid, number))
                if number % 20 == 0 or number == 1:
                    print(" ".join(f"{key}={value}" for key, value in asdict(looks[-1]).items()), flush=True)
                there.turn(number)
                child.send_signal(signal.SIGHUP)
        finally:
            child.terminate()
            child.wait(CYCLE_SECONDS)
    return looks


def look(there: Place, process: int, cycle: int) -> Look:
    """Return what is seen of a process now."""
    rollup = dict(line.split()[:2] for line in read(f"/proc/{process}/smaps_rollup").splitlines()[1:])
    children = read(f"/proc/{process}/task/{process}/children").split()
    folders = (path for path in there.scratch.root.rglob("*") if path.is_dir() and "objects" not in path.parts)
    own = [path for path in folders if not path.is_relative_to(there.colleague)]
    loose = next(int(line.split()[1]) for line in counted(there) if line.startswith("count:"))
    return Look(
        cycle,
        int(rollup["Pss:"]),
        len(list(Path(f"/proc/{process}/fd").iterdir())),
        len(list(Path(f"/proc/{process}/task").iterdir())),
        len(children),
        len(own),
        loose,
    )


def judged(looks: Sequence[Look]) -> list[str]:
    """Return what grew between the cycles after the first ones and the last ones."""
    tenth = max(len(looks) // 10, 1)
    early, late = looks[WARM : WARM + tenth], looks[-tenth:]
    if not early:
        raise BenchmarkError(f"{len(looks)} cycles are too few: {WARM} are needed to get warm")
    wrong = []
    for name in ("memory", "files", "threads", "children", "folders"):
        before, after = (max(getattr(one, name) for one in some) for some in (early, late))
        print(f"{name}: {before} after {early[-1].cycle} cycles, {after} after {looks[-1].cycle}")
        if after > before * (MOST_GROWTH if name == "memory" else 1):
            wrong.append(f"{name} grew from {before} to {after}")
    return wrong


def finished(metrics: str) -> int:
    """Return how many cycles ended."""
    with urllib.request.urlopen(metrics, timeout=30) as reply:  # noqa: S310 # loopback
        lines = reply.read().decode().splitlines()
    return sum(int(float(line.split()[1])) for line in lines if line.startswith("imageworks_watch_cycles_total{"))


def wait_for(condition: Callable[[], bool]) -> None:
    """Return as soon as a condition holds."""
    end = time.monotonic() + CYCLE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise BenchmarkError("a cycle does not end")
        time.sleep(0.05)


def counted(there: Place) -> list[str]:
    return git(there.scratch.registry, "count-objects", "-v").splitlines()


def read(path: str) -> str:
    return Path(path).read_text(encoding="ascii")


def git(folder: Path, *words: str) -> str:
    return run("git", "-C", str(folder), *words)


def run(*words: str) -> str:
    """Return what a program printed, which has to succeed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
