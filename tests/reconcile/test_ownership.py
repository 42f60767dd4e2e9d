"""I5: an entry is in git, so it is no proof of ownership; what this host put in place is remembered outside git."""

import json

from support.reconcile import HOST, MODEL, NAME, REPO, World
from support.transfer import tree, write


def test_a_forged_entry_with_exact_digests_deletes_nothing(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    entry = world.entry()
    theirs = world.weights / "someone/their-copy"
    write(theirs, dict(MODEL))
    forged = {**entry, "name": "forged", "download_path": str(theirs), "backend_config": {"model_path": str(theirs)}}
    world.write(f"discovered/{HOST}/forged.json", json.dumps(forged))
    world.declare("forged", state="absent")
    result = world.reconcile()
    assert tree(theirs) == dict(MODEL)
    assert "does not remember having put them there" in result.err


def test_files_that_were_there_before_an_install_outlive_its_removal(world: World) -> None:
    world.serve()
    write(world.weights / REPO, {"config.json": MODEL["config.json"]})
    world.declare()
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)
    world.declare(state="absent")
    world.reconcile()
    assert tree(world.weights / REPO) == {"config.json": MODEL["config.json"]}


def test_what_was_moved_is_still_ours_to_remove(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.declare(location="flat")
    world.reconcile()
    world.declare(location="flat", state="absent")
    world.reconcile()
    assert tree(world.weights) == {}
    assert NAME in world.entries()
