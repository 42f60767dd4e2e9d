"""Issue 18: ``fleet reconcile`` has each node reconcile itself at one commit; nodes are processes of this machine here.

What Ray itself does is in ``tests/on_ray``, by the same protocol.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from imageworks.cli.commands.fleet import everywhere as fleet_command
from imageworks.files.progress import Progress
from imageworks.fleet.engine import Node, NodeEvent
from imageworks.fleet.node_task import NodeTask, NodeWork
from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.operations.fleet import engines
from imageworks.operations.fleet.following import relay
from imageworks.operations.fleet.node_process import run_task
from imageworks.registry.documents.schema_files import schema_dir
from support.engines import LocalEngine, check_engine
from support.git import git
from support.git_server import GitServer
from support.hub import Faults, HubRepository, stall, status
from support.reconcile import NAME, REPO, Result, World, command
from support.registry import PROGRAM
from support.team import manifest, served_registry, write_and_push
from support.terminal import Terminal

__all__ = ["served_registry"]
FIRST, SECOND = "gpu01", "gpu02"
PLAN = Draft202012Validator(json.loads((schema_dir() / "plan.schema.json").read_bytes()))
WEIGHTS = "ai-models/weights/acme/tiny-1b/model.safetensors"


@dataclass
class Fleet:
    """Some nodes, and the driver's registry.

    Args:
        world: The driver.
        engine: Reaches the nodes.
        homes: Each node's home, by host.
    """

    world: World
    engine: LocalEngine
    homes: dict[str, Path]

    def reconcile(self, *words: str, code: int = 0) -> Result:
        result = command("fleet", "reconcile", "--on", "ray", "--registry", self.world.root, "--no-progress", *words)
        assert result.code == code, result
        return result

    def hosts(self, *words: str, code: int = 0) -> dict[str, dict[str, object]]:
        listed = self.reconcile("--json", "--yes", *words, code=code).json["hosts"]
        assert isinstance(listed, list)
        return {one["host"]: one for one in listed}

    def results(self, *words: str, code: int = 0) -> dict[str, object]:
        return {name: one["result"] for name, one in self.hosts(*words, code=code).items()}

    def errors(self, *words: str, code: int = 1) -> dict[str, str]:
        return {name: str(one["error"]) for name, one in self.hosts(*words, code=code).items() if one["error"]}

    def has(self, host: str) -> bool:
        return (self.homes[host] / WEIGHTS).is_file()

    def change(self, host: str, **variables: str) -> None:
        """Let a node have other variables from now on."""
        nodes = {**self.engine.environments}
        node = next(one for one in nodes if one.id == host)
        nodes[node] = {**nodes[node], **variables}
        self.engine.environments = nodes

    def push(self) -> None:
        git(self.world.git_root, "push", "--quiet", "origin", "main")

    def given(self, work: NodeWork) -> list[str]:
        """Return the nodes that were given such work, in order."""
        return [node for node, task in self.engine.tasks if NodeTask.read(task).work is work]


def environment(home: Path, host: str = "", **more: str) -> Mapping[str, str]:
    """Return a node's environment: what its Ray was started with."""
    home.mkdir(parents=True, exist_ok=True)
    named = {"IMAGEWORKS_HOST": host} if host else {}
    kept = ("PATH", "LANG", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "HF_ENDPOINT", "PYTHONDONTWRITEBYTECODE")
    also = {key: value for key, value in os.environ.items() if key in kept or key.startswith("COVERAGE_")}
    return {**also, "HOME": str(home), **named, **more}


@pytest.fixture(name="repository")
def served_model(world: World) -> HubRepository:
    return world.serve()


@pytest.fixture(name="fleet")
def two_nodes(
    world: World, server: GitServer, repository: HubRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Fleet:
    assert server.address
    homes = {name: tmp_path / "homes" / name for name in (FIRST, SECOND)}
    nodes = {Node(name, address="127.0.0.1"): environment(home, name) for name, home in homes.items()}
    fleet = Fleet(world, LocalEngine(nodes), homes)
    monkeypatch.setattr(fleet_command, "open_engine", lambda _: fleet.engine)
    monkeypatch.setattr(engines, "open_engine", lambda _: fleet.engine)  # which launch loads when it needs it
    world.configure(
        locations={"weights": {"path": "~/ai-models/weights"}},
        routing={"default": "weights"},
        hosts={FIRST: {"labels": {"gpu": "a100"}}},
    )
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    fleet.push()
    return fleet


def test_others_take_from_a_host_that_goes_first_and_upstream_gives_each_file_once(fleet: Fleet) -> None:
    world = fleet.world
    assert fleet.results("--host", FIRST) == {FIRST: "ok"}
    git(world.git_root, "pull", "--quiet", "origin", "main")
    words = ("hub", "serve", "--registry", str(fleet.homes[FIRST] / "ai-models/registry"), "--json")
    node = environment(fleet.homes[FIRST], FIRST)
    with subprocess.Popen([*PROGRAM, *words], env=node, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as served:
        try:
            assert served.stdout is not None
            address = json.loads(served.stdout.readline())["url"]
            world.configure(
                locations={"weights": {"path": "~/ai-models/weights"}},
                routing={"default": "weights"},
                hosts={FIRST: {"hub": address}},
            )
            fleet.push()
            assert fleet.results("--mirror", FIRST) == {FIRST: "ok", SECOND: "ok"}
        finally:
            served.terminate()
            served.wait(60)
    assert [*dict.fromkeys(fleet.given(NodeWork.RECONCILE))] == [FIRST, SECOND]
    assert (fleet.homes[SECOND] / WEIGHTS).read_bytes() == (fleet.homes[FIRST] / WEIGHTS).read_bytes()
    got = [one.path for one in world.hub.requests if one.method == "GET" and "/api/" not in one.path]
    assert len({path.rpartition("/")[2] for path in got}) == len(got) > 3
    assert "names no address" in fleet.errors("--mirror", SECOND)[SECOND]


def test_every_node_brings_the_models_and_pushes_its_own_entries(fleet: Fleet, server: GitServer) -> None:
    head = fleet.world.head()
    planned = fleet.reconcile("--dry-run")
    assert planned.out.count("install") > 2
    assert not any((home / "ai-models").exists() for home in fleet.homes.values())
    assert "1 install" in fleet.reconcile("--yes").out
    for name, home in fleet.homes.items():
        assert fleet.has(name)
        assert git(home / "ai-models/registry", "rev-parse", "HEAD") in git(server.folder, "rev-list", "main")
        assert NAME in git(server.folder, "ls-tree", "--name-only", f"main:discovered/{name}")
    assert fleet.world.head() == head
    before = server.tip()
    again = fleet.hosts()
    assert {name: (one["result"], one["unchanged"]) for name, one in again.items()} == {
        FIRST: ("ok", 1),
        SECOND: ("ok", 1),
    }
    assert "install" not in fleet.reconcile("--dry-run").out
    assert server.tip() == before


def test_each_host_s_plan_is_shown_before_anything_is_done(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    refused = fleet.reconcile(code=1)
    assert refused.out.count("+ install  tiny-1b") == 2
    assert refused.out.count("Plan: 1 to add, 0 to change, 0 to destroy.") == 2
    assert f"Reconcile 2 hosts ({FIRST}, {SECOND})" in refused.err
    assert fleet.given(NodeWork.RECONCILE) == []
    assert fleet.reconcile("--dry-run").out.count("+ install  tiny-1b") == 2
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    done = fleet.reconcile("--json")
    assert "Plan: 1 to add" in done.err
    listed = done.json["hosts"]
    assert isinstance(listed, list)
    assert [one["plan"]["changes"][0]["action"] for one in listed] == ["install", "install"]
    assert list(PLAN.iter_errors(listed[0]["plan"])) == []
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert f"No changes on 2 hosts: {FIRST}, {SECOND}." in fleet.reconcile().out


def test_a_host_with_nothing_to_do_is_asked_once(fleet: Fleet, server: GitServer) -> None:
    assert fleet.results() == {FIRST: "ok", SECOND: "ok"}
    clone, tip = fleet.homes[SECOND] / "ai-models/registry", server.tip()
    fleet.engine.tasks.clear()
    assert fleet.results() == {FIRST: "ok", SECOND: "ok"}
    assert fleet.given(NodeWork.RECONCILE) == []
    assert fleet.results("--report") == {FIRST: "ok", SECOND: "ok"}
    assert fleet.given(NodeWork.RECONCILE) == [FIRST, SECOND]
    assert server.tip() == tip
    fleet.engine.tasks.clear()
    git(clone, "pull", "--quiet", "--rebase")
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "Something that is not sent")
    fleet.results("--host", SECOND)
    assert fleet.given(NodeWork.RECONCILE) == [SECOND]
    assert server.tip() == git(clone, "rev-parse", "HEAD").strip()


def test_a_canary_that_fails_stops_the_rest(fleet: Fleet) -> None:
    faults = Faults.install(fleet.world.hub)
    faults.add(status(403), where="model.safetensors", times=-1)
    assert fleet.results("--canary", FIRST, code=1) == {FIRST: "failed", SECOND: "not-started"}
    assert fleet.given(NodeWork.RECONCILE) == [FIRST]
    assert fleet.errors("--canary", FIRST)[SECOND] == f"the canary {FIRST} failed"
    assert "gpu03" in fleet.errors("--canary", "gpu03")[FIRST]
    fleet.world.hub.intercept = fleet.world.served
    assert fleet.results("--canary", SECOND, "--max-concurrent", "1") == {FIRST: "ok", SECOND: "ok"}
    assert fleet.given(NodeWork.RECONCILE)[-2:] == [SECOND, FIRST]


def test_hosts_are_chosen_by_name_and_by_label(fleet: Fleet) -> None:
    assert set(fleet.results("--dry-run", "--host", SECOND)) == {SECOND}
    assert set(fleet.results("--dry-run", "--label", "gpu=a100")) == {FIRST}
    assert "no host has these labels" in fleet.reconcile("--dry-run", "--label", "gpu=none", code=64).err
    assert fleet.reconcile("--dry-run", "--host", FIRST, "--canary", SECOND, code=64).err
    assert "gpu03" in fleet.errors("--host", "gpu03", "--dry-run")


def test_a_host_is_called_by_its_node_then_by_the_engine(fleet: Fleet, tmp_path: Path) -> None:
    labelled = Node("labelled", "two", labels={"imageworks-host": "by-label", "zone": "a"})
    named = Node("named", "by-name")
    fleet.engine.environments = {
        labelled: environment(tmp_path / "labelled"),
        named: environment(tmp_path / "named"),
        Node("itself", "three", labels={"imageworks-host": "other"}): environment(tmp_path / "itself", "by-itself"),
    }
    assert set(fleet.results("--dry-run")) == {"by-label", "by-name", "by-itself"}
    assert set(fleet.results("--host", "by-label", "--host", "by-name")) == {"by-label", "by-name"}
    assert (tmp_path / "labelled/ai-models/registry/discovered/by-label").is_dir()
    assert set(fleet.results("--dry-run", "--label", "zone=a")) == {"by-label"}


def test_two_nodes_of_one_name_are_refused_and_the_others_go_on(fleet: Fleet, tmp_path: Path) -> None:
    twin = Node("twin", address="127.0.0.2")
    fleet.engine.environments = {**fleet.engine.environments, twin: environment(tmp_path / "twin", FIRST)}
    shown = fleet.reconcile("--yes", code=1)
    assert shown.err.count("several nodes say that they are") == 1
    assert "127.0.0.2" in shown.err
    assert shown.out.count("1 install") == 1, "what is refused changes nothing"
    assert (fleet.has(FIRST), fleet.has(SECOND)) == (False, True)


def test_what_a_node_lacks_is_one_line_of_that_host(fleet: Fleet, tmp_path: Path) -> None:
    without = tmp_path / "bin"
    without.mkdir()
    (without / "git").symlink_to(shutil.which("git") or "")
    fleet.change(SECOND, PATH=str(without))
    fleet.world.serve({"config.json": b"{}", "model.safetensors": bytes(9 << 20)}, "acme/large")
    fleet.world.declare("large", source={"huggingface": "acme/large"})
    fleet.push()
    assert "aria2c not found" in fleet.errors()[SECOND]
    assert fleet.has(FIRST)
    fleet.change(SECOND, PATH=str(tmp_path))
    assert fleet.errors() == {SECOND: "git is not installed there\n  Install it, for example: sudo apt install git"}
    fleet.change(SECOND, PATH=os.environ["PATH"])
    assert fleet.results() == {FIRST: "ok", SECOND: "ok"}


def test_another_version_is_told_and_does_nothing(fleet: Fleet) -> None:
    task = NodeTask(NodeWork.RECONCILE, "99.0.0", revision=fleet.world.head())
    (line,) = run_task(task.render(), environment(fleet.homes[FIRST], FIRST))
    assert "99.0.0 here" in json.loads(line)["answer"]["error"]
    assert not (fleet.homes[FIRST] / "ai-models").exists()


def test_a_commit_that_no_node_could_bring_is_refused_here(fleet: Fleet) -> None:
    fleet.world.declare("more", source={"huggingface": "acme/more"}, state="absent")
    refused = fleet.reconcile("--yes", code=1)
    assert "git push origin main" in refused.err
    assert fleet.engine.tasks == []
    fleet.push()
    assert fleet.results("--dry-run") == {FIRST: "ok", SECOND: "ok"}


def test_a_node_that_is_beyond_the_commit_does_nothing(fleet: Fleet) -> None:
    assert fleet.results() == {FIRST: "ok", SECOND: "ok"}
    clone = fleet.homes[SECOND] / "ai-models/registry"
    git(clone, "pull", "--quiet", "--rebase")
    write_and_push(clone, "models/later.yaml", manifest("acme/more", state="absent"))
    errors = fleet.errors()
    assert set(errors) == {SECOND}, errors
    assert "is beyond" in errors[SECOND]
    git(fleet.world.git_root, "pull", "--quiet", "--rebase", "origin", "main")
    assert set(fleet.results("--dry-run").values()) == {"ok"}


def test_a_remote_that_a_node_does_not_reach_is_its_own_failure(fleet: Fleet, server: GitServer) -> None:
    assert fleet.results("--host", FIRST) == {FIRST: "ok"}
    fleet.change(SECOND, GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="url.http://127.0.0.1:9/.insteadOf")
    fleet.change(SECOND, GIT_CONFIG_VALUE_0=server.address.rpartition("/")[0] + "/")
    errors = fleet.errors()
    assert set(errors) == {SECOND}
    assert "cannot be cloned" in errors[SECOND]
    assert not (fleet.homes[SECOND] / "ai-models").exists()


def test_a_remote_that_is_out_of_reach_later_fails_that_host_until_it_is_back(
    fleet: Fleet, server: GitServer, repository: HubRepository
) -> None:
    assert fleet.results() == {FIRST: "ok", SECOND: "ok"}
    git(fleet.world.git_root, "pull", "--quiet", "--rebase", "origin", "main")
    fleet.world.declare(source={"huggingface": REPO, "revision": repository.commit({"config.json": b'{"new": 1}'})})
    fleet.push()
    away = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "url.http://127.0.0.1:9/.insteadOf"}
    fleet.change(SECOND, **away, GIT_CONFIG_VALUE_0=server.address.rpartition("/")[0] + "/")
    errors = fleet.errors()
    assert set(errors) == {SECOND}, errors
    assert "127.0.0.1" in errors[SECOND]
    fleet.change(SECOND, GIT_CONFIG_COUNT="0")
    assert fleet.results() == {FIRST: "ok", SECOND: "ok"}
    assert fleet.results("--dry-run") == {FIRST: "ok", SECOND: "ok"}
    assert "update" not in fleet.reconcile("--dry-run").out


def test_an_interrupt_asks_all_nodes_to_end(fleet: Fleet) -> None:
    faults, release, began = Faults.install(fleet.world.hub), threading.Event(), threading.Event()

    def stalled(hub: object, request: object) -> object:
        began.set()
        return stall(20_000, release)(hub, request)  # type: ignore[arg-type] # as the hub calls it

    faults.add(stalled, where="model.safetensors", method="GET", times=-1)  # type: ignore[arg-type] # likewise

    def interrupt() -> None:
        if began.wait(60):
            os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        assert set(fleet.results(code=130).values()) == {"called-off"}
    finally:
        release.set()
        interrupting.join()
    fleet.world.hub.intercept = fleet.world.served
    assert set(fleet.results().values()) == {"ok"}


def test_an_interrupt_leaves_what_failed_before_as_failed(fleet: Fleet) -> None:
    class Interrupted(LocalEngine):
        """One node has failed when somebody types ^C; the other ends only when it is asked to."""

        def start(self, node: Node, task: str) -> None:
            if NodeTask.read(task).work is not NodeWork.RECONCILE:
                super().start(node, task)
            elif node.id == FIRST:
                self._events.put(NodeEvent(node.id, lost="the node died"))

        def wait(self, seconds: float) -> Sequence[NodeEvent]:
            events = super().wait(seconds)
            if any(event.lost for event in events) and not interrupted:
                interrupted.append(True)
                self._events.put(events[0])
                raise KeyboardInterrupt
            return events

        def cancel(self, node: Node) -> None:
            self._events.put(NodeEvent(node.id, lost="called off"))

    interrupted: list[bool] = []
    fleet.engine = Interrupted(fleet.engine.environments)
    results = fleet.hosts(code=130)
    assert {name: one["result"] for name, one in results.items()} == {FIRST: "failed", SECOND: "called-off"}
    assert results[FIRST]["error"] == "the node died"


def test_an_interrupt_while_nodes_plan_begins_nothing(fleet: Fleet) -> None:
    class Interrupted(LocalEngine):
        def wait(self, seconds: float) -> Sequence[NodeEvent]:
            if not interrupted:
                interrupted.append(None)
                raise KeyboardInterrupt
            return super().wait(seconds)

    interrupted: list[None] = []
    fleet.engine = Interrupted(fleet.engine.environments)
    assert set(fleet.results(code=130).values()) == {"not-started"}
    assert fleet.given(NodeWork.RECONCILE) == []


def test_a_node_that_says_nothing_or_nonsense_is_a_failed_host(fleet: Fleet) -> None:
    class Odd(LocalEngine):
        def start(self, node: Node, task: str) -> None:
            if node.id == SECOND and NodeTask.read(task).work is NodeWork.RECONCILE:
                self._events.put(NodeEvent(node.id, "no JSON"))
                self._events.put(NodeEvent(node.id, '{"progress": [7, ["advance"], ["note", 1, 2]]}'))
                self._events.put(NodeEvent(node.id, lost="the node died"))
            else:
                super().start(node, task)

    fleet.engine = Odd(fleet.engine.environments)
    assert fleet.errors() == {SECOND: "the node died"}
    assert fleet.has(FIRST)


def test_progress_of_a_node_is_told_under_its_name() -> None:
    told: list[tuple[str, ...]] = []

    class Told(Progress):
        def start(self, label: str, total_bytes: int, work: str = "fetching") -> None:
            told.append((label, str(total_bytes), work))

        def finish(self, label: str) -> None:
            told.append((label,))

    running: set[str] = set()
    calls: Sequence[object] = (["start", "tiny", 7, "fetching"], ["start", 7], {}, ["explode"], ["finish", "tiny"])
    for call in calls:
        relay(Told(), FIRST, call, running)
    assert told == [("gpu01: tiny", "7", "fetching"), ("gpu01: tiny",)]
    assert running == set()


def test_a_child_ends_when_nobody_holds_its_input(fleet: Fleet, server: GitServer) -> None:
    began = threading.Event()
    server.on_request = began.set
    task = NodeTask(
        NodeWork.RECONCILE, "0.1.0", revision=fleet.world.head(), remote=server.address, branch="main"
    ).render()
    lines = run_task(task, environment(fleet.homes[FIRST], FIRST), began.is_set)
    assert list(lines) == []
    fleet.world.check()


def test_without_a_terminal_and_yes_nothing_is_done(fleet: Fleet) -> None:
    assert "--yes" in fleet.reconcile(code=1).err
    assert fleet.engine.tasks == []


def test_an_engine_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no engine"):
        engines.open_engine("slurm")
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, engines.ENGINES["ray"], raising=False)
    with pytest.raises(ImageworksError, match=r"imageworks-models\[ray\]"):
        engines.open_engine("ray=127.0.0.1:6379")


def test_launch_on_ray_names_the_node_that_lacks_the_model(fleet: Fleet, tmp_path: Path) -> None:
    shared = {"IMAGEWORKS_REGISTRY_DIR": str(fleet.world.root)}
    fleet.world.reconcile()
    fleet.push()
    launch = ("launch", "vllm", NAME, "--on", "ray", "--dry-run", "--registry", str(fleet.world.root))
    refused = command(*launch)
    assert refused.code == 1
    assert f"fleet reconcile {NAME} --on ray --host {FIRST} --host {SECOND}" in refused.err
    same = {**os.environ, **shared}
    fleet.engine.environments = {Node("one"): {**same}, Node("two"): {**same}}
    started = command(*launch)
    assert started.code == 0, started
    assert "--distributed-executor-backend ray" in started.out
    (Path(str(fleet.world.entry()["download_path"])) / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    assert command(*launch).code == 1
    assert command("launch", "ollama", NAME, "--on", "ray", "--registry", fleet.world.root).code in {1, 64}


def test_the_engine_of_these_tests_keeps_to_the_protocol(tmp_path: Path) -> None:
    nodes = {Node(name): environment(tmp_path / name, name) for name in (FIRST, SECOND)}
    with LocalEngine(nodes) as engine:
        check_engine(engine)
