"""Issue 18: ``reconcile --watch`` converges again and again, grows by nothing, and ends cleanly."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from imageworks.cli.pauses import pauses
from imageworks.operations.fleet.watch import LONGEST_PAUSE, Cycle, Watch, run_cycle
from imageworks.reconcile.run_options import RunOptions
from support.git import git
from support.git_server import GitServer
from support.reconcile import HOST, NAME, World, command
from support.registry import PROGRAM, wait_for
from support.team import colleagues_clone, manifest, served_registry, write_and_push
from support.terminal import Terminal

__all__ = ["colleagues_clone", "served_registry"]
OPTIONS = RunOptions(mends_snapshot=True)
WARM, MEASURED = 6, 14
ROOM = 8 << 20
"""Bytes that a process may grow by besides a tenth: what an allocator keeps."""


def cycle(world: World, *, report: bool | None = None) -> Cycle:
    return run_cycle(world.root, OPTIONS, report=report)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 # links that go while one looks


def resident() -> int:
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir()}


def objects(world: World) -> int:
    counts = dict(line.split(": ") for line in git(world.git_root, "count-objects", "-v").splitlines())
    return int(counts["count"]) + int(counts["in-pack"])


def test_a_cycle_pulls_reconciles_and_pushes(world: World, server: GitServer, colleague: Path) -> None:
    world.serve()
    first = cycle(world)
    assert (first.lines, first.failed) == ((), ())
    write_and_push(colleague, f"models/{NAME}.yaml", manifest())
    done = cycle(world)
    assert done.changes == 1
    assert done.failed == ()
    assert NAME in world.entries()
    assert server.tip() == world.head()
    again = cycle(world)
    assert (again.lines, again.failed, again.unchanged) == ((), (), 1)
    assert server.tip() == world.head()


def test_what_fails_is_said_once_and_again_when_it_is_well(world: World) -> None:
    told: list[str] = []
    outcomes = [
        Cycle(),
        Cycle(failed=("x: gated",)),
        Cycle(failed=("x: gated",)),
        Cycle(lines=("1 installed",)),
        Cycle(),
    ]
    paused: list[float] = []
    watched = Watch(lambda: outcomes.pop(0), 60.0, told.append, paused.append)
    watched.run(cycles=5)
    assert [line.partition("Z ")[2] for line in told] == ["failed: x: gated", "1 installed; well again"]
    assert len(paused) == 4
    assert all(54 <= one <= 66 for one in (paused[0], paused[1], paused[3]))
    assert 108 <= paused[2] <= 132
    del world


def test_pauses_grow_to_an_hour_and_differ() -> None:
    watched = Watch(lambda: Cycle(failed=("x",)), 300.0, lambda _: None, lambda _: None)
    watched.run(cycles=40)
    pauses = {watched.next_pause() for _ in range(20)}
    assert len(pauses) > 1
    assert all(LONGEST_PAUSE * 0.9 <= one <= LONGEST_PAUSE * 1.1 for one in pauses)


def test_a_fault_of_the_world_fails_a_cycle_and_nothing_else(world: World, server: GitServer) -> None:
    world.serve()
    world.declare()
    world.declare("nobody", source={"huggingface": "acme/nobody"}, location="flat")
    found = cycle(world, report=True)
    assert found.changes == 1
    assert found.failed == ("nobody: repository-not-found",)
    (server.folder / "HEAD").rename(server.folder / "gone")
    assert cycle(world).failed
    (server.folder / "gone").rename(server.folder / "HEAD")
    world.delete("nobody")
    assert cycle(world).failed == ()
    (world.root / "registry.yaml").write_text("schema_version: 2\n", encoding="utf-8")
    world.commit("Break")
    assert cycle(world).failed


def test_many_cycles_with_changes_and_faults_grow_by_nothing(world: World, server: GitServer) -> None:
    world.serve()
    world.declare()
    turn = 0

    def change() -> None:
        nonlocal turn
        turn += 1
        if turn % 4 == 0:
            world.declare(labels={"turn": str(turn)})
        if turn % 5 == 0:
            world.declare("nobody", source={"huggingface": "acme/nobody"}, location="flat")
        if turn % 5 == 1 and (world.root / "models/nobody.yaml").exists():
            world.delete("nobody")

    def one() -> Cycle:
        change()
        return cycle(world, report=True)

    def measure() -> tuple[int, int, int, set[str]]:
        gc.collect()
        state = {folder for folder in below(world.folder) if "/objects/" not in folder and "hub" not in folder}
        return open_files(), threading.active_count(), resident(), state

    watched = Watch(one, 60.0, lambda _: None, lambda _: None)
    watched.run(cycles=WARM)
    files, threads, memory, folders = measure()
    commits, stored = int(git(world.git_root, "rev-list", "--all", "--count")), objects(world)
    watched.run(cycles=WARM + MEASURED)
    # The hub is in this process: its side of a connection closes a moment after ours.
    wait_for(lambda: open_files() <= files and threading.active_count() <= threads)
    after = measure()
    assert after[2] <= memory * 1.1 + ROOM
    assert {one for one in after[3] - folders if "refs" not in one and "logs" not in one} == set()
    made = int(git(world.git_root, "rev-list", "--all", "--count")) - commits
    assert objects(world) - stored <= made * 12
    assert server.tip() == world.head()


def test_the_same_is_reported_once_an_hour(world: World) -> None:
    for _ in range(3):
        assert cycle(world, report=True).failed == ()
    assert git(world.git_root, "rev-list", "--count", f"refs/imageworks/hosts/{HOST}").strip() == "1"


def until_declared(manager: socket.socket) -> list[str]:
    """Return what a service said until it has finished a cycle."""
    said = [manager.recv(4096).decode()]
    while "STATUS=as declared" not in said[-1]:
        said.append(manager.recv(4096).decode())
    return said


def ask(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=30) as reply:  # noqa: S310 # loopback
        return bytes(reply.read())


def test_a_watch_is_woken_serves_its_health_and_ends_cleanly(world: World, tmp_path: Path) -> None:
    world.serve()
    address = str(tmp_path / "notify")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.settimeout(60)
    keyboard, terminal = os.openpty()
    os.write(keyboard, b"y\n")
    words = ["reconcile", "--watch", "--interval", "1h", "--port", "0", "--registry", str(world.root)]
    child = subprocess.Popen(
        [*PROGRAM, *words],
        env={**os.environ, "NOTIFY_SOCKET": address},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(terminal)
    try:
        assert child.stderr is not None
        assert "without asking" in child.stderr.readline()
        line = next(line for line in child.stderr if "/healthz" in line)
        health = next(word.rstrip(",") for word in line.split() if word.startswith("http://127.0.0.1:"))
        assert "READY=1" in until_declared(manager)[0]
        assert ask(health) == b"ok\n"
        metrics = ask(health.replace("/healthz", "/metrics")).decode().splitlines()
        assert 'imageworks_watch_cycles_total{result="ok"} 1' in metrics
        with pytest.raises(urllib.error.HTTPError):
            ask(health.replace("/healthz", "/else"))
        world.declare()
        child.send_signal(signal.SIGHUP)
        assert "RELOADING=1" in until_declared(manager)[0]
        assert NAME in world.entries()
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
        manager.close()
        os.close(keyboard)
    assert child.returncode == 0, err
    assert [line.partition("Z ")[2].partition(";")[0] for line in out.splitlines()] == ["1 installed"]


def test_a_watch_that_nobody_agreed_to_is_not_begun(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve()
    world.declare()
    words = ("reconcile", "--watch", "--registry", world.root)
    refused = command(*words)
    assert (refused.code, "without asking" in refused.err.splitlines()[0], "--yes" in refused.err) == (1, True, True)
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert command(*words).code == 1
    assert world.entries() == []


def test_a_signal_that_comes_before_a_pause_begins_ends_it() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: came.append(number))
    try:
        with pauses() as pause:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGHUP)
                pause(None)
            pause(0)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert came == [signal.SIGHUP] * 3


def test_a_watch_takes_nothing_that_only_shows(world: World) -> None:
    for words in (("--dry-run",), ("--no-commit",), ("--interval", "0"), ("--interval", "soon"), ("--all-hosts",)):
        assert command("reconcile", "--watch", *words, "--registry", world.root).code == 64, words
