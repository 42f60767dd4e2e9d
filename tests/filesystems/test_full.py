"""A full disk below a folder of ours is said in one line, with the folder and what to do; freed, the next run heals."""

import os
import shutil
from pathlib import Path

import pytest

from support.filesystems import mounted
from support.reconcile import MODEL, NAME, REPO, Result, World, command
from support.transfer import tree

KIB = 1024
FILLER = "filler"


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Fill a small disk up, but for some bytes."""
    filler = folder / FILLER
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4 * KIB))
        except OSError:
            size = stream.tell()
    os.truncate(filler, max(0, size - leave))
    return filler


def one_line(result: Result, folder: Path) -> None:
    """The command ended with one error that names the folder and a remedy."""
    assert result.code == 1, result
    assert "This is a bug" not in result.err
    assert "Traceback" not in result.err
    error = result.err[result.err.index("error: ") :].rstrip().splitlines()
    assert len(error) == 2 or error[2].startswith("  More: "), result.err
    assert str(folder) in error[0]
    assert "ree some space" in error[1] or "free space" in error[1], error


@pytest.fixture
def places(world: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    world.serve()
    world.declare()
    log = isolated_environment / "log"
    monkeypatch.setenv("IMAGEWORKS_LOG_DIR", str(log))
    return {
        "registry": world.git_root,
        "state": isolated_environment / ".local/state",
        "cache": isolated_environment / ".cache",
        "log": log,
    }


def moved_onto(disk: Path, folder: Path) -> None:
    """Bring what was in a folder onto the disk that is mounted over it."""
    if folder.exists():
        shutil.copytree(folder, disk, dirs_exist_ok=True)


@pytest.mark.parametrize("where", ["registry", "state"])
def test_f8_w8_what_could_not_be_recorded_is_not_fetched(world: World, places: dict[str, Path], where: str) -> None:
    saved = world.folder / "saved"
    moved_onto(saved, places[where])
    with mounted(places[where], "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        moved_onto(disk.path, saved)
        filler = fill(disk.path)
        for _ in range(2):
            one_line(world.reconcile("-y", code=1, valid=False), places[where])
        assert world.served.files == {}
        assert command("status", "--registry", world.root).code in {0, 1}
        assert world.plan().changes[NAME] == ("install", "missing")
        filler.unlink()
        world.reconcile("-y")
        assert tree(world.weights / REPO) == dict(MODEL)
        assert world.plan().json["changes"] == []


@pytest.mark.parametrize("where", ["cache", "log"])
def test_f8_what_is_not_needed_stops_nothing(world: World, places: dict[str, Path], where: str) -> None:
    with mounted(places[where], "-t", "tmpfs", "-o", "size=256k", "tmpfs") as disk:
        filler = fill(disk.path)
        world.reconcile("-y")
        assert tree(world.weights / REPO) == dict(MODEL)
        assert sorted(path.name for path in disk.path.rglob("*") if path.is_file() and path.stat().st_size) == [FILLER]
        filler.unlink()
        assert world.plan().json["changes"] == []


@pytest.mark.parametrize("leave", [0, 8, 16, 24, 32, 40, 48])
def test_f8_w8_a_commit_that_does_not_fit_at_any_of_its_steps(
    world: World, places: dict[str, Path], leave: int
) -> None:
    world.reconcile("-y")
    saved = world.folder / "saved"
    moved_onto(saved, places["registry"])
    with mounted(places["registry"], "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        moved_onto(disk.path, saved)
        filler = fill(disk.path, leave=leave * KIB)
        removed = command("remove", NAME, "--force", "--registry", world.root)
        if removed.code:
            one_line(removed, places["registry"])
        filler.unlink()
        world.reconcile("-y")
        world.check()
        assert world.plan().json["changes"] == []
        assert tree(world.weights / REPO) == dict(MODEL)


def test_f8_w8_a_full_disk_is_freed_by_removing_a_model_that_is_on_it(
    world: World, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mounted(world.folder / "disk", "-t", "tmpfs", "-o", "size=4m", "tmpfs") as disk:
        moved_onto(disk.path / "registry", places["registry"])
        monkeypatch.setenv("XDG_STATE_HOME", str(disk.path / "state"))
        monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(disk.path / "weights"))
        root = disk.path / "registry"
        done = command("reconcile", "-y", "--registry", root, "--no-progress")
        assert done.code == 0, done
        fill(disk.path)
        removed = command("remove", NAME, "--delete-files", "--force", "--registry", root)
        assert removed.code == 0, removed
        assert tree(disk.path / "weights") == {}
        assert command("snapshot", "check", "--registry", root).code == 0
