"""How many parameters there are: what is packed is unpacked, what is there twice counts once, and how is told."""

from collections.abc import Mapping

import pytest

from imageworks.detection.describe import describe
from imageworks.detection.formats.safetensors_header import SafetensorsHeader, Tensor
from imageworks.detection.model_facts import ModelFacts, Subject
from imageworks.detection.sizes import parameters
from imageworks.detection.sizes.estimated_parameters import estimate_parameters
from imageworks.detection.sizes.parameters import ParameterCount, Weights, parameters_of
from imageworks.detection.sizes.shape import shape_of
from support.corpus import Listed
from support.weights import STRING, U32, gguf_file, safetensors_file


def count_parameters(weights: Weights, config: Mapping[str, object], name: str = "") -> ParameterCount | None:
    return parameters.count_parameters(weights, config, estimate_parameters(shape_of(config), config), name)


SQUARE = 4096 * 4096
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]

PACKED: dict[str, tuple[Tensors, Mapping[str, object]]] = {
    "awq": (
        {"q.qweight": ("I32", (4096, 512)), "q.qzeros": ("I32", (32, 512)), "q.scales": ("F16", (32, 4096))},
        {},
    ),
    "gptq, 4 bits": (
        {
            "q.qweight": ("I32", (512, 4096)), "q.qzeros": ("I32", (32, 512)), "q.scales": ("F16", (32, 4096)),
            "q.g_idx": ("I32", (4096,)),
        },
        {},
    ),
    "gptq, 3 bits": (
        {"q.qweight": ("I32", (384, 4096)), "q.qzeros": ("I32", (32, 384)), "q.scales": ("F16", (32, 4096))},
        {},
    ),
    "gptq without its zeros": ({"q.qweight": ("I32", (1024, 4096)), "q.scales": ("F16", (32, 4096))}, {"bits": 8}),
    "gptq in bytes": ({"q.qweight": ("U8", (2048, 4096))}, {"bits": 4}),
    "bitsandbytes, nf4": (
        {
            "q.weight": ("U8", (SQUARE // 2, 1)), "q.weight.absmax": ("U8", (SQUARE // 64,)),
            "q.weight.quant_map": ("F32", (16,)), "q.weight.quant_state.bitsandbytes__nf4": ("U8", (91,)),
        },
        {},
    ),
    "bitsandbytes, 8 bits": (
        {"q.weight": ("I8", (4096, 4096)), "q.SCB": ("F32", (4096,)), "q.weight_format": ("U8", ())}, {},
    ),
    "compressed-tensors, w4a16": (
        {
            "q.weight_packed": ("I32", (4096, 512)), "q.weight_scale": ("BF16", (4096, 32)),
            "q.weight_shape": ("I64", (2,)),
        },
        {"bits": 4, "group_size": 128},
    ),
    "compressed-tensors, a scale for each row": (
        {"q.weight_packed": ("I32", (4096, 1024)), "q.weight_scale": ("BF16", (4096, 1))},
        {"bits": 8, "group_size": 128},
    ),
    "compressed-tensors, nvfp4": (
        {"q.weight_packed": ("U8", (4096, 2048)), "q.weight_scale": ("F8_E4M3", (4096, 256))}, {"bits": 4},
    ),
    "modelopt, nvfp4": (
        {
            "q.weight": ("U8", (4096, 2048)), "q.weight_scale": ("F8_E4M3", (4096, 256)),
            "q.weight_scale_2": ("F32", ()), "q.input_scale": ("F32", ()),
        },
        {},
    ),
    "fp8 in blocks": ({"q.weight": ("F8_E4M3", (4096, 4096)), "q.weight_scale_inv": ("F32", (32, 32))}, {}),
    "mxfp8": ({"q.weight": ("F8_E4M3", (4096, 4096)), "q.weight_scale": ("U8", (4096, 128))}, {}),
    "int8 by rows": ({"q.weight": ("I8", (4096, 4096)), "q.weight_scale": ("BF16", (4096, 1))}, {}),
    "mxfp4 of gpt-oss": (
        {"q_blocks": ("U8", (1, 4096, 128, 16)), "q_scales": ("U8", (1, 4096, 128))}, {},
    ),
    "mxfp4 in signed bytes": (
        {"q.weight": ("I8", (4096, 2048)), "q.scale": ("F8_E8M0", (4096, 128))}, {},
    ),
    "bitnet": ({"q.weight": ("U8", (1024, 4096)), "q.weight_scale": ("BF16", (1,))}, {"method": "bitnet"}),
    "hqq": (
        {
            "q.W_q": ("U8", (2048, 4096)), "q.scale": ("F16", (1, 65536)), "q.zero": ("F16", (1, 65536)),
            "q.shape": ("I32", (2,)), "q.nbits": ("I32", ()),
        },
        {"bits": 4},
    ),
    "exl2": (
        {
            "q.q_weight": ("I32", (700, 4096)), "q.q_invperm": ("I32", (4096,)), "q.q_scale": ("I32", (64, 512)),
            "q.q_groups": ("I16", (64,)), "q.q_scale_max": ("F16", (64,)),
        },
        {},
    ),
    "exl3": (
        {"q.trellis": ("I16", (256, 256, 48)), "q.suh": ("F16", (4096,)), "q.svh": ("F16", (4096,))}, {},
    ),
    "aqlm": (
        {"q.codes": ("I16", (4096, 512, 1)), "q.codebooks": ("F16", (1, 65536, 1, 8)), "q.scales": ("F16", (4096, 1))},
        {},
    ),
    "plain": ({"q.weight": ("BF16", (4096, 4096)), "rotary.inv_freq": ("F32", (64,))}, {}),
}  # fmt: skip


def header(tensors: Tensors) -> SafetensorsHeader:
    return SafetensorsHeader({name: Tensor(*value) for name, value in tensors.items()}, {}, 8, 8)


@pytest.mark.parametrize("scheme", PACKED)
def test_kinds_8_packed_values_are_counted_each(scheme: str) -> None:
    tensors, details = PACKED[scheme]
    beside: Tensors = {"norm.weight": ("BF16", (4096,))}
    assert parameters_of(header({**tensors, **beside}), details) == SQUARE + 4096


def test_kinds_8_a_mix_of_bits_of_mlx_is_counted_by_its_groups() -> None:
    tensors: Tensors = {
        "a.weight": ("U32", (4096, 512)), "a.scales": ("F16", (4096, 64)), "a.biases": ("F16", (4096, 64)),
        "b.weight": ("U32", (4096, 1024)), "b.scales": ("F16", (4096, 64)), "b.biases": ("F16", (4096, 64)),
        "c.weight": ("U32", (4096, 512)), "c.scales": ("U8", (4096, 128)),
    }  # fmt: skip
    config = {"quantization": {"group_size": 64, "bits": 4, "b": {"bits": 8}, "c": {"group_size": 32, "bits": 4}}}
    weights = Weights(1, "4bit", {"bits": 4}, (header(tensors),), complete=True)
    assert count_parameters(weights, config) == ParameterCount(3 * SQUARE, "headers")


def describe_bytes(files: Mapping[str, bytes], repo: str = "o/m", most_headers: int = 9) -> ModelFacts:
    def read(path: str, offset: int, length: int) -> bytes:
        return files[path][offset : offset + length]

    listed = [Listed(path, len(data)) for path, data in files.items()]
    return describe(listed, files.get, read, subject=Subject(repo=repo), most_headers=most_headers)


ONE = safetensors_file({"w": ("BF16", (100, 100), 20_000)})
WIDE = safetensors_file({"w": ("F32", (100, 100), 40_000)})
HALF = safetensors_file({"w": ("F16", (100, 100), 20_000)})


@pytest.mark.parametrize(
    ("files", "label"),
    [
        ({"model.safetensors": ONE, "original/model.safetensors": ONE}, "bf16"),
        ({"model-00001-of-00001.safetensors": ONE, "consolidated.safetensors": ONE}, "bf16"),
        ({"model.safetensors": HALF, "model.fp32-00001-of-00001.safetensors": WIDE}, "fp16"),
        ({"model.safetensors": WIDE, "model.fp16.safetensors": HALF}, "fp32"),
        ({"model.safetensors": ONE, "pytorch_model.bin": b"PK\3\4" + bytes(40_000) + b"PK\5\6"}, "bf16"),
        ({"model.safetensors": ONE, "checkpoint-500/model.safetensors": ONE}, "bf16"),
    ],
    ids=["original", "consolidated", "fp32 variant", "fp16 variant", "pickle", "training step"],
)
def test_kinds_8_what_a_repository_repeats_counts_once(files: dict[str, bytes], label: str) -> None:
    facts = describe_bytes(files)
    assert (facts.parameters, facts.quantization) == (ParameterCount(10_000, "headers"), label)
    assert facts.memory.weights == len(next(iter(files.values())))


def test_weights_beside_a_projector_are_looked_at() -> None:
    files = {"model.safetensors": ONE, "original/model.safetensors": ONE, "mmproj-f16.gguf": split(1, 1)}
    assert describe_bytes(files).parameters == ParameterCount(10_000, "headers")


def test_of_exports_in_several_precisions_one_counts() -> None:
    names = ("model", "model_fp16", "model_q4", "model_int8")
    files = {f"onnx/{name}.onnx": bytes(9_000 if name == "model" else 4_500) for name in names}
    assert describe_bytes(files).memory.weights == 9_000


def test_the_parts_of_a_pipeline_count_together_and_its_single_file_does_not() -> None:
    index = {"model_index.json": b"{}", "whole.safetensors": ONE}
    parts = {f"{name}/diffusion_pytorch_model.safetensors": ONE for name in ("transformer", "vae")}
    assert describe_bytes({**index, **parts}).parameters == ParameterCount(20_000, "headers")


def split(number: int, tensors: int) -> bytes:
    pairs = [("general.architecture", STRING, "llama"), ("llama.block_count", U32, 2)] if not number else []
    return gguf_file(
        [*pairs, ("split.no", U32, number), ("split.count", U32, 2)],
        [(f"t{at}", [1000], 0, at * 4000) for at in range(tensors)],
        data=bytes(4000 * tensors),
    )


def test_kinds_8_a_split_gguf_is_counted_whole() -> None:
    files = {"m-Q8_0-00001-of-00002.gguf": split(0, 0), "m-Q8_0-00002-of-00002.gguf": split(1, 3)}
    assert describe_bytes(files).parameters == ParameterCount(3000, "headers")
    assert describe_bytes(files, "o/m-7b", most_headers=1).parameters is None  # nothing says it, and no name can


LLAMA_8B = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
EIGHT = 8_030_000_000


@pytest.mark.parametrize(
    ("weights", "how"),
    [
        (Weights(2 * EIGHT, "bf16", said=EIGHT, indexed=True), "index"),
        (Weights(2 * EIGHT, "bf16", said=2 * EIGHT, indexed=True), "index"),  # what it says cannot be: its bytes can
        (Weights(5_700_000_000, "awq", said=1_980_000_000, indexed=True), "config"),  # packed words
        (Weights(4 * EIGHT, "bf16"), "config"),  # the weights are wider than the config says
        (Weights(4_900_000_000, "q4_k_m"), "config"),
        (Weights(0), "config"),
    ],
)
def test_kinds_8_a_wrong_total_is_not_believed(weights: Weights, how: str) -> None:
    found = count_parameters(weights, LLAMA_8B)
    assert found is not None
    assert found.total == pytest.approx(EIGHT, rel=0.01)
    assert (found.counted, found.active) == (how, None)


def test_a_name_speaks_last_and_only_where_the_bytes_allow_it() -> None:
    assert count_parameters(Weights(4_900_000_000, "q4_k_m"), {}, "o/Some-8B-GGUF") == ParameterCount(8 * 10**9, "name")
    assert count_parameters(Weights(4_900, "q4_k_m"), {}, "o/Some-8B-GGUF") is None
    found = count_parameters(Weights(17_000_000_000, "4bit"), {}, "o/Some-30B-A3B-4bit")
    assert found == ParameterCount(30 * 10**9, "name", active=3 * 10**9)
    assert count_parameters(Weights(9), {}, "o/model") is None


@pytest.mark.parametrize("dtype", ["I8", "U8", "I32", "U32", "BOOL", "I64", "F8_E8M0"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (0, 4), (3, 0)])
def test_tensors_of_odd_shapes_are_counted_without_harm(dtype: str, shape: tuple[int, ...]) -> None:
    scales: Tensors = {"a.weight_scale": ("BF16", shape), "b.weight_scale": ("BF16", (1, 1))}
    odd: Tensors = {"a.weight": (dtype, shape), "b.weight": (dtype, shape), "c.qweight": (dtype, shape), **scales}
    more: Tensors = {"c.qzeros": (dtype, shape), "c.scales": ("F16", shape), "d.trellis": (dtype, shape)}
    assert parameters_of(header({**odd, **more}), {"bits": 4, "group_size": 128}) >= 0


def test_pointers_are_no_weights_to_count() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 16060556376\n"
    assert describe_bytes({"model.safetensors": pointer}).parameters is None


MIXTURE = {
    "num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 128, "vocab_size": 10,
    "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "tie_word_embeddings": True,
}  # fmt: skip
UNASKED = 6 * 3 * 64 * 32


@pytest.mark.parametrize(
    ("said", "layers"),
    [
        ({}, 4),
        ({"first_k_dense_replace": 1}, 3),
        ({"decoder_sparse_step": 2}, 2),
        ({"mlp_only_layers": [0, 3]}, 2),
        ({"moe_layer_freq": [0, 1, 1, 1]}, 3),
        ({"moe_layer_freq": 1}, 4),
        ({"mlp_layer_types": ["dense", "sparse", "sparse", "dense"]}, 2),
        ({"mlp_layer_types": ["hash_moe", "moe", "moe", "moe"]}, 4),
        ({"moe_layers_enum": "1,2,3"}, 3),
        ({"hybrid_override_pattern": "MEM*E", "num_hidden_layers": 5}, 2),
        ({"enable_moe_block": False}, 0),
    ],
)
def test_which_layers_have_experts_is_read_as_families_write_it(said: Mapping[str, object], layers: int) -> None:
    config = {**MIXTURE, **said}
    found = estimate_parameters(shape_of(config), config)
    assert found is not None
    assert found.inactive == layers * UNASKED


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 10**9, "hidden_size": 4096, "vocab_size": 9},
        {"num_hidden_layers": 4, "hidden_size": -1, "vocab_size": 9},
        {**LLAMA_8B, "num_key_value_heads": [8, "x", None], "layer_types": [1, None, {}], "num_experts": [[]]},
        {**LLAMA_8B, "num_attention_heads": 10**30, "head_dim": True},
        {**LLAMA_8B, "full_attention_interval": 0, "attn_layer_period": -4, "sliding_window": -1},
        {"text_config": {"text_config": {"text_config": LLAMA_8B}}, "num_experts": 10**30},
    ],
)
def test_figures_that_cannot_be_harm_nothing(config: dict[str, object]) -> None:
    found = estimate_parameters(shape_of(config), config)
    assert found is None or 0 < found.total < 1 << 80
