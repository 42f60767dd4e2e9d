"""Absent is not missing: drives that are away, swapped, dead, renumbered or mounted elsewhere, on real mounts."""

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from imageworks.files import locations, mounts
from imageworks.files.digests import Algorithm, Digest, hash_file
from imageworks.files.location_markers import MARKER_NAME, LocationState
from imageworks.files.safe_names import STAGING_NAME
from imageworks.files.state import STATE_FILE
from imageworks.model_loader.download_adapter import list_downloads, remove_download
from imageworks.operations.remove import RemoveError
from imageworks.providers.folder import reading_notice as reading
from imageworks.tools.model_downloader import ModelDownloader
from support.filesystems import mounted, refusing, run_mount, unmount
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import tree, write

OTHER: Final = "other-1b"
OTHER_REPO: Final = "acme/other-1b"


VERSION_2: Final = """
DROP TABLE locations;
CREATE TABLE old AS SELECT path, size, mtime_ns, inode, device, sha256, git_blob FROM fingerprints;
DROP TABLE fingerprints;
CREATE TABLE fingerprints (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode BLOB NOT NULL, device BLOB NOT NULL,
    sha256 TEXT, git_blob TEXT
) WITHOUT ROWID;
INSERT INTO fingerprints SELECT * FROM old;
DROP TABLE old;
PRAGMA user_version = 2;
"""


class Drive:
    """A disk that can be plugged in at one place and another; the folder behind it is the disk."""

    def __init__(self, world: World, name: str = "drive") -> None:
        self.disk = world.folder / f"disk-of-{name}"
        self.disk.mkdir()
        self.point = world.folder / name
        self.point.mkdir()
        self.at: Path | None = None

    @property
    def root(self) -> Path:
        return self.point / "models"

    def plug(self, point: Path | None = None, disk: Path | None = None) -> None:
        at = point or self.point
        at.mkdir(exist_ok=True)
        run_mount("--bind", disk or self.disk, at)
        self.at = at

    def unplug(self) -> None:
        if self.at is not None:
            unmount(self.at)
        self.at = None


@pytest.fixture(name="drive")
def plugged_drive(world: World) -> Iterator[Drive]:
    """A drive outside the usual parents of mounts, with one model on it, and another model beside it."""
    drive = Drive(world)
    drive.plug()
    try:
        world.configure(
            locations={
                "linux_wsl": {"path": str(world.weights)},
                "drive": {"path": str(drive.root)},
                "second": {"path": str(world.folder / "second")},
            }
        )
        world.serve()
        world.serve({**MODEL, "README.md": b"# Other\n"}, OTHER_REPO)
        world.declare(location="drive")
        world.declare(OTHER, source={"huggingface": OTHER_REPO})
        world.reconcile()
        world.served.forget()
        yield drive
    finally:
        drive.unplug()


def marker(root: Path) -> str:
    said = json.loads((root / STAGING_NAME / MARKER_NAME).read_text())["id"]
    assert isinstance(said, str)
    return said


def verified(world: World, *words: str, code: int) -> dict[str, tuple[str, set[str]]]:
    """Return each model's verdict, with the reasons of its problems."""
    result = command("verify", "--json", *words, "--registry", world.root)
    assert result.code == code, result
    models: Any = result.json["models"]
    return {one["name"]: (one["verdict"], {problem["reason"] for problem in one["problems"]}) for one in models}


def shown(world: World) -> dict[str, tuple[str, int]]:
    """Return each location's state, with how many models are recorded in it."""
    listed: Any = command("locations", "--json", "--registry", world.root).json["locations"]
    return {one["name"]: (one["state"], one["models"]) for one in listed}


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files that plans read from now on."""
    read: list[Path] = []

    def counted(path: Path, algorithm: Algorithm, *, progress: Callable[[int], None] | None = None) -> Digest:
        read.append(path)
        return hash_file(path, algorithm, progress=progress)

    monkeypatch.setattr("imageworks.providers.disk.hash_file", counted)
    return read


def assert_only_the_other_is_touched(world: World, drive: Drive, reason: str) -> None:
    """Fail unless every command leaves the model on the drive as it is, and looks after the other one."""
    before = tree(drive.point) if drive.at is None else {}
    entry = world.entry()
    (world.weights / OTHER_REPO / "model.safetensors").unlink()
    assert world.plan(code=1).changes == {NAME: ("blocked", reason), OTHER: ("repair", "file-missing")}
    assert world.status()[NAME] == ("blocked", "unknown", reason)
    world.reconcile(code=1)
    assert world.plan(code=1).changes == {NAME: ("blocked", reason)}
    assert verified(world, code=3) == {NAME: ("unverified", {reason}), OTHER: ("intact", set())}
    assert verified(world, "--fix-missing", code=3)[NAME] == ("unverified", {reason})
    assert verified(world, "--repair", code=3)[NAME] == ("unverified", {reason})
    listed = {one["name"]: one for one in json.loads(command("list", "--json", "--registry", world.root).out)}
    assert (listed[NAME]["installed"], listed[NAME]["unavailable"]) == (False, reason)
    assert (listed[OTHER]["installed"], listed[OTHER]["unavailable"]) == (True, None)
    assert command("stats", "--registry", world.root).code == 0
    for words in (("normalize-formats", "--prune-missing", "--apply"), ("prune-duplicates",)):
        assert command(*words, "--registry", world.root).code == 0
    refused = command("remove", NAME, "--delete-files", "--force", "--registry", world.root)
    assert (refused.code, "Nothing was removed" in refused.err) == (1, True), refused
    with pytest.raises(RemoveError):
        remove_download(NAME, delete_files=True, registry=world.root)
    assert ModelDownloader(world.root).verify_model(NAME) is False
    assert NAME not in {one.name for one in list_downloads(only_installed=True, registry=world.root)}
    assert world.entry() == entry
    world.declare(location="drive", state="absent")
    assert world.plan(code=1).changes == {NAME: ("blocked", reason)}
    world.delete(NAME)
    pruned = world.reconcile("--prune", "--confirm", NAME, "--allow-empty", "--force-prune")
    assert world.entry()["download_path"] == entry["download_path"], pruned
    world.declare(location="drive")
    assert set(world.served.files) <= {"model.safetensors"}
    if drive.at is None:
        assert tree(drive.point) == before


def test_w6_a_drive_that_is_not_mounted_is_absent_and_its_models_are_not_missing(world: World, drive: Drive) -> None:
    drive.unplug()
    assert_only_the_other_is_touched(world, drive, "location-absent")
    assert shown(world)["drive"] == ("absent", 1)
    drive.plug()
    assert world.plan().changes == {}
    assert shown(world)["drive"] == ("present", 1)


def test_w6_a_location_that_is_the_mount_point_itself_is_not_filled_when_empty(world: World) -> None:
    drive = Drive(world)
    drive.plug()
    try:
        world.serve()
        world.declare(location=str(drive.point))
        world.reconcile()
        world.served.forget()
        drive.unplug()
        assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}
        world.reconcile(code=1)
        assert (world.served.files, list(drive.point.iterdir())) == ({}, [])
    finally:
        drive.unplug()


def test_w6_another_disk_in_its_place_is_told_apart(world: World, drive: Drive) -> None:
    drive.unplug()
    other = world.folder / "other-disk"
    (other / "models" / STAGING_NAME).mkdir(parents=True)
    document = {"schema_version": 1, "id": "0" * 32}
    (other / "models" / STAGING_NAME / MARKER_NAME).write_text(json.dumps(document), encoding="utf-8")
    write(other / "models" / REPO, {"model.safetensors": b"mine"})
    drive.plug(disk=other)
    assert_only_the_other_is_touched(world, drive, "location-changed-disk")
    assert tree(other / "models" / REPO) == {"model.safetensors": b"mine"}
    scanned = command("scan", "--base", drive.root, "--registry", world.root)
    assert (scanned.code, "forget" in scanned.err) == (1, True), scanned


def test_w6_another_disk_without_a_marker_is_told_apart(world: World, drive: Drive) -> None:
    drive.unplug()
    other = world.folder / "other-disk"
    write(other / "models" / REPO, {"model.safetensors": b"mine"})
    drive.plug(disk=other)
    assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}
    assert command("remove", NAME, "--delete-files", "--force", "--registry", world.root).code == 1
    assert tree(other) == {f"models/{REPO}/model.safetensors": b"mine"}


@pytest.mark.parametrize("words", [("purge-hf", "--weights-root", "{root}"), ("reset-discovered",)])
def test_w6_no_record_of_an_absent_drive_goes_by_maintenance(
    world: World, drive: Drive, words: tuple[str, ...]
) -> None:
    world.delete(NAME)
    write(drive.root / "someone/llama-7b-awq", {"config.json": b"{}", "model.safetensors": MODEL["model.safetensors"]})
    assert command("scan", "--base", drive.root, "--registry", world.root).code == 0
    (found,) = set(world.entries()) - {NAME, OTHER}
    drive.unplug()
    asked = [word.format(root=drive.root) for word in words]
    done = command(*asked, "--registry", world.root)
    assert (done.code, f"kept: {found}" in done.err) == (0, True), done
    assert found in world.entries()
    drive.plug()
    command(*asked, "--registry", world.root)
    assert found not in world.entries()


def test_w6_removing_a_model_of_an_absent_drive_without_its_files_is_recorded_truthfully(
    world: World, drive: Drive
) -> None:
    drive.unplug()
    removed = command("remove", NAME, "--force", "--registry", world.root)
    assert removed.code == 0, removed
    assert "no file was touched" in removed.out
    drive.plug()
    assert tree(drive.root / REPO) == dict(MODEL)


@pytest.mark.parametrize("said", ["drive", "path"])
def test_w6_a_person_says_that_a_drive_is_gone_for_good(world: World, drive: Drive, said: str) -> None:
    drive.unplug()
    forgotten = command(
        "locations", "forget", "drive" if said == "drive" else str(drive.root), "--registry", world.root
    )
    assert forgotten.code == 0, forgotten
    assert verified(world, NAME, code=1) == {NAME: ("missing", {"file-missing"})}
    world.reconcile()
    assert tree(drive.root / REPO) == dict(MODEL)
    assert shown(world)["drive"] == ("present", 1)
    assert command("locations", "forget", "drive", "--registry", world.root).code == 1


def test_w6_a_person_says_that_the_other_disk_is_meant(world: World, drive: Drive) -> None:
    first = marker(drive.root)
    drive.unplug()
    other = world.folder / "other-disk"
    other.mkdir()
    drive.plug(disk=other)
    assert command("locations", "forget", "drive", "--registry", world.root).code == 0
    world.reconcile()
    assert tree(other / "models" / REPO) == dict(MODEL)
    assert marker(drive.root) != first
    drive.unplug()
    drive.plug()
    assert world.plan(code=1).changes == {NAME: ("blocked", "location-changed-disk")}


def test_w6_nothing_is_invented_of_a_drive_that_this_system_mounts_elsewhen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fstab, point = world.folder / "fstab", world.folder / "a drive"
    fstab.write_text(
        f"# disks\nUUID=1 {point}".replace("a drive", "a\\040drive") + " ext4 noauto 0 2\n", encoding="utf-8"
    )
    monkeypatch.setattr(mounts, "FSTAB", fstab)
    point.mkdir()
    world.serve()
    world.declare(location=str(point / "models"))
    assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}
    world.reconcile(code=1)
    assert list(point.iterdir()) == []


def test_w6_a_registry_from_before_markers_gets_them_with_the_next_run_that_may_write(
    world: World, drive: Drive, isolated_environment: Path
) -> None:
    shutil.rmtree(drive.root / STAGING_NAME)
    state = isolated_environment / ".local/state/imageworks" / STATE_FILE
    with sqlite3.connect(state) as database:
        database.executescript(VERSION_2)
    before = state.read_bytes()
    assert world.plan().changes == {}
    assert (state.read_bytes(), (drive.root / STAGING_NAME).exists()) == (before, False)
    assert "No changes." in world.reconcile().out
    assert marker(drive.root)
    drive.unplug()
    assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}


def test_w6_an_unmarked_root_that_is_gone_is_absent_where_models_are_recorded_in_it(
    world: World, drive: Drive, isolated_environment: Path
) -> None:
    shutil.rmtree(isolated_environment / ".local/state/imageworks")
    drive.unplug()
    assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}


def test_w6_two_hosts_and_two_registries_share_one_marker(
    world: World, drive: Drive, monkeypatch: pytest.MonkeyPatch, isolated_environment: Path
) -> None:
    first = marker(drive.root)
    monkeypatch.setenv("IMAGEWORKS_HOST", "otherhost")
    monkeypatch.setenv("IMAGEWORKS_STATE_DIR", str(isolated_environment / "other-state"))
    world.reconcile()
    assert marker(drive.root) == first
    drive.unplug()
    assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}


def test_w6_a_location_in_another_shares_its_fate_and_a_link_to_a_drive_is_followed(world: World) -> None:
    drive = Drive(world, "a drive")
    drive.plug()
    try:
        (drive.point / "models").mkdir()
        link = world.folder / "link"
        link.symlink_to(Path("a drive/models"))
        roots = {"outer": {"path": str(link)}, "inner": {"path": str(link / "inner")}}
        world.configure(locations=roots, routing={"default": "outer"})
        world.serve()
        world.serve({**MODEL, "README.md": b"# Other\n"}, OTHER_REPO)
        world.declare(location="outer")
        world.reconcile()
        drive.unplug()
        world.declare(OTHER, source={"huggingface": OTHER_REPO}, location="inner")
        absent = ("blocked", "location-absent")
        assert world.plan(code=1).changes == {NAME: absent, OTHER: absent}
        (drive.point / "models").mkdir()
        assert world.plan(code=1).changes == {NAME: absent, OTHER: absent}
        (drive.point / "models").rmdir()
        drive.plug()
        world.reconcile()
        assert tree(drive.point / "models/inner" / OTHER_REPO)
    finally:
        drive.unplug()


def test_w6_a_drive_that_goes_between_plan_and_apply_is_not_written_beside(
    world: World, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    (drive.root / REPO / "model.safetensors").unlink()
    real = locations.Locations.look_again

    def unplugged(self: locations.Locations, root: Path) -> LocationState:
        if drive.at is not None and root == drive.root and monkeypatching:
            drive.unplug()
        return real(self, root)

    monkeypatching = True
    monkeypatch.setattr(locations.Locations, "look_again", unplugged)
    result = world.reconcile(code=1)
    assert "Nothing was touched" in result.err, result
    assert list(drive.point.iterdir()) == []


def test_w6_a_read_only_drive_needs_no_marker(world: World, drive: Drive) -> None:
    shutil.rmtree(drive.root / STAGING_NAME)
    drive.unplug()
    run_mount("--bind", drive.disk, drive.point)
    run_mount("-o", "remount,ro,bind", drive.point)
    drive.at = drive.point
    assert command("locations", "forget", "drive", "--registry", world.root).code == 0
    world.reconcile()
    assert not (drive.root / STAGING_NAME).exists()
    assert world.plan().changes == {}
    drive.unplug()
    assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}


def test_w10_a_drive_at_another_path_is_found_by_its_marker(
    world: World, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive.unplug()
    drive.plug(world.folder / "letter-e")
    now = world.folder / "letter-e/models"
    world.configure(locations={"linux_wsl": {"path": str(world.weights)}, "drive": {"path": str(now)}})
    read = hashed(monkeypatch)
    assert world.plan().changes == {NAME: ("move", "location-changed")}
    assert verified(world, NAME, code=0) == {NAME: ("intact", set())}
    world.reconcile()
    assert (world.served.files, read) == ({}, [])
    entry = world.entry()
    assert (entry["download_path"], entry["download_location"]) == (str(now / REPO), "drive")
    assert world.plan().changes == {}
    world.declare(location="drive", state="absent")
    world.reconcile()
    assert not (now / REPO).exists(), "it is still ours to remove"


def test_w10_models_that_nobody_declares_move_with_their_drive(world: World, drive: Drive) -> None:
    world.delete(NAME)
    drive.unplug()
    drive.plug(world.folder / "letter-e")
    now = world.folder / "letter-e/models"
    world.configure(locations={"linux_wsl": {"path": str(world.weights)}, "drive": {"path": str(now)}})
    assert world.plan().changes == {NAME: ("move", "location-changed")}
    world.reconcile()
    assert world.entry()["download_path"] == str(now / REPO)
    world.reconcile("--prune", "--confirm", NAME)
    assert not (now / REPO).exists()


def test_w10_a_drive_elsewhere_is_still_found_when_another_took_its_place(world: World, drive: Drive) -> None:
    drive.unplug()
    other = world.folder / "other-disk"
    write(other / "models" / REPO, dict(MODEL))
    second = Drive(world, "letter-e")
    try:
        drive.plug(disk=other)
        second.plug(disk=drive.disk)
        world.configure(locations={"linux_wsl": {"path": str(world.weights)}, "drive": {"path": str(second.root)}})
        world.reconcile()
        assert world.entry()["download_path"] == str(second.root / REPO)
        assert tree(other / "models" / REPO) == dict(MODEL), "what lies in the old place is somebody else's"
    finally:
        second.unplug()


def renumber(state: Path, *, inodes: bool) -> None:
    """Change the numbers of the disk in what is remembered, as another mount of it would show others."""
    with sqlite3.connect(state) as database:
        for table in ("fingerprints", "locations"):
            database.execute(f"UPDATE {table} SET device = device || '7'")  # noqa: S608 # two words of ours
            if inodes:
                database.execute(f"UPDATE {table} SET inode = inode || '7'")  # noqa: S608


@pytest.mark.parametrize("inodes", [False, True])
def test_w7_numbers_that_change_with_each_mount_make_nobody_read_the_files(
    world: World, drive: Drive, monkeypatch: pytest.MonkeyPatch, isolated_environment: Path, *, inodes: bool
) -> None:
    state = isolated_environment / ".local/state/imageworks" / STATE_FILE
    renumber(state, inodes=inodes)
    read = hashed(monkeypatch)
    assert world.plan().changes == {}
    assert world.status()[NAME][:2] == ("synced", "healthy")
    assert verified(world, code=0)[NAME] == ("intact", set())
    world.reconcile()
    assert read == []
    weights = drive.root / REPO / "model.safetensors"
    before = weights.stat()
    weights.write_bytes(b"x" * before.st_size)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    renumber(state, inodes=inodes)
    assert world.plan().changes == {NAME: ("repair", "digest-mismatch")}
    assert read == [weights]


def test_w7_a_replaced_file_is_noticed_on_an_ordinary_disk(
    world: World, drive: Drive, monkeypatch: pytest.MonkeyPatch, isolated_environment: Path
) -> None:
    with sqlite3.connect(isolated_environment / ".local/state/imageworks" / STATE_FILE) as database:
        database.execute("UPDATE fingerprints SET inode = inode || '7'")
    read = hashed(monkeypatch)
    assert world.plan().changes == {}
    assert drive.root / REPO / "model.safetensors" in read


def test_w7_one_look_is_enough_and_a_dry_run_says_that_it_reads(
    world: World, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in MODEL:
        os.utime(drive.root / REPO / name)
    monkeypatch.setattr(reading, "UNTOLD_BYTES", 0)
    read = hashed(monkeypatch)
    shown_plan = command("reconcile", "--dry-run", "--registry", world.root)
    assert len(read) == len(MODEL)
    assert "reading" in shown_plan.err, shown_plan
    world.reconcile()
    read.clear()
    assert (world.plan().changes, read) == ({}, [])


def test_w7_linking_a_files_bytes_elsewhere_makes_nobody_read_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.serve()
    world.serve(MODEL, OTHER_REPO)
    world.declare()
    world.reconcile()
    world.declare(OTHER, source={"huggingface": OTHER_REPO})
    world.reconcile()
    read = hashed(monkeypatch)
    assert (world.plan().changes, read) == ({}, [])
    world.declare(OTHER, source={"huggingface": OTHER_REPO}, state="absent")
    world.reconcile()
    read.clear()
    assert (world.plan().changes, read) == ({}, [])


def test_w7_w10_what_one_run_leaves_out_the_next_still_need_not_read(
    world: World, drive: Drive, monkeypatch: pytest.MonkeyPatch, isolated_environment: Path
) -> None:
    """A run for one model remembers the disk's new numbers, or its new place, for the files of all."""
    state = isolated_environment / ".local/state/imageworks" / STATE_FILE
    world.declare(OTHER, source={"huggingface": OTHER_REPO}, location="drive")
    world.reconcile()
    renumber(state, inodes=False)
    world.declare(location="drive", roles=["caption"])
    world.reconcile(NAME)
    read = hashed(monkeypatch)
    assert (world.plan().changes, read) == ({}, [])
    drive.unplug()
    drive.plug(world.folder / "letter-e")
    renumber(state, inodes=False)
    now = world.folder / "letter-e/models"
    world.configure(locations={"linux_wsl": {"path": str(world.weights)}, "drive": {"path": str(now)}})
    world.reconcile(NAME)
    assert world.plan().changes == {OTHER: ("move", "location-changed")}
    world.reconcile()
    assert (world.plan().changes, read, world.served.files.get("model.safetensors")) == ({}, [], None)


def test_w7_a_fuse_that_is_mounted_again_is_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its device number is another, and its inode numbers are made up anew."""
    world.serve()
    point = world.folder / "drive"
    world.declare(location=str(point / "models"))
    with refusing(world.folder / "fuse", at=point):
        world.reconcile()
    with mounted(world.folder / "takes-a-number", "-t", "tmpfs", "tmpfs"), refusing(world.folder / "fuse", at=point):
        for path in sorted(point.rglob("*"), reverse=True):
            path.lstat()  # other inode numbers than the first time, in another order
        read = hashed(monkeypatch)
        assert (world.plan().changes, read) == ({}, [])
        world.reconcile()
        assert (world.plan().changes, read) == ({}, [])


def test_w6_downloading_a_model_again_whose_drive_is_away_puts_it_nowhere_else(world: World, drive: Drive) -> None:
    drive.unplug()
    before = (world.root / f"models/{NAME}.yaml").read_bytes()
    done = command("download", REPO, "--registry", world.root, "--non-interactive")
    assert (done.code, "location-absent" in done.err) == (1, True), done
    assert (world.root / f"models/{NAME}.yaml").read_bytes() == before
    assert not (world.weights / REPO).exists()


def test_w6_what_was_adopted_where_it_lay_is_not_missing_when_its_drive_is_not_mounted(world: World) -> None:
    drive = Drive(world)
    drive.plug()
    try:
        write(drive.point / "mine/llama-7b-awq", {"config.json": b"{}", "model.safetensors": b"weights of mine"})
        write(drive.point / "found/llama-8b-awq", {"config.json": b"{}", "model.safetensors": b"weights found"})
        world.declare("mine-7b", source={"path": str(drive.point / "mine/llama-7b-awq")})
        world.reconcile()
        assert command("scan", "--base", drive.point / "found", "--registry", world.root).code == 0
        (found,) = set(world.entries()) - {"mine-7b"}
        assert not list(drive.point.rglob(STAGING_NAME)), "nobody gave us that disk"
        drive.unplug()
        away = ("unverified", {"location-absent"})
        assert verified(world, "--fix-missing", code=3) == {"mine-7b": away, found: away}
        assert world.plan(code=1).changes == {"mine-7b": ("blocked", "location-absent")}
        assert world.status()[found][1] == "unknown"
        assert command("locations", "forget", str(drive.point), "--registry", world.root).code == 0
        assert {one[0] for one in verified(world, code=1).values()} == {"missing"}
    finally:
        drive.unplug()


@contextmanager
def dying(world: World) -> Iterator[Any]:
    with refusing(world.folder / "fuse", at=world.folder / "drive") as mount:
        world.configure(
            locations={"linux_wsl": {"path": str(world.weights)}, "drive": {"path": str(mount.path / "models")}}
        )
        world.serve()
        world.serve({**MODEL, "README.md": b"# Other\n"}, OTHER_REPO)
        world.declare(location="drive")
        world.declare(OTHER, source={"huggingface": OTHER_REPO})
        world.reconcile()
        world.served.forget()
        yield mount


def test_w5_a_drive_whose_program_died_stops_nobody_else(world: World) -> None:
    with dying(world) as mount:
        mount.die()
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            mount.path.stat()
        drive = Drive(world, "unused")
        drive.at = drive.point = mount.path
        assert_only_the_other_is_touched(world, drive, "location-unreadable")
        assert command("scan", "--base", mount.path, "--registry", world.root).code == 1
        assert command("scan", "--base", world.weights, "--registry", world.root).code == 0
        assert shown(world)["drive"] == ("unreadable", 1)
        assert command("locations", "forget", "drive", "--registry", world.root).code == 1


def test_w5_a_file_that_cannot_be_read_is_not_damaged(world: World) -> None:
    with dying(world) as mount:
        mount.refuse(read=errno.EIO, open=errno.EIO)
        os.utime(mount.path / "models" / REPO / "model.safetensors")
        assert world.plan(code=1).changes[NAME][0] == "blocked"
        assert world.status()[NAME][1] == "unknown"
        world.reconcile(code=1)
        assert world.served.files == {}
        mount.refuse()
        assert world.plan().changes == {}


def test_w5_a_drive_that_dies_meanwhile_fails_its_own_model_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with dying(world) as mount:
        for root, repo in ((mount.path / "models", REPO), (world.weights, OTHER_REPO)):
            (root / repo / "config.json").unlink()
        real = locations.Locations.look_again

        def died(self: locations.Locations, root: Path) -> LocationState:
            state = real(self, root)
            if root == mount.path / "models" and mount.server.poll() is None and doing:
                mount.die()
            return state

        doing = True
        monkeypatch.setattr(locations.Locations, "look_again", died)
        result = world.reconcile(code=1)
        assert "This is a bug" not in result.err
        assert (world.weights / OTHER_REPO / "config.json").is_file()


def test_w5_a_state_folder_and_lm_studio_beside_a_dead_drive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with dying(world) as mount:
        monkeypatch.setenv("IMAGEWORKS_LMSTUDIO_ROOT", str(mount.path / "lmstudio"))
        mount.die()
        assert command("config", "--registry", world.root).code == 0
        assert world.plan(code=1).changes == {NAME: ("blocked", "location-unreadable")}


def test_w5_real_tmpfs_swapped_for_another(world: World) -> None:
    point = world.folder / "drive"
    world.serve()
    with mounted(point, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        world.declare(location=str(point))
        world.reconcile()
    world.served.forget()
    with mounted(point, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}
    assert world.plan(code=1).changes == {NAME: ("blocked", "location-absent")}
