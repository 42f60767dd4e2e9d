"""``analyze --fit``: what a model needs to run, and whether it fits."""

import json
from pathlib import Path
from typing import Any

import pytest

from imageworks.cli.app import run
from imageworks.detection.sizes.memory import KV_TYPES
from imageworks.loopback_hub.server import HubServer
from imageworks.operations.download.fit import bytes_of
from support.hub import HubRepository
from support.weights import STRING, U32, gguf_file, safetensors_file

MIB, GIB = 1 << 20, 1 << 30
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32, "hidden_size": 4096,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip
OVERHEAD = 512 * 4 * (128256 + 4096) + 384 * MIB
TOKEN = 32 * 2 * 8 * 128 * 2
SMALL = {"tokenizer.json": b"{}", "tokenizer_config.json": b"{}", "README.md": b"# Tiny\n"}
PAIRS = [
    ("general.architecture", STRING, "llama"), ("llama.block_count", U32, 32), ("llama.embedding_length", U32, 4096),
    ("llama.attention.head_count", U32, 32), ("llama.attention.head_count_kv", U32, 8),
    ("llama.context_length", U32, 131072), ("llama.vocab_size", U32, 128256),
]  # fmt: skip


def gguf(blocks: int) -> bytes:
    return gguf_file(PAIRS, [("t", [256 * blocks], 12, 0)], data=bytes(144 * blocks))


@pytest.fixture(name="hub")
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    weights = safetensors_file({"w": ("BF16", (MIB,), 2 * MIB)})
    config = json.dumps(CONFIG).encode()
    HubRepository(tmp_path / "hub", "o/one", {**SMALL, "config.json": config, "model.safetensors": weights})
    HubRepository(tmp_path / "hub", "o/odd", {**SMALL, "config.json": b"{}", "model.safetensors": weights})
    many = {f"m-{label}.gguf": gguf(size) for label, size in (("Q4_K_M", 10_000), ("Q8_0", 20_000))}
    HubRepository(tmp_path / "hub", "o/many-GGUF", {**many, "mmproj-f16.gguf": gguf(1_000)})
    two = {"model.safetensors": safetensors_file({"w": ("F32", (MIB,), 4 * MIB)}), "model.fp16.safetensors": weights}
    HubRepository(tmp_path / "hub", "o/two", {**SMALL, "config.json": config, **two})
    monkeypatch.setenv("HF_ENDPOINT", "")
    return HubServer(tmp_path / "hub")


def run_analyze(hub: HubServer, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    with hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        return run(["analyze", *words])


def memory_of(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> dict[str, Any]:
    assert run_analyze(hub, monkeypatch, *words, "--json") == 0
    found = json.loads(capsys.readouterr().out)["memory"]
    assert isinstance(found, dict)
    return found


def test_the_need_is_told_without_being_asked(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = memory_of(hub, monkeypatch, capsys, "o/one")
    (form,) = found.pop("forms")
    assert found == {
        "available": None, "context": 8192, "kv_type": "f16", "cache_known": True, "context_length": 131072,
    }  # fmt: skip
    assert (form["label"], form["cache"], form["overhead"]) == ("bf16", 8192 * TOKEN, OVERHEAD)
    assert form["total"] == form["weights"] + form["cache"] + form["overhead"]
    assert form["weights"] == pytest.approx(2 * MIB, rel=0.01)
    assert "fits" not in form


@pytest.mark.parametrize(
    ("words", "cache", "fits", "longest"),
    [
        (("--fit", "24GiB"), 8192 * TOKEN, True, 131072),
        (("--fit", "2GiB"), 8192 * TOKEN, True, None),
        (("--fit", "1GiB"), 8192 * TOKEN, False, None),
        (("--fit", "600MiB"), 8192 * TOKEN, False, None),
        (("--fit", "24GiB", "--context", "131072"), 131072 * TOKEN, True, 131072),
        (("--fit", "16GiB", "--context", "131072"), 131072 * TOKEN, False, None),
        (("--fit", "16GiB", "--context", "131072", "--kv-type", "q8_0"), 131072 * TOKEN * 34 // 64, True, 131072),
        (("--fit", "8GiB", "--context", "131072", "--kv-type", "q4_0"), 131072 * TOKEN * 18 // 64, True, 131072),
    ],
)
def test_it_says_whether_a_context_fits_and_which_would(
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    cache: int,
    fits: bool,
    longest: int | None,
) -> None:
    found = memory_of(hub, monkeypatch, capsys, "o/one", *words)
    (form,) = found["forms"]
    assert (form["cache"], form["fits"]) == (cache, fits)
    if longest is not None:
        assert form["longest_context"] == longest
    elif form["longest_context"] is not None:  # one token more does not fit
        spare = found["available"] - form["weights"] - form["overhead"]
        assert form["longest_context"] == spare // TOKEN


def test_each_quantization_of_a_repository_of_many_has_its_row(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = memory_of(hub, monkeypatch, capsys, "o/many-GGUF", "--fit", "2GiB", "--context", "4096")
    assert [form["label"] for form in found["forms"]] == ["q4_k_m", "q8_0"]
    projector = len(gguf(1_000))
    assert [form["weights"] for form in found["forms"]] == [len(gguf(n)) + projector for n in (10_000, 20_000)]
    assert {form["cache"] for form in found["forms"]} == {4096 * TOKEN}
    assert run_analyze(hub, monkeypatch, "o/many-GGUF", "--fit", "1GiB", "--context", "4096") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("q")]
    assert [row[0] for row in rows] == ["q4_k_m", "q8_0"]
    assert all("no," in row for row in rows)


def test_a_precision_beside_the_one_that_comes_has_its_row(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forms = memory_of(hub, monkeypatch, capsys, "o/two")["forms"]
    assert [form["label"] for form in forms] == ["fp16", "fp32"]
    assert forms[1]["weights"] == pytest.approx(2 * forms[0]["weights"], rel=0.01)


def test_the_text_tells_how_parameters_were_counted(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_analyze(hub, monkeypatch, "o/one") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  parameters")]
    assert line.split() == ["parameters", "1.0", "M", "(counted", "by", "headers)"]


def test_what_is_not_known_is_told(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = memory_of(hub, monkeypatch, capsys, "o/odd", "--fit", "1GiB")
    assert (found["cache_known"], found["forms"][0]["cache"], found["context_length"]) == (False, 0, None)
    assert run_analyze(hub, monkeypatch, "o/odd", "--fit", "1GiB") == 0
    assert "without its cache" in capsys.readouterr().out
    assert run_analyze(hub, monkeypatch, "o/one", "--context", "200000") == 0
    assert "131,072 tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("--fit", "24"), ("--fit", "much"), ("--fit", "0GiB"), ("--fit", "-1GiB"), ("--context", "0"),
        ("--context", "-5"), ("--context", "99999999999"), ("--kv-type", "int3"),
    ],
)  # fmt: skip
def test_what_is_no_question_is_told_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run(["analyze", "o/one", *words]) == 64
    assert capsys.readouterr().err.count("error:") == 1


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("24GiB", 24 * GIB), ("24G", 24 * GIB), ("24 gib", 24 * GIB), ("24GB", 24 * 10**9), ("512MiB", 512 * MIB),
        ("0.5TiB", 512 * GIB), ("23.5GiB", 23.5 * GIB),
    ],
)  # fmt: skip
def test_a_size_of_memory_is_read_with_its_unit(said: str, size: float) -> None:
    assert bytes_of(said) == size


def test_the_help_names_the_types_of_a_cache(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in KV_TYPES for name in ("f16", "fp8", "q8_0", "q4_0"))
    assert "--kv-type" in shown
