"""What is shown of a snapshot, as tables: filters, names, order and counts, without a registry."""

import os
from pathlib import Path

import pytest

from imageworks.registry.entries.queries import (
    Model,
    ModelFilter,
    condense,
    display_after,
    file_paths,
    is_installed,
    is_of_format,
    name_for_people,
    parameter_size,
    richness,
    role_rows,
    simple_names,
)
from imageworks.registry.entries.statistics import count


def model(name: str = "a", **fields: object) -> Model:
    return {"name": name, "download_path": f"/nowhere/{name}", **fields}


@pytest.mark.parametrize(
    ("fields", "wanted", "fits"),
    [
        ({"download_format": "gguf"}, "GGUF", True),
        ({"download_format": "gguf"}, "ggu", False),
        ({"format": "awq"}, "awq", True),
        ({"quantization": "q4_k_m"}, "Q4_K_M", True),
        ({"metadata": {"ollama": {"details": {"quantization_level": "Q4_K_M"}}}}, "q4_k_m", True),
        ({"metadata": {"quantization_details": {"method": "awq", "compact": "w4g128"}}}, "w4g128", True),
        ({"metadata": None, "quantization": None}, "awq", False),
    ],
)
def test_a_format_is_a_container_or_a_quantization(fields: dict[str, object], wanted: str, fits: bool) -> None:
    assert is_of_format({"name": "a", **fields}, wanted) is fits


@pytest.mark.parametrize(
    ("fields", "slug", "display"),
    [
        ({"family": "llama", "quantization": "q4_k_m", "metadata": {"parameter_size": "12.2B"}},
         "llama-12.2b-q4_k_m", "llama 12.2b (Q4 K M)"),
        ({"family": "qwen2.5vl-7b", "backend": "ollama", "metadata": {"parameter_size": "8.3B"}},
         "qwen2.5vl-7b", "qwen2.5vl 7b"),
        ({"family": "pixtral-local-latest", "backend": "ollama", "quantization": "q4_k_m"},
         "pixtral-local-q4_k_m", "pixtral-local (Q4 K M)"),
        ({"family": "latest", "backend": "ollama"}, "latest", "latest"),
        ({"family": "mistral-7b-instruct-v0.2-gguf", "download_format": "gguf", "quantization": "q8_0"},
         "mistral-7b-instruct-v0.2-q8_0", "mistral 7b-instruct-v0.2 (Q8 0)"),
        ({"family": "qwen2.5vl-7b", "backend": "ollama", "metadata":
          {"ollama": {"details": {"parameter_size": "8.3B", "quantization_level": "Q4_K_M"}}}},
         "qwen2.5vl-7b-q4_k_m", "qwen2.5vl 7b (Q4 K M)"),
        ({"family": "stub", "backend": "ollama", "metadata":
          {"ollama": {"details": {"quantization_level": "unknown"}}}},
         "stub", "stub"),
        ({"family": "phi", "metadata": {"parameters": 3_821_079_552}}, "phi-3.8b", "phi 3.8b"),
    ],
)  # fmt: skip
def test_a_simple_name_is_family_size_and_quantization(fields: Model, slug: str, display: str) -> None:
    assert simple_names(fields) == (slug, display)


@pytest.mark.parametrize(
    ("metadata", "size"),
    [
        ({}, None),
        ({"parameters": 999_999}, None),
        ({"parameters": 22_713_216}, "22.7m"),
        ({"parameters": 8_030_261_248}, "8b"),
        ({"parameters": True}, None),
        ({"parameter_size": " 7.6B ", "parameters": 1}, "7.6b"),
        ({"parameter_size": "", "parameters": 8_030_261_248}, "8b"),
    ],
)
def test_how_large_a_model_is(metadata: Model, size: str | None) -> None:
    assert parameter_size({"metadata": metadata}) == size


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        (None, "phi 3.8b (Q4 K M)"),
        ({"family": "phi", "display_name": "phi"}, "phi 3.8b (Q4 K M)"),
        ({"family": "phi", "display_name": "Our Phi"}, "Our Phi"),
        ({"display_name": "phi"}, "phi"),
        ({"family": "phi"}, "phi 3.8b (Q4 K M)"),
    ],
)
def test_a_display_name_that_somebody_chose_outlives_another_look(before: Model | None, shown: str) -> None:
    after = {"family": "phi", "quantization": "q4_k_m", "metadata": {"parameters": 3_821_079_552}}
    assert display_after(after, before) == shown


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"display_name": "Mine", "family": "llama-7b"}, "Mine"),
        ({"family": "llama-12.2b", "quantization": "q4_k_m"}, "llama 12.2b (Q4 K M)"),
        ({"family": "siglip"}, "siglip"),
        ({"family": "phi", "metadata": {"parameters": 3_821_079_552}}, "phi 3.8b"),
        ({}, "a"),
        ({"display_name": None}, "a"),
    ],
)
def test_the_name_for_people(fields: dict[str, object], shown: str) -> None:
    assert name_for_people({"name": "a", **fields}) == shown


def test_a_location_is_a_name_or_a_folder_above() -> None:
    models = [model("a", download_location="second"), model("b", download_path="ollama://b")]
    assert ModelFilter(location="second").choose(models) == models[:1]
    assert ModelFilter(location="/nowhere").choose(models) == models[:1]
    assert ModelFilter(location="/now").choose(models) == []
    assert ModelFilter().choose(models) == models


def test_a_path_that_is_none_of_this_machine_is_not_installed(tmp_path: Path) -> None:
    assert not is_installed(model(download_path="ollama://a"))
    assert not is_installed({"name": "a"})
    assert is_installed(model(download_path=str(tmp_path)))


def test_what_is_there_says_more_than_what_says_more(tmp_path: Path) -> None:
    there = model(download_path=str(tmp_path))
    wordy = model(license="mit", producer="x", roles=["caption"])
    assert richness(there) > richness(wordy) > richness(model(deprecated=True))
    assert [*condense([{**wordy, "family": "f"}, {**there, "family": "f"}])] == [{**there, "family": "f"}]


def test_condensing_does_not_depend_on_the_order() -> None:
    models = [model("a", family="f", license="mit"), model("b", family="f"), model("c"), model("d")]
    names = [one["name"] for one in condense(models)]
    assert names == [one["name"] for one in condense(reversed(models))] == ["a", "c", "d"]


def test_roles_are_in_the_order_in_which_they_choose() -> None:
    models = [
        model("low", roles=["caption"], role_priority={"caption": 1}),
        model("b", roles=["caption", "caption", "audit"]),
        model("high", roles=["caption"], role_priority={"caption": 9, "other": 99}),
        model("none"),
    ]
    found = [(row.role, row.priority, row.model["name"]) for row in role_rows(models)]
    assert found == [("audit", 0, "b"), ("caption", 9, "high"), ("caption", 1, "low"), ("caption", 0, "b")]


def test_a_single_file_is_its_own_path() -> None:
    assert file_paths(model(download_files=["a", "b/c"])) == ["/nowhere/a/a", "/nowhere/a/b/c"]
    assert file_paths(model(download_files=["a"], metadata={"single_file": True})) == ["/nowhere/a"]
    assert file_paths(model(download_path="ollama://a", download_files=["a"])) == []


def test_bytes_on_disk_are_counted_once_however_often_they_are_linked(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    (first / "w").write_bytes(b"12345")
    os.link(first / "w", second / "w")
    (second / "own").write_bytes(b"123")
    counted = count(
        [
            model("a", download_path=str(first), download_files=["w"], download_size_bytes=5, backend="vllm"),
            model("b", download_path=str(second), download_files=["w", "own", "gone"], download_size_bytes=8),
            {"name": "logical", "deprecated": True},
        ]
    )
    assert (counted.models, counted.installed, counted.logical, counted.deprecated) == (2, 2, 1, 1)
    assert (counted.recorded_bytes, counted.bytes_on_disk) == (13, 8)
    assert dict(counted.groups["backend"]) == {"unknown": (1, 8), "vllm": (1, 5)}
