"""What changes between the plan and its application is never taken for what was planned."""

from typing import Any

import pytest

from imageworks.host.settings import load_host_settings
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.transfer.engine import TransferEngine
from support.reconcile import MODEL, NAME, REPO, World
from support.transfer import tree, write


@pytest.mark.parametrize("action", ["adopt", "move"])
def test_a_file_that_changes_after_the_plan_is_not_recorded_as_verified(world: World, action: str) -> None:
    """I1: it would be remembered as right, and no later run would read it again."""
    world.serve()
    world.declare()
    if action == "adopt":
        write(world.weights / REPO, dict(MODEL))
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


def test_a_kept_file_that_is_written_to_while_others_come_is_not_published(world: World) -> None:
    """I1: what is kept stands in staging as a link, so that a write to the old file reaches the new one."""
    repository = world.serve()
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.reconcile()
    new = repository.commit({"config.json": b"{}"})
    world.declare(source={"huggingface": REPO, "revision": new})
    weights = world.weights / REPO / "model.safetensors"
    fetch = TransferEngine.fetch

    def fetch_while_someone_writes(*arguments: Any) -> None:  # noqa: ANN401 # passed on as they come
        with weights.open("r+b") as stream:
            stream.write(b"scribble")
        fetch(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransferEngine, "fetch", fetch_while_someone_writes)
        result = world.reconcile(code=1)
    assert "tiny-1b: its manifest, record or files changed while its bytes came" in result.err
    assert (world.weights / REPO / "config.json").read_bytes() == MODEL["config.json"]
    world.reconcile()
    assert tree(world.weights / REPO) == {**MODEL, "config.json": b"{}"}
