"""Two at once: the lock is held to plan and to commit, and what arrives is claimed model by model (U10, I10)."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from imageworks.git.controller_lock import hold_file
from imageworks.registry.documents.cache import registry_key
from support import hub
from support.git import git
from support.kills import OLD
from support.registry import HOST, NAME, REPO, SHARDS, Ran, World, ended, model, small_model, tree, wait_for

if TYPE_CHECKING:
    from subprocess import Popen

OTHER = "acme/other"
MANY_MODELS, FILES_OPEN = 90, 80


@contextmanager
def held_up(world: World, *words: str) -> Iterator[tuple["Popen[str]", threading.Event]]:
    """Run a command whose first shard stands still, until it is let go on."""
    release = threading.Event()
    world.faults.add(hub.stall(100_000, release), where=SHARDS[0], method="GET", origin="cdn", times=-1)
    first = world.start(*words)
    try:
        wait_for(lambda: any(r.origin == "cdn" and SHARDS[0] in r.path for r in world.hub.requests))
        yield first, release
    finally:
        release.set()
        world.heal()
        first.kill()
        first.communicate()


def go_on(world: World, first: "Popen[str]", release: threading.Event) -> Ran:
    world.heal()
    release.set()
    return ended(first)


@pytest.fixture
def offered(fresh: World) -> World:
    fresh.publish(REPO, model("1"))
    fresh.publish(OTHER, small_model("b"))
    fresh.declare()
    return fresh


def names(world: World) -> list[str]:
    return sorted(file.stem for file in (world.registry / "discovered").rglob("*.json"))


def test_u10_a_second_download_pin_and_remove_work_while_the_first_brings_bytes(offered: World) -> None:
    offered.publish("acme/small", small_model("c"))
    offered.declare("small", repo="acme/small")
    assert offered.reconcile("small").code == 0
    with held_up(offered, "reconcile", "--yes", NAME) as (first, release):
        told = offered.run("status")
        assert f"by process {first.pid} since" in told.stdout, told
        assert "1 downloading now" in told.stderr
        assert "reconcile tiny-vllm" not in told.stdout
        coming = json.loads(offered.run("status", "--json").stdout)["downloading"]
        assert [(one["name"], one["process"], one["command"]) for one in coming] == [
            (NAME, first.pid, "imageworks-models reconcile")
        ]
        second = offered.run("download", OTHER, "--yes", "--backend", "vllm")
        assert second.code == 0, second
        assert any("other" in name for name in names(offered))
        pinned = offered.run("pin", "small")
        assert pinned.code == 0, pinned
        removed = offered.run("remove", "small", "--force")
        assert removed.code == 0, removed
        assert first.poll() is None, "the first is still at it"
        done = go_on(offered, first, release)
        assert done.code == 0, done
    assert tree(offered.target) == OLD
    assert NAME in names(offered)
    assert any("other" in name for name in names(offered))
    validated = offered.run("validate")
    assert validated.code == 0, validated
    assert offered.run("snapshot", "check").code == 0
    offered.assert_settled()


def test_i10_the_same_model_is_brought_by_one_run_and_the_other_is_told_by_whom(offered: World) -> None:
    with held_up(offered, "reconcile", "--yes") as (first, release):
        second = offered.reconcile()
        assert second.code == 1, second
        assert str(first.pid) in second.stderr
        assert "--wait" in second.stderr
        third = offered.start("reconcile", "--yes", "--wait", "60")
        done = go_on(offered, first, release)
        assert done.code == 0, done
        waited = ended(third)
        assert waited.code == 0, waited
        assert "No changes" in waited.stdout
    assert len(git(offered.registry, "rev-list", "--grep", "^Host:", "HEAD").split()) == 1
    offered.assert_settled()


def test_i6_what_people_commit_while_bytes_come_is_not_overridden(offered: World) -> None:
    with held_up(offered, "reconcile", "--yes") as (first, release):
        offered.write_manifest(NAME, None)
        done = go_on(offered, first, release)
        assert done.code in {0, 1}, done
    assert not offered.target.exists(), "nobody declares it any more"
    assert names(offered) == []
    assert offered.run("validate").code == 0


def test_u10_what_arrives_is_neither_swept_nor_cleaned(offered: World) -> None:
    with held_up(offered, "reconcile", "--yes", NAME) as (first, release):
        offered.declare("other", repo=OTHER)
        assert offered.reconcile("other").code == 0
        swept = offered.run("reconcile", "--yes", "--json")
        assert swept.code == 1, swept
        cleaned = offered.run("clean", NAME, "--yes")
        assert "another run is bringing it now" in cleaned.output or cleaned.code == 0, cleaned
        assert list(offered.weights.glob(".imageworks/staging/*")), "the first run's bytes are still there"
        done = go_on(offered, first, release)
        assert done.code == 0, done
    assert tree(offered.target) == OLD


def test_i3_a_run_that_is_killed_while_it_brings_leaves_no_claim(offered: World) -> None:
    with held_up(offered, "reconcile", "--yes") as (first, _release):
        first.kill()
        first.wait(30)
    assert offered.converge().code == 0
    assert json.loads((offered.registry / f"discovered/{HOST}/{NAME}.json").read_text("utf-8"))["name"] == NAME


def test_i3_what_a_run_of_an_earlier_version_brings_is_its_own(offered: World) -> None:
    """It had a lock file for each model, which says no names."""
    claimed = offered.state / "claims" / registry_key(offered.registry) / f"{NAME}.lock"
    claimed.parent.mkdir(parents=True)
    with hold_file(claimed, wait=0, host=HOST, what=NAME):
        done = offered.reconcile()
        assert done.code == 1, done
        assert NAME in done.output
        assert not offered.target.exists()
    assert offered.reconcile().code == 0
    offered.assert_settled()


def test_i9_more_models_come_in_one_run_than_it_may_have_files_open(fresh: World) -> None:
    """A thousand on most systems: claims, or whatever else is held for each model, must not need a file each."""
    for number in range(MANY_MODELS):
        fresh.publish(f"acme/many-{number}", small_model(f"{number}"))
        fresh.declare(f"many-{number}", repo=f"acme/many-{number}")
    fresh.program = ("sh", "-c", f'ulimit -n {FILES_OPEN} && exec "$@"', "sh", *fresh.program)
    done = fresh.reconcile()
    assert done.code == 0, done
    assert len(names(fresh)) == MANY_MODELS
    assert not list(fresh.state.glob("claims/*/*")), "a claim is left"
