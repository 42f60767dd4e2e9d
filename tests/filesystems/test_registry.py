"""A registry itself on a filesystem that refuses things: made, committed to, and clean in git's eyes."""

import errno
from pathlib import Path

import pytest

from support.filesystems import refusing
from support.git import git
from support.reconcile import MODEL, World, command
from support.transfer import write

KINDS = {
    "w1-modes": {"chmod": errno.EPERM, "chown": errno.EPERM, "utimens": errno.EPERM},
    "w2-fsync-of-folders-einval": {"fsyncdir": errno.EINVAL},
    "w2-fsync-of-folders-eio": {"fsyncdir": errno.EIO},
    "w2-no-fsync-at-all": {"fsync": errno.EINVAL, "fsyncdir": errno.EINVAL},
    "no-links": {"link": errno.EPERM, "symlink": errno.EPERM, "rename_flags": errno.EINVAL},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_registry_where_a_disk_refuses_things(world: World, kind: str) -> None:
    with refusing(world.folder / "fuse", KINDS[kind]) as disk:
        root = disk.path / "registry"
        made = command("init", root)
        assert made.code == 0, made
        write(disk.path / "found", dict(MODEL))
        write(root, {"models/found.yaml": f'{{schema_version: 1, source: {{path: "{disk.path}/found"}}}}\n'.encode()})
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", "Declare")
        for _ in range(2):
            done = command("reconcile", "-y", "--registry", root)
            assert done.code == 0, done
            assert "could not" not in done.err
            assert git(root, "status", "--porcelain") == ""
        assert command("validate", "--registry", root).code == 0
        assert command("snapshot", "check", "--registry", root).code == 0
        removed = command("remove", "found", "--purge", "--force", "--registry", root)
        assert removed.code == 0, removed
        assert git(root, "status", "--porcelain") == ""


def test_f8_a_registry_that_cannot_be_written_leaves_nothing_half_made(tmp_path: Path) -> None:
    with refusing(tmp_path / "fuse") as disk:
        root = disk.path / "registry"
        disk.refuse(write=errno.ENOSPC)
        made = command("init", root)
        assert made.code == 1
        assert "This is a bug" not in made.err
        assert str(root) in made.err
        assert not root.exists()
        disk.refuse()
        assert command("init", root).code == 0
