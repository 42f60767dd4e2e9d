"""A drive that is away is not made anew on another disk, whatever its mount point or a link to it looks like."""

from pathlib import Path

import pytest

from imageworks.providers import locations as places
from support.reconcile import NAME, World, command


@pytest.fixture(name="drives")
def mount_parent(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that drives are mounted in, as /mnt is."""
    drives = world.folder / "drives"
    (drives / "d").mkdir(parents=True)
    monkeypatch.setattr(places, "MOUNT_PARENTS", places.MOUNT_PARENTS | {drives})
    world.serve()
    return drives


def test_an_empty_mount_point_is_not_filled(world: World, drives: Path) -> None:
    world.declare(location=str(drives / "d/models"))
    result = world.reconcile(code=1)
    assert result.planned[NAME] == ("blocked", "location-unavailable")
    assert (
        f"nothing is mounted at {drives / 'd'}, which is empty; mount it, or make {drives / 'd/models'}" in result.out
    )
    assert list((drives / "d").iterdir()) == []
    (drives / "d/models").mkdir()
    world.reconcile()


def test_a_link_to_a_drive_that_is_away_is_told(world: World, drives: Path) -> None:
    link = world.folder / "ai-models"
    link.symlink_to(drives / "e/ai-models")
    world.declare(location=str(link / "weights"))
    result = world.reconcile(code=1)
    assert result.planned[NAME] == ("blocked", "location-unavailable")
    assert f"{link} is a link to {drives / 'e/ai-models'}, which is not there" in result.out


def test_a_root_behind_a_link_is_used(world: World, drives: Path) -> None:
    link = world.folder / "ai-models"
    (drives / "d/ai-models").mkdir()
    link.symlink_to(drives / "d/ai-models")
    world.declare(location=str(link / "weights"))
    world.reconcile()
    assert "No changes." in world.reconcile().out
    world.declare(location=str(link / "weights"), state="absent")
    world.reconcile()
    assert link.is_symlink()
    assert not (link / "weights/acme").exists()


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "x" * 201, "a/b", ".hidden"])
def test_a_host_name_that_cannot_name_a_folder_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("IMAGEWORKS_HOST", name)
    result = command("reconcile", "--dry-run", "--registry", world.root)
    assert result.code == 1
    assert "cannot name a folder" in result.err
    assert "IMAGEWORKS_HOST" in result.err


def test_a_move_to_a_disk_that_is_too_full_is_blocked_before_it_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between filesystems a move copies, and needs the room that an install would."""
    world.serve()
    world.declare()
    world.reconcile()
    (world.folder / "second").mkdir()
    monkeypatch.setattr(places, "filesystem_key", lambda path: 1 if "second" in path.parts else 2)
    monkeypatch.setattr(places, "free_bytes", lambda path: 1_000 if "second" in path.parts else 10**12)
    world.declare(location="second")
    assert world.plan(code=1).changes == {NAME: ("blocked", "insufficient-space")}
