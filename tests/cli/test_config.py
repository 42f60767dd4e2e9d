"""The ``config`` command: every effective setting and where it came from."""

import json
import re
from pathlib import Path

import pytest

from imageworks.foundation.http_messages import Request, Response
from imageworks.reconcile.phases import carry_out
from imageworks.transfer.engine import TransferEngine
from imageworks.transfer.job import TransferOptions
from support.git import typed_at_shell
from support.reconcile import HOST, NAME, SETTINGS, World, command


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


def project(world: World, text: str) -> Path:
    """Write our table into a pyproject.toml that stands around the current folder."""
    file = world.folder / "pyproject.toml"
    file.write_text(f"[tool.imageworks.model-downloader]\n{text}", encoding="utf-8")
    return file


def test_settings_of_a_project_are_shown_with_their_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEWORKS_MODEL_ROOT")
    folder = world.folder / "my models"
    file = project(world, f'linux_wsl_root = "{folder}"\nmax_connections = 12\npreferred_formats = ["gguf", "awq"]\n')
    shown = settings("--registry", world.root)
    assert shown["linux_wsl_root"] == (str(folder), str(file))
    assert shown["model_root"] == (f"{folder}/weights", f"{file}, by linux_wsl_root")
    assert shown["locations.linux_wsl"] == (f"{folder}/weights (owner/repo)", f"{file}, by linux_wsl_root")
    assert shown["max_connections"] == shown["transfer.connections"] == ("12", str(file))
    assert shown["preferred_formats"] == ("gguf, awq", str(file))


def test_what_is_not_committed_is_said_and_does_not_count(world: World) -> None:
    world.configure(transfer={"connections": 3})
    world.declare(commit=False)
    text = json.dumps({**SETTINGS, "transfer": {"connections": 5}, "prune": True})
    world.write("registry.yaml", text.replace("{folder}", str(world.folder)), commit=False)
    assert settings("--registry", world.root)["transfer.connections"] == ("3", str(world.root / "registry.yaml"))
    told = command("config", "--registry", world.root).err
    assert "max_connections 5, transfer.connections 5, prune true" in told
    plan = command("plan", "--registry", world.root)
    assert "registry.yaml has uncommitted changes" in plan.out
    typed = next(one for one in re.findall("`(.*?)`", plan.out) if one.startswith("git "))
    typed_at_shell(typed)
    assert settings("--registry", world.root)["transfer.connections"][0] == "5"
    assert "registry.yaml" not in command("config", "--registry", world.root).err
    assert "uncommitted" not in command("plan", "--registry", world.root).out


def test_each_root_is_shown_with_who_named_it(world: World, isolated_environment: Path) -> None:
    rows = json.loads(command("config", "--json", "--registry", world.root).out)
    roots = {one["value"]: one["origin"] for one in rows if one["name"] == "roots"}
    assert roots[str(world.folder)] == str(isolated_environment / ".config/imageworks/config.toml")
    assert roots[str(world.weights)] == "environment IMAGEWORKS_MODEL_ROOT"
    assert roots[str(isolated_environment / "ai-models")] == "default"


def test_what_nobody_said_is_shown_as_it_holds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEWORKS_MODEL_ROOT")
    world.configure(transfer={"connections": 3})
    shown = settings("--registry", world.root)
    registry = str(world.root / "registry.yaml")
    assert shown["model_root"] == ("~/unused: the environment says where it is on this host", registry)
    assert shown["max_connections"] == ("3", registry)
    assert shown["max_concurrent_downloads"] == ("4", "default")
    assert shown["preferred_formats"] == ("any", "default")
    assert shown["lmstudio_root"] == ("/mnt/d/ai stuff/models/llm models", "default")


def test_a_projects_root_that_the_host_does_not_allow_blocks_and_says_how_to_allow_it(
    world: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: what is cloned cannot choose where on the machine files go."""
    monkeypatch.delenv("IMAGEWORKS_MODEL_ROOT")
    world.user_config(isolated_environment, "")
    outside = world.folder / "out side"
    project(world, f'linux_wsl_root = "{outside}"\n')
    world.serve()
    world.declare()
    result = world.plan(code=1)
    assert result.changes[NAME] == ("blocked", "root-not-allowed")
    assert f"config --allow '{outside}/weights'" in result.err
    assert not outside.exists()

    allowed = command("config", "--allow", outside / "weights", "--registry", world.root)
    assert allowed.code == 0
    assert f"models may be below {outside}/weights on this host from now on" in allowed.err
    world.reconcile("-y")
    assert (outside / "weights/acme/tiny-1b/model.safetensors").is_file()


def test_the_whole_machine_is_not_allowed_at_once(world: World) -> None:
    result = command("config", "--allow", "/", "--registry", world.root)
    assert result.code == 64
    assert "every folder of this machine" in result.err


@pytest.mark.parametrize(("preferred", "taken"), [("gguf", "gguf"), ("safetensors", "safetensors"), ("awq", None)])
def test_preferred_formats_decide_what_a_download_takes_of_several(
    world: World, preferred: str, taken: str | None
) -> None:
    files = {"model.safetensors": b"x" * 9, "config.json": b"{}", "tokenizer.json": b"{}", "m-Q4_K_M.gguf": b"GGUF"}
    world.serve(files, "acme/both")
    unsaid = command("download", "acme/both", "--dry-run", "-y", "--registry", world.root)
    assert unsaid.code == 0, unsaid
    project(world, f'preferred_formats = ["{preferred}"]\n')
    result = command("download", "acme/both", "--dry-run", "-y", "--registry", world.root)
    assert result.code == 0, result
    assert (f"format: {taken} " in result.out) if taken else (result.out == unsaid.out)
    asked = command("download", "acme/both", "--format", "awq", "--dry-run", "-y", "--registry", world.root)
    assert asked.code == 1  # what is asked for is no mere preference


def test_connections_and_files_at_once_reach_the_transfer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TransferOptions] = []

    class Recording(TransferEngine):
        def __init__(self, options: TransferOptions) -> None:
            seen.append(options)
            super().__init__(options)

    monkeypatch.setattr(carry_out, "TransferEngine", Recording)
    project(world, "max_connections = 11\nmax_concurrent_downloads = 7\n")
    world.serve()
    world.declare()
    world.reconcile("-y")
    assert {(options.connections, options.jobs) for options in seen} == {(11, 7)}


def test_the_hub_of_the_users_config_is_asked_and_a_projects_never(
    world: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: a project that could name the hub would get the user's token."""
    answer, tokens = world.hub.intercept, []

    def watched(request: Request) -> Response:
        tokens.append(request.headers.get("authorization"))
        assert answer is not None
        reply = answer(request)
        assert isinstance(reply, Response)
        return reply

    world.hub.intercept = watched
    monkeypatch.setenv("HF_TOKEN", "my-own-token")
    monkeypatch.delenv("HF_ENDPOINT")
    project(world, f'hub_endpoint = "{world.hub.url}"\n')
    world.user_config(isolated_environment, f'roots = ["{world.folder}"]\nhub_endpoint = "http://127.0.0.1:9"\n')
    world.serve()
    refused = command("analyze", "acme/tiny-1b", "--registry", world.root)
    assert refused.code == 1
    assert tokens == []
    world.user_config(isolated_environment, f'roots = ["{world.folder}"]\nhub_endpoint = "{world.hub.url}"\n')
    assert command("analyze", "acme/tiny-1b", "--registry", world.root).code == 0
    assert command("download", f"{world.hub.url}/acme/tiny-1b", "-y", "--registry", world.root).code == 0
    assert "Bearer my-own-token" in tokens


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
