"""What is kept of a model for tables: it says there what the whole says."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageworks.host.settings import load_host_settings
from imageworks.registry.entries.completeness import known_incomplete
from imageworks.registry.entries.queries import (
    Model,
    ModelFilter,
    abilities,
    is_testing,
    name_for_people,
    parameter_size,
    producer_for_people,
    quantization_of,
    size_of,
    text,
)
from imageworks.registry.entries.summaries import summary_of
from support.reconcile import World, command

WEIGHTS = Path("/weights")
TEXTS = ("", "x", "awq", "gguf", "test-model", "ollama", "acme", "/weights/acme/it", "linux_wsl", "7b")
FIELDS = (
    "name", "display_name", "family", "backend", "download_format", "format", "quantization", "producer",
    "download_path", "download_location", "downloaded_at", "served_model_id", "source_provider", "license",
)  # fmt: skip
DETAILS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("quantization_level", "parameter_size"), st.sampled_from(TEXTS))
)
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "testing": st.booleans(),
        "parameters": st.integers(0, 10**11),
        "parameter_size": st.sampled_from(TEXTS),
        "quantization_details": st.fixed_dictionaries({}, optional={"compact": st.just("w4g128")}),
        "ollama": st.fixed_dictionaries(
            {}, optional={"details": DETAILS, "quantization_level": st.sampled_from(TEXTS)}
        ),
        "single_file": st.booleans(),
        "architecture": st.just("Qwen2VL"),
    },
)
CONDITION = st.fixed_dictionaries(
    {
        "type": st.sampled_from(("Ready", "Complete")),
        "status": st.sampled_from(("True", "False", "Unknown")),
        "reason": st.just("MissingShard"),
        "message": st.just("a shard is missing"),
    }
)
MODELS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(FIELDS, st.sampled_from(TEXTS)),
        "capabilities": st.dictionaries(st.sampled_from(("text", "vision")), st.booleans()),
        "conditions": st.lists(CONDITION, max_size=2),
        "deprecated": st.booleans(),
        "download_files": st.just(["model.safetensors"]),
        "download_size_bytes": st.integers(0, 10**12),
        "metadata": METADATA,
        "resolved": st.fixed_dictionaries({}, optional={"repo": st.just("acme/it")}),
        "source": st.fixed_dictionaries({}, optional={"huggingface": st.just("acme/it")}),
    },
)
FILTERS = (
    ModelFilter(),
    ModelFilter(logical=True, deprecated=True, testing=True),
    ModelFilter(formats=("awq", "w4g128"), logical=True),
    ModelFilter(location="linux_wsl"),
    ModelFilter(location="/weights"),
    ModelFilter(backend="ollama"),
)


def told(model: Model) -> list[object]:
    return [
        *(ask(model) for ask in (name_for_people, quantization_of, abilities, parameter_size, size_of, is_testing)),
        producer_for_people(model, WEIGHTS),
        known_incomplete(model),
        *(text(model, key) for key in ("name", "backend", "download_format", "download_location", "downloaded_at")),
        model.get("deprecated") is True,
        *(bool(wanted.choose([model])) for wanted in FILTERS),
    ]


@given(MODELS)
def test_a_summary_says_what_the_whole_says(model: Model) -> None:
    assert told(summary_of(model)) == told(model)


@pytest.mark.parametrize("words", [(), ("--quiet",), ("--format", "safetensors"), ("--show-backend",), ("--details",)])
def test_a_list_from_summaries_is_the_list_from_manifests_and_entries(world: World, words: tuple[str, ...]) -> None:
    world.serve()
    world.declare(backend="vllm", roles=["caption"])
    world.reconcile()
    noted = command("list", *words, "--registry", world.root)
    (cache,) = (load_host_settings(registry=world.root).cache_dir / "snapshots" / "manifests").iterdir()
    assert cache.read_bytes().count(b"\n") >= 2
    shutil.rmtree(load_host_settings(registry=world.root).cache_dir)
    assert noted == command("list", *words, "--registry", world.root)
    assert noted.out


def test_a_summary_that_was_damaged_is_not_shown(world: World) -> None:
    world.serve()
    world.declare(display_name="My own name")
    world.reconcile()
    (note,) = (load_host_settings(registry=world.root).cache_dir / "snapshots" / "manifests").iterdir()
    head, summaries, rest = note.read_bytes().split(b"\n", 2)
    assert b"My own name" in summaries
    note.write_bytes(b"\n".join((head, summaries.replace(b"My own name", b"Another one"), rest)))
    assert "My own name" in command("list", "--registry", world.root).out
