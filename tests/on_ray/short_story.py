"""The short story of ``fleet reconcile --on ray``, run by ``tests/cli/test_fleet_on_ray.py`` where only loopback is."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import ray

from imageworks.operations.fleet.ray_engine import RayEngine, RayEngineError
from support.engines import check_engine
from support.git import git
from support.git_server import GitServer
from support.ray_cluster import ADDRESS
from support.ray_story import Story, ray_story, token
from support.reconcile import NAME, World, command
from support.registry import PROGRAM, wait_for
from support.team import served_registry
from support.world import log_is_closed, started_world

__all__ = ["log_is_closed", "served_registry", "started_world"]
FIRST, SECOND = "gpu01", "gpu02"


@pytest.fixture(name="story")
def two_nodes(world: World, server: GitServer) -> Iterator[Story]:
    with ray_story(world, server, FIRST, SECOND) as begun:
        yield begun


def test_two_nodes_are_brought_to_one_commit_and_one_dies(story: Story) -> None:
    with RayEngine(ADDRESS) as engine:
        check_engine(engine)

    story.publish("first")
    assert {name: one["result"] for name, one in story.results().items()} == {FIRST: "ok", SECOND: "ok"}
    for host in (FIRST, SECOND):
        assert story.has(host, "first")
        assert f"{NAME}.json" in git(story.server.folder, "ls-tree", "--name-only", f"main:discovered/{host}")
    tip = story.server.tip()
    again = story.results()
    assert {name: (one["result"], one["unchanged"]) for name, one in again.items()} == {
        FIRST: ("ok", 1),
        SECOND: ("ok", 1),
    }
    assert story.server.tip() == tip
    assert story.tokens(FIRST) == {f"Bearer {token(FIRST)}"}
    assert story.tokens(SECOND) == {f"Bearer {token(SECOND)}"}

    story.publish("second")
    with story.stalling(SECOND) as begun:
        driver = story.start()
        wait_for(begun.is_set, seconds=120)
        story.cluster.kill(SECOND)
        results = story.finish(driver, 1)
    assert {name: one["result"] for name, one in results.items()} == {FIRST: "ok", SECOND: "failed"}
    assert "died" in str(results[SECOND]["error"])
    assert story.has(FIRST, "second")
    assert story.has(SECOND, "first")

    story.publish("third")
    line = ("fleet", "reconcile", "--on", f"ray={ADDRESS}", "--dry-run", "--no-progress", "--registry")
    planned = subprocess.run(
        [*PROGRAM, *line, story.world.root], capture_output=True, text=True, timeout=240, check=False
    )
    assert planned.returncode == 0, planned
    assert f"{FIRST}\n  ~ update   {NAME}" in planned.stdout
    assert SECOND not in planned.stdout, "what died is asked no more, whatever Ray says of it by now"
    assert "logging.cc" not in planned.stderr


def test_what_ray_does_not_say_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        with ExitStack() as stack:
            stack.callback(raised, ConnectionError())
            raised(ConnectionError("no 'temp_dir' there"))

    def raised(error: Exception) -> None:
        raise error

    monkeypatch.setattr(ray, "init", refused)
    with pytest.raises(RayEngineError, match="no 'temp_dir' there") as told, RayEngine(""):
        pass
    assert ray.__version__ in str(told.value.remedy)


def test_an_address_where_no_cluster_is_is_told_at_once(world: World, server: GitServer) -> None:
    assert server.address
    refused = command("fleet", "reconcile", "--on", "ray=127.0.0.1:9", "--dry-run", "--registry", world.root)
    assert refused.code == 1
    assert "no Ray cluster answers there" in refused.err
