"""What is recorded and cannot be reached, or was left half-said, is told and never guessed at."""

import os
import shutil

from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import tree, write


def installed(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.served.forget()


def test_a_root_that_was_emptied_is_filled_again_once_a_person_says_that_it_is_new(world: World) -> None:
    """An emptied root looks as the mount point of a drive that is away: nothing is guessed."""
    installed(world)
    shutil.rmtree(world.weights)
    world.weights.mkdir()
    assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}
    assert command("locations", "forget", "linux_wsl", "--registry", world.root).code == 0
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_failed_publish_leaves_no_claim_to_what_a_person_puts_there_later(world: World) -> None:
    world.serve()
    world.declare()
    (world.weights / REPO).parent.mkdir(parents=True)
    (world.weights / REPO).write_text("a file where the folder is to be", encoding="utf-8")
    world.reconcile(code=1)
    (world.weights / REPO).unlink()
    write(world.weights / REPO, dict(MODEL))
    world.reconcile()
    metadata = world.entry()["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["acquisition"] == "adopted"
    world.declare(state="absent")
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_model_whose_source_was_taken_out_of_its_manifest_is_told_of(world: World) -> None:
    installed(world)
    world.write(f"models/{NAME}.yaml", "schema_version: 1\nroles: [caption]\n")
    assert "has no source any more" in world.reconcile().out
    assert tree(world.weights / REPO) == dict(MODEL)


def test_broken_settings_exclude_no_model_that_selects_hosts_by_label(world: World) -> None:
    world.configure(hosts={os.environ["IMAGEWORKS_HOST"]: {"labels": {"gpu": "big"}}})
    world.serve()
    world.declare(hosts=["gpu=big"])
    world.reconcile()
    before = world.snapshot()
    world.write("registry.yaml", "schema_version: 1\nlocatons: {}\n")
    result = world.reconcile(code=1, valid=False)
    assert "leaves this host out" not in result.out
    assert world.snapshot() == before
