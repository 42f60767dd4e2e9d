# ruff: noqa: E501 - one case, one line
from collections.abc import Mapping

import pytest

from imageworks.detection.claims.config_claims import (
    claim_of_quantization,
    claims_of_config,
    claims_of_recipe,
    claims_of_side_file,
)
from imageworks.detection.claims.evidence import Claim, Detection, Evidence, Level, decide
from imageworks.detection.file_names import Container


def group(weights: Mapping[str, object], inputs: Mapping[str, object] | None = None) -> dict[str, object]:
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": weights, "input_activations": inputs}},
    }


@pytest.mark.parametrize(
    ("block", "label", "details"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, "awq", {"compact": "w4g128", "kernel": "gemm"}),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1, "desc_act": True}, "gptq", {"compact": "w8g-1", "desc_act": True}),
        ({"bits": 4, "group_size": 64, "desc_act": False}, "gptq", {"compact": "w4g64"}),
        ({"bits": 4, "group_size": 64, "zero_point": True}, "awq", {"compact": "w4g64"}),
        ({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}, "fp8", {"bits": 8, "block_size": [128, 128]}),
        ({"quant_method": "fbgemm_fp8"}, "fp8", {"method": "fbgemm_fp8"}),
        ({"quant_method": "mxfp4"}, "mxfp4", {}),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bnb-4bit", {"type": "nf4"}),
        ({"load_in_8bit": True}, "bnb-8bit", {"bits": 8}),
        ({"quant_method": "bitsandbytes"}, None, {}),
        ({"quant_method": "exl2", "bits": 4.25, "head_bits": 6}, "exl2", {"bits_per_weight": 4.25, "head_bits": 6}),
        ({"quant_method": "exl3", "bits": 3.0}, "exl3", {"bits_per_weight": 3}),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}}, "hqq", {"compact": "w4g64"}),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "torchao", {"bits": 8, "type": "int8_weight_only"}),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 32}}}}, "torchao", {"compact": "w4g32"}),
        ({"quant_method": "intel/auto-round", "bits": 4, "group_size": 128}, "autoround", {"compact": "w4g128"}),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4"}}}, "mxfp4", {}),
        ({"quant_method": "quark", "global_quant_config": {"weight": [{"dtype": "fp8_e4m3"}]}}, "fp8", {}),
        ({"quant_method": "quark"}, None, {}),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}, "nvfp4", {"compact": "w4g16"}),
        ({"quant_algo": "FP8"}, "fp8", {"method": "modelopt"}),
        ({"quant_method": "modelopt", "quant_algo": "unheard"}, None, {}),
        (group({"num_bits": 4, "type": "int", "group_size": 128}), "w4a16", {"compact": "w4g128"}),
        (group({"num_bits": 8, "type": "int"}, {"num_bits": 8, "dynamic": True}), "w8a8", {"dynamic": True}),
        (group({"num_bits": 8, "type": "int"}), "w8a16", {}),
        (group({"num_bits": 8, "type": "float"}, {"num_bits": 8, "type": "float"}), "fp8", {"dynamic": False}),
        (group({"num_bits": 4, "type": "float", "group_size": 16}), "nvfp4", {}),
        (group({"num_bits": 4, "type": "float", "group_size": 32}), "mxfp4", {}),
        ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, "nvfp4", {}),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "fp8", {}),
        ({"quant_method": "compressed-tensors", "format": "dense"}, None, {}),
        (group({"type": "int"}), None, {}),
        ({"quant_method": "w8a8"}, "w8a8", {}),
        ({"quant_method": "never-heard-of"}, None, {}),
        ({}, None, {}),
    ],
)  # fmt: skip
def test_a_quantization_config_is_read(
    block: Mapping[str, object], label: str | None, details: Mapping[str, object]
) -> None:
    claim = claim_of_quantization(block, "config.json")
    assert (claim.label if claim else None) == label
    if claim:
        assert details.items() <= dict(claim.details).items()
        assert claim.evidence.level is Level.CONFIG


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ({"quantization": {"bits": 4, "group_size": 64}, "quantization_config": {"bits": 4, "group_size": 64}}, "4bit"),
        ({"quantization": {"bits": 4, "mode": "mxfp4"}}, "mxfp4"),
        ({"text_config": {"quantization_config": {"quant_method": "awq", "bits": 4}}}, "awq"),
        ({"compression_config": group({"num_bits": 8, "type": "float"})}, "fp8"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quantization_config": "awq"}, None),
        ({"quantization_config": {"bits": "4"}}, None),
        ({}, None),
    ],
)
def test_a_config_says_its_quantization_wherever_it_stands(config: Mapping[str, object], label: str | None) -> None:
    found = [claim.label for claim in claims_of_config(config)]
    assert found == ([label] if label else [])


def test_mlx_is_told_by_its_own_object_with_exceptions_by_layer() -> None:
    (claim,) = claims_of_config({"quantization": {"bits": 4, "group_size": 64, "lm_head": {"bits": 8}}})
    assert claim.container is Container.MLX
    assert claim.details == {"method": "mlx", "bits": 4, "group_size": 64, "mixed": True, "compact": "w4g64"}


@pytest.mark.parametrize(
    ("name", "content", "label"),
    [
        ("quant_config.json", {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"}, "awq"),
        ("quantize_config.json", {"bits": 4, "group_size": 128, "desc_act": False}, "gptq"),
        ("quantize_config.json", {"bits": 4, "group_size": 128, "quant_method": "awq"}, "awq"),
        ("quantization_config.json", {"bits": 4, "zero_point": True}, "awq"),
        ("awq_config.json", {"bits": 4}, "awq"),
        ("quantization_config.json", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ("hf_quant_config.json", {"quantization": {"quant_algo": "NVFP4"}}, "nvfp4"),
        ("hf_quant_config.json", {"quantization": None}, None),
        ("quantization_config.json", {"tensor_storage": {}}, None),
    ],
)
def test_a_file_beside_the_config_is_read(name: str, content: Mapping[str, object], label: str | None) -> None:
    assert [claim.label for claim in claims_of_side_file(name, content, name)] == ([label] if label else [])


def test_awq_in_its_old_spelling_gets_the_compact_label() -> None:
    (claim,) = claims_of_side_file("quant_config.json", {"w_bit": 4, "q_group_size": 128}, "quant_config.json")
    assert claim.details["compact"] == "w4g128"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("GPTQModifier:\n  scheme: W4A16\n  group_size: 128\n", "w4a16"),
        ("QuantizationModifier:\n  scheme: 'FP8_DYNAMIC'\n", "fp8"),
        ("QuantizationModifier:\n  weights: {num_bits: 8, type: float}\n", "fp8"),
        ("GPTQModifier:\n  weights:\n    num_bits: 8\n  input_activations:\n    num_bits: 8\n", "w8a8"),
        ("SparseGPTModifier:\n  sparsity: 0.5\n", None),
        ("", None),
    ],
)
def test_a_recipe_is_read_as_text(text: str, label: str | None) -> None:
    assert [claim.label for claim in claims_of_recipe(text)] == ([label] if label else [])


def claim(level: Level, label: str, **details: object) -> Claim:
    return Claim(label, Evidence(level, level.name.lower(), label), details)


def test_a_weaker_level_never_overrides_a_stronger_one() -> None:
    found = decide(
        Container.SAFETENSORS,
        [claim(Level.NAME, "gptq"), claim(Level.CONFIG, "awq", bits=4), claim(Level.DTYPE, "fp16")],
    )
    assert found.quantization == "awq"
    assert found.details == {"bits": 4}
    assert found.confidence == Level.CONFIG.confidence
    assert [item.level for item in found.evidence] == [Level.CONFIG, Level.NAME, Level.DTYPE]
    assert len(found.warnings) == 1
    assert "gptq" in found.warnings[0]


def test_weaker_evidence_that_agrees_adds_details() -> None:
    found = decide(Container.SAFETENSORS, [claim(Level.HEADER, "awq"), claim(Level.CONFIG, "awq", group_size=128)])
    assert found.details == {"group_size": 128}
    assert not found.warnings


@pytest.mark.parametrize(
    ("header", "name", "expected", "warned"),
    [
        ("q4_k_m", "ud-q4_k_xl", "ud-q4_k_xl", False),
        ("q6_k", "q6_k_l", "q6_k_l", False),
        ("q4_k", "q4_k_m", "q4_k_m", False),
        ("q4_k_m", "i1-q4_k_m", "i1-q4_k_m", False),
        ("q4_k_m", "q4", "q4_k_m", False),
        ("q8_0", "q4_k_m", "q8_0", True),
        ("q8_0", "ud-q4_k_xl", "q8_0", True),
        ("fp16", "ud-q4_k_xl", "fp16", True),
        ("q3_k_m", "q3_k_l", "q3_k_m", True),
    ],
)
def test_a_packagers_mix_refines_the_header_and_never_contradicts_it(
    header: str, name: str, expected: str, *, warned: bool
) -> None:
    found = decide(Container.GGUF, [claim(Level.NAME, name), claim(Level.HEADER, header)])
    assert found.quantization == expected
    assert bool(found.warnings) is warned


def test_without_evidence_the_field_stays_unset() -> None:
    assert decide(None, []) == Detection(None, None)
