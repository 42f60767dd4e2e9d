import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from imageworks.loopback_hub.server import HubServer
from imageworks.naming.hub_identifiers import HubIdentifier, IdentifierError
from imageworks.tools import model_downloader
from imageworks.tools.model_downloader import FormatDetector, FormatInfo, URLAnalyzer, detect_format_and_quant
from support.hub import HubRepository
from support.weights import STRING, U32, gguf_file, safetensors_file


def types(formats: Sequence[FormatInfo]) -> list[str]:
    return [info.format_type for info in formats]


def test_the_documented_example_works() -> None:
    detector = FormatDetector()
    formats = detector.detect_comprehensive(
        model_name="microsoft/DialoGPT-medium-awq",
        filenames=["model.safetensors", "config.json"],
        config_content='{"quantization_config": {"quant_method": "awq"}}',
    )
    assert set(types(formats)) == {"safetensors", "awq"}
    assert detector.is_format_type(formats, "AWQ")
    assert not detector.is_format_type(formats, "gguf")
    assert detector.get_primary_format(formats) in {"safetensors", "awq"}
    assert detector.get_primary_format([]) is None


def test_each_source_alone_is_read() -> None:
    detector = FormatDetector()
    assert types(detector.detect_from_filename("x-Q4_K_M.gguf")) == ["gguf", "q4_k_m"]
    assert detector.detect_from_filename("README.md") == []
    assert types(detector.detect_from_filelist(["a.safetensors", "b.bin"])) == ["safetensors", "pytorch"]
    (found,) = detector.detect_from_config('{"w_bit": 4, "q_group_size": 128}')
    assert found.format_type == "awq"
    assert found.quantization_details["compact"] == "w4g128"
    assert types(detector.detect_from_config({"quantization_config": {"quant_method": "gptq", "bits": 4}})) == ["gptq"]
    assert detector.detect_from_config("{") == []
    assert types(detector.detect_from_model_name("TheBloke/X-AWQ")) == ["awq"]
    assert types(detector.detect_from_model_name("TheBloke/X-GGUF")) == ["gguf"]
    assert types(detector.detect_comprehensive("o/X-Q4_K_M-GGUF")) == ["q4_k_m", "gguf"]


def test_a_folder_and_a_file_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache/x.gguf").write_bytes(b"GGUF")
    (folder / "model.safetensors").write_bytes(safetensors_file({"a": ("BF16", [4], 8)}))
    (folder / "quant_config.json").write_text('{"w_bit": 4, "q_group_size": 128}')
    assert detect_format_and_quant(folder) == ("safetensors", "bf16")
    (folder / "model.safetensors").write_bytes(b"")
    assert detect_format_and_quant(str(folder)) == ("safetensors", "awq")
    single = tmp_path / "x.gguf"
    single.write_bytes(gguf_file([("general.architecture", STRING, "llama"), ("general.file_type", U32, 18)]))
    assert detect_format_and_quant(single) == ("gguf", "q6_k")
    assert detect_format_and_quant(tmp_path / "model" / ".cache") == ("gguf", None)


def test_a_url_is_analyzed_without_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = '{"model_type": "llama", "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}'
    weights = safetensors_file({"a.qweight": ("I32", [8, 2], 64), "a.qzeros": ("I32", [1, 2], 8)})
    card = b"---\nlicense: mit\n---\n"
    held = {"config.json": config.encode(), "model.safetensors": weights, "README.md": card}
    root = tmp_path / "hub"
    root.mkdir()
    HubRepository(root, "o/r", held)
    with HubServer(root) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        analysis = URLAnalyzer().analyze_url(f"{hub.url}/o/r/tree/main")
    assert analysis.repository == HubIdentifier("o/r", "main")
    assert analysis.config_content == config
    listed = {"config": ("config.json",), "readme": ("README.md",), "weights": ("model.safetensors",)}
    assert {role: paths for role, paths in analysis.files.items() if role in listed} == listed
    assert analysis.total_size >= sum(len(data) for data in held.values())
    assert types(analysis.formats) == ["awq", "safetensors"]
    assert (analysis.facts.license, analysis.facts.family) == ("mit", "r")


def test_a_url_of_no_model_is_refused_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(IdentifierError, match="a dataset"):
        URLAnalyzer().analyze_url("https://huggingface.co/datasets/o/r")


def test_the_old_registry_says_where_to_go() -> None:
    with pytest.raises(ImportError, match="download_adapter"):
        importlib.import_module("imageworks.tools.model_downloader.registry")


def test_every_door_opens_and_no_other_does() -> None:
    assert all(getattr(model_downloader, name) for name in model_downloader.__all__)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        model_downloader.nothing_like_it  # noqa: B018 - asking is the test
