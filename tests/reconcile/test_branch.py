"""Entries and snapshot on a branch of their own: the checked-out one is never touched."""

import json

import pytest

from support.git import assert_sound, git, user_work
from support.reconcile import HOST, NAME, World, command

BRANCH = f"state/{HOST}"


@pytest.fixture
def aside(world: World) -> World:
    world.configure(commit={"branch": "state/{host}"})
    return world


def test_entries_go_to_their_own_branch_and_nothing_else_moves(aside: World) -> None:
    aside.serve()
    aside.declare()
    aside.write("notes.txt", "mine, uncommitted", commit=False)
    before, mine = aside.head(), user_work(aside.git_root, without=("model_registry.json",))
    aside.reconcile(valid=False)
    assert aside.head() == before
    assert user_work(aside.git_root, without=("model_registry.json",)) == mine
    assert not (aside.root / "discovered").exists()
    tree = git(aside.git_root, "ls-tree", "-r", "--name-only", BRANCH).split()
    assert {f"discovered/{HOST}/{NAME}.json", f"snapshot/{HOST}.json", f"models/{NAME}.yaml"} <= set(tree)
    assert git(aside.git_root, "rev-parse", f"{BRANCH}^1").strip() == before
    assert f"Reconciled-Revision: {before}" in git(aside.git_root, "log", "-1", "--format=%B", BRANCH)
    assert_sound(aside.git_root)


def test_a_second_run_knows_what_the_first_recorded(aside: World) -> None:
    aside.serve()
    aside.declare()
    aside.reconcile(valid=False)
    tip = git(aside.git_root, "rev-parse", BRANCH)
    aside.served.forget()
    assert "No changes" in aside.reconcile(valid=False).out
    assert aside.served.requests == 0
    assert git(aside.git_root, "rev-parse", BRANCH) == tip
    listed = json.loads(command("list", "--json", "--registry", aside.root).out)
    assert [model["name"] for model in listed] == [NAME]


def test_what_main_declares_later_is_in_the_branchs_next_commit(aside: World) -> None:
    aside.serve()
    aside.declare()
    aside.reconcile(valid=False)
    first = git(aside.git_root, "rev-parse", BRANCH).strip()
    aside.declare(roles=["caption"])
    main = aside.head()
    aside.reconcile(valid=False)
    assert git(aside.git_root, "rev-list", "--parents", "-1", BRANCH).split()[1:] == [first, main]
    snapshot = json.loads(git(aside.git_root, "show", f"{BRANCH}:snapshot/{HOST}.json"))
    assert snapshot[0]["roles"] == ["caption"]
    worktree = aside.folder / "state"
    git(aside.git_root, "worktree", "add", "--quiet", str(worktree), BRANCH)
    assert command("snapshot", "check", "--registry", worktree).code == 0
    assert command("validate", "--registry", worktree).code == 0


def test_a_prune_reads_protection_from_what_was_applied(aside: World) -> None:
    aside.serve()
    aside.declare(prune="disabled")
    aside.reconcile(valid=False)
    aside.delete(NAME)
    plan = aside.plan("--prune", "--allow-empty")
    assert not any(change["action"] == "remove" for change in plan.json["changes"])  # type: ignore[attr-defined]


def test_a_download_declares_on_the_checked_out_branch_and_records_on_its_own(aside: World) -> None:
    repo = aside.serve()
    done = command("download", repo.name, "--registry", aside.root, "-y", "--location", "linux_wsl")
    assert done.code == 0, done
    changed = git(aside.git_root, "show", "--format=", "--name-only", "HEAD").split()
    assert [path.partition("/")[0] for path in changed] == ["models"]
    recorded = git(aside.git_root, "ls-tree", "-r", "--name-only", BRANCH, f"discovered/{HOST}").split()
    assert len(recorded) == 1


def test_another_clone_starts_from_what_the_remote_has(aside: World) -> None:
    aside.serve()
    aside.declare()
    aside.reconcile(valid=False)
    bare = aside.folder / "bare.git"
    git(aside.folder, "clone", "--quiet", "--bare", str(aside.git_root), str(bare))
    clone = aside.folder / "clone"
    git(aside.folder, "clone", "--quiet", str(bare), str(clone))
    dry = command("reconcile", "--dry-run", "--json", "--registry", clone)
    assert dry.code == 0, dry
    assert dry.json["changes"] == []


@pytest.mark.parametrize(
    "branch", ["refs/tags/v1", "refs/notes/commits", "HEAD", "FETCH_HEAD", "state/{host}.lock", "a.lock/b", "a/.b"]
)
def test_x16_what_git_takes_for_no_branch_is_refused_before_anything_is_moved(world: World, branch: str) -> None:
    git(world.git_root, "tag", "v1")
    world.configure(commit={"branch": branch})
    refs = git(world.git_root, "for-each-ref")
    refused = command("validate", "--registry", world.root)
    assert refused.code == 1
    assert "commit.branch" in refused.out
    world.serve()
    assert command("reconcile", "--yes", "--registry", world.root).code == 1
    assert git(world.git_root, "for-each-ref") == refs
