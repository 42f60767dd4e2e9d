"""I3: a pull, rebuild, push or commit beside the branch that is killed at any step is made good by the next run."""

import os
import signal
from pathlib import Path

import pytest

from support.git import assert_sound, git
from support.git_server import GitServer
from support.reconcile import HOST, NAME, World
from support.team import push_all, write_and_push
from support.warm import run_program

PULL_STEPS = ("pull.announced", "pull.files-moved", "pull.branch-moved")
BRANCH = f"state/{HOST}"


def killed(world: World, point: str, *words: str) -> None:
    """Run ``reconcile`` in a process of its own until a failpoint kills it."""
    environment = {**os.environ, "IMAGEWORKS_FAILPOINT": point}
    asked = ("reconcile", "--yes", *words, "--registry", str(world.root), "-q")
    done = run_program(*asked, folder=world.folder, environment=environment)
    assert done.returncode == -signal.SIGKILL, done


@pytest.fixture
def diverged(world: World, colleague: Path) -> World:
    """Let both sides have commits: ours are the controller's own."""
    world.serve()
    world.declare()
    git(world.git_root, "push", "--quiet")
    world.reconcile()
    write_and_push(colleague, "docs/note.md", "theirs")
    (world.root / "mine.txt").write_text("mine", encoding="utf-8")
    return world


def assert_converges(world: World, server: GitServer, *words: str) -> None:
    world.reconcile("--pull", "--push", *words)
    assert server.tip() == world.head()
    assert (world.root / "mine.txt").read_text() == "mine"
    assert git(world.git_root, "status", "--porcelain").split() == ["??", "mine.txt"]
    assert world.entries() == [NAME]
    assert "No changes" in world.reconcile("--pull").out
    assert not (world.git_root / ".git/imageworks/pull.json").exists()
    assert_sound(world.git_root)


@pytest.mark.parametrize("point", PULL_STEPS)
def test_a_killed_pull_is_finished(diverged: World, server: GitServer, point: str) -> None:
    killed(diverged, point, "--pull")
    assert_converges(diverged, server)


@pytest.mark.parametrize("point", PULL_STEPS)
def test_a_killed_pull_is_finished_though_others_push_again(
    diverged: World, server: GitServer, colleague: Path, point: str
) -> None:
    killed(diverged, point, "--pull")
    write_and_push(colleague, "docs/note.md", "theirs, changed again")
    assert_converges(diverged, server)
    assert (diverged.root / "docs/note.md").read_text() == "theirs, changed again"


@pytest.mark.parametrize("point", PULL_STEPS)
def test_a_killed_pull_is_finished_by_a_run_that_does_not_pull(diverged: World, point: str) -> None:
    killed(diverged, point, "--pull")
    diverged.reconcile()
    assert git(diverged.git_root, "status", "--porcelain").split() == ["??", "mine.txt"]
    assert (diverged.root / "docs/note.md").read_text() == "theirs"


@pytest.mark.parametrize("point", [*PULL_STEPS, "push.sent"])
def test_a_push_that_is_killed_is_made_good(diverged: World, server: GitServer, point: str) -> None:
    killed(diverged, point, "--push")
    assert_converges(diverged, server)


@pytest.mark.parametrize("torn", ["", "whole", "theirs"])
def test_git_that_was_killed_while_it_wrote_files_is_made_good(
    diverged: World, server: GitServer, colleague: Path, torn: str
) -> None:
    """A power cut ends git too: some files are new, one is torn, the index is old, and its lock is left."""
    (colleague / "docs/other.md").write_text("whole\n" * 1000, encoding="utf-8")
    (colleague / "docs/link").symlink_to("note.md")
    push_all(colleague, "More")
    killed(diverged, "pull.announced", "--pull")
    (diverged.root / "docs").mkdir()
    (diverged.root / "docs/note.md").write_text("theirs", encoding="utf-8")
    (diverged.root / "docs/link").symlink_to("note.md")
    (diverged.root / "docs/other.md").write_text(
        "whole\n" * {"": 0, "whole": 1000, "theirs": 7}[torn], encoding="utf-8"
    )
    (diverged.git_root / ".git/index.lock").touch()
    assert_converges(diverged, server)
    assert (diverged.root / "docs/other.md").read_text() == "whole\n" * 1000


def test_what_a_person_wrote_after_the_kill_is_theirs(diverged: World) -> None:
    killed(diverged, "pull.announced", "--pull")
    before = diverged.head()
    (diverged.root / "docs").mkdir()
    (diverged.root / "docs/note.md").write_text("no part of theirs", encoding="utf-8")
    told = diverged.reconcile(valid=False)
    assert "cannot be finished yet" in told.out
    assert "docs/note.md is yours" in told.out
    assert diverged.head() == before
    assert (diverged.root / "docs/note.md").read_text() == "no part of theirs"


def test_a_person_who_went_on_after_the_kill_keeps_what_they_did(diverged: World) -> None:
    killed(diverged, "pull.files-moved", "--pull")
    git(diverged.git_root, "commit", "--quiet", "--message", "Went on")
    mine = diverged.head()
    diverged.reconcile()
    assert git(diverged.git_root, "merge-base", "--is-ancestor", mine, "HEAD") == ""
    assert not (diverged.git_root / ".git/imageworks/pull.json").exists()


@pytest.mark.parametrize("point", ["aside.written", "aside.moved", "git.objects-written", "git.ref-moved"])
def test_a_killed_commit_beside_the_branch_is_made_good(world: World, server: GitServer, point: str) -> None:
    world.configure(commit={"branch": "state/{host}", "push": True})
    world.serve()
    if point.startswith("git."):
        repository = "acme/tiny-1b"
        words = ["download", repository, "-y", "--location", "linux_wsl"]
        environment = {**os.environ, "IMAGEWORKS_FAILPOINT": point}
        words += ["--registry", str(world.root)]
        done = run_program(*words, folder=world.folder, environment=environment)
        assert done.returncode == -signal.SIGKILL, done
        world.declare()
    else:
        world.declare()
        killed(world, point)
    world.reconcile(valid=False)
    world.reconcile(valid=False)
    tip = git(world.git_root, "rev-parse", BRANCH).strip()
    assert server.tip(BRANCH) == tip
    assert f"discovered/{HOST}/{NAME}.json" in git(world.git_root, "ls-tree", "-r", "--name-only", BRANCH).split()
    assert "No changes" in world.reconcile(valid=False).out
    assert_sound(world.git_root)


def test_a_lock_that_any_git_left_blocks_no_pull(diverged: World, server: GitServer) -> None:
    (diverged.git_root / ".git/index.lock").touch()
    assert_converges(diverged, server)
