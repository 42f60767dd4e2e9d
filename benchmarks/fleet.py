"""What a fleet run costs where nothing is to do, and whether the pushes of many hosts at once all land; prints figures.

    python -m benchmarks.fleet [--nodes 4] [--rounds 5] [--hosts 20]

The first on a real Ray with so many raylets on this machine, beside as many local runs, one after the other and at
once; the second with hosts that are processes of this machine, at one real git server, each of which installs one small
model. Needs `unshare` and root: all of it runs where only the loopback interface is.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import BenchmarkError

if TYPE_CHECKING:
    from support.git_server import GitServer

TESTS: Final = Path(__file__).resolve().parents[1] / "tests"
INSIDE: Final = "IMAGEWORKS_INSIDE"
NAMESPACE: Final = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c")
PROGRAM: Final = (sys.executable, "-m", "imageworks")
LOGICAL: Final = 20
SECONDS: Final = 600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (("nodes", 4), ("rounds", 5), ("hosts", 20)):
        parser.add_argument(f"--{name}", type=int, default=number)
    asked = parser.parse_args()
    if INSIDE not in os.environ:
        words = (*NAMESPACE, 'ip link set lo up && "$@"; exit $?', "sh", sys.executable, "-m", "benchmarks.fleet")
        return subprocess.run([*words, *sys.argv[1:]], env={**os.environ, INSIDE: "1"}, check=False).returncode
    sys.path.insert(0, str(TESTS))
    from imageworks.loopback_hub.server import HubServer
    from support.git_server import serve_git
    from support.hub import HubRepository
    from support.reconcile import MODEL, REPO

    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        base = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        os.environ |= base
        HubRepository(Path(folder) / "hub", REPO, MODEL)
        with HubServer(Path(folder) / "hub") as hub, serve_git(Path(folder) / "registry.git") as server:
            base["HF_ENDPOINT"] = hub.url
            driver = declare(Path(folder), server, base)
            if asked.nodes:
                measure_nothing_to_do(Path(folder), driver, base, asked.nodes, asked.rounds)
            measure_race(Path(folder), driver, server, base, asked.hosts)
    return 0


def declare(folder: Path, server: "GitServer", base: Mapping[str, str]) -> Path:
    """Return a registry with one small model, and others that need no bytes, pushed to the server."""
    driver = folder / "driver"
    home = {**base, "HOME": str(folder / "home"), "IMAGEWORKS_HOST": "driver"}
    run(("init", str(driver)), home)
    for number in range(LOGICAL):
        text = "schema_version: 1\nbackend: vllm\nroles: [caption]\n"
        (driver / f"models/model-{number:02d}.yaml").write_text(text, encoding="utf-8")
    (driver / "models/tiny.yaml").write_text(
        "schema_version: 1\nsource: {huggingface: acme/tiny-1b}\n", encoding="utf-8"
    )
    git = ("git", "-C", str(driver), "-c", "user.name=Person", "-c", "user.email=person@example.org")
    for words in (("add", "--all"), ("commit", "--quiet", "--message", "Declare"), ("branch", "--move", "main")):
        subprocess.run([*git, *words], check=True)
    subprocess.run([*git, "remote", "add", "origin", server.address], check=True)
    subprocess.run([*git, "push", "--quiet", "--set-upstream", "origin", "main"], check=True)
    return driver


def measure_nothing_to_do(folder: Path, driver: Path, base: Mapping[str, str], nodes: int, rounds: int) -> None:
    from support.ray_cluster import ADDRESS, ray_cluster

    homes = {name: environment(folder, name, base) for name in (f"node{number}" for number in range(nodes))}
    whole = ("fleet", "reconcile", "--on", f"ray={ADDRESS}", "--yes", "--no-progress", "--registry", str(driver))
    local = ("reconcile", "--yes", "--no-progress")
    with ray_cluster() as cluster:
        for name, variables in homes.items():
            cluster.start(name, variables)
        here = {**base, "HOME": str(folder / "home"), "IMAGEWORKS_HOST": "driver"}
        run(whole, here)
        with ThreadPoolExecutor(nodes) as pool:
            contenders: dict[str, Callable[[], object]] = {
                "fleet run": lambda: run(whole, here),
                "local, one after the other": lambda: [run(local, one) for one in homes.values()],
                "local, at once": lambda: list(pool.map(partial(run, local), homes.values())),
            }
            took: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(rounds):
                for name, contender in contenders.items():
                    began = time.monotonic()
                    contender()
                    took[name].append(time.monotonic() - began)
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    for name, seconds in medians.items():
        print(
            f"{nodes} nodes, {LOGICAL + 1} models, nothing to do: {name}: {seconds:.2f} s (least {min(took[name]):.2f})"
        )
    one = medians["local, one after the other"]
    print(f"a fleet run takes {medians['fleet run'] / one:.2f} x as long as {nodes} local runs one after the other")


def measure_race(folder: Path, driver: Path, server: "GitServer", base: Mapping[str, str], hosts: int) -> None:
    """Let many hosts record all models at once, and look whether each host's entries are on the branch."""
    from imageworks.files.progress import Progress
    from imageworks.fleet.engine import Node
    from imageworks.host.settings import load_host_settings
    from imageworks.operations.fleet.everywhere import FleetRunOptions, name_commit, run_everywhere
    from support.engines import LocalEngine

    names = [f"racer{number:02d}" for number in range(hosts)]
    task = name_commit(driver, load_host_settings(registry=driver))
    began = time.monotonic()
    with LocalEngine({Node(name): environment(folder, name, base) for name in names}) as engine:
        done = run_everywhere(engine, task, FleetRunOptions(), Progress(), labels=lambda _: {})
    if done is None:
        raise BenchmarkError("nobody agreed")
    wrong = {one.host: one.error for one in done.hosts if one.error}
    listed = subprocess.run(
        ["git", "-C", str(server.folder), "ls-tree", "--name-only", "main:discovered"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    there = len(set(names) & set(listed))
    print(f"{hosts} hosts pushed at once: {there} landed, {len(wrong)} failed, {time.monotonic() - began:.0f} s")
    for host, error in wrong.items():
        print(f"  {host}: {error}")


def environment(folder: Path, name: str, base: Mapping[str, str]) -> dict[str, str]:
    home = folder / name
    home.mkdir(exist_ok=True)
    return {**base, "HOME": str(home), "IMAGEWORKS_HOST": name}


def run(words: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [*PROGRAM, *words],
        env=environment,
        cwd=environment["HOME"] if Path(environment["HOME"]).is_dir() else None,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(done.stdout + done.stderr)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
