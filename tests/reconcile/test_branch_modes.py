"""Entries on a branch of their own, with every command, in every work tree, and to and fro between the modes."""

import json
from pathlib import Path

import pytest

from support.git import assert_sound, git
from support.git_server import GitServer
from support.reconcile import HOST, NAME, World, command
from support.team import write_and_push

BRANCH = f"state/{HOST}"
ASIDE = {"branch": "state/{host}"}


@pytest.fixture
def aside(world: World) -> World:
    world.configure(commit=ASIDE)
    world.serve()
    world.declare()
    world.reconcile(valid=False)
    return world


def names(world: World) -> list[str]:
    listed: list[dict[str, str]] = json.loads(command("list", "--json", "--registry", world.root).out)
    return [model["name"] for model in listed]


def tip(world: World) -> str:
    return git(world.git_root, "rev-parse", BRANCH).strip()


def assert_valid(world: World, revision: str = BRANCH) -> None:
    """Every commit of the branch validates by itself, and its snapshot fits (I2)."""
    for commit in git(world.git_root, "rev-list", "--first-parent", revision).split():
        if not git(world.git_root, "ls-tree", commit, "snapshot"):
            continue
        place = world.folder / f"check {commit[:10]}"
        git(world.git_root, "worktree", "add", "--quiet", "--detach", str(place), commit)
        assert command("validate", "--registry", place).code == 0
        assert command("snapshot", "check", "--registry", place).code == 0
        git(world.git_root, "worktree", "remove", "--force", str(place))


def test_a_branch_that_is_checked_out_elsewhere_is_not_moved_beneath_it(aside: World) -> None:
    place = aside.folder / "a look at it"
    git(aside.git_root, "worktree", "add", "--quiet", str(place), BRANCH)
    before = tip(aside)
    aside.declare(roles=["caption"])
    refused = aside.reconcile(code=1, valid=False)
    assert f"{BRANCH} is checked out in {place}" in refused.err
    assert "git switch --detach" in refused.err
    assert tip(aside) == before
    assert git(place, "status", "--porcelain") == ""
    removed = command("remove", NAME, "--registry", aside.root, "--force")
    assert "is checked out in" in removed.err
    git(place, "switch", "--quiet", "--detach")
    aside.reconcile(valid=False)
    assert tip(aside) != before
    assert git(place, "status", "--porcelain") == ""


def test_every_command_knows_what_stands_on_the_branch(aside: World) -> None:
    root = aside.root
    assert names(aside) == [NAME]
    assert aside.status()[NAME][0] == "synced"
    assert command("verify", "--registry", root).code == 0
    assert command("snapshot", "check", "--registry", root).code == 0
    assert command("validate", "--registry", root).code == 0
    assert command("scan", "--registry", root).code == 0
    shown = command("history", NAME, "--registry", root)
    assert shown.code == 0, shown
    assert_valid(aside)
    removed = command("remove", NAME, "--registry", root, "--delete-files", "--force")
    assert removed.code == 0, removed
    assert not list(aside.weights.rglob("*.safetensors"))
    aside.reconcile(valid=False)
    assert_valid(aside)
    assert_sound(aside.git_root)


def test_modes_may_be_changed_to_and_fro(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    assert world.entries() == [NAME]
    before = world.entry()
    world.served.forget()
    for commit in (ASIDE, {"branch": None}, ASIDE, {}):
        world.configure(commit=commit)
        world.declare(roles=[f"role-{len(commit)}", "x" if commit.get("branch") else "y"])
        world.reconcile(valid=False)
        assert "No changes" in world.reconcile(valid=False).out
        assert names(world) == [NAME]
    world.check()
    assert_valid(world)
    assert world.served.files == {}
    assert world.entry()["downloaded_at"] == before["downloaded_at"]
    assert world.entry()["managed"] is True


def test_a_list_shows_the_branchs_snapshot_after_a_look_at_another_branch(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.configure(commit=ASIDE)
    world.declare(display_name="new")
    world.reconcile(valid=False)
    git(world.git_root, "switch", "--quiet", BRANCH)
    git(world.git_root, "switch", "--quiet", "main")
    world.reconcile(valid=False)
    listed = json.loads(command("list", "--json", "--registry", world.root).out)
    assert [model["display_name"] for model in listed] == ["new"]


def test_what_another_host_records_on_its_own_branch_counts_too(aside: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setenv("IMAGEWORKS_HOST", "elsewhere")
        other.setenv("IMAGEWORKS_STATE_DIR", str(aside.folder / "other state"))
        other.setenv("IMAGEWORKS_MODEL_ROOT", str(aside.folder / "other weights"))
        aside.reconcile(valid=False)
    assert git(aside.git_root, "rev-parse", "--verify", "state/elsewhere")
    refused = command("remove", NAME, "--purge", "--registry", aside.root)
    assert "elsewhere" in refused.err + refused.out


def test_a_clone_that_lacks_the_branch_takes_it_from_the_remote(aside: World, server: GitServer) -> None:
    aside.reconcile("--push", valid=False)
    aside.declare(roles=["caption"])
    aside.reconcile("--push", valid=False)
    git(aside.git_root, "push", "--quiet", "origin", "main")
    clone = aside.folder / "single clone"
    git(aside.folder, "clone", "--quiet", "--single-branch", server.address, str(clone))
    aside.root = aside.git_root = clone
    aside.declare(roles=["other"])
    git(clone, "push", "--quiet", "origin", "main")
    pulled = aside.reconcile("--pull", "--push", valid=False)
    assert "pushed" in pulled.err + pulled.out
    assert server.tip(BRANCH) == tip(aside)
    assert len(server.subjects(BRANCH)) > 3
    assert_valid(aside)


@pytest.mark.parametrize("name", ["state/with space", "-x", "HEAD", "state/..", "a/b.lock"])
def test_a_name_that_can_be_no_branch_is_told_before_any_work(world: World, name: str) -> None:
    world.configure(commit={"branch": name})
    world.serve()
    world.declare()
    done = command("reconcile", "--yes", "--registry", world.root, "--no-progress")
    assert done.code == 1
    assert "branch" in done.err + done.out
    assert "bug" not in done.err
    assert not list(world.weights.rglob("*.safetensors"))


def test_a_pull_puts_no_records_on_the_checked_out_branch(world: World, server: GitServer, colleague: Path) -> None:
    world.configure(commit=ASIDE)
    git(world.git_root, "push", "--quiet")
    repo = world.serve()
    assert command("download", repo.name, "-y", "--registry", world.root, "--location", "linux_wsl").code == 0
    write_and_push(colleague, "docs/note.md", "theirs")
    world.reconcile("--pull", valid=False)
    assert (world.root / "docs/note.md").is_file()
    git(world.git_root, "push", "--quiet")
    assert server.subjects()[1] == "Write docs/note.md"
    tracked = git(world.git_root, "ls-files").split()
    assert {path.partition("/")[0] for path in tracked} == {".gitignore", "registry.yaml", "docs", "models"}
    world.reconcile("--push", valid=False)
    assert server.tip(BRANCH) == tip(world)
    assert_valid(world)


def test_a_remote_of_another_name_has_the_branch_too(aside: World, server: GitServer) -> None:
    aside.reconcile("--push", valid=False)
    git(aside.git_root, "push", "--quiet", "origin", "main")
    clone = aside.folder / "another clone"
    git(aside.folder, "clone", "--quiet", "--origin", "team", server.address, str(clone))
    aside.served.forget()
    aside.root = aside.git_root = clone
    assert "No changes" in aside.reconcile(valid=False).out
    aside.declare(roles=["caption"])
    git(clone, "push", "--quiet", "team", "main")
    aside.reconcile("--push", valid=False)
    assert server.tip(BRANCH) == tip(aside)
    assert aside.served.files == {}


def test_what_others_push_to_the_branch_is_not_believed(aside: World, server: GitServer, colleague: Path) -> None:
    aside.reconcile("--push", valid=False)
    git(aside.git_root, "push", "--quiet", "origin", "main")
    git(colleague, "pull", "--quiet")
    git(colleague, "switch", "--quiet", BRANCH)
    git(colleague, "rm", "--quiet", f"discovered/{HOST}/{NAME}.json")
    git(colleague, "commit", "--quiet", "--message", "Forged")
    git(colleague, "push", "--quiet")
    before = tip(aside)
    assert "No changes" in aside.reconcile("--pull", valid=False).out
    assert tip(aside) == before
    aside.declare(roles=["caption"])
    refused = aside.reconcile("--push", code=1, valid=False)
    assert "has commits that this host did not make" in refused.err
    assert server.subjects(BRANCH)[0] == "Forged"
