"""A week of a team: two people with clones, pull requests, a merge, an update, a mistake and the way back.

Both ends are real git: a server on loopback, clones, branches, merges, pushes; the program runs as anybody runs it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.git import git
from support.git_server import GitServer, serve_git
from support.hub import HubRepository
from support.reconcile import MODEL, NAME, REPO, Result, World, command
from support.transfer import content


class Person:
    """Somebody with a clone and a machine of their own."""

    def __init__(self, folder: Path, server: GitServer, host: str) -> None:
        self.folder = folder
        self.host = host
        self.clone = folder / "models registry"
        self.weights = folder / "weights"
        folder.mkdir()
        git(folder, "clone", "--quiet", server.address, str(self.clone))

    def run(self, *words: str, code: int = 0) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("IMAGEWORKS_HOST", self.host)
            patch.setenv("IMAGEWORKS_STATE_DIR", str(self.folder / "state"))
            patch.setenv("IMAGEWORKS_MODEL_ROOT", str(self.weights))
            result = command(*words, "--registry", self.clone)
        assert result.code == code, result
        return result

    def propose(self, branch: str, file: str, text: str) -> None:
        """Push a branch with one changed file, as for a pull request."""
        git(self.clone, "switch", "--quiet", "--create", branch)
        path = self.clone / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--message", f"Change {file}")
        git(self.clone, "push", "--quiet", "--set-upstream", "origin", branch)

    def merge(self, branch: str) -> None:
        """Merge a pull request, as the server's button does."""
        git(self.clone, "switch", "--quiet", "main")
        git(self.clone, "pull", "--quiet", "--rebase")
        git(self.clone, "merge", "--quiet", "--no-ff", "--no-edit", f"origin/{branch}")
        git(self.clone, "push", "--quiet")

    def weights_of(self, repository: str) -> bytes:
        return (self.weights / repository / "model.safetensors").read_bytes()


@pytest.fixture
def team(world: World) -> Iterator[tuple[Person, Person, GitServer, HubRepository]]:
    with serve_git(world.folder / "team.git") as server:
        world.configure(locations={"linux_wsl": {"path": "~/x"}}, hosts={"ada": {}, "ben": {}})
        git(world.git_root, "remote", "add", "origin", server.address)
        git(world.git_root, "push", "--quiet", "origin", "main")
        hub = world.serve()
        yield Person(world.folder / "ada", server, "ada"), Person(world.folder / "ben", server, "ben"), server, hub


def manifest(revision: str, **fields: object) -> str:
    source = {"huggingface": REPO, "revision": revision}
    return json.dumps({"schema_version": 1, "source": source, "location": "linux_wsl", **fields}, indent=2) + "\n"


def test_a_week(team: tuple[Person, Person, GitServer, HubRepository]) -> None:
    ada, ben, server, hub = team
    first, main = hub.commit_id, f"models/{NAME}.yaml"

    # Monday: Ada's pull request has a mistake; CI refuses it with file, line and remedy.
    ada.propose("tiny", main, manifest(first, backnd="vllm"))
    refused = ada.run("validate", code=1)
    assert f"{main}:8:3: " in refused.out
    assert "backend" in refused.out
    git(ada.clone, "switch", "--quiet", "main")

    # Tuesday: the corrected one gets a comment, is merged, and both machines bring the model and push what they did.
    ada.propose("tiny-again", main, manifest(first, backend="vllm", roles=["caption"]))
    comment = ada.run("reconcile", "--dry-run", "--format", "markdown", "--base", "origin/main", "--all-hosts").out
    assert NAME in comment
    assert first[:7] in comment
    ben.merge("tiny-again")
    for person in (ada, ben):
        git(person.clone, "switch", "--quiet", "main")
        person.run("reconcile", "--yes", "--pull", "--push", "--no-progress")
        assert person.weights_of(REPO) == MODEL["model.safetensors"]
    recorded = git(server.folder, "ls-tree", "-r", "--name-only", "main", "discovered").split()
    assert recorded == [f"discovered/{host}/{NAME}.json" for host in ("ada", "ben")]

    # Wednesday: upstream moves; Ben proposes the update on a branch, nothing else of the file changes.
    better = content("better weights", 50_000)
    second = hub.commit({"model.safetensors": better})
    assert NAME in ben.run("outdated").out
    ben.run("update", "--pr-branch", "update-models")
    git(ben.clone, "push", "--quiet", "origin", "update-models")
    changed = git(ben.clone, "diff", "--stat", "main", "update-models")
    assert "1 file changed" in changed
    ada.merge("update-models")
    assert second in (ada.clone / main).read_text(encoding="utf-8")
    for person in (ada, ben):
        person.run("reconcile", "--yes", "--pull", "--push", "--no-progress")
        assert person.weights_of(REPO) == better

    # Thursday: somebody deletes the manifest, and a prune takes the weights with it.
    git(ben.clone, "rm", "--quiet", main)
    git(ben.clone, "commit", "--quiet", "--message", "Tidy up")
    ben.run("reconcile", "--prune", "--allow-empty", "--confirm", NAME, "-y", "--push", "--no-progress")
    assert not (ben.weights / REPO).exists()
    assert ada.run("reconcile", "--yes", "--pull", "--no-progress").code == 0
    assert ada.weights_of(REPO) == better  # what nobody asked to prune here stays

    # Friday: Ben goes back; the manifest and the bytes are there again, and everybody agrees.
    ben.run("rollback", "-y", "--no-progress")
    assert ben.weights_of(REPO) == better
    ben.run("reconcile", "--yes", "--push", "--no-progress")
    ada.run("reconcile", "--yes", "--pull", "--push", "--no-progress")
    ben.run("reconcile", "--yes", "--pull", "--no-progress")
    for person in (ada, ben):
        assert "No changes" in person.run("reconcile", "--dry-run").out
        person.run("validate")
        person.run("snapshot", "check")
    told = ben.run("history", NAME).out
    assert all(word in told for word in ("installed", "removed"))
    assert server.tip() == git(ada.clone, "rev-parse", "HEAD").strip()
