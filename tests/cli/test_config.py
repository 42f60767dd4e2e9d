"""The ``config`` command: every effective setting and where it came from."""

import json
from pathlib import Path

import pytest

from support.reconcile import HOST, World, command


def settings(*words: str | Path) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["value"], one["origin"]) for one in json.loads(command("config", "--json", *words).out)}


def test_each_setting_says_where_it_came_from(
    world: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = isolated_environment / "my-state"
    world.user_config(isolated_environment, f'state_dir = "{state}"\n')
    monkeypatch.setenv("IMAGEWORKS_CACHE_DIR", str(isolated_environment / "my-cache"))
    world.configure(transfer={"connections": 3, "limit": "20M"})
    shown = settings("--registry", world.root)
    file = str(isolated_environment / ".config/imageworks/config.toml")
    assert shown["host"] == (HOST, "environment IMAGEWORKS_HOST")
    assert shown["state_dir"] == (str(state), file)
    assert shown["cache_dir"] == (str(isolated_environment / "my-cache"), "environment IMAGEWORKS_CACHE_DIR")
    assert shown["log_dir"] == (str(state / "logs"), "default")
    assert shown["transfer.connections"] == ("3", str(world.root / "registry.yaml"))
    assert shown["transfer.limit"][0] == str(20 * 1024**2)
    assert shown["transfer.jobs"] == ("4", "default")
    assert shown["routing.default"] == ("linux_wsl", str(world.root / "registry.yaml"))
    assert shown["locations.second"] == (f"{world.folder}/second (owner/repo)", str(world.root / "registry.yaml"))
    assert shown["registry"][0] == str(world.root)


def test_the_table_shows_the_same_for_people(world: World) -> None:
    result = command("config", "--registry", world.root)
    assert result.out.splitlines()[0].split() == ["SETTING", "VALUE", "FROM"]
    assert "config.toml" in result.err


def test_without_a_registry_the_hosts_own_settings_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("config", "--json")
    assert result.code == 0
    assert "no registry found" in result.err
    assert {one["name"] for one in json.loads(result.out)} >= {"host", "state_dir", "cache_dir", "roots"}


def test_unknown_keys_of_the_users_config_are_told(world: World, isolated_environment: Path) -> None:
    world.user_config(isolated_environment, 'statedir = "/x"\n')
    assert "unknown key 'statedir' is ignored; did you mean 'state_dir'?" in command("config").err
