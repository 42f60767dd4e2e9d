"""I10: two controllers on one registry; and lock files that killed processes left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.git.controller_lock import LOCK_FILE, command_name
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import LockHeldError
from support.git import USER, assert_sound, git, make_registry

HOLDER = """
import sys
from pathlib import Path
from imageworks.git.repository import RegistryRepository
sys.argv = ["/usr/bin/imageworks-models", "reconcile", "--token", "hf_secretsecret"]
with RegistryRepository.open(Path({folder!r})).lock():
    print("locked", flush=True)
    sys.stdin.readline()
"""


def hold(folder: Path) -> "subprocess.Popen[str]":
    """Start a process that holds a registry's lock until it reads a line."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(folder=str(folder))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    return child


def test_i10_the_second_controller_says_who_holds_the_lock(tmp_path: Path) -> None:
    repository = make_registry(tmp_path)
    with hold(tmp_path) as child:
        with pytest.raises(LockHeldError) as caught, repository.lock():
            pytest.fail("two controllers at once")
        text = caught.value.render()
        assert f"imageworks-models reconcile (process {child.pid} on testhost) since 20" in text
        assert "hf_secret" not in text
        child.communicate("\n")
    with repository.lock() as recovery:
        assert recovery.notes == ()


def test_i10_waiting_gets_the_lock_when_its_holder_is_killed(tmp_path: Path) -> None:
    repository = make_registry(tmp_path)
    with hold(tmp_path) as child:
        child.kill()
        with repository.lock(wait=30):
            record = json.loads((tmp_path / ".git/imageworks" / LOCK_FILE).read_text())
            assert record["pid"] == os.getpid()


def test_i10_linked_work_trees_exclude_each_other(tmp_path: Path) -> None:
    make_registry(tmp_path / "a")
    git(tmp_path / "a", "worktree", "add", "-q", "-b", "b", str(tmp_path / "b"))
    other = RegistryRepository.open(tmp_path / "b")
    with hold(tmp_path / "a") as child:
        with pytest.raises(LockHeldError), other.lock():
            pytest.fail("two controllers at once")
        child.communicate("\n")


def test_i10_the_lock_file_outlives_the_lock_and_a_removed_one_locks_nobody_out(tmp_path: Path) -> None:
    repository = make_registry(tmp_path)
    file = tmp_path / ".git/imageworks" / LOCK_FILE
    inode = file.stat().st_ino
    with repository.lock():
        assert file.stat().st_ino == inode
    assert file.read_bytes() == b""
    file.unlink()
    with repository.lock():
        assert file.exists()


def test_i10_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    repository = make_registry(tmp_path)
    with repository.lock():
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with repository.lock() as recovery:
        assert recovery.notes == ()
    child.communicate()


def test_a_commands_options_are_not_recorded() -> None:
    assert command_name(["/x/imageworks-models", "reconcile", "-y", "s3cret"]) == "imageworks-models reconcile"
    assert command_name(["/x/imageworks-models", "import-ollama"]) == "imageworks-models import-ollama"
    assert command_name(["/x/imageworks/__main__.py", "scan"]) == "imageworks-models scan"
    assert command_name(["-c", "--token=s3cret"]) == "python"


@pytest.mark.parametrize("lock", ["index.lock", "refs/heads/main.lock"])
def test_i3_a_lock_left_by_a_killed_git_is_recovered(tmp_path: Path, lock: str) -> None:
    repository = make_registry(tmp_path)
    (tmp_path / ".git" / lock).write_bytes(b"")
    result = repository.commit({"models/b": b"b"}, message="x", expected=repository.head())
    assert result.created
    assert git(tmp_path, "status", "--porcelain") == ""
    assert_sound(tmp_path)


def test_a_lock_of_a_living_git_is_respected(tmp_path: Path) -> None:
    make_registry(tmp_path)
    repository = RegistryRepository.open(tmp_path, index_wait=0)
    (tmp_path / "models/a.yaml").write_bytes(b"edited")
    with subprocess.Popen(
        ["git", *USER, "-c", "core.editor=echo ready; read x; echo done >$1; :", "commit", "-a", "-m", "m", "-e"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        assert any(b"ready" in line for line in iter(child.stdout.readline, b""))
        index_lock = tmp_path / ".git/index.lock"
        inode = index_lock.stat().st_ino
        repository.commit({"models/b": b"b"}, message="x", expected=repository.head())
        assert index_lock.stat().st_ino == inode
        child.communicate(b"\n")
    with repository.lock():
        assert_sound(tmp_path)
