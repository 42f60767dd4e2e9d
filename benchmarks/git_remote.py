"""Hosts and people at one real git server (smart HTTP): nothing may be lost. For the night; prints its figures.

    python -m benchmarks.git_remote [--runs 200] [--pushes 50] [--clones 6] [--hosts 2]

Each host pulls, reconciles and pushes in a process of its own; each person declares one model a push and rebases until
the server takes it. At the end every manifest, and all hosts' snapshots with every model, must be on the branch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Final

from benchmarks.measure import BenchmarkError

TESTS: Final = Path(__file__).resolve().parents[1] / "tests"
FIRST: Final = "one"
MANIFEST: Final = "schema_version: 1\nbackend: vllm\nroles: [caption]\n"
TRIES: Final = 400
IDENTITY: Final = ("-c", "user.name=Person", "-c", "user.email=person@example.org")


def main() -> None:
    """Run everything, or, as a child, the runs of one host."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, number in (("runs", 200), ("pushes", 50), ("clones", 6), ("hosts", 2)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--at", metavar="REGISTRY", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.at:
        print(json.dumps(run_host(Path(asked.at), asked.runs)))
        return
    sys.path.insert(0, str(TESTS))
    with tempfile.TemporaryDirectory(prefix="git-remote-") as folder:
        hosts = (FIRST, *(f"h{number}" for number in range(2, asked.hosts + 1)))
        compete(Path(folder), asked.runs, asked.pushes, asked.clones, hosts)


def compete(folder: Path, runs: int, pushes: int, clones: int, names: Sequence[str]) -> None:
    """Let hosts and people work at once, then look whether everything arrived."""
    from support.git_server import serve_git

    os.environ |= {"HOME": str(folder / "home"), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    with serve_git(folder / "registry.git") as server:
        first = folder / "first"
        program(first, "init", str(first))
        git(first, "remote", "add", "origin", server.address)
        git(first, "push", "--quiet", "origin", "HEAD:main")
        began = time.monotonic()
        with ThreadPoolExecutor(clones + len(names)) as pool:
            people = [pool.submit(push_models, folder, server.address, n, pushes) for n in range(clones)]
            hosts = [pool.submit(start_host, folder, server.address, name, runs) for name in names]
            tries = sum(one.result() for one in people)
            found = [one.result() for one in hosts]
        took = time.monotonic() - began
        for name in names:  # what came after their last run
            program(folder / f"host {name}", *reconcile(folder / f"host {name}"), host=name)
        check(folder, server.address, names, {f"p{n}-{number}" for n in range(clones) for number in range(pushes)})
        commits = int(git(server.folder, "rev-list", "--count", "main"))
        print(f"{runs} runs of each of {len(names)} hosts, {pushes} pushes of each of {clones} people in {took:.0f} s")
        print(
            f"people: {clones * pushes} pushes in {tries} tries; {commits} commits on the branch, none lost, no merge"
        )
        for name, codes in zip(names, found, strict=True):
            print(f"host {name}: {codes['0']} runs went well, {codes['1']} left their push to the next")


def start_host(folder: Path, address: str, name: str, runs: int) -> Counter[str]:
    """Run one host's controller in a process of its own; returns how often it ended with which code."""
    clone = folder / f"host {name}"
    git(folder, "clone", "--quiet", address, str(clone))
    command = [sys.executable, "-m", "benchmarks.git_remote", "--runs", str(runs), "--at", str(clone)]
    done = subprocess.run(
        command, env=host_environment(name), cwd=TESTS.parent, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise BenchmarkError(f"host {name}: {done.stderr}")
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def run_host(registry: Path, runs: int) -> Mapping[str, int]:
    """Reconcile again and again; a run that others keep from pushing leaves its commits to the next."""
    from imageworks.cli.app import run

    codes: Counter[str] = Counter({"0": 0, "1": 0})
    for _ in range(runs):
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(list(reconcile(registry)))
        if code and "others pushed first" not in err.getvalue() and "moved" not in err.getvalue():
            raise BenchmarkError(err.getvalue() + out.getvalue())
        codes[str(int(code))] += 1
    return codes


def push_models(folder: Path, address: str, number: int, pushes: int) -> int:
    """Declare models one by one, each pushed on top of what others pushed meanwhile; returns how many tries it took."""
    clone = folder / f"person {number}"
    git(folder, "clone", "--quiet", address, str(clone))
    tries = 0
    for push in range(pushes):
        file = clone / f"models/p{number}-{push}.yaml"
        file.write_text(MANIFEST, encoding="utf-8")
        git(clone, "add", "--all")
        git(clone, "commit", "--quiet", "--message", f"Declare {file.stem}")
        for _ in range(TRIES):
            tries += 1
            git(clone, "pull", "--quiet", "--rebase", "origin", "main")
            if not run_git(clone, "push", "--quiet", "origin", "HEAD:main").returncode:
                break
        else:
            raise BenchmarkError(f"person {number} never got a push in")
    return tries


def check(folder: Path, address: str, names: Sequence[str], declared: set[str]) -> None:
    """Fail unless a fresh clone has every manifest, and snapshots of all hosts with every model."""
    fresh = folder / "fresh"
    git(folder, "clone", "--quiet", address, str(fresh))
    git(fresh, "fsck", "--strict", "--no-dangling")
    there = {file.stem for file in (fresh / "models").glob("*.yaml")}
    if there != declared:
        raise BenchmarkError(f"lost manifests: {sorted(declared - there)}")
    if git(fresh, "rev-list", "--merges", "main"):
        raise BenchmarkError("there are merges, which nobody made on purpose")
    for name in names:
        models = json.loads((fresh / f"snapshot/{name}.json").read_bytes())
        if {model["name"] for model in models} != declared:
            raise BenchmarkError(f"the snapshot of {name} does not name every model")
    for words in (("validate",), ("snapshot", "check")):
        program(fresh, *words, "--registry", str(fresh))


def reconcile(registry: Path) -> tuple[str, ...]:
    """Return the command of one run."""
    return ("reconcile", "--pull", "--push", "--yes", "--quiet", "--no-progress", "--registry", str(registry))


def host_environment(name: str) -> dict[str, str]:
    """Return the environment of a host, with a home of its own."""
    home = f"{os.environ['HOME']} of {name}"
    return {**os.environ, "HOME": home, "IMAGEWORKS_HOST": name, "IMAGEWORKS_STATE_DIR": f"{home}/state"}


def program(registry: Path, *words: str, host: str = FIRST) -> None:
    """Run the program itself once."""
    registry.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "imageworks", *words]
    done = subprocess.run(command, env=host_environment(host), check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{words}: {done.stdout}{done.stderr}")


def run_git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git, whatever comes of it."""
    return subprocess.run(["git", *IDENTITY, *words], cwd=folder, check=False, capture_output=True, text=True)


def git(folder: Path, *words: str) -> str:
    """Run git and return what it printed."""
    done = run_git(folder, *words)
    if done.returncode:
        raise BenchmarkError(f"git {words}: {done.stderr}{done.stdout}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
