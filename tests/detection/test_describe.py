import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from imageworks.detection.capabilities import CapabilityHints, capabilities_of
from imageworks.detection.completeness import preflight
from imageworks.detection.describe import describe
from imageworks.detection.file_names import Container
from imageworks.detection.formats.chat_template import find_chat_template
from imageworks.detection.formats.executable_files import RiskyFile, safety_of
from imageworks.detection.model_facts import ModelFacts, Subject
from imageworks.detection.sizes.parameters import ParameterCount
from support.weights import STRING, U32, gguf_file, safetensors_file


@dataclass(frozen=True)
class Listed:
    path: str
    size: int


def tell(files: Mapping[str, object], subject: Subject | None = None, most_headers: int = 8) -> ModelFacts:
    """Describe files given as bytes, text, JSON, or as a size alone."""
    contents: dict[str, bytes] = {}
    listing = []
    for path, content in files.items():
        if isinstance(content, int):
            listing.append(Listed(path, content))
            continue
        data = (
            content
            if isinstance(content, bytes)
            else content.encode()
            if isinstance(content, str)
            else json.dumps(content).encode()
        )
        contents[path] = data
        listing.append(Listed(path, len(data)))
    return describe(
        listing,
        contents.get,
        lambda path, offset, length: contents.get(path, b"")[offset : offset + length],
        subject=subject,
        most_headers=most_headers,
    )


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "torch_dtype": "float16",
}
GGUF_PAIRS = [
    ("general.architecture", STRING, "llama"),
    ("general.file_type", U32, 15),
    ("general.license", STRING, "MIT"),
    ("llama.block_count", U32, 32),
    ("llama.attention.head_count", U32, 32),
    ("llama.embedding_length", U32, 4096),
    ("llama.context_length", U32, 8192),
    ("tokenizer.chat_template", STRING, "{% if tools %}tool_calls{% endif %}"),
    ("tokenizer.chat_template.rag", STRING, "rag"),
]


def test_a_header_outranks_config_and_names() -> None:
    weights = safetensors_file({"a.weight": ("BF16", [4], 8)})
    facts = tell({"config.json": LLAMA, "model.safetensors": weights}, Subject(repo="o/x-AWQ"))
    assert facts.quantization == "bf16"
    assert facts.detection.confidence == 1.0
    assert any("awq" in warning for warning in facts.warnings)
    assert facts.parameters == ParameterCount(4, "headers")
    assert facts.architecture["parameter_count"] == 4


def test_a_single_gguf_is_told_by_its_header() -> None:
    data = gguf_file(GGUF_PAIRS, [("t", [256], 12, 0)], data=b"\0" * 144)
    facts = tell({"model-Q4_K_L.gguf": data, "mmproj-f16.gguf": 100}, Subject(repo="o/X-GGUF"))
    assert facts.download_format == "gguf"
    assert facts.quantization == "q4_k_l"
    assert facts.license == "mit"
    assert facts.parameters == ParameterCount(256, "headers")
    assert facts.chat_template.names == ("default", "rag")
    assert facts.chat_template.path == "model-Q4_K_L.gguf"
    assert facts.capabilities.flags["tools"]
    assert facts.capabilities.flags["vision"]
    assert {"num_layers": 32, "context_length": 8192, "head_dim": 128}.items() <= dict(facts.architecture).items()
    assert facts.chats


def test_a_damaged_header_warns_and_names_must_do() -> None:
    facts = tell({"model-Q8_0.gguf": b"GGUF" + b"\xff" * 100})
    assert facts.quantization == "q8_0"
    assert any("version" in warning for warning in facts.warnings)
    facts = tell({"config.json": LLAMA, "model.safetensors": b"\xff" * 100})
    assert facts.quantization == "fp16"
    assert facts.warnings


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.safetensors", safetensors_file({"a": ("F32", [9], 36)}, data=False)),
        ("m.gguf", gguf_file(GGUF_PAIRS, [("t", [256], 12, 0)])),
    ],
)
def test_a_truncated_file_is_told(name: str, data: bytes) -> None:
    told = [problem.message for problem in tell({name: data}).problems if problem.kind == "truncated-file"]
    assert len(told) == 1
    assert told[0].startswith(f"{name} should have ")


def test_format_is_only_a_fallback() -> None:
    given = Subject(repo="o/x", fallback_container="safetensors", fallback_quantization="awq")
    assert tell({"weights.xyz": 9}, given).detection.container is Container.SAFETENSORS
    assert tell({"weights.xyz": 9}, given).quantization == "awq"
    decided = tell({"model-Q8_0.gguf": 9}, given)
    assert (decided.download_format, decided.quantization) == ("gguf", "q8_0")
    assert tell({"weights.xyz": 9}).download_format is None


def test_mlx_without_quantization_is_told_by_the_headers_note() -> None:
    facts = tell(
        {"config.json": LLAMA, "model.safetensors": safetensors_file({"a": ("BF16", [4], 8)}, {"format": "mlx"})}
    )
    assert (facts.download_format, facts.quantization) == ("mlx", "bf16")


def test_an_entry_gets_its_fields_and_nothing_unknown() -> None:
    card = "---\nlicense: mit\nbase_model: o/base\n---\n# x\nUse vLLM.\n"
    facts = tell(
        {
            "README.md": card,
            "config.json": {**LLAMA, "auto_map": {"AutoModel": "m.X"}},
            "m.py": "",
            "pytorch_model.bin": 99,
            "tokenizer_config.json": {"chat_template": "hi"},
        },
        Subject(repo="Owner/Model-7B"),
    )
    fields = facts.entry_fields()
    assert fields["download_format"] == "pytorch"
    assert fields["quantization"] == "fp16"
    assert fields["family"] == "model-7b"
    assert fields["producer"] == "owner"
    assert fields["license"] == "mit"
    assert fields["chat_template"] == {
        "source": "embedded",
        "path": "tokenizer_config.json",
        "sha256": hashlib.sha256(b"hi").hexdigest(),
    }
    metadata = fields["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["readme_file"] == "README.md"
    assert metadata["readme_sha256"] == hashlib.sha256(card.encode()).hexdigest()
    assert metadata["readme_signals"] == {"backends": ["vllm"], "license_hint": "mit"}
    assert metadata["base_model"] == ["o/base"]
    assert metadata["safety"] == {
        "runs_code": [{"path": "m.py", "reason": "code"}, {"path": "pytorch_model.bin", "reason": "pickle"}],
        "remote_code": True,
        "remote_classes": ["m.X"],
    }
    assert metadata["architecture"]["field_sources"]["num_layers"] == "config.json"
    json.dumps(fields)
    assert metadata["parameters_counted"] == "config"  # by bytes of the type that it says: no header was read
    assert "active_parameters" not in metadata


def test_a_licence_file_speaks_when_nothing_else_does() -> None:
    assert tell({"LICENSE": "MIT License", "USE_POLICY.md": "Apache License\nVersion 2.0"}).license == "mit"
    assert tell({"LICENSE": "MIT License"}, Subject(license="gemma")).license == "gemma"
    assert tell({"README.md": "License: MIT"}).license == "mit"


def test_hostile_configs_say_nothing() -> None:
    for config in (
        "[" * 100_000,
        "[]",
        "{",
        '{"num_hidden_layers": 1e999, "hidden_size": "x", "torch_dtype": 7, "architectures": 3}',
    ):
        facts = tell({"config.json": config, "model.safetensors": 10})
        assert facts.quantization is None
        assert "num_layers" not in facts.architecture


@pytest.mark.parametrize(
    ("files", "source", "path"),
    [
        (
            {"chat_template.jinja": "a", "tokenizer_config.json": {"chat_template": "b"}},
            "external",
            "chat_template.jinja",
        ),
        ({"chat_template.json": {"chat_template": "a"}, "tokenizer_config.json": {}}, "external", "chat_template.json"),
        (
            {"chat_template.json": "broken", "tokenizer_config.json": {"chat_template": "b"}},
            "embedded",
            "tokenizer_config.json",
        ),
        (
            {
                "tokenizer_config.json": {
                    "chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "tools"}]
                }
            },
            "embedded",
            "tokenizer_config.json",
        ),
        ({"tokenizer_config.json": {"chat_template": 7}}, "none", None),
        ({}, "none", None),
    ],
)
def test_a_chat_template_is_found_where_a_loader_would(
    files: Mapping[str, object], source: str, path: str | None
) -> None:
    encoded = {name: (value if isinstance(value, str) else json.dumps(value)).encode() for name, value in files.items()}
    found = find_chat_template(files, encoded.get)
    assert (found.source, found.path) == (source, path)
    assert (found.sha256 is None) == (source == "none")


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        (CapabilityHints(ollama=["completion", "tools", "thinking"], name="q"), "text thinking reasoning tools"),
        (CapabilityHints(ollama=["embedding"], name="q"), "text embedding"),
        (CapabilityHints(name="llava-1.5"), "text vision"),
        (CapabilityHints(name="qwen2.5vl"), "text vision"),
        (CapabilityHints(config={"model_type": "llama"}, name="x-vision-tuned"), "text"),
        (CapabilityHints(config={"model_type": "vit"}), "vision"),
        (CapabilityHints(task="text-to-image", pipeline="FluxPipeline"), "image"),
        (CapabilityHints(gguf_architecture="bert"), "text embedding"),
        (CapabilityHints(name="deepseek-r1"), "text thinking reasoning"),
        (CapabilityHints(), ""),
    ],
)
def test_capabilities_come_from_the_strongest_word(hints: CapabilityHints, expected: str) -> None:
    found = capabilities_of(hints)
    assert {flag for flag, can in found.flags.items() if can} == set(expected.split())
    assert set(found.evidence) == set(expected.split())


def test_what_can_run_code_is_listed() -> None:
    safety = safety_of(
        [
            "a.safetensors",
            "b.ckpt",
            "model.h5",
            "x.npz",
            "openvino_model.bin",
            "training_args.bin",
            "run.sh",
            "lib.so",
            "d.npy",
        ],
        [{"auto_map": ["m.A", ["m.B", None]]}, {"auto_map": 3}],
    )
    assert safety.files == (
        RiskyFile("b.ckpt", "pickle"),
        RiskyFile("d.npy", "may hold a pickle"),
        RiskyFile("lib.so", "native code"),
        RiskyFile("model.h5", "Keras layers can hold code"),
        RiskyFile("run.sh", "program"),
        RiskyFile("training_args.bin", "pickle"),
    )
    assert safety.classes == ("m.A", "m.B")
    assert safety.remote_code


def kinds(files: Mapping[str, object], subject: Subject | None = None) -> list[str]:
    return [problem.kind for problem in tell(files, subject).problems]


TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
NAMED: Mapping[str, object] = {"model.safetensors.index.json": {"weight_map": dict(zip("ab", TWO, strict=True))}}


def test_a_complete_model_has_no_problems() -> None:
    assert not kinds({**dict.fromkeys(TWO, 5000), **NAMED, "config.json": {"model_type": "x"}})
    three = dict.fromkeys((f"model-0000{number}-of-00002.safetensors" for number in range(3)), 5000)
    assert not kinds({**three, "config.json": {"model_type": "x"}})


def test_what_is_missing_is_named() -> None:
    assert kinds({"config.json": {"model_type": "x"}}) == ["missing-weights"]
    assert kinds({"weights.safetensors": 0}) == ["empty-file"]
    assert kinds({"a-Q8_0-00001-of-00003.gguf": 5000}) == ["missing-shard"]
    index = {"weight_map": {"a": "y.safetensors", "b": 7}}
    assert kinds({"sub/x.safetensors": 5000, "sub/x.safetensors.index.json": index}) == ["missing-shard"]
    (problem,) = tell({"m-00002-of-00004.safetensors": 5000}).problems
    assert "1, 3, 4 of 4" in problem.message


def test_servers_are_warned_of_what_chat_models_lack() -> None:
    assert len(preflight(["config.json"], "vllm", chat=True, has_template=False)) == 2
    assert preflight(["generation_config.json"], "lmdeploy", chat=True, has_template=True) == ()
    assert preflight([], "ollama", chat=True, has_template=False) == ()
    assert preflight([], "vllm", chat=False, has_template=False) == ()


def test_a_shard_index_tells_the_parameters_when_no_header_was_read() -> None:
    index = {"metadata": {"total_parameters": 7_615_616_512}, "weight_map": {"a": "m-00001-of-00001.safetensors"}}
    files = {
        "config.json": LLAMA,
        "m-00001-of-00001.safetensors": 15_231_271_864,
        "model.safetensors.index.json": index,
    }
    assert tell(files, most_headers=0).parameters == ParameterCount(7_615_616_512, "index")


def test_a_repositorys_name_does_not_speak_for_many_quantizations() -> None:
    many = {"x-Q4_K_M.gguf": 9, "x-Q8_0.gguf": 9}
    assert tell(many, Subject(repo="o/x-F16-GGUF")).quantization is None
    assert tell({"x.gguf": 9}, Subject(repo="o/x-F16-GGUF")).quantization == "fp16"
