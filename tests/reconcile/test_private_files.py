"""State, cache, log and locks are this user's alone, whatever the umask; published weights follow the umask."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import MODEL, World, command

STRANGER = 54321
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders to others")
OWN = (".local/state/imageworks", ".cache/imageworks")


@pytest.fixture(name="umask", params=[0o000, 0o022, 0o077], ids=["000", "022", "077"])
def some_umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run a test under one umask after the other."""
    before = os.umask(request.param)
    try:
        yield request.param
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Return the modes of everything in a folder and of the folder."""
    assert folder.is_dir()
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in (folder, *folder.rglob("*"))
        if not path.is_symlink()
    }


def open_to_others(folder: Path) -> dict[str, str]:
    return {name: oct(mode) for name, mode in modes(folder).items() if mode & 0o077}


def test_x13_what_a_run_keeps_is_this_users_alone(world: World, isolated_environment: Path, umask: int) -> None:
    del umask
    world.serve()
    world.declare()
    world.reconcile()
    command("list", "--registry", world.root)
    command("verify", "--registry", world.root)
    for own in OWN:
        assert open_to_others(isolated_environment / own) == {}
    assert open_to_others(world.git_root / ".git/imageworks") == {}
    assert (isolated_environment / OWN[0] / "state.sqlite3").is_file()
    assert (isolated_environment / OWN[0] / "logs/model_downloader.log").is_file()


def test_x13_what_was_wider_is_closed_at_first_use_and_told_once(world: World, isolated_environment: Path) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    owned = [isolated_environment / own for own in OWN]
    lock = world.git_root / ".git/imageworks"
    for folder in (*owned, lock):
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
    log = owned[0] / "logs/model_downloader.log"
    before = len(log.read_text(encoding="utf-8").splitlines())
    for name in ("another", "one-more"):
        world.declare(name, source={"huggingface": "acme/tiny-1b"}, location="flat")
        world.reconcile()
    for folder in (*owned, lock):
        assert open_to_others(folder) == {}
    for file in (owned[0] / "state.sqlite3", log, owned[0] / "imageworks/controller.lock", lock / "controller.lock"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[before:]]
    told = [line["path"] for line in lines if line["event"] == "closed-to-others"]
    assert {*map(str, owned), str(lock)} <= set(told)
    assert len(told) == len(set(told))


def test_x13_a_dry_run_changes_no_modes(world: World, isolated_environment: Path) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    state = isolated_environment / OWN[0]
    state.chmod(0o755)
    (state / "state.sqlite3").chmod(0o644)
    before = modes(state)
    world.plan()
    assert modes(state) == before


def test_x13_a_folder_with_other_peoples_files_is_not_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    common = world.folder / "common"
    common.mkdir(mode=0o755)
    (common / "somebody's").write_text("", encoding="utf-8")
    monkeypatch.setenv("IMAGEWORKS_STATE_DIR", str(common))
    world.serve()
    world.declare()
    world.reconcile()
    assert stat.S_IMODE(common.stat().st_mode) == 0o755
    assert stat.S_IMODE((common / "state.sqlite3").stat().st_mode) == 0o600
    assert stat.S_IMODE((common / "imageworks").stat().st_mode) == 0o700


def test_x13_a_state_folder_behind_a_link_is_closed_where_it_is(world: World, isolated_environment: Path) -> None:
    real = world.folder / "on another disk" / "imageworks"
    real.mkdir(parents=True, mode=0o755)
    (isolated_environment / ".local").mkdir()
    (isolated_environment / ".local/state").symlink_to(real.parent)
    world.serve()
    world.declare()
    world.reconcile()
    assert open_to_others(real) == {}


@only_root
def test_x13_the_lock_is_held_by_nobody_else(world: World, isolated_environment: Path) -> None:
    import subprocess
    import sys

    world.serve()
    world.declare()
    world.reconcile()
    for above in (*isolated_environment.parents, isolated_environment, isolated_environment / ".local"):
        if above.stat().st_uid == os.geteuid() and str(above).startswith(str(world.folder.parent.parent)):
            above.chmod(0o755)
    for lock in (isolated_environment / OWN[0] / "imageworks", world.git_root / ".git/imageworks"):
        code = f"import fcntl; fcntl.flock(open({str(lock / 'controller.lock')!r}), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        tried = subprocess.run(
            [
                "setpriv",
                f"--reuid={STRANGER}",
                f"--regid={STRANGER}",
                "--clear-groups",
                sys.executable,
                "-I",
                "-c",
                code,
            ],
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert tried.returncode != 0


def published(world: World) -> dict[str, int]:
    folder = world.weights / "acme"
    return modes(folder)


def test_x13_published_files_follow_the_umask_but_for_everybodys_right_to_write(world: World, umask: int) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    for name, mode in published(world).items():
        folder = (world.weights / "acme" / name).is_dir()
        wanted = (0o775 if folder else 0o664) & ~umask
        assert oct(mode & 0o777) == oct(wanted), name


def test_x13_a_shared_folder_of_a_group_works(world: World, umask: int) -> None:
    """What is put below a folder with the set-group-ID bit belongs to its group, and members can add models."""
    world.serve()
    world.weights.chmod(0o2775)
    if os.geteuid() == 0:
        os.chown(world.weights, 0, STRANGER)
        world.weights.chmod(0o2775)
    group = world.weights.stat().st_gid
    world.declare()
    world.reconcile()
    for path in (world.weights, *world.weights.rglob("*")):
        found = path.stat()
        assert found.st_gid == group, path
        assert not found.st_mode & stat.S_IWOTH, path
        if umask != 0o077:
            assert found.st_mode & stat.S_IRGRP, path
    for folder in (world.weights / ".imageworks", world.weights / "acme"):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o2070 == 0o2070, folder
    assert (world.weights / "acme/tiny-1b/config.json").read_bytes() == MODEL["config.json"]


@only_root
def test_x13_a_state_folder_of_another_user_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from imageworks.foundation.private_files import ForeignFolderError, make_private_folder

    planted = world.folder / "planted"
    planted.mkdir(mode=0o777)
    os.chown(planted, STRANGER, STRANGER)
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER + 1)
    with pytest.raises(ForeignFolderError):
        make_private_folder(planted)


def test_x13_the_lock_of_a_clone_that_a_group_shares_is_the_groups(world: World) -> None:
    git(world.git_root, "config", "core.sharedRepository", "group")
    world.serve()
    world.declare()
    world.reconcile()
    folder = world.git_root / ".git/imageworks"
    assert stat.S_IMODE(folder.stat().st_mode) & 0o777 == 0o770
    assert stat.S_IMODE((folder / "controller.lock").stat().st_mode) == 0o660


def test_x13_the_users_settings_keep_their_rights_when_a_root_is_added(
    world: World, isolated_environment: Path
) -> None:
    file = isolated_environment / ".config/imageworks/config.toml"
    file.chmod(0o600)
    assert command("config", "--allow", world.folder.parent / "more").code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
