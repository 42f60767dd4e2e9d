"""Hosts that push to one remote over and over: all of them converge, and nobody's commit is lost."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.git import assert_sound, git
from support.git_server import GitServer
from support.reconcile import MODEL, World, command
from support.registry import PROGRAM
from support.team import manifest, push_all

HOSTS = ("alpha", "beta", "gamma")
ROUNDS = 3


@contextmanager
def together(world: World, clones: dict[str, Path]) -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """Run ``reconcile --pull --push`` on all hosts at once, each a process of its own."""
    children = {}
    for host, clone in clones.items():
        environment = {
            **os.environ,
            "IMAGEWORKS_HOST": host,
            "IMAGEWORKS_STATE_DIR": str(world.folder / f"state of {host}"),
            "IMAGEWORKS_CACHE_DIR": str(world.folder / f"cache of {host}"),
            "IMAGEWORKS_MODEL_ROOT": str(world.folder / f"weights of {host}"),
        }
        children[host] = subprocess.Popen(
            [*PROGRAM, "reconcile", "--yes", "--pull", "--push", "--registry", str(clone), "--no-progress"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    yield children
    for host, child in children.items():
        out, _ = child.communicate(timeout=120)
        assert child.returncode == 0, (host, out)


@pytest.mark.parametrize("commit", [{}, {"branch": "state/{host}"}], ids=["one-branch", "own-branches"])
def test_hosts_that_push_at_once_for_several_rounds_converge(
    world: World, server: GitServer, colleague: Path, commit: dict[str, object]
) -> None:
    world.configure(commit=commit)
    git(world.git_root, "push", "--quiet")
    clones = {}
    for host in HOSTS:
        clones[host] = world.folder / f"clone of {host}"
        git(world.folder, "clone", "--quiet", server.address, str(clones[host]))
        for setting in ("user.name=Ada", "user.email=ada@example.org"):
            git(clones[host], "config", *setting.split("="))
    git(colleague, "pull", "--quiet")
    for number in range(ROUNDS):
        world.serve({**MODEL, "extra.json": b"%d" % number}, f"acme/model-{number}")
        (colleague / "models").mkdir(exist_ok=True)
        text = manifest(f"acme/model-{number}", location="linux_wsl")
        (colleague / f"models/model-{number}.yaml").write_text(text, encoding="utf-8")
        git(colleague, "pull", "--quiet", "--rebase")
        push_all(colleague, f"Round {number}")
        with together(world, clones):
            pass
    models = [f"model-{number}" for number in range(ROUNDS)]
    branches = dict.fromkeys(HOSTS, "main") if not commit else {host: f"state/{host}" for host in HOSTS}
    for host, branch in branches.items():
        subjects = [subject for subject in server.subjects(branch) if subject.startswith(f"Reconcile {host}:")]
        assert len(subjects) == ROUNDS
        files = git(server.folder, "ls-tree", "-r", "--name-only", branch, f"discovered/{host}").split()
        assert [Path(file).stem for file in files] == models
    assert [subject for subject in server.subjects() if subject.startswith("Round")] == [
        "Round 2",
        "Round 1",
        "Round 0",
    ]
    for branch in set(branches.values()):
        assert_every_commit_valid(world, server, branch)
    for clone in clones.values():
        assert_sound(clone)
        assert git(clone, "status", "--porcelain") == ""
    assert_sound(server.folder)


def assert_every_commit_valid(world: World, server: GitServer, branch: str) -> None:
    """I2, for each commit that the remote has."""
    check = world.folder / "check"
    if not check.exists():
        git(world.folder, "clone", "--quiet", server.address, str(check))
    git(check, "fetch", "--quiet")
    for commit in git(check, "rev-list", "--first-parent", f"origin/{branch}").split():
        git(check, "checkout", "--quiet", "--detach", commit)
        assert command("validate", "--registry", check).code == 0, commit
        assert command("snapshot", "check", "--registry", check).code == 0, commit
