"""A lock that a killed git left is removed though other gits run on the machine, and never one that may be theirs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imageworks.git.recovery.stale_locks import remove_if_dead
from support.git import git

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.fixture
def repositories(tmp_path: Path) -> tuple[Path, Path]:
    """Ours, with a lock, and somebody else's."""
    for name in ("ours", "theirs"):
        git(tmp_path, "init", "--quiet", name)
    (tmp_path / "ours/.git/index.lock").touch()
    return tmp_path / "ours", tmp_path / "theirs"


@contextmanager
def running_git(folder: Path, *words: str, **variables: str) -> Iterator[None]:
    """A git that runs until the end."""
    command = ["git", *words, "cat-file", "--batch-check"]
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"HEAD\n")
        child.stdin.flush()
        assert child.stdout.readline()
        yield
        child.stdin.close()


def is_removed(ours: Path) -> bool:
    return remove_if_dead(ours / ".git/index.lock", (ours, ours / ".git"), ours=True)


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"])
def test_a_git_that_is_pointed_elsewhere_holds_nothing_of_ours(repositories: tuple[Path, Path], variable: str) -> None:
    ours, theirs = repositories
    place = {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/another index", "GIT_WORK_TREE": "."}[variable]
    variables = {"GIT_DIR": str(theirs / ".git")} if variable == "GIT_WORK_TREE" else {}
    with running_git(theirs, **variables, **{variable: place}):
        assert is_removed(ours)


@pytest.mark.parametrize("words", [(), ("--git-dir", ".git"), ("--git-dir=.git", "--work-tree=.")])
def test_nor_does_one_that_is_pointed_elsewhere_by_an_option(
    repositories: tuple[Path, Path], words: tuple[str, ...]
) -> None:
    ours, theirs = repositories
    with running_git(theirs, *words):
        assert is_removed(ours)


@pytest.mark.parametrize("words", [("--git-dir", "../ours/.git"), ("--git-dir=../ours/.git", "--work-tree=.")])
def test_one_that_is_pointed_to_ours_from_elsewhere_may_hold_it(
    repositories: tuple[Path, Path], words: tuple[str, ...]
) -> None:
    ours, theirs = repositories
    with running_git(theirs, *words):
        assert not is_removed(ours)
    with running_git(theirs, GIT_DIR=str(ours / ".git")):
        assert not is_removed(ours)
    with running_git(theirs, GIT_INDEX_FILE="../ours/.git/another index"):
        assert not is_removed(ours)
    assert is_removed(ours)


def test_one_that_works_inside_may_hold_it(repositories: tuple[Path, Path]) -> None:
    ours, _ = repositories
    with running_git(ours):
        assert not is_removed(ours)
