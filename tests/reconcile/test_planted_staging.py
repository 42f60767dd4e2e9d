"""A folder that several users write to: what another one planted among our unfinished work is not obeyed."""

import json
import os
from pathlib import Path

import pytest

from imageworks.files.errors import StagingError
from imageworks.files.publish import publish
from imageworks.files.staging import StagingArea, staging_key
from support.reconcile import HOST, MODEL, NAME, World, command

STRANGER = 54321
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


def give_away(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.lchown(path, STRANGER, STRANGER)


def staging(root: Path) -> Path:
    return root / ".imageworks/staging"


def plant(root: Path, key: str, files: dict[str, bytes]) -> Path:
    """Let another user make the area of this name, before anybody else, open to everybody."""
    area = staging(root) / key
    for name, content in files.items():
        file = area / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    give_away(root / ".imageworks")
    for path in (root / ".imageworks").rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return area


@only_root
@pytest.mark.parametrize("method", ["emptied", "exchange", "two-renames", "rename"])
def test_x6_a_planted_journal_neither_removes_nor_replaces(world: World, method: str) -> None:
    world.serve()
    world.declare()
    world.weights.chmod(0o1777)
    (world.weights / "docs").mkdir()
    (world.weights / "docs/thesis.txt").write_text("precious")
    journal = {"target": "docs", "method": method, "inode": 0, "owned": ["thesis.txt"], "carried": []}
    area = plant(
        world.weights, "evil-1", {"publish.json": json.dumps(journal).encode(), "tree/evil": b"", "old/x": b""}
    )
    world.reconcile()
    assert (world.weights / "docs/thesis.txt").read_text() == "precious"
    assert [path.name for path in (world.weights / "docs").iterdir()] == ["thesis.txt"]
    assert (area / "publish.json").is_file()


@only_root
def test_x6_a_planted_area_is_not_published_as_verified(world: World) -> None:
    commit = world.serve().commit_id
    world.declare()
    world.weights.chmod(0o1777)
    key = staging_key(NAME, HOST, commit)
    area = plant(world.weights, key, {f"tree/{name}": b"#" * len(content) for name, content in MODEL.items()})
    done = world.reconcile(code=1)
    assert str(area) in done.out + done.err
    assert not (world.weights / "acme/tiny-1b").exists()
    command("clean", "--yes", "--registry", world.root)
    assert (area / "tree").is_dir()  # which is his
    area.rename(area.with_name("away"))
    world.reconcile()
    assert (world.weights / "acme/tiny-1b/config.json").read_bytes() == MODEL["config.json"]


@only_root
@pytest.mark.parametrize("how", ["another's", "open", "link", "swapped"])
def test_x6_an_area_that_others_could_write_to_is_refused(tmp_path: Path, how: str) -> None:
    folder = tmp_path / ".imageworks/staging/key"
    if how == "swapped":
        area = StagingArea.open(tmp_path, "key")
        (area.tree / "good").write_text("good")
        folder.rename(tmp_path / "aside")
        (folder / "tree").mkdir(parents=True, mode=0o700)
        folder.chmod(0o700)
        (folder / "tree/good").write_text("evil")
        with pytest.raises(StagingError, match="another folder"):
            publish(area, tmp_path / "model", owned=frozenset())
        assert not (tmp_path / "model").exists()
        return
    folder.parent.mkdir(parents=True)
    if how == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777 if how == "open" else 0o700)
    if how == "another's":
        give_away(folder)
    with pytest.raises(StagingError) as refused:
        StagingArea.open(tmp_path, "key")
    assert refused.value.reason == "staging-not-ours"


def test_x6_a_disk_that_gives_all_files_one_owner_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    StagingArea.open(tmp_path, "key")
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)  # as where root's files on a network disk are nobody's
    area = StagingArea.open(tmp_path, "key")
    publish(area, tmp_path / "model", owned=frozenset())
    assert (tmp_path / "model").is_dir()
