"""Folders of links into another cache (D24): right bytes are right, nothing is written or deleted through a link."""

import os
from pathlib import Path

import pytest

from imageworks.providers.huggingface.records import git_blob_id
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import content, sha256

FILES = {**MODEL, "sub/notes.json": b"{}\n"}


def state_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what a folder holds, so that any write shows."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            seen = path.stat()
            found[str(path.relative_to(folder))] = (seen.st_ino, seen.st_mtime_ns, path.read_bytes())
    return found


@pytest.fixture
def cached(world: World, isolated_environment: Path) -> Path:
    """A Hugging Face cache of the model, and a folder of links into it where the model is to be; returns the cache."""
    commit = world.serve(FILES).commit_id
    world.declare(source={"huggingface": REPO, "revision": commit}, location="flat")
    cache = isolated_environment / ".cache/huggingface/hub" / f"models--{REPO.replace('/', '--')}"
    for name, data in FILES.items():
        blob = cache / "blobs" / (sha256(data).value if name.endswith(".safetensors") else git_blob_id(data))
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        snapshot = cache / "snapshots" / commit / name
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        snapshot.symlink_to(blob)
        link = target(world) / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(snapshot)
    return cache


def target(world: World) -> Path:
    return world.folder / "flat" / NAME


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_d24_links_with_the_right_bytes_are_adopted_and_told_of(world: World, cached: Path) -> None:
    before = state_of(cached)
    planned = world.reconcile("--dry-run")
    assert "all files are links" in " ".join(planned.out.split())
    assert str(cached / "blobs") in "".join(planned.out.split())
    assert world.plan().changes == {NAME: ("adopt", "found")}
    world.served.forget()
    world.reconcile("-y")
    assert world.served.files == {}
    assert all((target(world) / name).is_symlink() for name in FILES)
    assert world.plan().changes == {}
    assert command("verify", "--full", "--registry", world.root).code == 0
    assert state_of(cached) == before


def test_d24_removing_an_adopted_folder_of_links_deletes_neither_links_nor_bytes(world: World, cached: Path) -> None:
    before = state_of(cached)
    world.reconcile("-y")
    command("remove", NAME, "--delete-files", "--force", "--registry", world.root)
    assert state_of(cached) == before
    assert all((target(world) / name).is_symlink() for name in FILES)


def test_d24_the_way_to_files_of_its_own_works(world: World, cached: Path) -> None:
    before = state_of(cached)
    target(world).rename(world.folder / "aside")
    world.served.forget()
    world.reconcile("-y")
    assert not any((target(world) / name).is_symlink() for name in FILES)
    assert read(target(world)) == FILES
    assert world.served.files == {}
    assert {name: found[0::2] for name, found in state_of(cached).items()} == {
        name: found[0::2] for name, found in before.items()
    }


def test_d24_what_is_missing_beside_right_links_is_brought_and_the_links_stay(world: World, cached: Path) -> None:
    (target(world) / "config.json").unlink()
    for blob in (cached / "blobs").iterdir():
        if blob.read_bytes() == FILES["config.json"]:
            blob.unlink()
    before = state_of(cached)
    assert world.plan().changes == {NAME: ("install", "missing")}
    world.reconcile("-y")
    assert read(target(world)) == FILES
    assert not (target(world) / "config.json").is_symlink()
    assert (target(world) / "model.safetensors").is_symlink()
    assert state_of(cached) == before
    assert world.plan().changes == {}


@pytest.mark.parametrize("kind", ["nothing", "circle"])
def test_d24_a_link_that_leads_nowhere_is_missing_and_is_kept_aside(world: World, cached: Path, kind: str) -> None:
    lost = [blob for blob in (cached / "blobs").iterdir() if blob.read_bytes() == FILES["model.safetensors"]]
    lost[0].unlink()
    if kind == "circle":
        (target(world) / "model.safetensors").unlink()
        (target(world) / "model.safetensors").symlink_to("model.safetensors")
    before = state_of(cached)
    assert world.plan().changes == {NAME: ("install", "missing")}
    world.reconcile("-y")
    assert (target(world) / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not (target(world) / "model.safetensors").is_symlink()
    aside = [path for path in target(world).iterdir() if path.is_symlink() and path.name.startswith("model.saf")]
    assert len(aside) == 1  # the link itself is somebody's
    assert aside[0].readlink().name == "model.safetensors"
    assert state_of(cached) == before


def test_d24_a_cache_that_is_cleared_later_is_repaired_without_touching_it(world: World, cached: Path) -> None:
    world.reconcile("-y")
    for blob in (cached / "blobs").iterdir():
        blob.unlink()
    assert world.plan().changes == {NAME: ("repair", "file-missing")}
    world.reconcile("-y")
    assert read(target(world)) == FILES
    assert state_of(cached) == {}


def test_d24_wrong_bytes_through_a_link_are_repaired_beside_it(world: World, cached: Path) -> None:
    world.reconcile("-y")
    blob = next(one for one in (cached / "blobs").iterdir() if one.read_bytes() == FILES["model.safetensors"])
    blob.write_bytes(content("damaged", len(FILES["model.safetensors"])))
    before = state_of(cached)
    assert command("verify", NAME, "--repair", "--registry", world.root).code == 0
    assert read(target(world)) == FILES
    assert state_of(cached) == before


def test_d24_links_with_other_bytes_are_still_refused(world: World, cached: Path) -> None:
    other = world.folder / "other.bin"
    other.write_bytes(b"something else")
    (target(world) / "config.json").unlink()
    (target(world) / "config.json").symlink_to(other)
    before = state_of(cached)
    assert world.plan(code=1).changes == {NAME: ("blocked", "unowned-files")}
    world.reconcile("-y", code=1)
    assert other.read_bytes() == b"something else"
    assert state_of(cached) == before


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_d24_what_is_no_file_behind_a_link_is_not_read(world: World, cached: Path, kind: str) -> None:
    assert cached.is_dir()
    link = target(world) / "config.json"
    link.unlink()
    if kind == "pipe":
        os.mkfifo(world.folder / "pipe")
        link.symlink_to(world.folder / "pipe")
    else:
        link.symlink_to(world.folder)
    assert world.plan(code=1).changes == {NAME: ("blocked", "unowned-files")}


def test_d24_a_folder_that_is_a_link_is_adopted_whole_and_never_written_into(world: World, cached: Path) -> None:
    folder = target(world)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()
    snapshot = next((cached / "snapshots").iterdir())
    folder.mkdir()
    for name in MODEL:
        (folder / name).symlink_to(snapshot / name)
    (folder / "sub").symlink_to(snapshot / "sub")
    assert world.plan().changes == {NAME: ("adopt", "found")}
    (folder / "README.md").unlink()
    blocked = world.plan(code=1)
    assert blocked.changes == {NAME: ("blocked", "unowned-files")}
    assert f"{folder}/sub" in str(blocked.json["changes"])
    before = state_of(cached)
    world.reconcile("-y", code=1)
    assert state_of(cached) == before
