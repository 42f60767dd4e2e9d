"""I6: whatever a person has not committed survives a pull, or stops it before anything has changed."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.git import assert_sound, git, user_work
from support.git_server import GitServer
from support.reconcile import NAME, World
from support.team import manifest, push_all, write_and_push

MINE = "mine, and nowhere else\n"


def staged(root: Path) -> None:
    (root / "docs/note.md").write_text(MINE, encoding="utf-8")
    git(root, "add", "docs/note.md")


def staged_and_edited_again(root: Path) -> None:
    staged(root)
    (root / "docs/note.md").write_text(MINE * 2, encoding="utf-8")


def edited(root: Path) -> None:
    (root / "docs/note.md").write_text(MINE, encoding="utf-8")


def assumed_unchanged(root: Path) -> None:
    git(root, "update-index", "--assume-unchanged", "docs/note.md")
    edited(root)


def skipped(root: Path) -> None:
    git(root, "update-index", "--skip-worktree", "docs/note.md")
    edited(root)


def untracked(root: Path) -> None:
    (root / "docs/new.md").write_text(MINE, encoding="utf-8")


def ignored(root: Path) -> None:
    (root / ".git/info/exclude").write_text("new.md\n", encoding="utf-8")
    untracked(root)


def ignored_folder(root: Path) -> None:
    (root / ".git/info/exclude").write_text("folder\n", encoding="utf-8")
    (root / "docs/folder/inner").mkdir(parents=True)
    (root / "docs/folder/inner/secret").write_text(MINE, encoding="utf-8")


def ignored_file_for_a_folder(root: Path) -> None:
    (root / ".git/info/exclude").write_text("deep\n", encoding="utf-8")
    (root / "docs/deep").write_text(MINE, encoding="utf-8")


def ignored_link_for_a_folder(root: Path) -> None:
    (root / ".git/info/exclude").write_text("deep\n", encoding="utf-8")
    (root.parent / "elsewhere").mkdir()
    (root / "docs/deep").symlink_to(root.parent / "elsewhere")


def intended(root: Path) -> None:
    untracked(root)
    git(root, "add", "--intent-to-add", "docs/new.md")


def deleted_and_made_again(root: Path) -> None:
    git(root, "rm", "--quiet", "--cached", "docs/note.md")
    edited(root)


def renamed(root: Path) -> None:
    git(root, "mv", "docs/note.md", "docs/renamed.md")


def made_a_folder(root: Path) -> None:
    (root / "docs/note.md").unlink()
    (root / "docs/note.md").mkdir()
    (root / "docs/note.md/inner").write_text(MINE, encoding="utf-8")


IN_THE_WAY = [
    staged,
    staged_and_edited_again,
    edited,
    assumed_unchanged,
    skipped,
    untracked,
    ignored,
    ignored_folder,
    ignored_file_for_a_folder,
    ignored_link_for_a_folder,
    intended,
    deleted_and_made_again,
    renamed,
    made_a_folder,
]


def elsewhere_staged(root: Path) -> None:
    (root / "docs/other.md").write_text(MINE, encoding="utf-8")
    git(root, "add", "docs/other.md")


def elsewhere_deleted(root: Path) -> None:
    (root / "docs/other.md").unlink()


def elsewhere_deleted_from_the_index(root: Path) -> None:
    git(root, "rm", "--quiet", "--cached", "docs/other.md")


def elsewhere_renamed(root: Path) -> None:
    git(root, "mv", "docs/other.md", "docs/my name ü.md")


def elsewhere_intended(root: Path) -> None:
    (root / "docs/mine.md").write_text(MINE, encoding="utf-8")
    git(root, "add", "--intent-to-add", "docs/mine.md")


def elsewhere_executable(root: Path) -> None:
    (root / "docs/other.md").chmod(0o755)


def elsewhere_a_link(root: Path) -> None:
    (root / "docs/other.md").unlink()
    (root / "docs/other.md").symlink_to("/nowhere")


def elsewhere_ignored(root: Path) -> None:
    (root / ".git/info/exclude").write_text("secret\n", encoding="utf-8")
    (root / "docs/secret").write_text(MINE, encoding="utf-8")


def elsewhere_stashed(root: Path) -> None:
    (root / "docs/other.md").write_text(MINE, encoding="utf-8")
    git(root, "stash", "--quiet")


ELSEWHERE = [
    elsewhere_staged,
    elsewhere_deleted,
    elsewhere_deleted_from_the_index,
    elsewhere_renamed,
    elsewhere_intended,
    elsewhere_executable,
    elsewhere_a_link,
    elsewhere_ignored,
    elsewhere_stashed,
]


@pytest.fixture
def changed_upstream(world: World, colleague: Path) -> None:
    """Let the colleague change, add and delete files after everybody had the first ones."""
    for name in ("note", "other", "gone"):
        (colleague / f"docs/{name}.md").parent.mkdir(exist_ok=True)
        (colleague / f"docs/{name}.md").write_text(f"first {name}\n", encoding="utf-8")
    push_all(colleague, "First")
    world.reconcile("--pull")
    (colleague / "docs/gone.md").unlink()
    (colleague / "docs/note.md").write_text("second\n", encoding="utf-8")
    (colleague / "docs/new.md").write_text("second\n", encoding="utf-8")
    (colleague / "docs/folder").write_text("second\n", encoding="utf-8")
    (colleague / "docs/deep/er").mkdir(parents=True)
    (colleague / "docs/deep/er/file").write_text("second\n", encoding="utf-8")
    push_all(colleague, "Second")


@pytest.mark.usefixtures("changed_upstream")
@pytest.mark.parametrize("work", IN_THE_WAY, ids=lambda one: one.__name__)
def test_work_that_a_pull_would_overwrite_stops_it(world: World, work: Callable[[Path], None]) -> None:
    work(world.git_root)
    git(world.git_root, "update-index", "-q", "--refresh", check=False)
    before, mine = world.head(), user_work(world.git_root)
    refused = world.reconcile("--pull", code=1, valid=False)
    assert "cannot be brought up to date" in refused.err
    assert world.head() == before
    assert user_work(world.git_root) == mine
    assert not (world.git_root / ".git/imageworks/pull.json").exists()


@pytest.mark.usefixtures("changed_upstream")
@pytest.mark.parametrize("work", ELSEWHERE, ids=lambda one: one.__name__)
def test_work_elsewhere_stays_as_it_is(world: World, server: GitServer, work: Callable[[Path], None]) -> None:
    work(world.git_root)
    theirs = ("docs/gone.md", "docs/note.md", "docs/new.md", "docs/folder", "docs/deep/er/file")
    mine = user_work(world.git_root, without=theirs)
    status = git(world.git_root, "status", "--porcelain")
    world.reconcile("--pull", valid=False)
    assert world.head() == server.tip()
    assert user_work(world.git_root, without=theirs) == mine
    assert git(world.git_root, "status", "--porcelain") == status
    assert (world.root / "docs/note.md").read_text() == "second\n"
    assert not (world.root / "docs/gone.md").exists()
    assert_sound(world.git_root)


@pytest.mark.usefixtures("changed_upstream")
def test_a_merge_under_way_is_the_users(world: World) -> None:
    git(world.git_root, "switch", "--quiet", "--create", "side")
    world.write("docs/side.md", "side")
    git(world.git_root, "switch", "--quiet", "main")
    git(world.git_root, "merge", "--quiet", "--no-ff", "--no-commit", "side")
    before, mine = world.head(), user_work(world.git_root)
    assert "a merge is in progress" in world.reconcile("--pull", code=1, valid=False).err
    assert world.head() == before
    assert user_work(world.git_root) == mine


@pytest.mark.usefixtures("changed_upstream")
@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.fileMode=false", "core.symlinks=false"])
def test_settings_of_the_work_tree_hold(world: World, server: GitServer, setting: str) -> None:
    git(world.git_root, "config", *setting.split("="))
    world.reconcile("--pull")
    assert world.head() == server.tip()
    assert git(world.git_root, "status", "--porcelain") == ""


@pytest.mark.usefixtures("changed_upstream")
def test_a_sparse_checkout_stays_sparse(world: World, server: GitServer) -> None:
    git(world.git_root, "sparse-checkout", "set", "models")
    assert not (world.root / "docs").exists()
    world.reconcile("--pull")
    assert world.head() == server.tip()
    assert not (world.root / "docs").exists()
    assert git(world.git_root, "status", "--porcelain") == ""


@pytest.mark.usefixtures("changed_upstream")
def test_a_linked_work_tree_moves_alone(world: World, server: GitServer) -> None:
    linked = world.folder / "linked tree"
    git(world.git_root, "worktree", "add", "--quiet", "-b", "other", str(linked))
    git(linked, "branch", "--set-upstream-to", "origin/main")
    (world.root / "docs/note.md").write_text(MINE, encoding="utf-8")
    before = world.head()
    world.root, main = linked, world.root
    world.reconcile("--pull")
    assert git(linked, "rev-parse", "HEAD").strip() == server.tip()
    assert git(linked, "status", "--porcelain") == ""
    assert git(main, "rev-parse", "main").strip() == before
    assert (main / "docs/note.md").read_text() == MINE


def test_links_modes_and_odd_names_come_as_they_are(world: World, server: GitServer, colleague: Path) -> None:
    (colleague / "tools").mkdir()
    (colleague / "tools/run it.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (colleague / "tools/run it.sh").chmod(0o755)
    (colleague / "tools/link").symlink_to("/etc/passwd")
    (colleague / "tools/ünïcode 名.txt").write_text("x", encoding="utf-8")
    (Path(os.fsdecode(bytes(colleague / "tools") + b"/latin-\xe9.txt"))).write_text("x", encoding="utf-8")
    push_all(colleague, "Odd files")
    world.reconcile("--pull")
    (colleague / "tools/link").unlink()
    (colleague / "tools/link").mkdir()
    (colleague / "tools/link/inside").write_text("x", encoding="utf-8")
    push_all(colleague, "A folder where a link was")
    world.reconcile("--pull")
    assert world.head() == server.tip()
    assert git(world.git_root, "status", "--porcelain") == ""
    assert os.access(world.root / "tools/run it.sh", os.X_OK)
    assert (world.root / "tools/link/inside").read_text() == "x"


def test_a_tree_of_billions_of_files_is_never_checked_out(world: World, colleague: Path) -> None:
    blob = git(colleague, "hash-object", "-w", "/dev/null").strip()
    lines = f"100644 blob {blob}\tfile"
    for _ in range(9):
        tree = _mktree(colleague, lines)
        lines = "\n".join(f"040000 tree {tree}\t{name}" for name in "abcdefghij")
    root = git(colleague, "ls-tree", "HEAD").rstrip("\n") + f"\n040000 tree {tree}\tbomb"
    commit = git(colleague, "commit-tree", "-p", "HEAD", "-m", "Bomb", _mktree(colleague, root)).strip()
    git(colleague, "push", "--quiet", "origin", f"{commit}:main")
    before = world.head()
    refused = world.reconcile("--pull", code=1, valid=False)
    assert "would change at once" in refused.err
    assert world.head() == before
    assert git(world.git_root, "status", "--porcelain") == ""


def _mktree(folder: Path, lines: str) -> str:
    done = subprocess.run(["git", "mktree"], cwd=folder, input=lines + "\n", capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_an_uncommitted_manifest_of_mine_says_does_not_change(world: World, colleague: Path) -> None:
    world.declare()
    git(world.git_root, "push", "--quiet")
    world.serve()
    world.declare(roles=["mine"], commit=False)
    mine = (world.root / f"models/{NAME}.yaml").read_text()
    write_and_push(colleague, "docs/note.md", "theirs")
    world.reconcile("--pull", "--push", valid=False)
    assert (world.root / f"models/{NAME}.yaml").read_text() == mine
    assert world.entries() == [NAME]
    assert manifest() in git(world.git_root, "show", f"HEAD:models/{NAME}.yaml")
