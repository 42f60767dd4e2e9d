"""The ``list`` command: what the last reconcile recorded."""

import json
import shutil

import pytest

from support.reconcile import HOST, NAME, REPO, World, command


@pytest.fixture
def installed(world: World) -> World:
    world.serve()
    world.declare(backend="vllm", roles=["caption"])
    world.write("models/logical.yaml", '{"schema_version": 1, "roles": ["caption"]}')
    world.reconcile()
    return world


def test_nothing_recorded_says_what_to_do(world: World) -> None:
    assert f"Nothing is recorded for {HOST} yet" in command("list", "--registry", world.root).out


def test_each_model_stands_in_a_line_with_what_it_is(installed: World) -> None:
    lines = command("list", "--registry", installed.root).out.splitlines()
    assert lines[0].split() == ["NAME", "FORMAT", "QUANT", "PRODUCER", "BACKEND", "SIZE", "LOCATION"]
    assert lines[1].split()[0] == NAME
    assert "safetensors" in lines[1]
    assert "acme" in lines[1]
    assert "vllm" in lines[1]
    assert "58.6 KiB" in lines[1]
    assert len(lines) == 2


def test_logical_models_are_shown_when_asked_for(installed: World) -> None:
    assert "logical" in command("list", "--registry", installed.root, "--include-logical").out


def test_json_is_the_snapshot_with_what_is_still_there(installed: World) -> None:
    models = json.loads(command("list", "--registry", installed.root, "--json").out)
    assert [(model["name"], model["installed"]) for model in models] == [(NAME, True)]
    shutil.rmtree(installed.weights / REPO)
    models = json.loads(command("list", "--registry", installed.root, "--json").out)
    assert [(model["name"], model["installed"]) for model in models] == [(NAME, False)]


def test_a_snapshot_that_is_none_names_its_file(installed: World) -> None:
    (installed.root / f"snapshot/{HOST}.json").write_text("{}", encoding="utf-8")
    result = command("list", "--registry", installed.root)
    assert result.code == 1
    assert f"snapshot/{HOST}.json" in result.err


def test_a_registry_that_is_none_is_a_wrong_command_line(world: World) -> None:
    result = command("list", "--registry", world.folder / "nowhere")
    assert result.code == 64
    assert "has no registry.yaml" in result.err
