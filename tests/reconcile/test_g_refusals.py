"""G8, G9: what git is in the middle of, and what a server refuses, are told with what helps."""

import os
import re
import subprocess

import pytest

from support.git import git
from support.git_server import GitServer
from support.reconcile import HOST, World
from support.team import served_registry

__all__ = ["served_registry"]

STARTS = {
    "merge": ("merge", "side"),
    "rebase": ("rebase", "side"),
    "rebase of several": ("rebase", "--interactive", "side"),
    "cherry-pick": ("cherry-pick", "side"),
    "cherry-pick of several": ("cherry-pick", "side~1", "side"),
    "revert": ("revert", "--no-edit", "HEAD~1"),
    "revert of several": ("revert", "--no-edit", "HEAD~1", "HEAD~2"),
    "patch": ("am", "{folder}/side.patch"),
    "three-way patch": ("am", "--3way", "{folder}/side.patch"),
    "bisect": ("bisect", "start", "HEAD", "HEAD~2"),
}
KINDS = {"rebase of several": "rebase", "cherry-pick of several": "cherry-pick", "revert of several": "revert"}


def conflicting(world: World) -> None:
    """Make branches whose commits do not go together."""
    world.declare()
    world.write("notes.txt", "one\n")
    git(world.git_root, "switch", "--quiet", "--create", "side")
    world.write("notes.txt", "of the side\n")
    world.write("notes.txt", "of the side again\n")
    patch = git(world.git_root, "format-patch", "-1", "--stdout")
    (world.folder / "side.patch").write_text(patch, encoding="utf-8")
    git(world.git_root, "switch", "--quiet", "main")
    world.write("notes.txt", "two\n")
    world.write("notes.txt", "three\n")


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("start", STARTS)
def test_g8_the_command_that_gives_an_operation_up_does(world: World, start: str, linked: bool) -> None:
    world.serve()
    conflicting(world)
    if linked:
        git(world.git_root, "switch", "--quiet", "--detach")
        git(world.git_root, "worktree", "add", "--quiet", str(world.folder / "linked"), "main")
        world.git_root = world.root = world.folder / "linked"
    words = [word.format(folder=world.folder) for word in STARTS[start]]
    git(world.git_root, "-c", "sequence.editor=true", *words, check=False)
    kind = KINDS.get(start, "patch" if "patch" in start else start)
    assert f" {kind} is in progress" in world.reconcile("--dry-run", valid=False).out
    refused = world.reconcile(code=1, valid=False)
    told = re.search(r"([a-z-]+) is in progress.*?give it up with `(git [^`]+)`", refused.err, re.DOTALL)
    assert told is not None, refused
    assert told[1] == kind
    person = {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org"}
    subprocess.run(["sh", "-ec", told[2]], cwd=world.git_root, check=True, env={**os.environ, **person})
    world.reconcile()
    assert world.entries() == ["tiny-1b"]


REASONS = {
    "GH013": (
        "error: GH013: Repository rule violations found for refs/heads/main.",
        "Review all repository rules at https://github.example/acme/registry/rules?ref=refs%2Fheads%2Fmain",
        "- Commits must have verified signatures.",
    ),
    "a hook's own words": ("models are changed on Mondays only", "ask in #models"),
}
SECRETS = ("ghp_" + "a1B2" * 9, "glpat-" + "x9-_" * 6, "hf_" + "Zz09" * 8, "s3cret-of-a-url")


def refuse(server: GitServer, *lines: str, ref: str = "*") -> None:
    hook = server.folder / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    said = "".join(f"printf '%s\\n' '{line}' >&2\n" for line in lines)
    hook.write_text(
        f"#!/bin/sh\nread old new ref\ncase $ref in {ref}) ;; *) exit 0 ;; esac\n{said}exit 1\n", encoding="utf-8"
    )
    hook.chmod(0o755)


@pytest.mark.parametrize("reason", REASONS)
def test_g9_the_servers_own_words_are_told_without_secrets(world: World, server: GitServer, reason: str) -> None:
    world.serve()
    world.declare()
    hidden = f"pushed with {SECRETS[0]} {SECRETS[1]} {SECRETS[2]} to https://ada:{SECRETS[3]}@git.example/x"
    refuse(server, *REASONS[reason], hidden, "\x1b[31mred\x1b[0m")
    result = world.reconcile("--push", code=1)
    for line in REASONS[reason]:
        assert f"remote: {line}" in result.err
    assert "remote: pushed with" in result.err
    assert not [secret for secret in SECRETS if secret in result.err + result.out]
    assert "\x1b" not in result.err
    assert "commit: {branch: state/{host}}" in result.err
    assert world.entries() == ["tiny-1b"]
    (server.folder / "hooks/pre-receive").unlink()
    world.reconcile("--push")
    assert server.tip() == world.head()


def test_g9_advice_that_is_followed_already_is_not_given(world: World, server: GitServer) -> None:
    world.serve()
    world.configure(commit={"branch": "state/{host}", "push": True})
    world.declare()
    git(world.git_root, "push", "--quiet", "origin", "main")
    refuse(server, *REASONS["GH013"], ref="refs/heads/state/*")
    result = world.reconcile(code=1)
    assert "remote: - Commits must have verified signatures." in result.err
    assert "commit: {branch" not in result.err
    assert f"state/{HOST}" in result.err


def test_g9_a_server_of_many_words_is_cut_short(world: World, server: GitServer) -> None:
    world.serve()
    world.declare()
    refuse(server, *(f"line {number} {'x' * 2000}" for number in range(200)))
    result = world.reconcile("--push", code=1)
    assert result.err.count("remote: line") == 20
    assert len(result.err) < 10_000
    assert os.linesep in result.err
