"""Several writers on one branch: no acknowledged commit is ever lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.git import libgit2 as git_library
from imageworks.git.blob_writer import BlobWriter
from imageworks.git.commit import BranchWriter, TreeEntries, nest, tip_of, write_tree
from support.git import USER, assert_sound, git, make_registry

WRITERS = 8
EACH = 25

COMPARE_AND_SWAP = """
import sys
from pathlib import Path
from imageworks.git import libgit2 as git_library
from imageworks.git.blob_writer import BlobWriter
from imageworks.git.commit import BranchWriter, TreeEntries, has_moved, nest, tip_of, write_tree
repository = git_library.open_repository(Path(sys.argv[1]))
blobs = BlobWriter(repository, Path(sys.argv[1], ".git/objects"))
for number in range(int(sys.argv[3])):
    changes = nest({f"discovered/{sys.argv[2]}/{number}.json": b"{}"})
    while True:
        tip = tip_of(repository, "refs/heads/main")
        tree = write_tree(repository, TreeEntries(None if tip is None else repository[tip].tree), changes, blobs)
        author = git_library.signature(repository, "h")
        writer = BranchWriter(
            repository, branch="refs/heads/main", parent=tip, tree=tree, message=f"{sys.argv[2]}-{number}",
            committer=author
        )
        commit = writer.write()
        try:
            writer.move()
        except (OSError, ValueError, git_library.git_error()):
            if not has_moved(repository, "refs/heads/main", commit):
                continue
        break
"""

LOCKED = """
import sys
from pathlib import Path
from imageworks.git.repository import RegistryRepository
for number in range(int(sys.argv[3])):
    repository = RegistryRepository.open(Path(sys.argv[1]))
    with repository.lock(wait=100):
        repository.commit(
            {f"discovered/{sys.argv[2]}/{number}.json": b"{}"},
            message=f"{sys.argv[2]}-{number}",
            expected=repository.head(),
        )
"""


def run_writers(program: str, folder: Path, writers: int, each: int) -> None:
    """Run several processes of a program at once and fail unless all succeed."""
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(folder), f"w{n}", str(each)], stderr=subprocess.PIPE)
        for n in range(writers)
    ]
    for child in children:
        _, errors = child.communicate()
        assert child.returncode == 0, errors.decode()


def test_eight_writers_without_a_lock_lose_nothing_even_from_an_unborn_branch(tmp_path: Path) -> None:
    make_registry(tmp_path, {})
    run_writers(COMPARE_AND_SWAP, tmp_path, WRITERS, EACH)
    subjects = git(tmp_path, "log", "--format=%s").splitlines()
    assert sorted(subjects) == sorted(f"w{n}-{m}" for n in range(WRITERS) for m in range(EACH))
    assert len(git(tmp_path, "ls-tree", "-r", "HEAD").splitlines()) == WRITERS * EACH
    assert_sound(tmp_path)


def test_controllers_under_the_lock_lose_nothing_and_leave_a_clean_tree(tmp_path: Path) -> None:
    make_registry(tmp_path)
    run_writers(LOCKED, tmp_path, 4, 8)
    assert git(tmp_path, "rev-list", "--count", "HEAD") == "33\n"
    assert git(tmp_path, "status", "--porcelain") == ""
    assert_sound(tmp_path)


def test_the_users_own_git_and_a_controller_can_work_at_once(tmp_path: Path) -> None:
    make_registry(tmp_path, {"mine": b""})
    arguments = [sys.executable, "-c", LOCKED, str(tmp_path), "w", "5"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE) as controller:
        made = 0
        while controller.poll() is None or not made:
            (tmp_path / "mine").write_text(str(made))
            done = subprocess.run(
                ["git", *USER, "commit", "-q", "-m", f"user-{made}", "--", "mine"],
                cwd=tmp_path,
                check=False,
                capture_output=True,
            )
            made += done.returncode == 0  # it may find index.lock held, and say so, as git does
            git(tmp_path, "log", "--oneline")
        assert controller.stderr is not None
        assert controller.returncode == 0, controller.stderr.read().decode()
    subjects = git(tmp_path, "log", "--format=%s").splitlines()
    assert {f"w-{n}" for n in range(5)} <= set(subjects)
    assert sum(subject.startswith("user-") for subject in subjects) == made
    assert len(git(tmp_path, "ls-tree", "-r", "HEAD", "discovered").splitlines()) == 5
    assert_sound(tmp_path)


def test_the_loser_of_a_race_gets_an_error_and_changes_nothing(tmp_path: Path) -> None:
    repository = make_registry(tmp_path)
    inside = git_library.open_repository(tmp_path)
    tip = tip_of(inside, "refs/heads/main")
    assert tip is not None
    tree = write_tree(inside, TreeEntries(None), nest({"x": b"x"}), BlobWriter(inside, tmp_path / ".git/objects"))
    assert tree is not None
    writer = BranchWriter(
        inside,
        branch="refs/heads/main",
        parent=tip,
        tree=tree,
        message="late",
        committer=git_library.signature(inside, "h"),
    )
    writer.write()
    winner = repository.commit({"models/b": b"b"}, message="first", expected=repository.head()).id
    with pytest.raises((OSError, git_library.git_error()), match="first parent"):
        writer.move()
    assert repository.head() == winner
