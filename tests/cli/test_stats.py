"""The ``stats`` command: how many models of which kind, and how much room they take."""

import os
import shutil

import pytest

from support.reconcile import HOST, MODEL, NAME, REPO, World, command

SIZE = sum(map(len, MODEL.values()))
LINKED = "acme/linked"


@pytest.fixture
def two(world: World) -> World:
    """Two models whose weights are one file under two names, and one model without files."""
    world.serve()
    world.serve(name=LINKED)
    world.declare(backend="vllm")
    world.declare("linked", source={"huggingface": LINKED}, backend="lmdeploy", deprecated=True)
    world.write("models/logical.yaml", '{"schema_version": 1, "roles": ["caption"]}')
    world.reconcile()
    for name in MODEL:
        shared = world.weights / LINKED / name
        shared.unlink()
        os.link(world.weights / REPO / name, shared)
    return world


def test_models_are_counted_and_shared_bytes_once(two: World) -> None:
    document = command("stats", "--json", "--registry", two.root).json
    assert document == {
        "format_version": 1,
        "host": HOST,
        "models": 2,
        "installed": 2,
        "logical": 1,
        "deprecated": 1,
        "recorded_bytes": 2 * SIZE,
        "bytes_on_disk": SIZE,
        "by_format": {"safetensors": {"models": 2, "bytes": 2 * SIZE}},
        "by_quantization": {"unknown": {"models": 2, "bytes": 2 * SIZE}},
        "by_backend": {"lmdeploy": {"models": 1, "bytes": SIZE}, "vllm": {"models": 1, "bytes": SIZE}},
        "by_location": {"linux_wsl": {"models": 2, "bytes": 2 * SIZE}},
    }


def test_people_read_it_as_tables(two: World) -> None:
    lines = command("stats", "--registry", two.root).out.splitlines()
    assert lines[0] == f"2 models on {HOST}, 2 installed, 1 deprecated; 1 more without files of their own"
    assert lines[1] == "58.6 KiB on disk"
    assert "FORMAT       MODELS       SIZE" in lines
    assert "safetensors       2  117.3 KiB" in lines


def test_what_is_gone_is_not_on_disk(two: World) -> None:
    shutil.rmtree(two.weights)
    document = command("stats", "--json", "--registry", two.root).json
    assert (document["models"], document["installed"], document["bytes_on_disk"]) == (2, 0, 0)


def test_nothing_recorded_is_counted_as_nothing(world: World) -> None:
    assert command("stats", "--registry", world.root).out.splitlines() == [
        f"0 models on {HOST}, 0 installed",
        "0 B on disk",
    ]
    assert NAME not in command("stats", "--registry", world.root).out
