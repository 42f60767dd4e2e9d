"""F1: whatever a repository's files hold, a look at them ends in facts that can be recorded and read again."""

import json
import random
import struct
from dataclasses import dataclass

import pytest

from imageworks.detection.describe import describe
from imageworks.detection.model_facts import Subject
from imageworks.registry.documents.json_reader import parse_json
from imageworks.registry.documents.schema import check
from imageworks.registry.entries.entry import render_entry

SEEDS = range(40)
OF_A_SEED = 15
ODD: tuple[object, ...] = (
    None, True, 0, -1, 2**63, 2**70, 1.5, float("nan"), float("inf"), "", "\0", "../x", "/etc/passwd", "\u202e",
    "\ud800", "x" * 5_000, [], [[]], [None], ["a", None], {}, {"": None}, [{"name": None, "template": 3}],
    "Q4_K_M", "awq", 4,
    {"default": {"template": []}}, "1e999", [0] * 3, {"a": {"b": [1, {}]}}, [[["x"]]],
)  # fmt: skip
CONFIGS: dict[str, object] = {
    "config.json": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "auto_map": {"AutoModel": "m.C"},
        "torch_dtype": "float16", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 128, "rope_scaling": {"type": "yarn", "factor": 2}, "num_local_experts": 8,
        "quantization_config": {
            "quant_method": "awq", "bits": 4, "group_size": 128, "format": "pack",
            "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int", "group_size": 32}}},
        },
        "text_config": {"hidden_size": 1, "model_type": "x"}, "vision_config": {"image_size": 3},
        "vocab_size": 99, "num_key_value_heads": [2, 2], "layer_types": ["full_attention", "mamba"],
        "sliding_window": 4, "kv_lora_rank": 4, "qk_rope_head_dim": 2, "moe_intermediate_size": 8,
        "num_experts_per_tok": 2,
        "mlp_layer_types": ["dense", "sparse"], "mlp_only_layers": [0], "compress_ratios": [0, 4], "mamba_d_state": 4,
        "full_attention_interval": 4, "hybrid_override_pattern": "M*", "linear_attn_config": {"full_attn_layers": [1]},
    },
    "tokenizer_config.json": {"chat_template": "{{x}}", "added_tokens_decoder": {"1": {"content": "x"}}},
    "chat_template.json": {"chat_template": "a"},
    "generation_config.json": {"temperature": 0.1, "eos_token_id": [1, 2]},
    "adapter_config.json": {"base_model_name_or_path": "x/y", "peft_type": "LORA", "r": 8, "target_modules": ["q"]},
    "model_index.json": {"_class_name": "P", "unet": ["diffusers", "UNet"], "vae": [None, None]},
    "model.safetensors.index.json": {
        "metadata": {"total_size": 5},
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    },
    "quantize_config.json": {"bits": 4, "group_size": 128, "quant_method": "gptq"},
    "quant_config.json": {"w_bit": 4, "q_group_size": 128, "version": "GEMM"},
    "hf_quant_config.json": {"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm"]}},
    "modules.json": [{"idx": 0, "path": "1_Pooling", "type": "x"}],
    "tokenizer.json": {"version": "1.0", "model": {"type": "BPE"}},
}  # fmt: skip
CARDS = (
    b"",
    b"---\nlicense: [a]\ntags: 3\nbase_model: {a: 1}\n---\n",
    b"---\nlicense: 0x" + b"f" * 8_000 + b"\ntags: [0x" + b"f" * 9_000 + b"]\n---\n",
    b"---\nlanguage: [en, NO, 3.5, 2020-01-01]\nmodel-index: {}\npipeline_tag: {}\n---\n",
    b"---\n" + b"[" * 5_000 + b"\n---\n",
    b"---\na: &a [*a]\n---\n",
    b"---\n!!python/object:x {}\n---\n",
    b'---\nlicense: "\\ud800"\n---\n',
    b"---\nlicense: 2020-13-45\ntags: [2020-02-30, .nan]\n---\n",
    b"---\n? [a]\n: b\n---\n",
    b"\xff\xfe---\n\0",
)
TENSORS = ("model.layers.0.self_attn.q_proj.weight", "lm_head.weight", "a.qweight", "a.scales", "x.lora_A.weight")


@dataclass(frozen=True)
class Listed:
    path: str
    size: int


class Stranger:
    """Makes files as strangers may make them.

    Args:
        seed: Which files.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 # the same files each time

    def spoilt(self, value: object) -> object:
        if self.chance.random() < 0.12:
            return self.chance.choice(ODD)
        if isinstance(value, dict):
            return {key: self.spoilt(item) for key, item in value.items() if self.chance.random() > 0.05}
        return [self.spoilt(item) for item in value] if isinstance(value, list) else value

    def safetensors(self) -> bytes:
        tensor = {"dtype": self.chance.choice(["BF16", "U8", "XX"]), "shape": [2, 4], "data_offsets": [0, 16]}
        header = {"__metadata__": self.spoilt({"format": "pt"}), **{name: self.spoilt(tensor) for name in TENSORS}}
        text = json.dumps(header).encode()
        length = self.chance.choice([len(text)] * 6 + [0, 2**63, 2**64 - 1, len(text) + 99])
        return struct.pack("<Q", length) + text + bytes(self.chance.choice([0, 16]))

    def gguf(self) -> bytes:
        def text(value: bytes) -> bytes:
            return struct.pack("<Q", len(value)) + value

        pairs = [
            (b"general.architecture", 8, text(b"llama")),
            (b"general.name", 8, text(b"\xff\xfe")),
            (b"general.file_type", 4, struct.pack("<I", self.chance.choice([0, 15, 999, 2**31]))),
            (b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text(b"a") + text(b"b")),
            (b"llama.block_count", self.chance.choice([0, 4, 6, 7, 10, 12]), bytes(8)),
            (b"general.tags", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 4, 1) + b"\1\0\0\0"),
        ]
        counts = self.chance.choice([2, 2, 0, 2**60]), self.chance.choice([len(pairs)] * 4 + [0, 2**60])
        data = bytearray(b"GGUF" + struct.pack("<IQQ", self.chance.choice([1, 3, 3, 4]), *counts))
        data += b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs)
        data += text(b"blk.0.attn_q.weight") + struct.pack("<IQQIQ", 2, 32, 4, 12, 0) + bytes(200)
        for _ in range(self.chance.choice([0, 0, 1, 5])):
            data[self.chance.randrange(len(data))] = self.chance.randrange(256)
        return bytes(data[: self.chance.choice([len(data)] * 4 + [self.chance.randrange(len(data))])])

    def files(self) -> dict[str, bytes]:
        found = {name: json.dumps(self.spoilt(value)).encode() for name, value in CONFIGS.items() if self.maybe(0.5)}
        found["README.md"] = self.chance.choice(CARDS)
        for name in ("model.safetensors", "model-00001-of-00002.safetensors", "adapter_model.safetensors"):
            found |= {name: self.safetensors()} if self.maybe(0.5) else {}
        for name in ("m-Q4_K_M.gguf", "mmproj-f16.gguf"):
            found |= {name: self.gguf()} if self.maybe(0.4) else {}
        return {name: self.chance.randbytes(30) if self.maybe(0.03) else data for name, data in found.items()}

    def maybe(self, likely: float) -> bool:
        return self.chance.random() < likely


@pytest.mark.parametrize("seed", SEEDS)
def test_f1_strangers_files_end_in_facts_that_can_be_recorded(seed: int) -> None:
    stranger = Stranger(seed)
    for _ in range(OF_A_SEED):
        files = stranger.files()
        listed = [Listed(name, len(data)) for name, data in files.items()]
        facts = describe(
            listed,
            files.get,
            lambda path, start, length, files=files: files[path][start : start + length],  # type: ignore[misc]
            subject=Subject(repo="acme/stranger"),
            most_headers=8,
        )
        written = parse_json(render_entry({**facts.entry_fields(), "name": "m"}), "m.json").value
        wrong = [problem for problem in check("entry", written) if "is missing" not in problem.message]
        assert not wrong, (files, wrong)
