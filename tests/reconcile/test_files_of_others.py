"""Bytes that another user could change are copied, never linked, and never called intact from memory."""

import json
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.found import put
from support.reconcile import MODEL, NAME, World, command

STRANGER = 54321
WEIGHTS = "model.safetensors"
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


def given_away(path: Path) -> None:
    os.chown(path, STRANGER, STRANGER)


def open_to_all(path: Path) -> None:
    path.chmod(0o666)


def open_to_a_group(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, 0, STRANGER)
    path.chmod(0o664)


def open_by_an_access_list(path: Path) -> None:
    """Let one other user write, as ``setfacl -m u:54321:rw`` does; the mask then stands where the group's rights do."""
    entries = ((0x01, 6, -1), (0x02, 6, STRANGER), (0x04, 4, -1), (0x10, 6, -1), (0x20, 4, -1))
    packed = b"".join(struct.pack("<HHi", tag, rights, user) for tag, rights, user in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError:
        pytest.skip("this filesystem keeps no access lists")


OPENED: dict[str, Callable[[Path], None]] = {
    "another's": given_away,
    "writable by all": open_to_all,
    "writable by a group": open_to_a_group,
    "writable by an access list": open_by_an_access_list,
}
CASES = [
    pytest.param(name, marks=[only_root] if name in {"another's", "writable by a group"} else []) for name in OPENED
]


@pytest.fixture(name="shared")
def world_with_a_shared_folder(world: World, isolated_environment: Path) -> World:
    """A hub that serves a model, and LM Studio's folder with the same weights, which are another's."""
    world.serve()
    put(isolated_environment / ".lmstudio/models/someone/tiny", {WEIGHTS: MODEL[WEIGHTS]})
    world.declare()
    return world


def only(listed: object) -> dict[str, Any]:
    assert isinstance(listed, list)
    assert len(listed) == 1
    one: dict[str, Any] = listed[0]
    return one


def theirs(home: Path) -> Path:
    return home / ".lmstudio/models/someone/tiny" / WEIGHTS


def ours(world: World) -> Path:
    return world.weights / "acme/tiny-1b" / WEIGHTS


def warnings(world: World) -> list[str]:
    return list(only(world.plan().json["changes"])["warnings"])


@pytest.mark.parametrize("opened", CASES)
def test_x6_a_file_that_others_can_write_is_copied_and_told(
    shared: World, isolated_environment: Path, opened: str
) -> None:
    there = theirs(isolated_environment)
    OPENED[opened](there)
    assert any("copied" in warning and str(there) in warning for warning in warnings(shared))
    assert "copied" in shared.reconcile("--dry-run").out
    shared.reconcile()
    here = ours(shared)
    assert shared.served.files.get(WEIGHTS, 0) == 0  # its bytes served all the same
    assert here.stat().st_ino != there.stat().st_ino
    assert here.stat().st_nlink == 1
    assert here.stat().st_uid == os.geteuid()
    assert not stat.S_IMODE(here.stat().st_mode) & 0o022
    before = there.stat()
    there.write_bytes(b"#" * len(MODEL[WEIGHTS]))
    os.utime(there, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert here.read_bytes() == MODEL[WEIGHTS]
    assert command("verify", "--registry", shared.root).code == 0
    assert shared.plan().json["changes"] == []


def test_x6_a_file_of_ours_that_nobody_else_can_write_is_linked(shared: World, isolated_environment: Path) -> None:
    there = theirs(isolated_environment)
    there.chmod(0o644)
    assert not [warning for warning in warnings(shared) if "copied" in warning]
    shared.reconcile()
    mine, other = ours(shared).stat(), there.stat()
    assert mine.st_ino == other.st_ino or mine.st_nlink == 1  # the second where blocks are shared instead


@only_root
@pytest.mark.parametrize("named", [str(STRANGER), "nobody"])
def test_x6_an_owner_whom_the_host_trusts_is_linked(shared: World, isolated_environment: Path, named: str) -> None:
    import pwd

    number = STRANGER if named.isdecimal() else pwd.getpwnam(named).pw_uid
    there = theirs(isolated_environment)
    os.chown(there, number, number)
    config = isolated_environment / ".config/imageworks/config.toml"
    config.write_text(config.read_text(encoding="utf-8") + f"trusted_owners = {json.dumps([named])}\n", "utf-8")
    assert not [warning for warning in warnings(shared) if "copied" in warning]
    shared.reconcile()
    mine, other = ours(shared).stat(), there.stat()
    assert mine.st_ino == other.st_ino or mine.st_nlink == 1


@only_root
def test_x6_no_project_and_no_registry_says_whom_to_trust(shared: World, isolated_environment: Path) -> None:
    (shared.folder / "pyproject.toml").write_text(
        f'[tool.imageworks.model-downloader]\ntrusted_owners = ["{STRANGER}"]\n', encoding="utf-8"
    )
    given_away(theirs(isolated_environment))
    assert any("copied" in warning for warning in warnings(shared))


@only_root
def test_x6_a_model_of_another_user_is_told_when_it_is_adopted_and_read_at_each_verify(world: World) -> None:
    world.serve()
    folder = put(world.weights / "acme/tiny-1b", MODEL)
    given_away(folder / WEIGHTS)
    world.declare()
    change = only(world.plan().json["changes"])
    assert change["action"] == "adopt"
    assert any(WEIGHTS in warning and "belongs to" in warning for warning in change["warnings"])
    world.reconcile()
    assert os.stat(folder / WEIGHTS).st_uid == STRANGER  # left as it is  # noqa: PTH116
    for _ in range(2):
        result = only(command("verify", "--registry", world.root, "--json").json["models"])
        assert result["verdict"] == "intact"
        assert result["hashed_bytes"] >= len(MODEL[WEIGHTS])
        assert any(problem["path"] == WEIGHTS for problem in result["problems"])


@only_root
def test_x6_what_was_changed_with_its_times_set_back_is_not_healthy(world: World) -> None:
    world.serve()
    folder = put(world.weights / "acme/tiny-1b", MODEL)
    given_away(folder / WEIGHTS)
    world.declare()
    world.reconcile()
    found = (folder / WEIGHTS).stat()
    with (folder / WEIGHTS).open("r+b") as stream:
        stream.write(b"evil")
    os.utime(folder / WEIGHTS, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert world.status()[NAME][1] != "healthy"
    assert command("verify", "--registry", world.root).code == 1


@only_root
def test_x6_a_path_that_was_refused_is_not_offered_again(world: World) -> None:
    world.serve()
    first = put(world.folder / "second/acme/tiny-1b", MODEL)
    world.declare(location="second")
    world.reconcile()
    given_away(first / WEIGHTS)
    world.declare("again", source={"huggingface": "acme/tiny-1b"}, location="flat")
    world.reconcile("again")
    from imageworks.files.state import STATE_FILE, StateDatabase
    from imageworks.host.settings import load_host_settings
    from support.ollama_content import hex_sha256

    with StateDatabase.open(load_host_settings().state_dir / STATE_FILE, read_only=True) as state:
        assert state.locate(hex_sha256(MODEL[WEIGHTS])) == [world.folder / "flat/again" / WEIGHTS]


def test_x6_a_pipe_where_an_empty_file_could_lie_keeps_nobody_waiting(world: World, isolated_environment: Path) -> None:
    world.serve({**MODEL, "vocab.txt": b""})
    blobs = isolated_environment / ".cache/huggingface/hub/models--acme--tiny-1b/blobs"
    blobs.mkdir(parents=True)
    os.mkfifo(blobs / "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
    world.declare()
    world.reconcile()
    assert (world.weights / "acme/tiny-1b/vocab.txt").read_bytes() == b""
