"""F2, F3, F12: what power cuts, unwritable folders and kills left is put back by the next run; edits never are."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.git import git
from support.kills import KILLED
from support.registry import HOST, NAME, World, ended, small_model

ENTRY = f"discovered/{HOST}/{NAME}.json"
SNAPSHOT = f"snapshot/{HOST}.json"
COMPATIBLE = "model_registry.json"
TORN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _data: b"",
    "zeros": lambda data: b"\0" * len(data),
    "zeros-at-the-end": lambda data: data[:40] + b"\0" * (len(data) - 40),
    "cut": lambda data: data[: len(data) // 2],
}


@pytest.fixture
def settled(fresh: World) -> World:
    """A world with one installed model."""
    fresh.publish("acme/tiny", small_model("1"))
    fresh.declare()
    assert fresh.reconcile().code == 0
    return fresh


@pytest.mark.parametrize("how", TORN)
@pytest.mark.parametrize("file", [ENTRY, SNAPSHOT])
def test_f2_what_a_power_cut_tore_is_put_back_by_the_next_run(settled: World, file: str, how: str) -> None:
    path = settled.registry / file
    right = path.read_bytes()
    path.write_bytes(TORN[how](right))
    head = settled.head
    done = settled.reconcile()
    assert done.code == 0, done
    assert path.read_bytes() == right
    assert file in done.output
    assert settled.head == head
    assert git(settled.registry, "status", "--porcelain") == ""
    settled.assert_settled()


def test_f2_every_command_that_writes_heals(settled: World) -> None:
    (settled.registry / ENTRY).write_bytes(b"")
    (settled.weights / "none").mkdir()
    done = settled.run("scan", "--base", str(settled.weights / "none"))
    assert done.code == 0, done
    assert git(settled.registry, "status", "--porcelain") == ""


def test_f2_a_copy_for_older_consumers_is_written_anew(settled: World) -> None:
    right = (settled.registry / COMPATIBLE).read_bytes()
    (settled.registry / COMPATIBLE).write_bytes(b"")
    assert settled.reconcile().code == 0
    assert (settled.registry / COMPATIBLE).read_bytes() == right


EDITS: dict[str, bytes | None] = {"edited": b'{"name": "mine"}\n', "deleted": None, "note": b"a note of mine"}


@pytest.mark.parametrize("edit", EDITS)
def test_f2_i6_an_edit_is_never_taken_for_torn(settled: World, edit: str) -> None:
    path, data = settled.registry / ENTRY, EDITS[edit]
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    assert settled.reconcile().code == 0
    assert (path.read_bytes() if path.exists() else None) == data


@pytest.mark.parametrize("data", [b"", b"\0\0\0"])
def test_f2_i6_a_manifest_that_somebody_emptied_stays_empty(settled: World, data: bytes) -> None:
    manifest = settled.registry / "models" / f"{NAME}.yaml"
    manifest.write_bytes(data)
    settled.reconcile()
    assert manifest.read_bytes() == data


def test_f2_another_hosts_files_are_not_ours_to_put_back(settled: World) -> None:
    other = settled.registry / "discovered/elsewhere/x.json"
    other.parent.mkdir()
    shutil.copy(settled.registry / ENTRY, other)
    other.write_text(other.read_text().replace(NAME, "x"))
    git(settled.registry, "add", "-A")
    git(settled.registry, "commit", "-q", "-m", "Elsewhere")
    other.write_bytes(b"")
    settled.reconcile()
    assert other.read_bytes() == b""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")
def test_f2_files_reach_the_disk_before_they_get_their_names(fresh: World) -> None:
    fresh.publish("acme/tiny", small_model("1"))
    fresh.declare()
    log = fresh.root / "trace"
    calls = "trace=openat,fsync,fdatasync,rename,renameat,renameat2"
    fresh.program = ("strace", "-f", "-y", "-e", calls, "-o", str(log), *fresh.program)
    child = fresh.start("reconcile", "--yes")
    done = ended(child)
    if "ptrace" in done.stderr:
        pytest.skip("tracing is not allowed here")
    assert done.code == 0, done
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    named = [index for index, line in enumerate(lines) if "rename" in line and f'"{NAME}.json"' in line]
    assert named, "the entry got its name by no rename"
    drafts = [index for index, line in enumerate(lines) if "fsync(" in line and "imageworks-draft" in line]
    assert any(index < named[0] for index in drafts)
    assert any("fsync(" in line and f"/discovered/{HOST}>" in line for line in lines[named[0] :])


@pytest.mark.parametrize("folder", ["snapshot", f"discovered/{HOST}"])
def test_f3_a_folder_that_could_not_be_written_is_caught_up_with(settled: World, folder: str) -> None:
    settled.publish("acme/other", small_model("2"))
    settled.declare("other", repo="acme/other")
    if not _closed(settled.registry / folder, on=True):
        pytest.skip("root may write anywhere, and nothing can be made immutable here")
    try:
        stuck = settled.reconcile()
        assert "cannot be written" in stuck.output, stuck
        assert "cannot be written" in settled.reconcile().output, "it is told as long as it is so"
    finally:
        _closed(settled.registry / folder, on=False)
    assert git(settled.registry, "status", "--porcelain") != ""
    healed = settled.reconcile()
    assert healed.code == 0, healed
    assert git(settled.registry, "status", "--porcelain") == ""
    settled.assert_settled()


def _closed(folder: Path, *, on: bool) -> bool:
    """Close a folder to writers, or open it again; to root only where the filesystem knows how."""
    if os.geteuid():
        folder.chmod(0o555 if on else 0o755)
        return True
    tool = shutil.which("chattr")
    if tool is None:
        return False
    return subprocess.run([tool, "+i" if on else "-i", folder], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("point", ["apply.published", "git.objects-written", "git.ref-moved"])
@pytest.mark.parametrize("again", [("reconcile", "--yes"), ("verify", NAME, "--repair")])
def test_f12_the_note_of_a_killed_repair_is_settled_by_the_next_run(
    settled: World, point: str, again: tuple[str, ...]
) -> None:
    (settled.target / "model.safetensors").write_bytes(b"damaged")
    killed = settled.reconcile(IMAGEWORKS_FAILPOINT=point)
    if killed.code != KILLED:
        pytest.skip(f"a repair does not come by {point}")
    notes = settled.state / "intents"
    assert list(notes.rglob("*.json"))
    done = settled.run(*again)
    assert done.code == 0, done
    assert not list(notes.rglob("*.json"))
    settled.assert_settled()


def test_f12_a_run_that_has_other_things_to_do_settles_it_too(settled: World) -> None:
    (settled.target / "model.safetensors").write_bytes(b"damaged")
    assert settled.reconcile(IMAGEWORKS_FAILPOINT="apply.published").code == KILLED
    settled.publish("acme/other", small_model("2"))
    settled.declare("other", repo="acme/other")
    done = settled.reconcile()
    assert done.code == 0, done
    assert not list((settled.state / "intents").rglob("*.json"))


DAMAGED = {"index": "index", "HEAD": "HEAD", "branch": "refs/heads/main", "objects": ""}


@pytest.mark.parametrize("what", DAMAGED)
def test_f2_a_damaged_repository_is_told_with_the_command_that_helps(settled: World, what: str) -> None:
    git(settled.root, "clone", "-q", "--bare", "--no-hardlinks", str(settled.registry), "spare.git")
    git(settled.registry, "remote", "add", "origin", str(settled.root / "spare.git"))
    file = settled.registry / ".git" / DAMAGED[what]
    if what == "objects":
        file = settled.registry / ".git/objects" / settled.head[:2] / settled.head[2:]
        file.chmod(0o644)
    file.write_bytes(b"")
    done = settled.reconcile()
    assert done.code == 1, done
    assert "bug" not in done.output
    commands = re.findall(r"`([^`]+)`", done.stderr)
    assert commands, done
    for command in commands:
        subprocess.run(command, shell=True, cwd=settled.registry, check=True, capture_output=True)  # noqa: S602 # as told
    settled.assert_settled()
