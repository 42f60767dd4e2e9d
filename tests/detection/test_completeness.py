"""What is complete, by kind: real repositories and layouts lack nothing, and each kind's parts are missed."""
# ruff: noqa: E501 - one model, one line

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from imageworks.detection.describe import describe
from imageworks.detection.formats.file_contents import external_data
from imageworks.detection.local_files import describe_folder
from imageworks.detection.model_facts import Subject
from imageworks.providers.selection.select import select
from providers.selection.test_layouts import ALL, Layout, _listing, _request
from support.corpus import Repository, corpus
from support.transfer import content, gguf_content, write
from support.weights import STRING, gguf_file, safetensors_file

SHORTENED = {"deepseek-ai/DeepSeek-V3", "moonshotai/Kimi-K2-Thinking"}
"""Repositories of which the table has two of many shards."""

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
ST = content("weights", 900)


def facts(tmp_path: Path, files: Mapping[str, object], library: str | None = None) -> list[str]:
    write(
        tmp_path / "m",
        {name: data if isinstance(data, bytes) else json.dumps(data).encode() for name, data in files.items()},
    )
    found = describe_folder(tmp_path / "m", subject=Subject(repo="acme/m", library=library))
    return [problem.kind for problem in found.problems]


@pytest.mark.parametrize("repository", corpus(), ids=lambda repository: repository.repo)
def test_real_repositories_are_complete(repository: Repository) -> None:
    expected = ["missing-shard"] if repository.repo in SHORTENED else []
    assert [problem.kind for problem in repository.facts().problems] == expected


@pytest.mark.parametrize(
    ("layout", "text"), [pytest.param(one, text, id=f"{one.repo} {text}") for one in ALL for text in one.asked]
)
def test_what_is_chosen_of_each_layout_is_complete(layout: Layout, text: str) -> None:
    chosen = select(_listing(layout), _request(text)).files
    assert describe(chosen, subject=Subject(repo=layout.repo)).problems == ()


MODELS: Mapping[str, tuple[Mapping[str, object], Mapping[str, str]]] = {
    "a single file of another library": ({"flux1-dev-fp8.safetensors": ST, "README.md": b"# F"}, {}),
    "YOLO": ({"yolov8n.pt": b"\x80\x02}", "README.md": b"# Y"}, {}),
    "fastText": ({"model.bin": b"\x93\x16\x4f\x2f\x0c\0\0\0", "README.md": b"# F"}, {}),
    "a library that the hub names": ({"model.safetensors": ST, "README.md": b"# x"}, {"library": "bagpipes"}),
    "timm": ({"model.safetensors": ST, "config.json": {"architecture": "vit_base", "num_classes": 10}}, {}),
    "an image encoder": ({"model.safetensors": ST, "config.json": {"architectures": ["ViTModel"], "vocab_size": 9}}, {}),
    "time series": ({"model.safetensors": ST, "config.json": {**LLAMA, "chronos_config": {"n_tokens": 4096}}}, {}),
    "bytes": ({"model.safetensors": ST, "config.json": LLAMA, "tokenizer_config.json": {"tokenizer_class": "ByT5Tokenizer"}}, {}),
    "a class without a vocabulary": ({"model.safetensors": ST, "config.json": {**LLAMA, "tokenizer_class": "ByT5Tokenizer"}}, {}),
    "another library's configuration": ({"pytorch_model.bin": b"\x80\x02}", "gliner_config.json": {}, "tokenizer.json": {}}, {}),
    "tekken": ({"consolidated.safetensors": ST, "params.json": {"dim": 1}, "tekken.json": {}}, {}),
    "its own tokenizer": ({"model.safetensors": ST, "config.json": LLAMA, "tokenization_x.py": b"", "x.tiktoken": b"x"}, {}),
    "code elsewhere": ({"model.safetensors": ST, "config.json": {"auto_map": {"AutoModel": "acme/code--modeling_x.X"}}}, {}),
    "NeMo": ({"canary.nemo": b"PK\3\4" + b"x" * 80 + b"PK\5\6" + bytes(18)}, {}),
    "CTranslate2": ({"model.bin": b"\6\0\0\0x", "config.json": {}, "vocabulary.json": {}, "tokenizer.json": {}}, {}),
    "whisper.cpp": ({"ggml-base.bin": b"lmggx", "README.md": b"# W"}, {}),
    "MLC": (
        {"params_shard_0.bin": bytes(2000), "mlc-chat-config.json": {}, "ndarray-cache.json": {"records": [{"dataPath": "params_shard_0.bin"}]}},
        {},
    ),
    "a tokenizer alone": ({"tokenizer.json": {}, "tokenizer_config.json": {}}, {}),
    "a processor alone": ({"preprocessor_config.json": {}, "README.md": b"# p"}, {}),
    "an archive": ({"voices.tar.gz": b"\x1f\x8b\x08x", "README.md": b"# a"}, {}),
    "ONNX with its data": ({"model.onnx": b"\x08\x0aj\x1c\n\x08location\x12\x0fmodel.onnx_data", "model.onnx_data": b"x" * 99}, {}),
    "OpenVINO": ({"openvino_model.xml": b"<?xml", "openvino_model.bin": b"x" * 99, "config.json": {}}, {}),
    "GGUF in parts": ({f"m-Q8_0-0000{n}-of-00002.gguf": gguf_content("g", 300) for n in (1, 2)}, {}),
    "GGUF with a projector": ({"m-Q8_0.gguf": gguf_content("g", 300), "mmproj-m-F16.gguf": gguf_content("p", 300)}, {}),
    "a LoRA of diffusers": ({"pytorch_lora_weights.safetensors": ST}, {}),
    "a merged model with its adapter's configuration": (
        {"adapter_config.json": {"peft_type": "LORA"}, "model.safetensors": ST, "config.json": LLAMA, "tokenizer.json": {}},
        {},
    ),
    "a pipeline": (
        {
            "model_index.json": {"_class_name": "P", "unet": ["diffusers", "UNet"], "scheduler": ["diffusers", "DDIMScheduler"],
                                 "safety_checker": [None, None], "tokenizer": ["transformers", "CLIPTokenizer"], "force": True},
            "unet/config.json": {}, "unet/diffusion_pytorch_model.safetensors": ST,
            "scheduler/scheduler_config.json": {}, "tokenizer/vocab.json": {},
        },
        {},
    ),
    "sentence-transformers": (
        {
            "modules.json": [{"path": "", "type": "sentence_transformers.models.Transformer"},
                             {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                             {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}],
            "config.json": {"architectures": ["BertModel"]}, "model.safetensors": ST, "tokenizer.json": {},
            "1_Pooling/config.json": {},
        },
        {},
    ),
    "a pointer beside another copy that is whole": (
        {"model.safetensors": ST, "config.json": LLAMA, "tokenizer.json": {}, "pytorch_model.bin": b"version https://git-lfs.github.com/spec/v1\n"},
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_nothing_is_demanded_that_a_library_does_without(tmp_path: Path, kind: str) -> None:
    files, known = MODELS[kind]
    assert facts(tmp_path, files, **known) == []


LACKING: Mapping[str, tuple[Mapping[str, object], str]] = {
    "weights under a plain name": ({"model.safetensors": ST, "README.md": b"# x"}, "missing-config"),
    "a folder of its own": (
        {"caption/model.safetensors": ST, "caption/generation_config.json": {}, "detect/model.pt": b"\x80\x02}"},
        "missing-config",
    ),
    "configuration alone": ({"config.json": LLAMA, "README.md": b"# x"}, "missing-weights"),
    "an index with names of its own": (
        {"part-a.safetensors": ST, "model.safetensors.index.json": {"weight_map": {"a": "part-b.safetensors"}}},
        "missing-shard",
    ),
    "GGUF of another version": ({"m-Q8_0.gguf": b"GGUF\1\0\0\0" + bytes(72)}, "unreadable-header"),
    "half a GGUF header": ({"m-Q8_0.gguf": gguf_content("g", 300)[:60]}, "unreadable-header"),
    "a GGUF that ends early": (
        {"m-Q8_0.gguf": gguf_file([("general.architecture", STRING, "x")], [("w", (64,), 0, 0)], data=b"x")},
        "truncated-file",
    ),
    "a broken projector": ({"m-Q8_0.gguf": gguf_content("g", 300), "mmproj-m-F16.gguf": b"<html>"}, "not-weights"),
    "one of two GGUF parts": ({"m-Q8_0-00002-of-00002.gguf": gguf_content("g", 300)}, "missing-shard"),
    "raw GGUF parts": ({"m.Q8_0.gguf-split-b": b"x" * 2000}, "missing-shard"),
    "another format's bytes": ({"m.safetensors": gguf_content("g", 300)}, "not-weights"),
    "an archive under the name of weights": ({"m.safetensors": b"\x1f\x8b\x08" + ST}, "not-weights"),
    "a pickle's archive that ends early": ({"m.pt": b"PK\3\4" + b"x" * 200}, "truncated-file"),
    "ONNX without its data": ({"model.onnx": b"\x08\x0aj\x1c\n\x08location\x12\x0fmodel.onnx_data"}, "missing-data"),
    "OpenVINO's graph alone": ({"openvino_model.xml": b"<?xml", "config.json": {}}, "missing-data"),
    "MLC without a shard": (
        {"params_shard_0.bin": b"x" * 2000, "ndarray-cache.json": {"records": [{"dataPath": "params_shard_1.bin"}]}},
        "missing-shard",
    ),
    "an empty projector": ({"m-Q8_0.gguf": gguf_content("g", 300), "mmproj-m-F16.gguf": b""}, "empty-file"),
    "a component without weights": (
        {"model_index.json": {"unet": ["diffusers", "UNet"], "vae": ["diffusers", "VAE"]}, "unet/config.json": {},
         "unet/diffusion_pytorch_model.safetensors": ST, "vae/config.json": {}},
        "missing-component",
    ),
    "a component that is absent": (
        {"model_index.json": {"unet": ["diffusers", "UNet"], "vae": ["diffusers", "VAE"]}, "unet/config.json": {},
         "unet/diffusion_pytorch_model.safetensors": ST},
        "missing-component",
    ),
    "a module without weights": (
        {"modules.json": [{"path": "", "type": "x.Transformer"}, {"path": "2_Dense", "type": "x.Dense"}],
         "config.json": {}, "model.safetensors": ST, "2_Dense/config.json": {}},
        "missing-component",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LACKING)
def test_each_kind_misses_its_own_parts(tmp_path: Path, kind: str) -> None:
    files, reason = LACKING[kind]
    assert reason in facts(tmp_path, files)


def test_a_name_in_a_graph_never_leads_elsewhere() -> None:
    assert external_data(b"\n\x08location\x12\x0a../../etc/") == ()
    assert external_data(b"\n\x08location\x12\x06./x.db") == ("x.db",)


def test_what_only_our_own_bounds_refuse_is_not_called_broken(tmp_path: Path) -> None:
    write(tmp_path / "m", {"m-Q8_0.gguf": b"GGUF\x09\0\0\0" + bytes(72), "x.safetensors": safetensors_file({})})
    found = describe_folder(tmp_path / "m", subject=Subject(repo="acme/m"))
    assert found.problems == ()
    assert [doubt.path for doubt in found.doubts] == ["m-Q8_0.gguf"]


def test_a_head_that_guesses_for_another_model_uses_that_ones_tokenizer(tmp_path: Path) -> None:
    files: Mapping[str, bytes] = {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": ST}
    write(tmp_path / "m", dict(files))
    names = {"acme/EAGLE-llama-8B": [], "acme/llama-8B": ["missing-tokenizer"]}
    for name, expected in names.items():
        found = describe_folder(tmp_path / "m", subject=Subject(repo=name)).problems
        assert [problem.kind for problem in found] == expected
