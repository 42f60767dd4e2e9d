"""O6 and O7: what is wrong with a modelfile is said by `validate`, since the files alone show it."""

import json
from pathlib import Path

import pytest

from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.validate import check_manifest, validate_registry


def manifest(parameters: str) -> bytes:
    return (
        "schema_version: 1\nsource:\n  ollama: mine\n  modelfile:\n    from: base\n"
        f"    parameters:\n      {parameters}\n"
    ).encode()


@pytest.mark.parametrize(
    "parameters",
    [
        "num_ctx: 8192",
        "temperature: 1",
        "temperature: 0.2",
        "use_mmap: true",
        "main_gpu: 0",
        "num_predict: -1",
        'stop: ["<a>", "b c"]',
        'stop: "<a>"',
        "mirostat: 1",
    ],
)
def test_o6_parameters_that_ollama_takes(parameters: str) -> None:
    assert check_manifest("models/m.yaml", manifest(parameters)).diagnostics == ()


@pytest.mark.parametrize(
    ("parameters", "hint"),
    [
        ("nun_ctx: 8192", "num_ctx"),
        ("NUM_CTX: 8192", "num_ctx"),
        ("context_length: 8192", ""),
        ('num_ctx: "8k"', ""),
        ("num_ctx: 8k", ""),
        ('num_ctx: "8192"', ""),
        ("num_ctx: 8192.5", ""),
        ("num_ctx: true", ""),
        ("num_ctx: null", ""),
        ("num_ctx: [8192]", ""),
        ("num_ctx: 99999999999999999999", ""),
        ("temperature: hot", ""),
        ("temperature: 1e39", ""),
        ("use_mmap: 1", ""),
        ('use_mmap: "yes"', ""),
        ("stop: 7", ""),
        ("stop: [7]", ""),
        ("stop: {a: b}", ""),
    ],
)
def test_o6_parameters_that_ollama_create_refuses(parameters: str, hint: str) -> None:
    found = check_manifest("models/m.yaml", manifest(parameters)).diagnostics
    assert [(one.file, one.line) for one in found] == [("models/m.yaml", 7)], found
    assert hint in (found[0].remedy or "")


def validated(folder: Path, **models: dict[str, object]) -> list[tuple[str, int | None]]:
    (folder / "models").mkdir()
    (folder / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
    for name, source in models.items():
        text = json.dumps({"schema_version": 1, "source": source}, indent=1)
        (folder / "models" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return [(one.file, one.line) for one in validate_registry(WorkTreeReader(folder)).diagnostics]


def test_o7_a_modelfile_needs_a_base(tmp_path: Path) -> None:
    found = validated(tmp_path, mine={"ollama": "mine", "modelfile": {"system": "Be terse."}})
    assert [file for file, _ in found] == ["models/mine.yaml"]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("mine", "mine"),
        ("mine", "Mine:latest"),
        ("mine:latest", "registry.ollama.ai/library/mine"),
        ("library/mine", "mine:LATEST"),
        ("me/mine:7b", "ME/mine:7B"),
        ("localhost:5000/me/mine", "localhost:5000/me/mine:latest"),
    ],
)
def test_o7_a_model_made_of_itself(tmp_path: Path, name: str, base: str) -> None:
    found = validated(tmp_path, mine={"ollama": name, "modelfile": {"from": base, "system": "x"}})
    assert found == [("models/mine.yaml", 6)]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("mine", "mine:7b"),
        ("me/mine", "mine"),
        ("localhost:5000/me/mine", "localhost:5001/me/mine"),
        ("mine", "/models/mine"),
        ("mine", "~/mine"),
    ],
)
def test_o7_a_model_made_of_another(tmp_path: Path, name: str, base: str) -> None:
    assert validated(tmp_path, mine={"ollama": name, "modelfile": {"from": base, "system": "x"}}) == []


@pytest.mark.parametrize(
    "base",
    [
        " ",
        "./x.gguf",
        "../x.gguf",
        "x.gguf",
        "models/X.GGUF",
        "C:\\models\\x.gguf",
        "~ada/x.gguf",
        "@sha256:00",
        "x:",
        "x y",
    ],
)
def test_o7_a_base_that_is_neither_a_name_nor_a_whole_path(tmp_path: Path, base: str) -> None:
    found = validated(tmp_path, mine={"ollama": "mine", "modelfile": {"from": base, "system": "x"}})
    assert found == [("models/mine.yaml", 6)]


@pytest.mark.parametrize(
    "base", ["qwen2.5vl:7b", "me/x", "hf.co/o/r:Q4_K_M", "localhost:5000/me/x:7b", "_x", "x:7b:cloud", "~/a b/x.gguf"]
)
def test_o7_a_base_that_may_be_one(tmp_path: Path, base: str) -> None:
    assert validated(tmp_path, mine={"ollama": "mine", "modelfile": {"from": base, "system": "x"}}) == []


def test_o7_models_that_are_made_of_each_other(tmp_path: Path) -> None:
    def of(name: str, base: str) -> dict[str, object]:
        return {"ollama": name, "modelfile": {"from": base, "system": "x"}}

    found = validated(tmp_path, a=of("a", "b"), b=of("b", "c"), c=of("c", "a"), d=of("d", "a"))
    assert [file for file, _ in found] == ["models/a.yaml", "models/b.yaml", "models/c.yaml"]
