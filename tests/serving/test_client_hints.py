"""What clients learn of a model from the list: its context and abilities, under the names that they read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imageworks.serving.client_hints import client_hints
from imageworks.serving.http_server import ModelServer
from serving.test_server import ask, catalogue_of, record
from support.serving import merged

ARCHITECTURE = {"metadata": {"architecture": {"context_length": 131072, "original_context_length": 8192}}}


def args(*words: str) -> dict[str, object]:
    return {"backend_config": {"extra_args": list(words)}}


OLLAMA = {"metadata": {"ollama": {"details": {"context_length": 40960}, "parameters": {"num_ctx": 16384}}}}


@pytest.mark.parametrize(
    ("model", "context", "trained"),
    [
        (ARCHITECTURE, 131072, 131072),
        ({**ARCHITECTURE, **args("--max-model-len", "32768")}, 32768, 131072),
        ({**ARCHITECTURE, **args("--max_model_len=32768", "--enable-prefix-caching")}, 32768, 131072),
        ({**ARCHITECTURE, **args("--max-model-len", "32k")}, 32000, 131072),
        ({**ARCHITECTURE, **args("--max-model-len", "32K")}, 32768, 131072),
        ({**ARCHITECTURE, **args("--max-model-len", "auto")}, 131072, 131072),
        ({**ARCHITECTURE, **args("--max-model-len", "-1")}, 131072, 131072),
        ({**ARCHITECTURE, **args("--max-model-len")}, 131072, 131072),
        ({**ARCHITECTURE, **args("--max-model-len", "1000000")}, 131072, 131072),
        ({**ARCHITECTURE, **args("--session-len", "16384")}, 16384, 131072),
        ({**ARCHITECTURE, "generation_defaults": {"context_window": 8192}}, 8192, 131072),
        (OLLAMA, 16384, 40960),
        ({"metadata": {"ollama": {"details": {"context_length": 40960}}}}, 40960, 40960),
        (args("--max-model-len", "4096"), 4096, None),
        ({"metadata": {"architecture": {"context_length": "many"}}}, None, None),
        ({"metadata": {"architecture": {"context_length": -4}}, "backend_config": {"extra_args": "x"}}, None, None),
        ({}, None, None),
    ],
)
def test_the_context_is_the_one_that_is_served(
    model: Mapping[str, object], context: int | None, trained: int | None
) -> None:
    hints = client_hints(model)
    assert (hints.get("context_length"), hints.get("max_model_len")) == (context, context)
    meta = hints.get("meta", {})
    assert isinstance(meta, Mapping)
    assert meta.get("n_ctx_train") == trained


@pytest.mark.parametrize(
    ("able", "taken", "made", "parameters"),
    [
        ("text", ["text"], ["text"], None),
        ("text tools thinking", ["text"], ["text"], ["tools", "tool_choice", "reasoning"]),
        ("text vision video audio", ["text", "image", "video", "audio"], ["text"], None),
        ("text embedding", ["text"], ["embeddings"], None),
        ("text reranker", ["text"], ["rerank"], None),
        ("image", ["text"], ["image"], None),
        ("video", ["text"], ["video"], None),
        ("speech", ["text"], ["audio"], None),
        ("text audio", ["text", "audio"], ["text"], None),
    ],
)
def test_what_goes_in_and_out_is_told_in_openrouters_words(
    able: str, taken: list[str], made: list[str], parameters: list[str] | None
) -> None:
    flags = {"capabilities": {**dict.fromkeys(able.split(), True), "other": False}}
    hints = client_hints(flags)
    assert hints["architecture"] == {"input_modalities": taken, "output_modalities": made}
    assert hints.get("supported_parameters") == parameters


def test_clients_read_it_over_http_and_what_is_not_known_is_absent(tmp_path: Path) -> None:
    known: dict[str, Any] = {
        "capabilities": {"text": True, "tools": True}, "download_size_bytes": 5_000_000,
        "metadata": {"architecture": {"context_length": 40960}, "parameters": 8_190_735_360},
    }  # fmt: skip
    record(tmp_path, merged("known", tmp_path, **known), merged("unknown", tmp_path, capabilities={}))
    with ModelServer(catalogue_of(tmp_path)) as server:
        by_name = {model["id"]: model for model in json.loads(ask(server.url, "/v1/models")[2])["data"]}
        assert json.loads(ask(server.url, "/v1/models/known")[2]) == by_name["known"]
    found = by_name["known"]
    assert (found["context_length"], found["max_model_len"]) == (40960, 40960)
    assert found["meta"] == {"n_ctx_train": 40960, "n_params": 8_190_735_360, "size": 5_000_000}
    assert found["supported_parameters"] == ["tools", "tool_choice"]
    assert not {"context_length", "max_model_len", "supported_parameters", "architecture"} & by_name["unknown"].keys()
