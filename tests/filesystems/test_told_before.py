"""What a disk would refuse is said before the first byte, with the full path and the real reason."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.filesystems import mounted, refusing, run_mount, without_power
from support.reconcile import MODEL, NAME, REPO, Result, World, command
from support.transfer import content, tree

OWNER, FOLDER = REPO.split("/")


@pytest.fixture(autouse=True)
def declared(world: World) -> None:
    world.serve()
    world.declare()


def blocked(world: World, reason: str, *named: Path | str, action: str = "blocked") -> Result:
    """A dry run and a run block the model for a reason that names the place; nothing was fetched or written there."""
    world.served.forget()
    before = tree(world.weights)
    plan = world.plan(code=1)
    assert plan.changes[NAME] == (action, reason)
    result = world.reconcile("-y", code=1)
    for word in named:
        assert str(word) in result.out + result.err
    assert world.served.files == {}
    assert tree(world.weights) == before
    assert "This is a bug" not in result.err
    return result


def refused(world: World, *named: Path | str) -> Result:
    """A run fails for what only a try can tell; nothing was fetched, and nothing is left at the place."""
    world.served.forget()
    before = tree(world.weights)
    result = world.reconcile("-y", code=1)
    for word in named:
        assert str(word) in result.err
    assert world.served.files == {}
    assert {name for name in tree(world.weights) if ".imageworks" not in name} == set(before)
    return result


@pytest.fixture
def read_only(world: World) -> Iterator[Path]:
    """The host's weights are on a disk that is mounted read-only."""
    with mounted(world.weights, "--bind", world.weights):
        run_mount("-o", "remount,bind,ro", world.weights)
        yield world.weights


@pytest.mark.usefixtures("read_only")
def test_w11_a_read_only_location_is_said_in_the_plan(world: World) -> None:
    result = blocked(world, "read-only", world.weights, "mounted read-only")
    assert "make the location writable" not in result.out


def test_w11_nothing_is_removed_from_a_read_only_location_and_nothing_forgotten(world: World) -> None:
    world.reconcile("-y")
    world.declare(state="absent")
    with mounted(world.weights, "--bind", world.weights):
        run_mount("-o", "remount,bind,ro", world.weights)
        blocked(world, "read-only", world.weights / REPO, "mounted read-only")
        world.declare(location="second")
        blocked(world, "read-only", world.weights / REPO)
        assert not (world.folder / "second").exists()
        world.declare()
        removed = command("remove", NAME, "--delete-files", "--force", "--registry", world.root)
        assert removed.code == 1
        assert str(world.weights / REPO) in removed.err
    assert tree(world.weights / REPO) == dict(MODEL)
    assert world.plan().json["changes"] == []


def test_w11_the_models_own_folder_is_a_mount_point(world: World) -> None:
    with mounted(world.weights / REPO, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        blocked(world, "mount-point", world.weights / REPO)


def test_w11_a_folder_in_the_models_folder_is_a_mount_point(world: World) -> None:
    with mounted(world.weights / REPO / "onnx", "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        blocked(world, "mount-point", world.weights / REPO / "onnx")


@pytest.mark.parametrize("bound", [False, True])
def test_w11_a_mount_between_the_location_and_the_model(world: World, *, bound: bool) -> None:
    above = world.weights / OWNER
    (world.folder / "other").mkdir()
    words: tuple[str | Path, ...] = ("--bind", world.folder / "other")
    if not bound:
        words = ("-t", "tmpfs", "-o", "size=4m", "tmpfs")
    with mounted(above, *words):
        blocked(world, "other-filesystem", above / FOLDER, world.weights)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EBUSY])
def test_w11_a_disk_that_renames_no_folders(world: World, number: int) -> None:
    with refusing(world.folder / "fuse", {"rename_folder": number}, at=world.weights):
        refused(world, world.weights / OWNER, "renamed", os.strerror(number))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_w11_a_disk_that_refuses_what_its_modes_promise(world: World, number: int) -> None:
    with refusing(world.folder / "fuse", {"mkdir": number, "create": number}, at=world.weights):
        refused(world, world.weights, os.strerror(number))


def test_w9_a_file_that_is_too_large_for_the_process_is_said_in_the_plan(world: World) -> None:
    world.serve({**MODEL, "model.safetensors": content("large", 3 << 20)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, limits[1]))
    try:
        blocked(world, "file-too-large", "model.safetensors", str(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    world.reconcile("-y")


def test_w9_a_file_of_four_gigabytes_does_not_go_onto_fat(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imageworks.files.mounts.LARGEST_ON_FAT", 50_000)
    with refusing(world.folder / "fuse", at=world.weights, kind="vfat"):
        blocked(world, "file-too-large", "model.safetensors", world.weights)


def test_w9_a_limit_that_a_disk_does_not_announce_is_found_before_the_first_byte(world: World) -> None:
    with refusing(world.folder / "fuse", {"largest_file": 50_000}, at=world.weights):
        refused(world, "model.safetensors", world.weights)


def test_w9_a_disk_of_no_size_is_not_full_but_one_that_is_full_is(world: World) -> None:
    with refusing(world.folder / "fuse", {"statfs_zero": 1}, at=world.weights):
        world.reconcile("-y")
        world.declare(location="second")
        with mounted(world.folder / "second", "-t", "tmpfs", "-o", "size=16k", "tmpfs"):
            assert world.plan(code=1).changes[NAME] == ("blocked", "insufficient-space")


@pytest.mark.parametrize("place", ["root", "owner", "model"])
def test_f9_a_folder_that_may_not_be_written_is_named_in_the_plan(world: World, place: str) -> None:
    closed = {"root": world.weights, "owner": world.weights / OWNER, "model": world.weights / REPO}[place]
    closed.mkdir(parents=True, exist_ok=True)
    closed.chmod(0o555)
    try:
        for words in (("--dry-run",), ("-y",)):
            done = without_power("reconcile", *words, "--registry", world.root)
            assert done.returncode == 1, done
            assert "read-only:" in done.stdout, done
            assert f"{closed} is not writable" in done.stdout
            assert world.served.files == {}
    finally:
        closed.chmod(0o755)
    world.reconcile("-y")
