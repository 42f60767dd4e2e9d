# ruff: noqa: E501 - one case, one line
"""Quantizations as their libraries write them: kinds 2, 4 to 7 and 15 of the reports, each with its neighbours."""

from collections.abc import Mapping

import pytest

from detection.test_describe import tell
from imageworks.detection.claims.config_claims import claim_of_quantization, claims_of_config, claims_of_side_file
from imageworks.detection.model_facts import Subject
from support.weights import STRING, U32, gguf_file, safetensors_file

NVFP4 = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}
FP8 = {"dynamic": False, "num_bits": 8, "type": "float"}
INT4 = {"num_bits": 4, "type": "int", "group_size": 128, "strategy": "group", "symmetric": True}
MX4 = {"num_bits": 4, "type": "float", "group_size": 32, "strategy": "group", "scale_dtype": "torch.uint8"}
QUARK_FP8 = {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "group_size": None, "is_dynamic": False}
QUARK_MX4 = {"dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0"}
HQQ = {"weight_quant_params": {"nbits": 4, "group_size": 64, "axis": 1}, "scale_quant_params": None}


def groups(
    *ones: Mapping[str, object], form: str | None = None, method: str = "compressed-tensors"
) -> dict[str, object]:
    return {"quant_method": method, "format": form, "config_groups": {f"group_{n}": one for n, one in enumerate(ones)}}


def modelopt(algorithm: str | None, **more: object) -> dict[str, object]:
    return {"quant_method": "modelopt", "quant_algo": algorithm, **more}


@pytest.mark.parametrize(
    ("block", "label", "told"),
    [
        # ModelOpt (modelopt/torch/export/quant_utils.py) and TensorRT-LLM's QuantAlgo
        (modelopt("FP8"), "fp8", {"bits": 8, "activations": "fp8"}),
        (modelopt("FP8_PER_CHANNEL_PER_TOKEN"), "fp8", {"bits": 8}),
        (modelopt("FP8_PB_WO"), "fp8", {"bits": 8}),
        (modelopt("fp8_pb_real"), "fp8", {"bits": 8}),
        (modelopt("FP8_BLOCK_SCALES"), "fp8", {"bits": 8}),
        (modelopt("W4A16_AWQ", group_size=128), "awq", {"bits": 4, "compact": "w4g128"}),
        (modelopt("W4A8_AWQ", group_size=128), "w4a8", {"bits": 4, "activations": "fp8", "compact": "w4g128"}),
        (modelopt("W4A16"), "w4a16", {"bits": 4}),
        (modelopt("W4A16_GPTQ", group_size=128), "gptq", {"bits": 4}),
        (modelopt("W8A16"), "w8a16", {"bits": 8}),
        (modelopt("W8A16_GPTQ"), "gptq", {}),
        (modelopt("W8A8_SQ_PER_CHANNEL"), "w8a8", {"bits": 8, "activations": "int8"}),
        (modelopt("W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN"), "w8a8", {"bits": 8}),
        (modelopt("W8A8_SQ_PER_TENSOR_PLUGIN"), "w8a8", {"bits": 8}),
        (modelopt("W4A8_QSERVE_PER_GROUP"), "w4a8", {"bits": 4}),
        (modelopt("W4A8_QSERVE_PER_CHANNEL"), "w4a8", {"bits": 4}),
        (modelopt("INT8"), "int8", {"bits": 8}),
        (modelopt("int8_sq"), "w8a8", {"bits": 8}),
        (modelopt("INT4_AWQ"), "awq", {"bits": 4}),
        (modelopt("NVFP4", group_size=16), "nvfp4", {"bits": 4, "activations": "nvfp4", "compact": "w4g16"}),
        (modelopt("NVFP4_AWQ", group_size=16), "nvfp4", {"bits": 4}),
        (modelopt("NVFP4_SVD", group_size=16, lora_rank=32), "nvfp4", {"bits": 4}),
        (modelopt("W4A16_NVFP4"), "nvfp4", {"bits": 4, "group_size": 16}),
        (modelopt("W4A8_NVFP4_FP8"), "nvfp4", {"bits": 4, "activations": "fp8"}),
        (modelopt("W4A8_MXFP4_FP8"), "mxfp4", {"bits": 4, "activations": "fp8", "group_size": 32}),
        (modelopt("W4A8_MXFP4_MXFP8"), "mxfp4", {"bits": 4, "activations": "mxfp8"}),
        (modelopt("W4A8_MXFP4_INT8"), "mxfp4", {"bits": 4, "activations": "int8"}),
        (modelopt("W4A16_MXFP4"), "mxfp4", {"bits": 4}),
        (modelopt("MXFP8"), "mxfp8", {"bits": 8, "group_size": 32}),
        (modelopt("FP8", kv_cache_quant_algo="FP8"), "fp8", {"kv_cache": "fp8"}),
        (modelopt("NO_QUANT"), None, {}),
        (modelopt(None), None, {}),
        (
            modelopt("MIXED_PRECISION", quantized_layers={
                "model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"},
                "model.layers.0.mlp.experts.0.up_proj": {"quant_algo": "NVFP4", "group_size": 16},
                "model.layers.0.mlp.experts.1.up_proj": {"quant_algo": "NVFP4", "group_size": 16},
            }),
            "nvfp4", {"bits": 4, "group_size": 16, "mixed": ["fp8"]},
        ),
        ({**groups({"weights": FP8, "input_activations": FP8}, {"weights": NVFP4, "input_activations": NVFP4}, method="modelopt"), "quant_algo": "MIXED_PRECISION"}, "nvfp4", {"bits": 4, "mixed": ["fp8"]}),
        (
            modelopt("MIXED_PRECISION", quantized_layers={
                "model.layers.0.mlp.experts": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
                **{f"model.layers.{n}.linear_attn.{name}": {"quant_algo": "FP8"} for n in range(3) for name in ("in_proj", "out_proj")},
                **{f"model.layers.{n}.mlp.shared_expert.up_proj": {"quant_algo": "FP8"} for n in range(3)},
            }),
            "nvfp4", {"bits": 4, "mixed": ["fp8"]},
        ),
        (modelopt("MIXED_PRECISION", config_groups={"group_0": {"weights": {"num_bits": 8, "type": "float"}}, "group_1": {"weights": {"quant_algo": "W4A16_NVFP4"}}}), "nvfp4", {"bits": 4, "mixed": ["fp8"]}),
        (modelopt("MIXED_PRECISION", quantized_layers={"a.q_proj": {"quant_algo": "FP8"}, "a.gate_proj": {"quant_algo": "UNQUANTIZED"}}), "fp8", {"bits": 8}),
        ({"quant_method": "modelopt_fp4"}, "nvfp4", {"bits": 4}),
        ({"quant_library": "modelopt", "quant_algo": "NVFP4", "group_size": 16}, "nvfp4", {"bits": 4}),
        # compressed-tensors (PRESET_SCHEMES of quant_scheme.py)
        (groups({"weights": INT4}, form="pack-quantized"), "w4a16", {"bits": 4, "compact": "w4g128"}),
        (groups({"weights": {**INT4, "num_bits": 8}}), "w8a16", {"bits": 8}),
        (groups({"weights": {**INT4, "num_bits": 2}}), "w2a16", {"bits": 2}),
        (groups({"weights": INT4, "input_activations": {"num_bits": 8, "type": "int", "dynamic": True}}), "w4a8", {"activations": "int8", "dynamic": True}),
        (groups({"weights": INT4, "input_activations": {"num_bits": 8, "type": "float", "dynamic": True}}), "w4a8", {"activations": "fp8"}),
        (groups({"weights": INT4, "input_activations": {"num_bits": 4, "type": "int"}}), "w4a4", {}),
        (groups({"weights": {**INT4, "num_bits": 8}, "input_activations": {"num_bits": 8, "type": "int"}}), "w8a8", {"bits": 8}),
        (groups({"weights": FP8, "input_activations": FP8}, form="float-quantized"), "fp8", {"bits": 8, "activations": "fp8"}),
        (groups({"weights": {**FP8, "strategy": "block", "block_structure": [128, 128]}}), "fp8", {"strategy": "block"}),
        (groups({"weights": NVFP4}, form="nvfp4-pack-quantized"), "nvfp4", {"group_size": 16}),
        (groups({"weights": NVFP4, "input_activations": {**NVFP4, "dynamic": "local"}}), "nvfp4", {"activations": "fp4"}),
        (groups({"weights": MX4}, form="mxfp4-pack-quantized"), "mxfp4", {"group_size": 32}),
        (groups({"weights": {**MX4, "num_bits": 6}}), "mxfp6", {"bits": 6}),
        (groups({"weights": {**MX4, "num_bits": 8}, "input_activations": {**MX4, "num_bits": 8}}, form="mxfp8-quantized"), "mxfp8", {"bits": 8}),
        ({"quant_method": "compressed-tensors", "config_groups": {"W4A16": ["Linear"]}}, "w4a16", {"bits": 4}),
        (
            groups(
                {"weights": FP8, "input_activations": FP8, "targets": ["re:.*self_attn.*"], "format": "float-quantized"},
                {"weights": NVFP4, "targets": ["re:.*mlp.experts.*"], "format": "nvfp4-pack-quantized"},
                form="mixed-precision",
            ),
            "nvfp4", {"bits": 4, "mixed": ["fp8"]},
        ),
        (
            groups(
                {"weights": {**INT4, "num_bits": 8}, "targets": ["re:.*down_proj.*"]},
                {"weights": INT4, "targets": ["re:.*self_attn.*", "re:.*gate_proj.*", "re:.*up_proj.*"]},
            ),
            "w4a16", {"mixed": ["w8a16"]},
        ),
        ({"quant_method": "compressed-tensors", "format": "dense", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, None, {}),
        # fp8 of its own and the MX formats
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8", {"activations": "static"}),
        ({"quant_method": "fp8", "weight_block_size": [128, 128], "scale_fmt": "ue8m0"}, "fp8", {"block_size": [128, 128]}),
        ({"quant_method": "fp8", "weight_block_size": [128, 128], "expert_dtype": "fp4"}, "mxfp4", {"bits": 4, "mixed": ["fp8"]}),
        ({"quant_method": "mxfp8", "weight_block_size": [1, 32], "scale_fmt": "ue8m0"}, "mxfp8", {"bits": 8}),
        ({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}, "mxfp4", {"bits": 4, "group_size": 32}),
        ({"quant_method": "nvfp4"}, "nvfp4", {"bits": 4}),
        ({"quant_method": "ptpc_fp8"}, "fp8", {"bits": 8}),
        ({"quant_method": "fp_quant", "forward_dtype": "mxfp4", "hadamard_group_size": 32}, "mxfp4", {"bits": 4}),
        ({"quant_method": "fp_quant", "forward_dtype": "nvfp4", "hadamard_group_size": 16}, "nvfp4", {"bits": 4, "group_size": 16}),
        ({"quant_method": "fouroversix", "dtype": "nvfp4", "scale_rule": "mse"}, "nvfp4", {"bits": 4}),
        # Quark
        ({"quant_method": "quark", "global_quant_config": {"weight": QUARK_MX4, "input_tensors": QUARK_MX4}}, "mxfp4", {"bits": 4, "group_size": 32}),
        ({"quant_method": "quark", "global_quant_config": {"weight": QUARK_FP8, "input_tensors": QUARK_FP8}}, "fp8", {"bits": 8, "activations": "fp8_e4m3"}),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp6_e2m3", "group_size": 32}}}, "mxfp6", {"bits": 6}),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "group_size": 32, "scale_format": "e8m0"}}}, "mxfp8", {"bits": 8}),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "int8"}, "input_tensors": {"dtype": "int8"}}}, "w8a8", {"bits": 8}),
        ({"quant_method": "quark", "global_quant_config": {"weight": [QUARK_FP8, {"dtype": "int4", "qscheme": "per_channel"}], "input_tensors": QUARK_FP8}}, "w4a8", {"bits": 4}),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "uint4", "group_size": 128}}}, "int4", {"compact": "w4g128"}),
        ({"quant_method": "quark", "global_quant_config": None, "layer_quant_config": {"*self_attn*": {"weight": QUARK_FP8}, "*experts*": {"weight": QUARK_MX4}}}, "mxfp4", {"mixed": ["fp8"]}),
        ({"quant_method": "quark", "global_quant_config": {"weight": None}, "layer_type_quant_config": {"Linear": {"weight": QUARK_FP8}}}, "fp8", {"bits": 8}),
        # the ones that pack whole numbers
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "backend": "autoawq"}, "awq", {"bits": 4}),
        ({"quant_method": "autoawq", "w_bit": 4, "q_group_size": 64}, "awq", {"compact": "w4g64"}),
        ({"quant_method": "QuantizationMethod.AWQ", "bits": 4}, "awq", {"bits": 4}),
        ({"quant_method": "gptqmodel", "bits": 4, "group_size": 32, "dynamic": {"+:.*down_proj.*": {"bits": 8}, "-:.*lm_head": {}}}, "gptq", {"bits": 4, "mixed": ["8bit"]}),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "provider": "auto-round"}, "gptq", {"provider": "auto-round"}),
        ({"quant_method": "auto-round", "bits": 4, "data_type": "int", "act_bits": 16, "packing_format": "auto_round:auto_awq"}, "autoround", {"bits": 4}),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 32, "data_type": "mx_fp", "act_bits": 4, "act_data_type": "mx_fp_rceil"}, "mxfp4", {"group_size": 32}),
        ({"quant_method": "auto-round", "bits": 8, "group_size": 32, "data_type": "mx_fp"}, "mxfp8", {"bits": 8}),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 16, "data_type": "nv_fp", "act_bits": 4}, "nvfp4", {"bits": 4}),
        ({"quant_method": "auto-round", "bits": 8, "data_type": "fp", "act_bits": 8, "act_data_type": "fp8_static"}, "fp8", {"bits": 8, "activations": "fp8_static"}),
        ({"quant_method": "auto-round", "bits": 8, "data_type": "int", "act_bits": 8}, "w8a8", {"bits": 8}),
        ({"quant_method": "auto-round", "bits": 2, "extra_config": {"lm_head": {"bits": 4}}}, "autoround", {"bits": 2, "mixed": ["4bit"]}),
        ({"quant_method": "auto-round", "bits": 4, "extra_config": {"lm_head": {"bits": 16}}}, "autoround", {"bits": 4}),
        ({"quant_method": "auto-round", "data_type": "mxfp8", "group_size": 32}, "mxfp8", {"bits": 8}),
        ({"quant_method": "aqlm", "in_group_size": 8, "out_group_size": 1, "num_codebooks": 1, "nbits_per_codebook": 16}, "aqlm", {"bits": 2}),
        ({"quant_method": "aqlm", "in_group_size": 8, "num_codebooks": 2, "nbits_per_codebook": 8}, "aqlm", {"bits": 2}),
        ({"quant_method": "vptq", "config_for_layers": {"model.layers.0": {"vector_lens": [-1, 8], "num_centroids": [-1, 65536], "num_res_centroids": [-1, 256], "group_size": 4096}}}, "vptq", {"bits": 3}),
        ({"quant_method": "spqr", "bits": 3, "beta1": 16, "beta2": 16, "shapes": {}}, "spqr", {"bits": 3}),
        ({"quant_method": "higgs", "bits": 4, "p": 2, "group_size": 256, "hadamard_size": 512}, "higgs", {"compact": "w4g256"}),
        ({"quant_method": "hqq", "quant_config": {"self_attn.q_proj": HQQ, "mlp.up_proj": HQQ}}, "hqq", {"compact": "w4g64"}),
        ({"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}, "bitnet", {"bits": 2}),
        ({"quant_method": "eetq", "weights": "int8", "modules_to_not_convert": ["lm_head"]}, "eetq", {"bits": 8}),
        ({"quant_method": "quanto", "weights": "int4", "activations": None}, "quanto", {"bits": 4}),
        ({"quant_method": "quanto", "weights": "float8"}, "quanto", {"bits": 8}),
        ({"quant_method": "sinq", "nbits": 4, "group_size": 64, "tiling_mode": "1D"}, "sinq", {"compact": "w4g64"}),
        ({"quant_method": "metal", "bits": 4, "group_size": 64}, "4bit", {"compact": "w4g64"}),
        ({"quant_method": "gemma", "num_bits": 4, "module_quant_configs": {"mlp": {"num_bits": 2}}}, "int4", {"bits": 4}),
        ({"quant_method": "bitsandbytes", "_load_in_8bit": True, "llm_int8_threshold": 6.0}, "bnb-8bit", {"bits": 8}),
        ({"quant_method": "bitsandbytes_4bit", "load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "bnb-4bit", {"type": "fp4"}),
        ({"quant_method": "exl2", "bits": 6.5, "head_bits": 8}, "exl2", {"bits": 6.5, "head_bits": 8}),
        # torchao
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8DynamicActivationInt4WeightConfig", "_data": {"group_size": 32}}}}, "torchao", {"bits": 4, "group_size": 32}),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8DynamicActivationFloat8WeightConfig", "_data": {}}}}, "torchao", {"bits": 8}),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "IntxWeightOnlyConfig", "_data": {"weight_dtype": {"_type": "torch.dtype", "_data": "int3"}}}}}, "torchao", {"bits": 3}),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "ModuleFqnToConfig", "_data": {"module_fqn_to_config": {"_default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 128}}}}}}}, "torchao", {"bits": 4, "group_size": 128}),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only", "quant_type_kwargs": {"group_size": 64}}, "torchao", {"compact": "w4g64"}),
    ],
)  # fmt: skip
def test_detection_kind_6_each_method_is_read_by_its_own_keys(
    block: Mapping[str, object], label: str | None, told: Mapping[str, object]
) -> None:
    claim = claim_of_quantization(block, "config.json")
    assert (claim.label if claim else None) == label
    assert claim is None or told.items() <= dict(claim.details).items()


def test_detection_kind_6_layers_left_as_they_are_do_not_make_a_mix() -> None:
    block = {"quant_method": "auto-round", "bits": 4, "extra_config": {"lm_head": {"bits": 16, "data_type": "float"}}}
    claim = claim_of_quantization(block, "config.json")
    assert claim
    assert not dict(claim.details).get("mixed")


@pytest.mark.parametrize(
    ("config", "label", "told"),
    [
        ({"quantization": {"group_size": 64, "bits": 4, "mode": "affine"}}, "4bit", {"bits": 4}),
        ({"quantization": {"group_size": 32, "bits": 8, "mode": "mxfp8"}}, "mxfp8", {"bits": 8}),
        (
            {"quantization": {"group_size": 64, "bits": 3, **{f"model.layers.{n}.mlp.{part}_proj": {"bits": 6, "group_size": 64} for n in range(4) for part in ("up", "down")}, "lm_head": {"bits": 8}}},
            "6bit", {"bits": 6, "mixed": True},
        ),
        ({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}, "fp8", {"bits": 8}),
        ({"quantization": {"quant_algo": None}}, None, {}),
        ({"dim": 4096, "quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}}, "fp8", {"bits": 8}),
        ({"quantization": "q4f16_1", "context_window_size": 4096}, "q4f16_1", {"bits": 4}),
        ({"expert_dtype": "fp4", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "mxfp4", {"mixed": ["fp8"]}),
        ({"vlm_config": {"quantization_config": {"quant_method": "awq", "bits": 4}}}, "awq", {"bits": 4}),
    ],
)  # fmt: skip
def test_detection_kind_7_a_mix_is_called_after_most_of_its_weights(
    config: Mapping[str, object], label: str | None, told: Mapping[str, object]
) -> None:
    claims = list(claims_of_config(config))
    assert [claim.label for claim in claims] == ([label] if label else [])
    assert not claims or told.items() <= dict(claims[0].details).items()


OPTIMUM = {"per_channel": True, "reduce_range": True, "per_model_config": {"model": {"weight_type": "QInt8"}}}


@pytest.mark.parametrize(
    ("name", "content", "label"),
    [
        ("quantize_config.json", OPTIMUM, None),
        ("quantize_config.json", {}, None),
        ("quantize_config.json", {"quant_method": "gptq"}, None),
        ("quantize_config.json", {"bits": 4, "group_size": 128}, "gptq"),
        ("awq_config.json", {}, None),
        ("awq_config.json", {"version": "GEMM"}, None),
        ("awq_config.json", {"w_bit": 4, "zero_point": True, "q_group_size": 128, "version": "GEMM"}, "awq"),
        ("quant_config.json", {"desc_act": True}, None),
        ("quantization_config.json", {"tensor_storage": {"a": {"quant_format": "exl3", "bits_per_weight": 4}}}, "exl3"),
        ("quantization_config.json", {"version": "1.0"}, None),
        ("hf_quant_config.json", {}, None),
        ("hf_quant_config.json", {"quantization": {"quant_algo": "W4A8_AWQ", "group_size": 128}}, "w4a8"),
        ("openvino_config.json", {"dtype": "int4", "quantization_config": {"bits": 4, "group_size": 128}}, "int4"),
        ("openvino_config.json", {"dtype": "int4", "quantization_config": None}, None),
        (
            "quant_cfg.json",
            {"quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": {"quant_algo": "NVFP4"}}},
            "nvfp4",
        ),
    ],
)
def test_detection_kind_2_a_file_of_that_name_proves_nothing_without_the_keys(
    name: str, content: Mapping[str, object], label: str | None
) -> None:
    assert [claim.label for claim in claims_of_side_file(name, content, name)] == ([label] if label else [])


LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
HALF = ("U8", [32, 64], 2048)
SCALE_2: Mapping[str, tuple[str, list[int], int]] = {"m.weight_scale_2": ("F32", [], 4)}


@pytest.mark.parametrize(
    ("tensors", "block", "label"),
    [
        ({"m.weight": HALF, "m.weight_scale": ("BF16", [64, 2], 256), **SCALE_2}, modelopt("W4A8_AWQ"), "w4a8"),
        ({"m.weight": HALF, "m.weight_scale": ("BF16", [64, 2], 256), **SCALE_2}, None, "w4a8"),
        ({"m.weight": HALF, "m.weight_scale": ("F8_E4M3", [32, 8], 256), **SCALE_2}, modelopt("NVFP4"), "nvfp4"),
        ({"m.weight": HALF, "m.weight_scale": ("U8", [32, 4], 128)}, None, "mxfp4"),
        ({"m.weight": ("U8", [32, 48], 1536), "m.weight_scale": ("U8", [32, 2], 64)}, None, "mxfp6"),
        ({"m.weight": ("F8_E4M3", [32, 64], 2048), "m.weight_scale": ("U8", [32, 2], 64)}, None, "mxfp8"),
        ({"m.weight": ("F8_E4M3", [32, 64], 2048), "m.weight_scale_inv": ("F32", [1, 1], 4)}, {"quant_method": "mxfp8"}, "mxfp8"),
        ({"m.weight": ("F8_E4M3", [32, 64], 2048), "m.weight_scale_inv": ("F32", [1, 1], 4)}, None, "fp8"),
        ({"m.weight": ("F8_E4M3", [256, 256], 65536), "m.scale": ("F8_E8M0", [2, 2], 4)}, None, "fp8"),
        ({"m.w1.weight": ("I8", [32, 64], 2048), "m.w1.scale": ("F8_E8M0", [32, 4], 128)}, {"quant_method": "fp8", "expert_dtype": "fp4"}, "mxfp4"),
        ({"m.weight_packed": HALF, "m.weight_scale": ("F8_E4M3", [32, 8], 256), "m.weight_global_scale": ("F32", [1], 4)}, None, "nvfp4"),
        ({"m.weight_packed": HALF, "m.weight_scale": ("U8", [32, 4], 128)}, None, "mxfp4"),
        ({"m.experts.gate_up_proj_blocks": ("U8", [2, 4, 4, 16], 512), "m.experts.gate_up_proj_scales": ("U8", [2, 4, 4], 32)}, {"quant_method": "mxfp4"}, "mxfp4"),
        ({"m.weight": HALF, "m.weight_scale": ("BF16", [1], 2)}, {"quant_method": "bitnet"}, "bitnet"),
        ({"m.weight_packed": ("I32", [64, 8], 2048), "m.weight_scale": ("BF16", [64, 2], 256), "m.weight_shape": ("I64", [2], 16)}, groups({"weights": INT4}), "w4a16"),
    ],
)  # fmt: skip
def test_detection_kind_5_one_tensor_name_is_no_proof(
    tensors: Mapping[str, tuple[str, list[int], int]], block: Mapping[str, object] | None, label: str
) -> None:
    config = {**LLAMA, "quantization_config": block} if block else LLAMA
    weights = safetensors_file({**tensors, "model.embed_tokens.weight": ("BF16", [64, 64], 8192)})
    facts = tell({"config.json": config, "model.safetensors": weights}, Subject(repo="o/x"))
    assert facts.quantization == label
    assert not facts.warnings


def test_detection_kind_7_bytes_of_headers_tell_the_majority_and_the_rest_is_kept() -> None:
    tensors = {
        "a.weight": ("F8_E4M3", [64, 64], 4096), "a.weight_scale": ("F32", [], 4),
        "b.weight": ("U8", [128, 128], 16384), "b.weight_scale": ("F8_E4M3", [128, 16], 2048), "b.weight_scale_2": ("F32", [], 4),
    }  # fmt: skip
    block = {
        **groups({"weights": FP8, "targets": ["Linear"]}, {"weights": NVFP4, "targets": ["Linear"]}, method="modelopt"),
        "quant_algo": "MIXED_PRECISION",
    }
    facts = tell(
        {"config.json": {**LLAMA, "quantization_config": block}, "model.safetensors": safetensors_file(tensors)}
    )
    assert facts.quantization == "nvfp4"
    assert facts.detection.details["bits"] == 4
    mixed = facts.detection.details["mixed"]
    assert isinstance(mixed, dict)
    assert mixed["nvfp4"] > mixed["fp8"] > 0
    assert not facts.warnings


@pytest.mark.parametrize(
    ("repo", "block", "tensors", "label"),
    [
        ("o/x-int4-AutoRound", {"quant_method": "auto-round", "bits": 4, "group_size": 128, "packing_format": "auto_round:auto_gptq"}, {"a.qweight": ("I32", [8, 64], 2048), "a.qzeros": ("I32", [1, 8], 32), "a.scales": ("F16", [1, 64], 128)}, "autoround"),
        ("o/x-AutoAWQ", {"quant_method": "awq", "bits": 4, "backend": "autoawq"}, {"a.qweight": ("I32", [64, 8], 2048), "a.qzeros": ("I32", [1, 8], 32), "a.scales": ("F16", [1, 64], 128)}, "awq"),
        ("o/x-autoawq", None, {"a.qweight": ("I32", [64, 8], 2048), "a.qzeros": ("I32", [1, 8], 32), "a.scales": ("F16", [1, 64], 128)}, "awq"),
        ("o/x-bnb", None, {"a.weight": ("U8", [2048, 1], 2048), "a.weight.quant_state.bitsandbytes__nf4": ("U8", [64], 64), "a.weight.absmax": ("F32", [8], 32)}, "bnb-4bit"),
        ("o/x-bnb-8bit", {"quant_method": "bitsandbytes", "load_in_8bit": True}, {"a.weight": ("I8", [64, 64], 4096), "a.SCB": ("F32", [64], 256)}, "bnb-8bit"),
        ("o/x-EETQ", {"quant_method": "eetq", "weights": "int8"}, {"a.weight": ("I8", [64, 64], 4096), "a.weight_scales": ("F16", [64], 128)}, "eetq"),
        ("o/x", {"quant_method": "torchao", "quant_type": "float8_weight_only"}, {"a.weight_qdata": ("F8_E4M3", [64, 64], 4096), "a.weight_scale": ("F32", [64], 256)}, "torchao"),
        ("o/x", {"quant_method": "torchao", "quant_type": "int4_weight_only"}, {"a.weight_qdata": ("I32", [8, 64], 2048), "a.norm": ("BF16", [64], 128)}, "torchao"),
        ("o/x", {"quant_method": "vptq", "config_for_layers": {}}, {"a.indices": ("I32", [8, 64], 2048), "a.centroids.weight": ("F16", [4, 64], 512)}, "vptq"),
        ("o/x", {"quant_method": "higgs", "bits": 4, "group_size": 256}, {"a.weight": ("I16", [8, 64], 1024), "a.scales": ("F16", [8], 16)}, "higgs"),
        ("o/x", {"quant_method": "quanto", "weights": "float8"}, {"a.weight._data": ("F8_E4M3", [64, 64], 4096), "a.weight._scale": ("BF16", [64], 128)}, "quanto"),
        ("o/x", {"quant_method": "bitnet", "linear_class": "bitlinear"}, {"a.weight": ("U8", [16, 64], 1024), "a.weight_scale": ("BF16", [1], 2)}, "bitnet"),
        ("o/x-FP8", {"quant_method": "fp8"}, {"a.weight": ("F8_E4M3", [64, 64], 4096), "a.weight_scale": ("F32", [], 4)}, "fp8"),
    ],
)  # fmt: skip
def test_detection_kind_15_one_label_whether_headers_can_be_read_or_not(
    repo: str, block: Mapping[str, object] | None, tensors: Mapping[str, tuple[str, list[int], int]], label: str
) -> None:
    config = {**LLAMA, "quantization_config": block} if block else LLAMA
    files = {"config.json": config, "model.safetensors": safetensors_file(tensors)}
    for most in (8, 0):
        facts = tell(files, Subject(repo=repo), most_headers=most)
        assert facts.quantization == label
        assert not facts.warnings


def gguf(pairs: Mapping[str, object], tensors: list[tuple[str, list[int], int]]) -> bytes:
    typed = [(key, STRING if isinstance(value, str) else U32, value) for key, value in pairs.items()]
    sizes = {0: 4.0, 1: 2.0, 8: 34 / 32, 12: 144 / 256, 36: 0.25, 38: 0.25, 39: 17 / 32, 41: 18 / 128, 14: 210 / 256}
    offset, placed = 0, []
    for name, shape, kind in tensors:
        placed.append((name, shape, kind, offset))
        count = 1
        for side in shape:
            count *= side
        offset += -(-int(count * sizes[kind]) // 32) * 32
    return gguf_file([("general.architecture", STRING, "llama"), *typed], placed, data=b"\0" * offset)


BLOCK = "blk.0.ffn_up.weight"
BIG = ("token_embd.weight", [256, 64], 14)


@pytest.mark.parametrize(
    ("name", "pairs", "tensors", "label", "warned"),
    [
        # most of a small model is its embeddings
        ("m.gguf", {}, [("token_embd.weight", [256, 64], 8), (BLOCK, [256, 8], 12)], "q4_k", False),
        ("m-Q4_K_M.gguf", {}, [("token_embd.weight", [256, 64], 8), (BLOCK, [256, 8], 12)], "q4_k_m", False),
        # bitnet.cpp's numbers and upstream's
        ("ggml-model-i2_s.gguf", {"general.file_type": 40}, [BIG, (BLOCK, [256, 64], 36)], "i2_s", False),
        ("m.gguf", {"general.file_type": 40}, [BIG, (BLOCK, [256, 64], 41)], "q1_0", False),
        ("m.gguf", {"general.file_type": 38}, [BIG, (BLOCK, [256, 64], 38)], "tl1", False),
        ("m.gguf", {"general.file_type": 38}, [BIG, (BLOCK, [256, 64], 39)], "mxfp4", False),
        ("m.gguf", {"general.file_type": 39}, [BIG, (BLOCK, [256, 64], 39)], "tl2", False),
        # guessed
        ("m.gguf", {"general.file_type": 1024}, [BIG, (BLOCK, [256, 64], 12)], "q4_k", False),
        ("m.gguf", {"general.file_type": 1024 + 15}, [BIG, (BLOCK, [256, 64], 12)], "q4_k_m", False),
        ("m.gguf", {"general.file_type": 1024 + 7}, [BIG, (BLOCK, [256, 64], 12)], "q4_k", False),
        # written by a converter, and quantized later
        ("m.gguf", {"general.file_type": 0}, [BIG, (BLOCK, [256, 64], 12)], "q4_k", False),
        ("m-Q4_K_S.gguf", {"general.file_type": 1}, [BIG, (BLOCK, [256, 64], 12)], "q4_k_s", False),
        ("m.gguf", {"general.file_type": 7}, [BIG, (BLOCK, [256, 64], 12)], "q4_k", False),
        ("m.gguf", {"general.file_type": 7}, [(BLOCK, [256, 64], 8)], "q8_0", False),
        ("m.gguf", {"general.file_type": 15}, [(BLOCK, [256, 64], 1)], "fp16", False),
        # shapes force experts of gpt-oss into one type whatever is asked
        ("m-Q4_K_M.gguf", {"general.file_type": 15}, [(BLOCK, [256, 64], 39)], "q4_k_m", False),
        # a name that is wrong is told
        ("m-Q8_0.gguf", {"general.file_type": 15}, [(BLOCK, [256, 64], 12)], "q4_k_m", True),
        ("m-Q4_0.gguf", {"general.file_type": 15}, [(BLOCK, [256, 64], 12)], "q4_k_m", True),
        ("m-Q4_K_S.gguf", {"general.file_type": 15}, [(BLOCK, [256, 64], 12)], "q4_k_m", True),
        ("m-UD-Q4_K_XL.gguf", {"general.file_type": 15}, [(BLOCK, [256, 64], 12)], "ud-q4_k_xl", False),
    ],
)  # fmt: skip
def test_detection_kind_4_name_header_and_tensors_are_weighed_by_what_each_can_know(
    name: str, pairs: Mapping[str, object], tensors: list[tuple[str, list[int], int]], label: str, *, warned: bool
) -> None:
    facts = tell({name: gguf(pairs, tensors)}, Subject(repo="o/x-GGUF"))
    assert facts.quantization == label
    assert bool(facts.warnings) is warned
