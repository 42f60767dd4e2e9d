"""A manifest that is renamed by case alone: names are as git has them, also where a disk ignores case (W12)."""

import json
import shutil
from pathlib import Path

import pytest

from support.filesystems import refusing
from support.git import git
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import tree

NEW = "Tiny-1b"
TEXT = json.dumps({"schema_version": 1, "source": {"huggingface": REPO}, "previously": [NAME]})


def renamed(world: World, root: Path) -> None:
    """Git has the new name: the model is renamed, nothing is fetched, and all is clean."""
    world.served.forget()
    assert command("validate", "--registry", root).code == 0
    done = command("reconcile", "-y", "--registry", root)
    assert done.code == 0, done
    assert world.served.files == {}
    assert tree(world.weights / REPO) == dict(MODEL)
    assert git(root, "status", "--porcelain") == ""
    assert [path.name for path in (root / "discovered/testhost").iterdir()] == [f"{NEW}.json"]
    assert json.loads((root / f"discovered/testhost/{NEW}.json").read_bytes())["name"] == NEW
    plan = command("reconcile", "--dry-run", "--json", "--registry", root)
    assert plan.json["changes"] == []
    assert command("snapshot", "check", "--registry", root).code == 0


@pytest.fixture(autouse=True)
def installed(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile("-y")


def test_w12_a_manifest_is_renamed_by_case(world: World) -> None:
    git(world.root, "mv", f"models/{NAME}.yaml", f"models/{NEW}.yaml")
    world.write(f"models/{NEW}.yaml", TEXT)
    renamed(world, world.root)


def test_w12_names_are_as_git_has_them_where_a_disk_ignores_case(world: World) -> None:
    with refusing(world.folder / "fuse", {"ignore_case": 1, "one_inode": 1}) as disk:
        root = disk.path / "registry"
        shutil.copytree(world.git_root, root, symlinks=True)
        git(root, "config", "core.ignorecase", "true")
        (root / f"models/{NAME}.yaml").rename(root / f"models/{NEW}.yaml")
        (root / f"models/{NEW}.yaml").write_text(TEXT, encoding="utf-8")
        git(root, "commit", "--quiet", "--all", "--message", "Git has the old name still")
        for words in (("validate",), ("reconcile", "--dry-run")):
            told = command(*words, "--registry", root)
            assert told.code == 1
            assert f"models/{NAME}.yaml:1:" in told.out + told.err
            assert f"models/{NEW}.yaml" not in told.out + told.err
            assert "git mv" in told.out + told.err
        git(root, "mv", f"models/{NAME}.yaml", f"models/{NEW}.yaml")
        git(root, "commit", "--quiet", "--message", "Rename")
        renamed(world, root)
