"""The ``snapshot`` commands: what is generated is as generated."""

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from imageworks.git.read import DEFAULT_BLOB_LIMIT
from imageworks.registry.reader import RegistryReader
from imageworks.registry.validate import Validation, validate_registry
from support.git import git
from support.reconcile import HOST, NAME, World, command
from support.transfer import tree


@pytest.fixture
def installed(world: World) -> World:
    world.serve()
    world.declare()
    world.reconcile()
    return world


def test_a_fresh_snapshot_is_as_it_should_be(installed: World) -> None:
    result = command("snapshot", "check", "--registry", installed.root)
    assert (result.code, result.out) == (0, "")


def test_a_manifest_that_was_committed_since_does_not_make_it_wrong(installed: World) -> None:
    installed.declare(display_name="Edited")
    assert command("snapshot", "check", "--registry", installed.root).code == 0


def test_an_edit_by_hand_is_found(installed: World) -> None:
    file = installed.root / f"snapshot/{HOST}.json"
    file.write_text(file.read_text(encoding="utf-8").replace("safetensors", "gguf"), encoding="utf-8")
    result = command("snapshot", "check", "--registry", installed.root)
    assert result.code == 1
    assert result.out.startswith(f"snapshot/{HOST}.json:1:1: edited by hand")


def test_a_snapshot_that_is_damaged_in_git_is_found(installed: World) -> None:
    """One bit: its header and its id are as they were."""
    blob = git(installed.root, "rev-parse", f"HEAD:snapshot/{HOST}.json").strip()
    stored = installed.root / ".git/objects" / blob[:2] / blob[2:]
    data = bytearray(zlib.decompress(stored.read_bytes()))
    data[-40] ^= 1
    stored.chmod(0o644)
    stored.write_bytes(zlib.compress(data))
    result = command("snapshot", "check", "--registry", installed.root)
    assert result.code == 1
    assert blob in result.err


def test_a_committed_edit_is_found_and_the_next_run_takes_it_back(installed: World) -> None:
    file = installed.root / f"snapshot/{HOST}.json"
    right = file.read_bytes()
    installed.write(f"snapshot/{HOST}.json", right.decode().replace("safetensors", "gguf"))
    result = command("snapshot", "check", "--registry", installed.root)
    assert result.code == 1
    assert "not what manifests and entries give" in result.out
    installed.reconcile()
    assert file.read_bytes() == right


def test_a_snapshot_is_shown_as_json_for_this_host_or_another(installed: World) -> None:
    shown = json.loads(command("snapshot", "show", "--registry", installed.root).out)
    assert [model["name"] for model in shown] == [NAME]
    assert json.loads(command("snapshot", "show", "elsewhere", "--registry", installed.root).out) == []


@pytest.mark.parametrize("form", [{"indent": 1}, {"separators": ("\n,", ":")}, {"indent": 0}])
def test_a_snapshot_is_shown_however_somebody_laid_it_out(installed: World, form: dict[str, Any]) -> None:
    """Where registry.yaml is broken it is held against nothing."""
    file = installed.root / f"snapshot/{HOST}.json"
    models = [*json.loads(file.read_bytes()), {"name": "é", "one": {}}]
    installed.write(file.relative_to(installed.root).as_posix(), json.dumps(models, **form))
    installed.write("registry.yaml", "schema_version: none\n")
    shown = command("snapshot", "show", "--registry", installed.root)
    assert (shown.code, shown.out) == (0, f"{json.dumps(models, indent=2, ensure_ascii=False)}\n")


@pytest.mark.parametrize("linked", ["snapshot", f"snapshot/{HOST}.json"])
def test_x1_a_snapshot_that_is_a_link_is_not_made_anew_where_it_leads(installed: World, linked: str) -> None:
    elsewhere = installed.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{HOST}.json").write_text("precious", encoding="utf-8")
    git(installed.root, "rm", "-r", "--quiet", linked)
    (installed.root / linked).parent.mkdir(exist_ok=True)
    (installed.root / linked).symlink_to(elsewhere if linked == "snapshot" else elsewhere / f"{HOST}.json")
    git(installed.root, "add", "--all")
    installed.commit("Lead elsewhere")
    refused = command("snapshot", "rebuild", "--registry", installed.root)
    assert refused.code == 1
    assert "symbolic link" in refused.err
    assert "symbolic link" in command("reconcile", "--yes", "--registry", installed.root).err
    assert tree(elsewhere) == {f"{HOST}.json": b"precious"}
    git(installed.root, "rm", "-r", "--quiet", "--", linked)  # as it says
    assert command("snapshot", "rebuild", "--registry", installed.root).code == 0
    git(installed.root, "add", "--all")
    installed.commit("Rebuild the snapshot")
    assert command("snapshot", "check", "--registry", installed.root).code == 0


def test_a_large_file_that_is_no_snapshot_is_a_problem_among_others(installed: World) -> None:
    """No snapshot's bytes are read of it, whatever its size."""
    stray = installed.root / "snapshot/weights.bin"
    with stray.open("wb") as file:
        file.truncate(DEFAULT_BLOB_LIMIT + 1)
    git(installed.root, "add", "-f", "snapshot/weights.bin")
    git(installed.root, "commit", "-q", "-m", "Put weights there")
    result = command("snapshot", "check", "--registry", installed.root)
    assert result.code == 1
    assert result.out.startswith("snapshot/weights.bin:1:1: is no file of a host")


def _edit_after_validation(monkeypatch: pytest.MonkeyPatch, where: str, file: Path) -> bytes:
    """Let somebody edit an entry once it was found valid; return what it then has."""
    edited = file.read_bytes() + b"\n"

    def validated(reader: RegistryReader) -> Validation:
        found = validate_registry(reader)
        file.write_bytes(edited)
        return found

    monkeypatch.setattr(f"imageworks.operations.{where}.validate_registry", validated)
    return edited


def test_an_entry_edited_during_a_rebuild_stops_it_and_nothing_is_lost(
    installed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, entry = installed.root / f"snapshot/{HOST}.json", installed.root / f"discovered/{HOST}/{NAME}.json"
    right, wrong = snapshot.read_bytes(), snapshot.read_bytes().replace(b"safetensors", b"gguf")
    snapshot.write_bytes(wrong)
    with monkeypatch.context() as patch:
        edited = _edit_after_validation(patch, "snapshots", entry)
        stopped = command("snapshot", "rebuild", "--registry", installed.root)
    assert stopped.code == 1
    assert f"discovered/{HOST}/{NAME}.json" in stopped.err
    assert "run this again" in stopped.err
    assert (snapshot.read_bytes(), entry.read_bytes()) == (wrong, edited)
    assert command("snapshot", "rebuild", "--registry", installed.root).code == 0  # as it says
    assert snapshot.read_bytes() == right


def test_where_an_entry_is_edited_during_validation_the_commits_are_asked(
    installed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = installed.root / f"discovered/{HOST}/{NAME}.json"
    with monkeypatch.context() as patch:
        _edit_after_validation(patch, "check_registry", entry)
        sound = command("validate", "--registry", installed.root)
    assert (sound.code, "discovered" in sound.out + sound.err) == (0, False)
    git(installed.root, "checkout", "--", "discovered")
    snapshot = installed.root / f"snapshot/{HOST}.json"
    right = snapshot.read_bytes()
    installed.write(f"snapshot/{HOST}.json", right.decode().replace("safetensors", "gguf"))
    snapshot.write_bytes(right)  # so that only the commit is wrong
    _edit_after_validation(monkeypatch, "check_registry", entry)
    wrong = command("validate", "--registry", installed.root)
    assert wrong.code == 1
    assert "not what manifests and entries give" in wrong.out + wrong.err
