"""A model's whole life on filesystems that refuse what real disks refuse: it goes right, records and disk agree."""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from support.filesystems import Mount, mounted, refusing, vfat
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import content, tree, write

LARGE: Final = {**MODEL, "large.safetensors": content("large", 9 << 20)}
"""With a file that aria2 brings."""
DRIVE: Final = "drive"
NOTES: Final = {"notes.txt": b"mine"}

Kind = Callable[[Path], AbstractContextManager[Mount]]


def fuse(**rules: int) -> Kind:
    return lambda folder: refusing(folder / "fuse", rules, at=folder / DRIVE)


def tmpfs(folder: Path) -> AbstractContextManager[Mount]:
    return mounted(folder / DRIVE, "-t", "tmpfs", "-o", "size=120m", "tmpfs")


@contextmanager
def two_binds(folder: Path) -> Iterator[Mount]:
    """Two locations that are mounts of one disk, as Docker's volumes are: one device number, and EXDEV between them."""
    drive = folder / DRIVE
    with ExitStack() as opened:
        for name in ("weights", "second"):
            (folder / "disk" / name).mkdir(parents=True)
            opened.enter_context(mounted(drive / name, "--bind", folder / "disk" / name))
        yield Mount(drive)


@contextmanager
def overlay(folder: Path) -> Iterator[Mount]:
    """Folders of the lower layer cannot be renamed there: EXDEV within one filesystem."""
    with mounted(folder / "layers", "-t", "tmpfs", "-o", "size=200m", "tmpfs") as layers:
        for name in ("lower/weights/acme", "upper", "work"):
            (layers.path / name).mkdir(parents=True)
        write(layers.path / "lower/weights" / REPO, dict(LARGE))
        where = f"lowerdir={layers.path}/lower,upperdir={layers.path}/upper,workdir={layers.path}/work"
        with mounted(folder / DRIVE, "-t", "overlay", "-o", where, "overlay") as drive:
            yield drive


KINDS: Final[dict[str, Kind]] = {
    "passthrough": fuse(),
    "w1-chmod": fuse(chmod=errno.EPERM),
    "w1-modes-times-owners": fuse(chmod=errno.ENOTSUP, chown=errno.EPERM, utimens=errno.EACCES),
    "w2-fsync-of-folders-einval": fuse(fsyncdir=errno.EINVAL),
    "w2-fsync-of-folders-eio": fuse(fsyncdir=errno.EIO),
    "w3-links-with-two-inodes": fuse(rename_flags=errno.EINVAL),
    "links-with-one-inode": fuse(one_inode=1, rename_flags=errno.EINVAL),
    "no-links-no-exchange": fuse(link=errno.ENOTSUP, rename_flags=errno.ENOSYS),
    "w4-two-binds": two_binds,
    "w4-overlay": overlay,
    "w4-folders-give-exdev": fuse(rename_folder_elsewhere=errno.EXDEV),
    "w9-statfs-zero": fuse(statfs_zero=1),
    "w9-statfs-refused": fuse(statfs=errno.ENOSYS),
    "everything-optional": fuse(
        chmod=errno.EPERM,
        chown=errno.EPERM,
        utimens=errno.EPERM,
        fsyncdir=errno.EINVAL,
        link=errno.EPERM,
        symlink=errno.EPERM,
        rename_flags=errno.EINVAL,
        statfs_zero=1,
    ),
    "tmpfs": tmpfs,
    "vfat": lambda folder: vfat(folder / DRIVE, folder / "vfat.img"),
}


@pytest.fixture(params=KINDS)
def drive(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Both locations of the host are on one odd drive."""
    with KINDS[request.param](world.folder) as mount:
        monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(mount.path / "weights"))
        world.configure(
            locations={
                "linux_wsl": {"path": "~/unused"},
                "second": {"path": str(mount.path / "second")},
                "plain": {"path": str(world.folder / "plain")},
            }
        )
        yield mount.path


def settled(world: World) -> None:
    """Nothing is left to do, nothing of ours lies about, and what is recorded is what is there."""
    assert world.plan().json["changes"] == []
    assert command("verify", "--full", "--registry", world.root).code == 0
    world.check()
    left = [path for path in world.folder.rglob(".imageworks/staging/*/*") if path.is_file()]
    assert left == []


def test_the_whole_life_of_a_model(world: World, drive: Path) -> None:
    repository = world.serve(LARGE)
    world.declare()
    target = drive / "weights" / REPO
    adopted = target.exists()
    world.reconcile("-y")
    assert tree(target) == dict(LARGE)
    settled(world)

    foreign = {**NOTES, "tokenizer.json": MODEL["tokenizer.json"]} if adopted else NOTES
    write(target, NOTES)
    new = {"config.json": b'{"new": 1}\n', "model.safetensors": content("newer", 70_000), "tokenizer.json": None}
    revision = repository.commit(new)
    world.declare(source={"huggingface": REPO, "revision": revision})
    world.reconcile("-y")
    wanted = {name: data for name, data in {**LARGE, **new}.items() if data is not None}
    assert tree(target) == {**wanted, **foreign}
    settled(world)

    (target / "config.json").write_bytes(b"damaged")
    (target / "model.safetensors").unlink()
    world.reconcile("-y")
    assert tree(target) == {**wanted, **foreign}
    settled(world)

    for location, place in (("second", drive / "second"), ("plain", world.folder / "plain"), (None, drive / "weights")):
        source = {"huggingface": REPO, "revision": revision}
        if location is None:
            world.declare(source=source)
        else:
            world.declare(source=source, location=location)
        world.served.forget()
        world.reconcile("-y")
        assert world.served.files == {}
        assert {name: data for name, data in tree(place / REPO).items() if name not in foreign} == wanted
        settled(world)
    assert tree(target) == {**wanted, **foreign}

    removed = command("remove", NAME, "--delete-files", "--force", "--registry", world.root)
    assert removed.code == 0, removed
    assert tree(target) == foreign
    assert world.entry().get("download_path") is None
    settled(world)

    world.declare(source={"huggingface": REPO, "revision": revision})
    world.reconcile("-y")
    purged = command("remove", NAME, "--delete-files", "--purge", "--force", "--registry", world.root)
    assert purged.code == 0, purged
    assert tree(target) == foreign
    assert world.entries() == []
    settled(world)
