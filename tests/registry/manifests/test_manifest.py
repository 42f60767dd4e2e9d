"""A manifest as a value: what its fields mean."""

from collections.abc import Mapping

import pytest

from imageworks.registry.manifests.manifest import (
    Manifest,
    OllamaSource,
    PathSource,
    Prune,
    RepositorySource,
    State,
    is_commit,
    manifest_name,
    read_manifest,
)

PIN = "536a3571234567890123456789012345678901ab"


def read(**fields: object) -> Manifest:
    return read_manifest("models/tiny.yaml", {"schema_version": 1, **fields})


@pytest.mark.parametrize(
    ("source", "meant", "label"),
    [
        ({"huggingface": "acme/tiny"}, RepositorySource("acme/tiny"), "huggingface:acme/tiny"),
        (
            {
                "huggingface": "acme/tiny",
                "revision": PIN,
                "include": ["*.gguf"],
                "subfolder": "/onnx/",
                "optional": True,
            },
            RepositorySource("acme/tiny", PIN, ("*.gguf",), "onnx", optional=True),
            "huggingface:acme/tiny",
        ),
        ({"ollama": "qwen2.5vl:7b"}, OllamaSource("qwen2.5vl:7b"), "ollama:qwen2.5vl:7b"),
        ({"path": "~/models/x"}, PathSource("~/models/x"), "path:~/models/x"),
    ],
)
def test_a_source_is_read_as_its_kind(
    source: object, meant: RepositorySource | OllamaSource | PathSource, label: str
) -> None:
    manifest = read(source=source)
    assert manifest.source == meant
    assert manifest.source is not None
    assert manifest.source.label == label


def test_a_manifest_without_a_source_is_logical() -> None:
    assert read(roles=["caption"]).source is None


def test_the_name_is_the_files_stem_with_all_its_dots() -> None:
    assert manifest_name("models/qwen2.5-vl-7b.yaml") == "qwen2.5-vl-7b"
    assert read().name == "tiny"


def test_what_is_not_declared_has_its_default() -> None:
    manifest = read()
    assert (manifest.state, manifest.prune, manifest.location) == (State.PRESENT, None, None)
    assert (manifest.hosts, manifest.previously, manifest.selection) == ((), (), {})


def test_what_is_declared_is_read() -> None:
    manifest = read(state="absent", prune="enabled", location="second", previously=["old"], hosts=["a", "b"])
    assert (manifest.state, manifest.prune, manifest.location) == (State.ABSENT, Prune.ENABLED, "second")
    assert (manifest.previously, manifest.hosts) == (("old",), ("a", "b"))


def test_the_selection_is_what_decides_which_files_are_wanted() -> None:
    source = {"huggingface": "a/b", "include": ["b*", "a*"], "subfolder": "onnx", "optional": True}
    manifest = read(source=source, format="gguf", quantization="q4_k_m", backend="vllm")
    assert manifest.selection == {
        "include": ["a*", "b*"],
        "subfolder": "onnx",
        "optional": True,
        "format": "gguf",
        "quantization": "q4_k_m",
    }


@pytest.mark.parametrize(
    ("hosts", "labels", "applies"),
    [
        ([], {}, True),
        (["workstation"], {}, True),
        (["other"], {}, False),
        (["gpu=rtx4090"], {"gpu": "rtx4090"}, True),
        (["gpu=rtx4090"], {"gpu": "none"}, False),
        (["gpu=rtx4090"], {}, False),
        (["other", "gpu=rtx4090"], {"gpu": "rtx4090"}, True),
        (["gpu"], {"gpu": ""}, False),
    ],
)
def test_a_model_is_for_hosts_by_name_or_by_any_label(
    hosts: list[str],
    labels: Mapping[str, str],
    applies: bool,
) -> None:
    assert read(hosts=hosts).applies_to("workstation", labels) is applies


@pytest.mark.parametrize(
    ("revision", "pin"),
    [(PIN, True), (PIN.upper(), False), (PIN[:12], False), ("main", False), (None, False), (f"{PIN}\n", False)],
)
def test_only_a_full_commit_id_is_a_pin(revision: str | None, pin: bool) -> None:
    assert is_commit(revision) is pin
