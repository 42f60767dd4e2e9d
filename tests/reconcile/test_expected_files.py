"""Entries come by pull request too: one that is wrong or hostile stops only itself and leads nowhere."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import HOST, MODEL, NAME, REPO, World
from support.transfer import tree, write


def record(world: World, name: str, path: Path | str, files: Mapping[str, bytes], **fields: object) -> None:
    """Commit an entry as someone's pull request might bring it, claiming that we installed its files."""
    listed = [{"path": p, "size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for p, d in files.items()]
    entry = {
        "schema_version": 1,
        "name": name,
        "managed": True,
        "download_path": str(path),
        "artifacts": {"files": listed},
        "metadata": {"acquisition": "installed"},
        **fields,
    }
    world.write(f"discovered/{HOST}/{name}.json", json.dumps(entry))


@pytest.mark.parametrize(
    ("place", "file"),
    [
        ("/srv/a\0b", "config.json"),
        ("/srv/a\ud800b", "config.json"),
        ("/srv/../etc", "config.json"),
        ("/srv//x", "config.json"),
        ("/srv/x", "a\ud800b"),
        ("/srv/x", "a\0b"),
        ("/srv/x", "../up"),
        ("/srv/x", "/absolute"),
        ("/srv/x", "a//b"),
        ("/srv/x", ""),
    ],
)
def test_an_entry_that_leads_nowhere_blocks_only_itself(world: World, place: str, file: str) -> None:
    """I9."""
    world.serve()
    world.declare()
    record(world, "hostile", place, {file: b""})
    result = world.reconcile(code=1, valid=False)
    assert result.planned["hostile"] == ("blocked", "invalid-entry")
    assert "bug" not in result.err
    assert tree(world.weights / REPO) == dict(MODEL)


def test_an_entry_whose_folder_has_too_long_a_name_is_only_missing(world: World) -> None:
    record(world, "long", "/srv/" + "a" * 300, {"config.json": b"{}"}, managed=False)
    assert world.status() == {"long": ("undeclared", "missing", "file-missing")}


def test_a_pipe_where_a_file_is_recorded_is_never_read(world: World) -> None:
    """It would hold up every run, for every model."""
    os.mkfifo(world.folder / "pipe")
    record(world, "hostile", world.folder, {"pipe": b""}, managed=False)
    assert world.status() == {"hostile": ("undeclared", "damaged", "digest-mismatch")}


@pytest.mark.parametrize("spelling", ["link", "above"])
def test_another_models_files_stay_however_a_record_names_them(world: World, spelling: str) -> None:
    """I5."""
    world.serve()
    world.declare()
    world.reconcile()
    if spelling == "link":
        (world.folder / "link").symlink_to(world.weights)
        record(world, "hostile", world.folder / "link" / REPO, MODEL)
    else:
        owner, _, model = REPO.partition("/")
        record(world, "hostile", world.weights / owner, {f"{model}/{name}": data for name, data in MODEL.items()})
    world.declare("hostile", state="absent")
    world.reconcile(valid=False)
    assert tree(world.weights / REPO) == dict(MODEL)
    assert world.status()[NAME] == ("synced", "healthy", "")


def test_a_folder_that_is_not_a_models_alone_is_never_emptied(world: World) -> None:
    """I5, I6: a whole location, one of the host's roots, the registry itself."""
    world.write("models/draft.yaml", "unfinished", commit=False)
    write(world.weights, {"loose.txt": b"loose"})
    record(world, "location", world.weights, {"loose.txt": b"loose"})
    record(world, "root", world.folder, {"weights/loose.txt": b"loose"})
    record(world, "registry", world.root / "models", {"draft.yaml": b"unfinished"})
    (world.root / ".gitignore").write_text("models/draft.yaml\nmodel_registry.json\n", encoding="utf-8")
    git(world.git_root, "rm", "--quiet", "--cached", "models/draft.yaml")
    for name in ("location", "root", "registry"):
        world.declare(name, state="absent")
    result = world.reconcile(code=1, valid=False)
    assert result.err.count("is not the folder of a model alone") == 3
    assert (world.root / "models/draft.yaml").read_text(encoding="utf-8") == "unfinished"
    assert (world.weights / "loose.txt").exists()


def test_a_file_that_is_not_what_its_record_says_is_not_removed(world: World) -> None:
    """I5: what a person wrote there since, or what a record only claims."""
    write(world.folder / "mine", {"notes.txt": b"private"})
    record(world, "hostile", world.folder / "mine", {"notes.txt": b"guess"})
    world.declare("hostile", state="absent")
    result = world.reconcile(valid=False)
    assert (world.folder / "mine/notes.txt").read_bytes() == b"private"
    assert "notes.txt is not as recorded, so it stays" in result.out


def test_a_repair_and_a_move_keep_what_only_the_record_says(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    said = {
        "deprecated": True,
        "model_aliases": ["tiny"],
        "served_model_id": "tiny-served",
        "version_lock": {"locked": True},
    }
    world.write(f"discovered/{HOST}/{NAME}.json", json.dumps({**world.entry(), **said}))
    (world.weights / REPO / "config.json").unlink()
    assert "repair" in world.reconcile().out
    assert {key: world.entry().get(key) for key in said} == said
    world.declare(location="second")
    assert "move" in world.reconcile().out
    assert {key: world.entry().get(key) for key in said} == said


def test_a_renamed_model_is_served_under_its_new_name(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.delete(NAME)
    world.declare("renamed", previously=[NAME])
    world.reconcile()
    assert world.entry("renamed")["served_model_id"] == "renamed"
