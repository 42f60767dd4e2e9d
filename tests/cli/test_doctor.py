"""The ``doctor`` command: what it sees, what it says to do, and that doing so helps."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from imageworks.operations import doctor
from imageworks.operations.install_aria2 import InstallError, install_aria2c
from imageworks.transfer.aria2 import process
from support.git import git, typed_at_shell
from support.reconcile import HOST, NAME, REPO, Result, World, command


def examined(world: World, *words: str, code: int = 0) -> dict[str, list[tuple[str, str, str]]]:
    """Return what was found by its code, with standing, message and remedy."""
    result = command("doctor", "--registry", world.root, "--json", *words)
    assert result.code == code, result
    found: dict[str, list[tuple[str, str, str]]] = {}
    checks = result.json["checks"]
    assert isinstance(checks, list)
    for one in checks:
        found.setdefault(one["check"], []).append((one["standing"], one["message"], one["remedy"]))
        assert one["remedy"] or one["standing"] != "wrong", one
    return found


def standing(found: dict[str, list[tuple[str, str, str]]], check: str) -> set[str]:
    return {one[0] for one in found[check]}


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_a_machine_in_order_is_well_and_nothing_is_written(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    before = tree(world.folder)
    found = examined(world)
    assert tree(world.folder) == before
    for check in ("aria2c", "git", "state", "snapshot", "documents", "locks", "hub"):
        assert standing(found, check) == {"ok"}, found
    assert ("ok", f"{world.hub.url} answers", "") in found["hub"]
    text = command("doctor", "--registry", world.root)
    assert text.code == 0
    assert "No problem" in text.out


def test_a_registry_that_is_to_be_is_no_problem(world: World) -> None:
    place = world.folder / "to be"
    told = command("doctor", "--registry", place)
    assert (told.code, "No problem" in told.out, place.exists()) == (0, True, False)
    assert f"`imageworks-models init '{place}'`" in told.out
    planned = command("download", REPO, "--dry-run", "--registry", place)
    assert (planned.code, place.exists()) == (1, False)  # the hub has no such model
    world.serve()
    assert command("download", REPO, "--registry", place, "--no-progress").code == 0
    assert command("list", "-q", "--registry", place).out


def test_offline_nothing_is_asked(world: World) -> None:
    world.served.forget()
    assert standing(examined(world, "--offline"), "hub") == {"note"}
    assert world.served.requests == 0


def test_a_hub_that_does_not_answer_is_wrong_and_offline_is_its_remedy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert standing(examined(world, code=1), "hub") == {"wrong"}
    assert standing(examined(world, "--offline"), "hub") == {"note"}


def test_a_token_that_the_hub_refuses_is_wrong_until_another_is_set(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert standing(examined(world), "token") == {"note"}
    monkeypatch.setenv("HF_TOKEN", "hf_nobody_knows_this_one")
    ((state, message, remedy),) = examined(world, code=1)["token"]
    assert (state, "HF_TOKEN" in message, "hf auth login" in remedy) == ("wrong", True, True)
    assert "hf_nobody" not in message
    monkeypatch.delenv("HF_TOKEN")
    examined(world)


def test_a_snapshot_that_is_not_true_is_wrong_and_its_remedy_mends_it(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.write(f"snapshot/{HOST}.json", "[]\n")
    found = examined(world, code=1)
    ((state, _message, remedy),) = found["snapshot"]
    assert (state, "`imageworks-models snapshot rebuild`" in remedy) == ("wrong", True)
    assert standing(found, "hub") == {"ok"}, "one thing that is wrong hides no other"
    assert command("snapshot", "rebuild", "--registry", world.root).code == 0
    world.commit("As doctor says")
    assert standing(examined(world), "snapshot") == {"ok"}


def test_an_invalid_manifest_is_wrong_with_its_place_and_remedy(world: World) -> None:
    world.write("models/broken.yaml", "schema_version: 1\nbackend: nonsense\n")
    ((state, message, remedy),) = examined(world, code=1)["documents"]
    assert (state, message.startswith("models/broken.yaml:2:"), bool(remedy)) == ("wrong", True, True)
    world.delete("broken")
    examined(world)


def test_a_location_that_is_away_is_wrong_where_models_are_and_a_note_elsewhere(world: World) -> None:
    away = world.folder / "away"
    locations = {"linux_wsl": {"path": "~/unused"}, "usb": {"path": "/mnt/no-such-drive/models"}}
    world.configure(locations=locations)
    assert ("note", "/mnt/no-such-drive") in [
        (one[0], one[1].split(": ")[1][:18]) for one in examined(world)["location"]
    ]
    world.configure()
    world.serve()
    world.declare(location="second")
    world.reconcile()
    (world.folder / "second").rename(away)
    assert "wrong" in standing(examined(world, code=1), "location")
    away.rename(world.folder / "second")
    assert standing(examined(world), "location") == {"ok"}


def test_little_space_is_wrong(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_bytes", lambda _path: 1024)
    found = examined(world, code=1)
    assert standing(found, "space") == {"wrong"}
    assert command("clean", "--dry-run", "--registry", world.root).code == 0, "which is the remedy"


def test_who_is_at_work_and_what_git_left_are_told(world: World) -> None:
    lock = world.git_root / ".git/index.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    ((state, message, remedy),) = examined(world)["locks"]
    assert (state, str(lock) in message, "`imageworks-models reconcile`" in remedy) == ("note", True, True)
    world.serve()
    world.declare(commit=False)
    lock.unlink()
    assert standing(examined(world), "locks") == {"ok"}


def test_git_without_an_identity_is_told_and_the_remedy_gives_one(
    world: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = isolated_environment / ".gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    for key in ("user.name", "user.email"):
        git(world.git_root, "config", "--local", "--unset-all", key, check=False)
    ((state, _message, remedy),) = examined(world)["git-identity"]
    assert state == "note"
    for typed in re.findall("`(.*?)`", remedy):
        typed_at_shell(typed)
    assert standing(examined(world), "git-identity") == {"ok"}
    config.unlink()
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Eve")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "eve@example.org")
    ((state, message, _remedy),) = examined(world)["git-identity"]
    assert (state, message.startswith("Eve <eve@example.org>")) == ("ok", True)
    world.serve()
    world.declare()
    world.reconcile()
    assert git(world.git_root, "log", "-1", "--format=%an").strip() == "Eve"


def test_ollama_is_wrong_only_where_models_wait_for_it(world: World) -> None:
    assert standing(examined(world), "ollama") == {"note"}
    world.declare("chat", source={"ollama": "qwen2.5vl:7b"})
    ((state, message, _remedy),) = examined(world, code=1)["ollama"]
    assert (state, "1 model waits" in message) == ("wrong", True)


def test_without_a_registry_the_machine_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("doctor", "--offline")
    assert result.code == 0, result
    assert "there is no registry yet" in result.out
    assert command("doctor", "--registry", tmp_path / "nowhere").code != 0


# --- aria2c ------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_aria2c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with git and without aria2c."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = shutil.which("git")
    assert program is not None
    (folder / "git").symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_a_missing_aria2c_is_wrong_with_what_to_do(world: World, no_aria2c: Path) -> None:
    ((state, _message, remedy),) = examined(world, "--offline", code=1)["aria2c"]
    assert (state, no_aria2c.exists()) == ("wrong", True)
    assert "`imageworks-models doctor --install`" in remedy
    assert "conda install -c conda-forge aria2" in remedy


def test_an_aria2c_that_does_not_run_is_wrong(world: World, no_aria2c: Path) -> None:
    broken = no_aria2c / "aria2c"
    broken.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    assert standing(examined(world, "--offline", code=1), "aria2c") == {"wrong"}


def install(world: World) -> Result:
    return command("doctor", "--install", "--offline", "--registry", world.root)


@pytest.mark.usefixtures("no_aria2c")
def test_install_says_exactly_what_to_do_where_it_can_bring_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    result = install(world)
    assert result.code == 1
    assert "conda install -c conda-forge aria2" in result.err
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    with pytest.raises(InstallError, match="own Python"):
        install_aria2c()


def test_install_leaves_an_aria2c_that_is_here_as_it_is(world: World) -> None:
    result = install(world)
    assert (result.code, result.err) == (0, f"aria2c: {shutil.which('aria2c')}\n")


@pytest.mark.usefixtures("no_aria2c")
def test_a_packaged_aria2c_is_found_and_brings_models(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("aria2c", path=os.defpath + ":/usr/local/bin:/opt/homebrew/bin")
    if real is None:
        pytest.skip("aria2c is at no usual place")
    package = tmp_path / "site/packaged_aria2c"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "bin/aria2c").symlink_to(real)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(process, "PACKAGE", "packaged_aria2c")
    assert process.find_aria2c() == package / "bin/aria2c"
    world.serve()
    world.declare()
    world.reconcile()
    assert (world.weights / REPO / "model.safetensors").is_file()
    assert json.loads((world.root / f"discovered/{HOST}/{NAME}.json").read_text(encoding="utf-8"))["name"] == NAME
