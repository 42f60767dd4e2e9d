"""What changes between the plan and its application is never taken for what was planned."""

import pytest

from imageworks.config import load_host_settings
from imageworks.reconcile.run import Run, RunOptions
from support.reconcile import MODEL, NAME, REPO, World
from support.transfer import write


@pytest.mark.parametrize("action", ["adopt", "move"])
def test_a_file_that_changes_after_the_plan_is_not_recorded_as_verified(world: World, action: str) -> None:
    """I1: it would be remembered as right, and no later run would read it again."""
    world.serve()
    world.declare()
    if action == "adopt":
        write(world.weights / REPO, MODEL)
    else:
        world.reconcile()
        world.declare(location="second")
    weights = world.weights / REPO / "model.safetensors"
    with Run.open(world.root, load_host_settings(registry=world.root), RunOptions()) as run:
        plan = run.plan()
        assert [change.action for change in plan.changes] == [action]
        weights.write_bytes(bytes(len(MODEL["model.safetensors"])))
        report = run.apply(plan)
    assert [outcome.error for outcome in report.outcomes] == [
        f"{weights} was changed while this run was planned\n  Nothing was recorded; run again."
    ]
    assert world.status()[NAME][0] != "synced"
