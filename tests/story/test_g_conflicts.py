"""G7: branches in which controllers committed are merged, rebased and picked, by the merge driver and by hand."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import Result, command

FIRST, SECOND = "workstation", "gpu box"
MANIFEST = "schema_version: 1\nbackend: vllm\nroles: [caption]\ndisplay_name: {name}\n"


class Registry:
    """A registry that `init` made, in which people and hosts commit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        assert command("init", root).code == 0

    def run(self, *words: str, host: str = FIRST, code: int = 0) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("IMAGEWORKS_HOST", host)
            result = command(*words, "--registry", self.root)
        assert result.code == code, result
        return result

    def declare(self, name: str, text: str = MANIFEST, *, host: str | None = None) -> None:
        (self.root / f"models/{name}.yaml").write_text(text.format(name=name), encoding="utf-8")
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--message", f"Declare {name}")
        if host is not None:
            self.run("reconcile", "--yes", "--no-progress", host=host)

    def branches(self, *, one: str, other: str) -> None:
        """Let two branches be, in each of which a manifest was declared and a host reconciled."""
        self.declare("common", host=FIRST)
        git(self.root, "switch", "--quiet", "--create", "topic")
        self.declare("of-topic", host=one)
        git(self.root, "switch", "--quiet", "main")
        self.declare("of-main", host=other)

    def try_git(self, *words: str) -> bool:
        """Run git as a person does, whose git has no names of ours on its path."""
        environment = {**os.environ, "GIT_EDITOR": "true", "PATH": "/usr/bin:/bin:/usr/local/bin"}
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        done = subprocess.run(
            ["git", *identity, *words], cwd=self.root, env=environment, check=False, capture_output=True, text=True
        )
        return done.returncode == 0

    def is_right(self, *names: str, host: str = FIRST) -> None:
        """Fail unless the snapshot is right, names just these models, and nothing is left for a host to do."""
        assert git(self.root, "status", "--porcelain") == ""
        assert self.run("snapshot", "check").out == ""
        assert self.run("validate").out == ""
        snapshot = json.loads((self.root / f"snapshot/{host}.json").read_bytes())
        assert [model["name"] for model in snapshot] == sorted(names)
        before = git(self.root, "rev-parse", "HEAD")
        self.run("reconcile", "--yes", "--no-progress", host=host)
        assert git(self.root, "rev-parse", "HEAD") == before
        git(self.root, "fsck", "--strict", "--no-dangling")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "the registry")


def by_text(registry: Registry) -> None:
    """Let git merge snapshots as text, as in a clone where nobody has set up the driver."""
    git(registry.root, "config", "--remove-section", "merge.imageworks-snapshot")


WAYS = {
    "merge": (("merge", "--no-edit", "topic"), ("commit", "--no-edit")),
    "rebase": (("rebase", "topic"), ("rebase", "--continue")),
    "cherry-pick": (("cherry-pick", "main..topic"), ("cherry-pick", "--continue")),
}
EVERYTHING = ("common", "of-main", "of-topic")


@pytest.mark.parametrize("way", WAYS)
def test_g7_two_branches_of_one_host_join_by_the_driver(registry: Registry, way: str) -> None:
    registry.branches(one=FIRST, other=FIRST)
    assert registry.try_git(*WAYS[way][0])
    registry.is_right(*EVERYTHING)


@pytest.mark.parametrize("way", WAYS)
def test_g7_two_branches_of_one_host_join_by_hand(registry: Registry, way: str) -> None:
    by_text(registry)
    registry.branches(one=FIRST, other=FIRST)
    start, go_on = WAYS[way]
    assert not registry.try_git(*start)
    told = registry.run("snapshot", "check", code=1).out
    assert "snapshot rebuild" in told
    assert ":2:1:" in told or ":3:1:" in told
    registry.run("list")  # which obeys what is committed, not the file in conflict
    assert f"a {way} is in progress" in registry.run("reconcile", "--dry-run").out
    for _ in range(4):
        rebuilt = registry.run("snapshot", "rebuild").out
        assert f"snapshot/{FIRST}.json" in rebuilt
        assert git(registry.root, "ls-files", "--unmerged") == ""
        if registry.try_git(*go_on):
            break
    registry.is_right(*EVERYTHING)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("driver", [True, False])
def test_g7_two_branches_of_two_hosts_join_by_themselves(registry: Registry, way: str, driver: bool) -> None:
    if not driver:
        by_text(registry)
    registry.branches(one=FIRST, other=SECOND)
    assert registry.try_git(*WAYS[way][0])
    assert registry.run("snapshot", "check").out == ""
    for host in (FIRST, SECOND):  # what the other branch declared, each host has yet to see
        registry.run("reconcile", "--yes", "--no-progress", host=host)
    registry.is_right(*EVERYTHING, host=FIRST)
    registry.is_right(*EVERYTHING, host=SECOND)


@pytest.mark.parametrize("driver", [True, False])
def test_g7_a_side_that_is_older_than_its_manifests(registry: Registry, driver: bool) -> None:
    """People declared more after the host's last commit; the joined snapshot is that of the joined tree."""
    if not driver:
        by_text(registry)
    registry.branches(one=FIRST, other=FIRST)
    registry.declare("later-in-main")
    git(registry.root, "switch", "--quiet", "topic")
    registry.declare("later-in-topic")
    git(registry.root, "switch", "--quiet", "main")
    assert registry.try_git("merge", "--no-edit", "topic") == driver
    if not driver:
        registry.run("snapshot", "rebuild")
        assert registry.try_git("commit", "--no-edit")
    registry.is_right(*EVERYTHING, "later-in-main", "later-in-topic")


@pytest.mark.parametrize("driver", [True, False])
def test_g7_a_conflict_of_people_is_settled_first(registry: Registry, driver: bool) -> None:
    if not driver:
        by_text(registry)
    registry.branches(one=FIRST, other=FIRST)
    registry.declare("common", MANIFEST + "labels:\n  side: main\n", host=FIRST)
    git(registry.root, "switch", "--quiet", "topic")
    registry.declare("common", MANIFEST + "labels:\n  side: topic\n", host=FIRST)
    git(registry.root, "switch", "--quiet", "main")
    assert not registry.try_git("merge", "--no-edit", "topic")
    before = {path: path.read_bytes() for path in registry.root.glob("snapshot/*.json")}
    refused = registry.run("snapshot", "rebuild", code=1).err
    assert "models/common.yaml:6:1:" in refused
    assert {path: path.read_bytes() for path in registry.root.glob("snapshot/*.json")} == before
    assert "models/common.yaml:6:1:" in registry.run("validate", code=1).out
    git(registry.root, "checkout", "--quiet", "--theirs", "models/common.yaml")
    git(registry.root, "add", "models")
    registry.run("snapshot", "rebuild")
    assert registry.try_git("commit", "--no-edit")
    registry.is_right(*EVERYTHING)
    assert "topic" in (registry.root / f"snapshot/{FIRST}.json").read_text(encoding="utf-8")


def test_g7_one_side_taken_whole_is_found_out(registry: Registry) -> None:
    by_text(registry)
    registry.branches(one=FIRST, other=FIRST)
    assert not registry.try_git("merge", "--no-edit", "topic")
    file = registry.root / f"snapshot/{FIRST}.json"
    text = file.read_text(encoding="utf-8")
    file.write_text("".join(line for line in text.splitlines(keepends=True) if line[0] not in "<=>"), encoding="utf-8")
    git(registry.root, "add", "--all")
    assert registry.try_git("commit", "--no-edit")
    told = registry.run("snapshot", "check", code=1).out
    assert told.startswith(f"snapshot/{FIRST}.json:")
    registry.run("snapshot", "rebuild")
    assert registry.try_git("commit", "--all", "--message", "Rebuild the snapshot")
    registry.is_right(*EVERYTHING)


def test_g7_another_clone_installs_the_driver_with_one_command(registry: Registry, tmp_path: Path) -> None:
    registry.branches(one=FIRST, other=FIRST)
    other = Registry.__new__(Registry)
    other.root = tmp_path / "another clone"
    git(tmp_path, "clone", "--quiet", "--no-hardlinks", str(registry.root), str(other.root))
    git(other.root, "branch", "topic", "origin/topic")
    before = git(other.root, "rev-parse", "HEAD")
    other.run("snapshot", "install-merge-driver")
    assert git(other.root, "rev-parse", "HEAD") == before  # the attributes are there already
    assert other.try_git("merge", "--no-edit", "topic")
    other.is_right(*EVERYTHING)


def test_g7_a_registry_from_before_gets_driver_and_attributes(registry: Registry) -> None:
    by_text(registry)
    git(registry.root, "rm", "--quiet", "-r", "snapshot", ".gitattributes")
    git(registry.root, "commit", "--quiet", "--message", "As registries were made before")
    registry.run("snapshot", "install-merge-driver")
    registry.branches(one=FIRST, other=FIRST)
    assert registry.try_git("merge", "--no-edit", "topic")
    registry.is_right(*EVERYTHING)


def test_g7_the_driver_runs_nothing_that_the_repository_holds(registry: Registry, tmp_path: Path) -> None:
    canary = tmp_path / "hostile code ran"
    for file in ("imageworks/__init__.py", "json.py", "imageworks.py", "sitecustomize.py", "imageworks-models"):
        (registry.root / file).parent.mkdir(exist_ok=True)
        (registry.root / file).write_text(f"open({str(canary)!r}, 'w')\n", encoding="utf-8")
    registry.branches(one=FIRST, other=FIRST)
    assert registry.try_git("merge", "--no-edit", "topic")
    assert not canary.exists()
    registry.is_right(*EVERYTHING)
