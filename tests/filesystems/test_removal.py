"""What is deleted and what is recorded agree, whatever a disk answers half-way (W2)."""

import errno
import os

import pytest

from support.filesystems import refusing
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import tree

STUBBORN = "model.safetensors"


@pytest.mark.parametrize("more", [(), ("--purge",)])
def test_w2_what_could_be_deleted_is_not_fetched_again(world: World, more: tuple[str, ...]) -> None:
    world.serve()
    world.declare()
    with refusing(world.folder / "fuse", at=world.weights) as disk:
        world.reconcile("-y")
        world.served.forget()
        disk.refuse(**{f"unlink {STUBBORN}": errno.EIO})
        words = ("remove", NAME, "--delete-files", *more, "--force", "--registry", str(world.root))
        removed = command(*words)
        assert removed.code == 1
        assert str(world.weights / REPO / STUBBORN) in removed.err
        assert os.strerror(errno.EIO) in removed.err
        assert tree(world.weights / REPO) == {STUBBORN: MODEL[STUBBORN]}
        world.check()
        disk.refuse()
        world.reconcile("-y")
        assert world.served.files == {}
        if more:
            assert command(*words).code == 0
            assert world.entries() == []
        assert tree(world.weights) == {}
        assert world.plan().json["changes"] == []
        world.check()


def test_w2_what_is_declared_absent_goes_with_the_run_that_can(world: World) -> None:
    world.serve()
    world.declare()
    with refusing(world.folder / "fuse", at=world.weights) as disk:
        world.reconcile("-y")
        world.served.forget()
        world.declare(state="absent")
        disk.refuse(**{f"unlink {STUBBORN}": errno.EBUSY, "rmdir": errno.EIO, "fsyncdir": errno.EIO})
        world.reconcile("-y", code=1)
        assert tree(world.weights / REPO) == {STUBBORN: MODEL[STUBBORN]}
        disk.refuse(rmdir=errno.EBUSY)
        world.reconcile("-y")
        assert tree(world.weights) == {}
        assert world.entry().get("download_path") is None
        assert world.plan().json["changes"] == []
    assert world.served.files == {}
