"""A registry with a remote on a real git server, and a colleague's clone of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.git import git
from support.git_server import GitServer, serve_git
from support.reconcile import World


@pytest.fixture(name="server")
def served_registry(world: World) -> Iterator[GitServer]:
    with serve_git(world.folder / "team registry.git") as served:
        git(world.git_root, "remote", "add", "origin", served.address)
        git(world.git_root, "push", "--quiet", "--set-upstream", "origin", "main")
        yield served


@pytest.fixture(name="colleague")
def colleagues_clone(world: World, server: GitServer) -> Path:
    """Return another person's clone."""
    clone = world.folder / "colleague"
    git(world.folder, "clone", "--quiet", server.address, str(clone))
    return clone


def write_and_push(clone: Path, file: str, text: str) -> str:
    """Commit one file in a clone and push it; returns the commit."""
    path = clone / file
    git(clone, "pull", "--quiet", "--rebase")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return push_all(clone, f"Write {file}")


def push_all(clone: Path, message: str) -> str:
    """Commit everything in a clone and push it; returns the commit."""
    git(clone, "add", "--all", "--force")
    git(clone, "commit", "--quiet", "--message", message)
    git(clone, "push", "--quiet")
    return git(clone, "rev-parse", "HEAD").strip()


def manifest(repository: str = "acme/tiny-1b", **fields: object) -> str:
    return json.dumps({"schema_version": 1, "source": {"huggingface": repository}, **fields})
