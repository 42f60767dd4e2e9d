"""Pipes and damaged documents where files of ours belong: nothing waits for them, and the remedies work literally."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.foundation.http_messages import Request, Response
from support.git import git
from support.reconcile import HOST, NAME, World, command

STATE = "state.sqlite3"


@pytest.fixture
def installed(world: World) -> World:
    world.serve()
    world.declare()
    world.reconcile()
    return world


def state_file(home: Path) -> Path:
    return next(home.rglob(STATE))


def in_the_way(path: Path) -> None:
    """Put a pipe, into which nobody writes, where a file was."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("words", [["list"], ["status"], ["reconcile", "--dry-run"], ["clean", "--dry-run"]])
def test_f6_a_pipe_in_place_of_a_snapshot_stops_nobody(installed: World, words: list[str]) -> None:
    in_the_way(installed.root / f"snapshot/{HOST}.json")
    assert command(*words, "--registry", installed.root).code in {0, 1}


def test_f6_a_pipe_on_a_disk_of_several_hosts_stops_nobody(installed: World) -> None:
    area = installed.weights / ".imageworks/staging/broken-off"
    area.mkdir(parents=True)
    for name in ("owner", "about.json"):
        os.mkfifo(area / name)
    assert command("status", "--registry", installed.root).code == 0
    assert command("clean", "--yes", "--registry", installed.root).code == 0
    assert area.is_dir()


@pytest.mark.parametrize("words", [["status"], ["verify"], ["reconcile", "--dry-run"]])
def test_f6_a_pipe_in_place_of_the_state_is_said_and_not_waited_for(
    installed: World, isolated_environment: Path, words: list[str]
) -> None:
    path = state_file(isolated_environment)
    in_the_way(path)
    done = command(*words, "--registry", installed.root)
    assert done.code == 0, done
    assert words[0] != "reconcile" or STATE in done.err + done.out


def test_f6_a_saved_plan_may_come_through_a_pipe(world: World, tmp_path: Path) -> None:
    world.serve()
    world.declare()
    command("reconcile", "--dry-run", "--out", tmp_path / "plan.json", "--registry", world.root)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", tmp_path / "plan.json", pipe]) as writing:
        world.reconcile("--plan", str(pipe))
        assert writing.wait(20) == 0
    assert world.entries() == [NAME]


def test_f2_the_remedy_for_a_damaged_entry_works_as_it_stands(installed: World) -> None:
    (installed.root / f"discovered/{HOST}/{NAME}.json").write_text("{", encoding="utf-8")
    installed.commit("Damage an entry")
    installed.reconcile(code=1, valid=False)  # which writes the snapshot anew, in a commit of its own
    listed = command("status", "--registry", installed.root, "--json").json["models"]
    assert isinstance(listed, list)
    (told,) = (one for one in listed if one["name"] == NAME)
    assert told["health"] == "unknown"
    remedy = re.search(r"`(git [^`]+)`", told["reason"])
    assert remedy is not None, told
    subprocess.run(["sh", "-c", remedy[1]], cwd=installed.root, check=True, timeout=60)
    installed.commit("Bring the entry back")
    installed.reconcile()
    assert installed.status()[NAME][:2] == ("synced", "healthy")
    assert json.loads(git(installed.git_root, "show", f"HEAD:discovered/{HOST}/{NAME}.json"))["name"] == NAME


def test_w5_a_registry_whose_drive_goes_away_meanwhile_is_no_bug(world: World) -> None:
    world.serve()
    world.declare()
    away = world.git_root.with_name("away")

    def leaving(request: Request) -> Response:
        if request.path.endswith("config.json") and not away.exists():
            world.git_root.rename(away)
        return world.served(request)

    world.hub.intercept = leaving
    failed = command("reconcile", "--yes", "--registry", world.root)
    assert away.is_dir()
    assert failed.code == 1, failed
    assert "This is a bug" not in failed.err
    shutil.rmtree(world.git_root, ignore_errors=True)
    away.rename(world.git_root)
    world.reconcile()
    assert world.status()[NAME][:2] == ("synced", "healthy")
    world.reconcile("--dry-run", "--detailed-exitcode")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_u2_closed_streams_end_no_command_and_get_no_file_of_ours(world: World, closed: str) -> None:
    world.serve()
    world.declare()
    words = [sys.executable, "-m", "imageworks", "reconcile", "--yes", "--no-progress", "--registry", str(world.root)]
    done = subprocess.run(["sh", "-c", f"exec {shlex.join(words)} {closed}"], check=False, timeout=60)
    assert done.returncode == 0
    world.reconcile("--dry-run", "--detailed-exitcode")
    world.check()


def test_f1_files_of_a_model_whose_manifest_is_wrong_are_unknown_and_not_none(installed: World) -> None:
    installed.write(f"models/{NAME}.yaml", "schema_version: 1\nsource: {nowhere: x}\n")
    assert installed.status()[NAME] == ("blocked", "unknown", "invalid-manifest")


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_p1_settings_that_are_no_file_make_nothing_of_ours_the_predecessors(installed: World, kind: str) -> None:
    settings = installed.root / "registry.yaml"
    assert (installed.root / "model_registry.json").is_file()
    settings.unlink()
    if kind == "folder":
        settings.mkdir()
    elif kind == "pipe":
        os.mkfifo(settings)
    else:
        settings.symlink_to(settings)
    result = command("status", "--registry", installed.root)
    assert result.code != 0
    assert "registry.yaml is there, but is no file" in result.err
    assert "migrate" not in result.err
    settings.rename(installed.root / "moved")
    git(installed.root, "checkout", "--", "registry.yaml")
    assert command("status", "--registry", installed.root).code == 0
