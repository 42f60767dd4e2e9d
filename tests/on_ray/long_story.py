"""The long story of ``fleet reconcile --on ray``: four nodes, updates, a canary, deaths of a node and of the driver."""

import signal
from collections.abc import Iterator

import pytest

from support.git_server import GitServer
from support.hub import status
from support.ray_story import Story, ray_story
from support.reconcile import World
from support.registry import wait_for
from support.team import served_registry
from support.world import log_is_closed, started_world

__all__ = ["log_is_closed", "served_registry", "started_world"]
HOSTS = ("gpu01", "gpu02", "gpu03", "gpu04")
LOOK_SECONDS = 120.0


@pytest.fixture(name="story")
def four_nodes(world: World, server: GitServer) -> Iterator[Story]:
    with ray_story(world, server, *HOSTS) as begun:
        yield begun


def told(story: Story, *words: str, code: int = 0) -> dict[str, object]:
    return {name: one["result"] for name, one in story.results(*words, code=code).items()}


@pytest.mark.timeout(1200)
def test_a_week_of_four_nodes(story: Story) -> None:
    story.publish("first")
    planned = story.results("--dry-run")
    assert [one["result"] for one in planned.values()] == ["ok"] * 4
    assert not any((home / "ai-models").exists() for home in story.cluster.homes.values())
    assert told(story, "--max-concurrent", "2") == dict.fromkeys(HOSTS, "ok")
    assert all(story.has(host, "first") for host in HOSTS)

    story.publish("second")
    with story.failing("gpu01", status(403)):
        canary = told(story, "--canary", "gpu01", code=1)
    assert canary == {"gpu01": "failed"} | dict.fromkeys(HOSTS[1:], "not-started")
    assert all(story.has(host, "first") for host in HOSTS)
    assert told(story, "--canary", "gpu01") == dict.fromkeys(HOSTS, "ok")
    assert all(story.has(host, "second") for host in HOSTS)

    story.publish("third")
    with story.stalling("gpu02") as begun:
        driver = story.start()
        wait_for(begun.is_set, seconds=LOOK_SECONDS)
        story.cluster.kill("gpu02")
        results = story.finish(driver, 1)
    assert {name: one["result"] for name, one in results.items()} == dict.fromkeys(HOSTS, "ok") | {"gpu02": "failed"}
    assert story.has("gpu02", "second")
    story.start_node("gpu02")
    assert told(story) == dict.fromkeys(HOSTS, "ok")
    assert all(story.has(host, "third") for host in HOSTS)

    story.publish("fourth")
    with story.stalling("gpu03") as begun:
        driver = story.start()
        wait_for(begun.is_set, seconds=LOOK_SECONDS)
        driver.kill()
        driver.communicate(timeout=LOOK_SECONDS)
    assert story.has("gpu03", "third")
    assert told(story) == dict.fromkeys(HOSTS, "ok")
    assert all(story.has(host, "fourth") for host in HOSTS)

    story.publish("fifth")
    with story.stalling("gpu04") as begun:
        driver = story.start("--host", "gpu04")
        wait_for(begun.is_set, seconds=LOOK_SECONDS)
        driver.send_signal(signal.SIGINT)
        results = story.finish(driver, 130)
    assert {name: one["result"] for name, one in results.items()} == {"gpu04": "called-off"}
    assert told(story) == dict.fromkeys(HOSTS, "ok")
    tip = story.server.tip()
    assert told(story) == dict.fromkeys(HOSTS, "ok")
    assert story.server.tip() == tip
