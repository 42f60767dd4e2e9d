"""Looking and going back where a host's entries have a branch of their own."""

import json

import pytest

from support.git import git
from support.reconcile import HOST, MODEL, NAME, REPO, World, command
from support.transfer import tree

NEW_CONFIG = b'{"model_type": "llama", "new": 1}\n'


@pytest.fixture
def aside(world: World) -> World:
    """A model that was installed at one commit and then at another, with entries on ``state/<host>``."""
    world.configure(commit={"branch": "state/{host}"})
    repository = world.serve()
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.reconcile(valid=False)
    git(world.git_root, "tag", "good")
    second = repository.commit({"config.json": NEW_CONFIG})
    world.declare(source={"huggingface": REPO, "revision": second})
    world.reconcile(valid=False)
    return world


def run(world: World, *words: str) -> str:
    result = command(*words, "--registry", world.root)
    assert result.code == 0, result
    return result.out


def test_history_and_show_know_what_the_branch_records(aside: World) -> None:
    for words in (("history", NAME), ("history",)):
        commits = json.loads(run(aside, *words, "--json"))["commits"]
        kinds = [change["kind"] for commit in commits for change in commit["models"] if change["name"] == NAME]
        assert (kinds[0], kinds[-1], sorted(kinds)) == (
            "updated",
            "declared",
            ["changed", "declared", "installed", "updated"],
        )
    shown = json.loads(run(aside, "show", NAME, "--json"))["model"]
    assert shown["resolved"]["revision"] == shown["source"]["revision"]
    blamed = json.loads(run(aside, "blame", NAME, "--json"))["fields"]
    by_field = {(one["layer"], one["field"]): one["subject"] for one in blamed}
    assert by_field["entry", "resolved.revision"] == f"Reconcile {HOST}: 1 updated"
    assert by_field["manifest", "source.revision"] == f"Write models/{NAME}.yaml"


def test_restore_and_rollback_bring_the_bytes_back(aside: World) -> None:
    main = aside.head()
    run(aside, "restore", NAME, "--from", "good", "--all", "--no-progress", "--yes")
    assert tree(aside.weights / REPO) == dict(MODEL)
    assert git(aside.git_root, "diff", "good", "--", "models") == ""
    assert aside.head() != main
    run(aside, "rollback", "--no-progress", "--yes")
    assert tree(aside.weights / REPO)["config.json"] == NEW_CONFIG
    assert git(aside.git_root, "diff", main, "--", "models") == ""
    assert not (aside.root / "discovered").exists()


def test_entries_of_then_are_those_that_were_recorded_by_then(aside: World) -> None:
    result = command("restore", NAME, "--from", "good", "--entries", "--yes", "--registry", aside.root)
    assert f"kept: {NAME}: other files of " in result.err
    before = command("restore", "--from", "good~1", "--entries", "--yes", "--registry", aside.root)
    assert f"{HOST} had recorded nothing by " in before.err
