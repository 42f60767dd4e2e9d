"""A watch of 300 cycles with changes and faults, in a process of its own: nothing of it may grow. For the night.

    python -m benchmarks.endurance [--cycles 300] [--keep FILE]

A colleague pushes changes, new models, removals and broken manifests to a real git server; server and hub go away and
come back, and the host's disk gets full, to the last byte or nearly so (where this runs as root, which may mount a
small one). After each cycle the process is looked at from outside: its memory, open files, threads and children, and
what it keeps on disk.
"""

import argparse
import errno
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
DISK_MIB: Final = 96
"""The host's disk, which gets full; four times of what all its models and its registry take."""
LEFT: Final = (0, 4096, 200_000)
"""Bytes that a full disk has left, one after the other; a model has more."""
LOOSE_OBJECTS: Final = 300
"""After which git packs; so few that it happens again and again."""
MOST_LOOSE: Final = 3 * LOOSE_OBJECTS  # git counts by a sample, and packs now earlier and now later
MOST_OBJECTS: Final = 9.0
"""Objects a commit on the average: itself, five folders, the entry, the snapshot, the manifest."""
MODELS: Final = 3
FILLING: Final = "filling"
"""The model that comes while the disk is full."""
TURNS: Final = 12
PERIOD: Final = TURNS * MODELS
"""After which all happens again, to the same models and with the same room left."""
LAST_LINES: Final = 6
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
        kept: KiB of state and cache, without the log, which is cut at its own length.
        loose: Objects of the registry that no pack holds.
    """

    cycle: int
    memory: int
    files: int
    threads: int
    children: int
    folders: int
    kept: int
    loose: int


@dataclass
class Place:
    """The registry's host, its remote, its hub, and a colleague who pushes."""

    scratch: Scratch
    colleague: Path
    server: Path
    hub: HubServer
    small: bool

    @property
    def filling(self) -> Path:
        """The file that fills the host's disk."""
        return self.scratch.root / "filling"

    def fill(self, left: int) -> None:
        """Take what is free of the host's disk but some bytes; which of them each file gets is for the kernel."""
        if not self.small:
            return
        with self.filling.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        os.truncate(self.filling, max(self.filling.stat().st_size - left, 0))

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
        name = f"model-{number // TURNS % MODELS}"
        match number % TURNS:
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
            case turn:
                self._turn_of_the_disk(turn, LEFT[number // TURNS % len(LEFT)])

    def put_right(self) -> None:
        """End every fault."""
        if (self.server / "gone").exists():
            (self.server / "gone").rename(self.server / "HEAD")
        self.filling.unlink(missing_ok=True)
        self.hub.stop()
        self.hub.start()
        self.write("broken", None)

    def _turn_of_the_disk(self, turn: int, left: int) -> None:
        match turn:
            case 10:
                self.write(FILLING, manifest(FILLING))
                self.fill(left)
            case 11:
                self.filling.unlink(missing_ok=True)
            case _:
                self.write(FILLING, manifest(FILLING, "state: absent\n"))


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
    if stored / commits > MOST_OBJECTS:
        wrong.append(f"the registry has {stored / commits:.1f} objects a commit")
    print("\n".join(wrong) or "nothing grew")
    return 1 if wrong else 0


@contextmanager
def place(scratch: Scratch) -> Iterator[Place]:
    """Make everything and clear it away."""
    from support.git_server import serve_git

    around = scratch.root.parent
    os.environ.update(scratch.environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1"))
    for model in (*(f"model-{number}" for number in range(MODELS)), FILLING):
        repository = around / f"hub/acme/{model}"
        repository.mkdir(parents=True)
        for name, data in FILES.items():
            (repository / name).write_bytes(data + f"// {model}".encode() if name.startswith("model") else data)
    hub = HubServer(around / "hub", port=free_port(), record=False)
    with small_disk(scratch.root) as small, serve_git(around / "remote.git") as server, ExitStack() as stack:
        (scratch.root / "home").mkdir()
        hub.start()
        stack.callback(hub.stop)
        os.environ["HF_ENDPOINT"] = hub.url
        run(program("imageworks-models"), "init", str(scratch.registry))
        git(scratch.registry, "config", "gc.auto", str(LOOSE_OBJECTS))
        git(scratch.registry, "remote", "add", "origin", server.address)
        git(scratch.registry, "push", "--quiet", "--set-upstream", "origin", "HEAD:main")
        git(around, "clone", "--quiet", server.address, "colleague")
        yield Place(scratch, around / "colleague", server.folder, hub, small)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Make a folder a small disk, and yield whether it is one."""
    folder.mkdir(parents=True)
    small = os.geteuid() == 0
    if small:
        run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder))
    else:
        print("no disk gets full here: only root may mount a small one")
    try:
        yield small
    finally:
        if small:
            run("umount", "--lazy", str(folder))


def watch(there: Place, cycles: int) -> list[Look]:
    """Return what was seen of a watch after each of its cycles."""
    words = ("reconcile", "--watch", "--yes", "--interval", "1h", "--port", "0", "--report")
    looks: list[Look] = []
    said = there.colleague.with_name("said")
    with (
        said.open("w") as out,
        subprocess.Popen((program("imageworks-models"), *words), stdout=subprocess.DEVNULL, stderr=out) as child,
    ):
        try:
            wait_for(lambda: "/healthz" in said.read_text())
            line = next(line for line in said.read_text().splitlines() if "/healthz" in line)
            metrics = line.partition(" at ")[2].partition("/healthz")[0] + "/metrics"
            for number in range(1, cycles + 1):
                wait_for(lambda number=number: sum(finished(metrics).values()) >= number)  # type: ignore[misc]
                looks.append(look(there, child.pid, number))
                if number % 20 == 0 or number == 1:
                    print(" ".join(f"{key}={value}" for key, value in asdict(looks[-1]).items()), flush=True)
                there.turn(number) if number < cycles else there.put_right()
                child.send_signal(signal.SIGHUP)
            wait_for(lambda: sum(finished(metrics).values()) > cycles)
            print(f"cycles by how they ended: {finished(metrics)}")
            run(program("imageworks-models"), "reconcile", "--dry-run", "--detailed-exitcode")  # nothing is left to do
        finally:
            child.terminate()
            child.wait(CYCLE_SECONDS)
            print("".join(f"  {line}\n" for line in said.read_text().splitlines()[-LAST_LINES:]), end="")
    if child.returncode:
        raise BenchmarkError(f"the watch ended with {child.returncode}")
    return looks


def look(there: Place, process: int, cycle: int) -> Look:
    """Return what is seen of a process now."""
    rollup = dict(line.split()[:2] for line in read(f"/proc/{process}/smaps_rollup").splitlines()[1:])
    children = read(f"/proc/{process}/task/{process}/children").split()
    folders = (path for path in there.scratch.root.rglob("*") if path.is_dir() and "objects" not in path.parts)
    kept = (path for one in (there.scratch.state, there.scratch.cache) for path in one.rglob("*") if path.is_file())
    loose = next(int(line.split()[1]) for line in counted(there) if line.startswith("count:"))
    return Look(
        cycle,
        int(rollup["Pss:"]),
        len(list(Path(f"/proc/{process}/fd").iterdir())),
        len(list(Path(f"/proc/{process}/task").iterdir())),
        len(children),
        len(list(folders)),
        sum(path.stat().st_size for path in kept if "logs" not in path.parts) >> 10,
        loose,
    )


def judged(looks: Sequence[Look]) -> list[str]:
    """Return what grew between a whole period of what happens after the first cycles, and the last one."""
    if len(looks) < (least := WARM + 2 * PERIOD):
        raise BenchmarkError(f"{len(looks)} cycles are too few: {WARM} are needed to get warm, {least} in all")
    early, late = looks[WARM : WARM + PERIOD], looks[-PERIOD:]
    wrong = []
    for name in ("memory", "files", "threads", "children", "folders", "kept"):
        # A question for metrics that is still being answered has a file and a thread: what is always there counts.
        judge = min if name in {"files", "threads", "children"} else max
        before, after = (judge(getattr(one, name) for one in some) for some in (early, late))
        print(f"{name}: {before} after {early[-1].cycle} cycles, {after} after {looks[-1].cycle}")
        if after > before * (MOST_GROWTH if name in {"memory", "kept"} else 1):
            wrong.append(f"{name} grew from {before} to {after}")
    if (loose := max(one.loose for one in looks)) > MOST_LOOSE:
        wrong.append(f"{loose} objects were loose at once")
    return wrong


def finished(metrics: str) -> dict[str, int]:
    """Return how many cycles ended, by how they did."""
    with urllib.request.urlopen(metrics, timeout=30) as reply:  # noqa: S310 # loopback
        lines = reply.read().decode().splitlines()
    counted = (line for line in lines if line.startswith("imageworks_watch_cycles_total{"))
    return {line.split('"')[1]: int(float(line.split()[1])) for line in counted}


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
