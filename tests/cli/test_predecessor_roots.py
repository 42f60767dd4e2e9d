"""Roots and settings as the predecessor's users have them: variables, a project's table, folders that they name."""

import json
from pathlib import Path
from typing import Final

import pytest

from imageworks.host.settings import load_host_settings
from support.found import put
from support.reconcile import QUANTS, Result, World, command
from support.world import log_is_closed, started_world

__all__ = ["log_is_closed", "started_world"]

REAL_TABLE: Final = """\
[tool.imageworks.model-downloader]
linux_wsl_root = "~/ai-models"
windows_lmstudio_root = "/mnt/d/ai stuff/models/llm models"
max_connections_per_server = 16
max_concurrent_downloads = 8
enable_resume = true
include_optional_files = false
preferred_formats = ["awq", "safetensors", "gguf", "gptq"]
timeout_seconds = 30
retry_attempts = 3
retry_delay_seconds = 5
registry_subdir = "registry"
cache_subdir = "cache"
"""


def run(world: World, *words: str | Path, code: int = 0) -> Result:
    result = command(*words, "--registry", world.root)
    assert result.code == code, result.out + result.err
    return result


def many(world: World, **fields: object) -> Path:
    """Declare a GGUF that no manifest places, and return the folder of its repository's path."""
    world.serve(QUANTS, "acme/many")
    source = {"huggingface": "acme/many"}
    world.declare("many", source=source, format="gguf", quantization="q4_k_m", backend="gguf", **fields)  # type: ignore[arg-type]
    return Path("acme/many")


@pytest.mark.parametrize("how", ["variable", "config", "project"])
def test_p6_lm_studios_folder_named_after_init_is_used(
    world: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    studio = world.folder / "studio of ada"
    roots = f'roots = ["{world.folder}"]\n'
    if how == "variable":
        monkeypatch.setenv("IMAGEWORKS_LMSTUDIO_ROOT", str(studio))
    elif how == "config":
        world.user_config(isolated_environment, f'{roots}lmstudio_root = "{studio}"\n')
    else:
        table = f'[tool.imageworks.model-downloader]\nwindows_lmstudio_root = "{studio}"\n'
        (world.folder / "pyproject.toml").write_text(table, encoding="utf-8")
    path = many(world)
    world.reconcile()
    assert (studio / path / "many-7b-Q4_K_M.gguf").is_file()
    assert world.entry("many")["download_location"] == "windows_lmstudio"
    assert not (world.weights / path).exists()
    shown = {one["name"]: one for one in json.loads(run(world, "config", "--json").out)}
    assert shown["routing.gguf"]["value"] == "windows_lmstudio"
    assert shown["routing.gguf"]["origin"] == shown["lmstudio_root"]["origin"]
    assert shown["locations.windows_lmstudio"]["value"].startswith(str(studio))


def test_p6_a_location_of_lm_studios_kind_gets_the_root_whatever_its_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = world.folder / "studio"
    monkeypatch.setenv("IMAGEWORKS_LMSTUDIO_ROOT", str(studio))
    places = {"linux_wsl": {"path": "~/unused"}, "lmstudio": {"path": str(world.folder / "old"), "kind": "lmstudio"}}
    world.configure(locations=places, routing={"gguf": "lmstudio", "default": "linux_wsl"})
    path = many(world)
    world.reconcile()
    assert (studio / path).is_dir()
    assert world.entry("many")["download_location"] == "lmstudio"


def test_p6_what_the_registry_routes_elsewhere_stays_there_and_config_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEWORKS_LMSTUDIO_ROOT", str(world.folder / "studio"))
    world.configure(routing={"gguf": "second", "default": "linux_wsl"})
    path = many(world)
    world.reconcile()
    assert (world.folder / "second" / path).is_dir()
    said = run(world, "config").err
    assert "lmstudio_root" in said
    assert "GGUF goes to second" in said


def test_p6_a_drive_that_is_away_is_told_once_in_the_plan(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWORKS_LMSTUDIO_ROOT", "/mnt/no-such-drive/lm studio")
    path = many(world)
    plan = world.plan()
    notes = plan.json["notes"]
    assert isinstance(notes, list)
    assert len([note for note in notes if "lmstudio_root" in note and "linux_wsl" in note]) == 1
    world.reconcile()
    assert (world.weights / path).is_dir()
    assert not Path("/mnt/no-such-drive").exists()


def test_p6_the_weights_root_named_after_init_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(world.folder / "other weights"))
    world.serve()
    world.declare()
    world.reconcile()
    assert (world.folder / "other weights/acme/tiny-1b/config.json").is_file()
    world.configure(routing={"default": "second"})
    assert "model_root" in run(world, "config").err


def test_p6_a_download_may_name_the_location_that_only_this_host_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = world.folder / "studio"
    monkeypatch.setenv("IMAGEWORKS_LMSTUDIO_ROOT", str(studio))
    world.serve(QUANTS, "acme/many")
    words = ("download", "acme/many", "--quant", "q4_k_m", "--location", "windows_lmstudio", "-y", "--no-progress")
    run(world, *words)
    assert (studio / "acme/many/many-7b-Q4_K_M.gguf").is_file()
    world.check()


def test_p9_the_real_projects_table_is_read_without_a_word(world: World) -> None:
    (world.folder / "pyproject.toml").write_text(REAL_TABLE, encoding="utf-8")
    settings = load_host_settings()
    assert settings.warnings == ()
    assert (settings.max_connections, settings.max_concurrent_downloads) == (16, 8)
    assert settings.preferred_formats == ("awq", "safetensors", "gguf", "gptq")
    for words in (("list",), ("status",), ("reconcile", "--dry-run"), ("validate",)):
        assert "pyproject" not in run(world, *words).err
    said = run(world, "config").err
    for key in ("enable_resume", "include_optional_files", "timeout_seconds", "registry_subdir", "cache_subdir"):
        assert said.count(key) == 1


@pytest.mark.parametrize(("value", "taken"), [("4", 4), ("64", 16), ("0", None), ('"many"', None), ("true", None)])
def test_p9_what_the_earlier_tool_took_is_held_to_no_limit_of_ours(world: World, value: str, taken: int | None) -> None:
    table = f"[tool.imageworks.model-downloader]\nmax_connections_per_server = {value}\n"
    (world.folder / "pyproject.toml").write_text(table, encoding="utf-8")
    assert load_host_settings().max_connections == taken


def test_p9_the_own_name_of_a_key_goes_first_and_a_slip_is_still_told(world: World) -> None:
    table = (
        "[tool.imageworks.model-downloader]\nmax_connections = 3\nmax_connections_per_server = 9\nenable_resum = 1\n"
    )
    (world.folder / "pyproject.toml").write_text(table, encoding="utf-8")
    settings = load_host_settings()
    assert settings.max_connections == 3
    assert ["enable_resum" in warning for warning in settings.warnings] == [True]


@pytest.fixture(name="outside")
def folder_outside(world: World, isolated_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model in it that this host's settings do not allow."""
    world.user_config(isolated_environment, "")
    folder = tmp_path_factory.mktemp("another disk")
    put(folder / "acme/tiny-7b-awq")
    return folder


@pytest.mark.parametrize("form", ["scan", "ingest"])
def test_p8_a_folder_that_a_person_names_is_scanned_and_allowed(
    world: World, outside: Path, isolated_environment: Path, form: str
) -> None:
    config = isolated_environment / ".config/imageworks/config.toml"
    shown = command("scan", "--base", outside, "--dry-run", "--registry", world.root)
    assert shown.code == 0
    assert "tiny-7b" in shown.out
    assert str(config) in shown.err
    assert config.read_text(encoding="utf-8") == ""
    if form == "scan":
        done = run(world, "scan", "--base", outside)
        assert str(outside) in done.err
    else:
        from imageworks.cli.app import run as run_app
        from imageworks.cli.scripts.loader import app

        words = ["ingest-local-hf", "--root", str(outside), "--registry", str(world.root)]
        assert run_app(words, application=app) == 0
    (name,) = world.entries()
    assert str(outside) in config.read_text(encoding="utf-8")
    assert run(world, "verify", name).code == 0
    assert run(world, "promote", name).code == 0
    world.reconcile()
    assert world.plan().changes == {}


def test_p8_a_folder_with_nothing_in_it_widens_nothing(
    world: World, outside: Path, isolated_environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    del outside
    assert "0 recorded" in run(world, "scan", "--base", tmp_path_factory.mktemp("empty")).out
    assert (isolated_environment / ".config/imageworks/config.toml").read_text(encoding="utf-8") == ""


def test_p8_purge_hf_takes_any_folder_that_a_person_names(world: World, outside: Path) -> None:
    run(world, "scan", "--base", outside)
    assert "to remove" in run(world, "purge-hf", "--weights-root", outside).out
    assert world.entries() == []
    assert (outside / "acme/tiny-7b-awq/config.json").is_file()
