"""``analyze`` through the real command line, against a hub on loopback."""

import json
import struct
from pathlib import Path

import pytest

from imageworks.cli.app import run
from imageworks.loopback_hub.server import HubServer
from support.hub import Faults, HubRepository

MIB = 1024 * 1024


def safetensors(dtype: str, size: int) -> bytes:
    header = json.dumps({"w": {"dtype": dtype, "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


FILES = {
    "config.json": b'{"model_type": "llama", "num_hidden_layers": 4, "architectures": ["LlamaForCausalLM"]}',
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "README.md": b"---\nlicense: apache-2.0\n---\n# Tiny\n",
    "model.safetensors": safetensors("BF16", 8 * MIB),
}


@pytest.fixture(name="hub")
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    HubRepository(tmp_path / "hub", "owner/tiny", FILES)
    many = {f"Tiny-{quant}.gguf": b"GGUF" + bytes(size) for quant, size in (("Q4_K_M", 400), ("Q8_0", 800))}
    HubRepository(tmp_path / "hub", "owner/tiny-GGUF", {"README.md": b"# Many\n", **many})
    server = HubServer(tmp_path / "hub")
    monkeypatch.setenv("HF_ENDPOINT", "")
    return server


def analyzed(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> dict[str, object]:
    with hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert run(["analyze", *words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_it_says_what_a_repository_is(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = analyzed(hub, monkeypatch, capsys, "owner/tiny")
    facts = found["facts"]
    assert isinstance(facts, dict)
    assert (facts["download_format"], facts["quantization"], facts["license"]) == ("safetensors", "bf16", "apache-2.0")
    assert found["name"] == "tiny-vllm-bf16"
    assert str(found["target"]).endswith("/ai-models/weights/owner/tiny")
    assert facts["metadata"]["architecture"]["num_layers"] == 4


def test_o12_it_says_which_servers_can_serve_it_and_with_what(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "auto_map": {"AutoModel": "x.Y"}}
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    packed = {"config.json": json.dumps(config).encode(), "model.safetensors": safetensors("U8", MIB)}
    HubRepository(tmp_path / "hub", "owner/tiny-bnb", {**FILES, **packed})
    servers = analyzed(hub, monkeypatch, capsys, "owner/tiny-bnb")["servers"]
    assert isinstance(servers, dict)
    assert {name: one["answer"] for name, one in servers.items()} == {"vllm": "with", "lmdeploy": "no", "ollama": "no"}
    assert servers["vllm"]["options"] == ["--trust-remote-code"]
    assert {one["trait"] for one in servers["vllm"]["reasons"]} == {"bitsandbytes", "remote_code"}
    assert all(one["source"] for server in servers.values() for one in server["reasons"])
    with HubServer(tmp_path / "hub") as again:
        monkeypatch.setenv("HF_ENDPOINT", again.url)
        assert run(["analyze", "owner/tiny-bnb"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  served by")]
    assert [line[2] for line in lines] == ["vllm", "lmdeploy", "ollama"]


def test_it_reads_headers_by_range_and_no_weights(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = Faults.install(hub)
    analyzed(hub, monkeypatch, capsys, "owner/tiny")
    ranges = [
        request.headers.get("range")
        for request in faults.seen
        if "model.safetensors" in request.path and request.method == "GET"
    ]
    assert ranges
    assert set(ranges) == {f"bytes=0-{MIB - 1}"}


def test_kinds_8_what_is_there_twice_counts_once_and_how_it_was_counted_is_told(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    twice = {
        "original/model.safetensors": FILES["model.safetensors"],
        "consolidated.safetensors": safetensors("BF16", 4),
    }
    HubRepository(tmp_path / "hub", "owner/twice", {**FILES, **twice})
    facts = analyzed(hub, monkeypatch, capsys, "owner/twice")["facts"]
    assert isinstance(facts, dict)
    assert (facts["metadata"]["parameters"], facts["metadata"]["parameters_counted"]) == (4 * MIB, "headers")


def test_a_repository_of_many_quantizations_asks_for_a_choice(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = analyzed(hub, monkeypatch, capsys, "owner/tiny-GGUF")
    offered = found["quantizations"]
    assert isinstance(offered, list)
    assert [item["label"] for item in offered] == ["q4_k_m", "q8_0"]
    assert found["would_fetch"] is None
    assert "q4_k_m" in str(found["open_question"])


def test_a_tag_chooses_the_quantization(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = analyzed(hub, monkeypatch, capsys, "hf.co/owner/tiny-GGUF:Q4_K_M")
    assert found["would_fetch"] == {"files": ["README.md", "Tiny-Q4_K_M.gguf"], "bytes": 411}


def test_the_text_names_format_and_place(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert run(["analyze", f"{hub.url}/owner/tiny/tree/main", "--files"]) == 0
    out = capsys.readouterr().out
    assert "safetensors: 1 file, 8.0 MiB" in out
    assert "would go to" in out
    assert "tokenizer_config.json" in out


@pytest.mark.parametrize(
    ("identifier", "code", "said"),
    [
        ("https://huggingface.co/datasets/owner/data", 64, "dataset"),
        ("qwen2.5vl:7b", 64, "Ollama"),
        ("owner/none", 1, "owner/none"),
        ("owner/tiny@nowhere", 1, "nowhere"),
    ],
)
def test_what_cannot_be_analyzed_is_said_in_one_message(
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    identifier: str,
    code: int,
    said: str,
) -> None:
    with hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert run(["analyze", identifier]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("error:") == 1
    assert "Traceback" not in captured.err
