"""What a person is told to type works as it stands."""

import re
import shlex

from support.reconcile import NAME, World, command


def test_the_command_that_applies_a_saved_plan_repeats_what_it_was_made_with(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.delete(NAME)
    file = world.folder / "my plan.json"
    saved = world.reconcile("--prune", "--allow-empty", NAME, "--out", file)
    told = re.search("apply it with `(.*)`", saved.err)
    assert told is not None
    program, *words = shlex.split(told[1])
    assert program == "imageworks-models"
    result = command(*words, "--registry", world.root, "--no-progress", "--confirm", NAME)
    assert result.code == 0, result
    assert world.entries() == []


def test_a_plan_applied_without_its_options_is_stale_and_says_why(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.delete(NAME)
    world.reconcile("--prune", "--allow-empty", "--out", world.folder / "plan.json")
    result = world.reconcile("--plan", world.folder / "plan.json", code=1)
    assert "Give the names and options that it was saved with" in result.err


def test_a_manifest_that_is_not_committed_yet_is_named_as_such(world: World) -> None:
    world.declare("fresh", commit=False)
    result = world.reconcile("fresh", "--dry-run", code=1)
    assert "models/fresh.yaml is not committed" in result.err
