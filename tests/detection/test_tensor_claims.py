# ruff: noqa: E501 - one case, one line
import pytest

from imageworks.detection.claims.evidence import Level
from imageworks.detection.claims.tensor_claims import claim_of_gguf, claims_of_names, claims_of_safetensors
from imageworks.detection.formats.gguf_header import GgufHeader
from imageworks.detection.formats.safetensors_header import SafetensorsHeader, Tensor


def header(**tensors: tuple[str, tuple[int, ...]]) -> SafetensorsHeader:
    return SafetensorsHeader({name.replace("__", "."): Tensor(*value) for name, value in tensors.items()}, {}, 8, 8)


AWQ = header(a__qweight=("I32", (4096, 512)), a__qzeros=("I32", (32, 512)), a__scales=("F16", (32, 4096)))
GPTQ = header(a__qweight=("I32", (512, 4096)), a__qzeros=("I32", (32, 512)), a__scales=("F16", (32, 4096)))


@pytest.mark.parametrize(
    ("found", "label", "level"),
    [
        (AWQ, "awq", Level.HEADER),
        (GPTQ, "gptq", Level.HEADER),
        (header(a__qweight=("I32", (1, 1)), a__qzeros=("I32", (1, 1)), a__g_idx=("I32", (1,))), "gptq", Level.HEADER),
        (header(a__weight=("F8_E4M3", (10, 10)), n=("BF16", (10,))), "fp8", Level.HEADER),
        (header(a__weight=("U8", (8, 8)), a__weight_scale=("F8_E4M3", (8, 1)), a__weight_scale_2=("F32", ())), "nvfp4", Level.HEADER),
        (header(a_blocks=("U8", (8, 16)), a_scales=("U8", (8,))), "mxfp4", Level.HEADER),
        (header(a__weight=("U8", (8,)), a__weight__quant_state__bitsandbytes__nf4=("U8", (8,))), "bnb-4bit", None),
        (header(a__weight=("I8", (8, 8)), a__SCB=("F32", (8,))), "bnb-8bit", Level.HEADER),
        (header(a__weight=("I8", (8, 8)), a__weight_scale=("F32", (8,))), "int8", Level.TENSOR_NAMES),
        (header(a__trellis=("I16", (8, 8))), "exl3", Level.TENSOR_NAMES),
        (header(a__q_weight=("I32", (8, 8)), a__q_groups=("I16", (8,))), "exl2", Level.TENSOR_NAMES),
        (header(a__weight=("BF16", (8, 8))), "bf16", Level.HEADER),
        (header(a__weight=("F32", (8, 8)), b=("F16", (2,))), "fp32", Level.HEADER),
        (header(a__weight=("I64", (8, 8))), None, None),
        (header(), None, None),
    ],
)  # fmt: skip
def test_types_shapes_and_names_tell_the_scheme(
    found: SafetensorsHeader, label: str | None, level: Level | None
) -> None:
    if label == "bnb-4bit":
        renamed = {
            name.replace("bitsandbytes.nf4", "bitsandbytes__nf4"): tensor for name, tensor in found.tensors.items()
        }
        found = SafetensorsHeader(renamed, {}, 8, 8)
    claims = list(claims_of_safetensors([("m.safetensors", found)], complete=True))
    assert [claim.label for claim in claims] == ([label] if label else [])
    assert level is None or claims[0].evidence.level is level


def test_a_plain_shard_alone_is_weak_evidence() -> None:
    (claim,) = claims_of_safetensors([("m.safetensors", header(a=("BF16", (4,))))], complete=False)
    assert claim.evidence.level is Level.DTYPE
    assert not list(claims_of_safetensors([], complete=True))


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["a.qweight", "a.qzeros", "a.g_idx"], "gptq"),
        (["a.qweight", "a.qzeros", "a.scales"], "awq"),
        (["a.weight", "a.weight_scale_inv"], "fp8"),
        (["a.W_q"], "hqq"),
        (["a.weight"], None),
    ],
)
def test_names_of_an_index_hint_at_the_scheme(names: list[str], label: str | None) -> None:
    assert [claim.label for claim in claims_of_names(names, "index")] == ([label] if label else [])


def gguf(file_type: int | None, **elements: int) -> GgufHeader:
    metadata = {} if file_type is None else {"general.file_type": file_type}
    return GgufHeader(3, metadata, {}, elements, len(elements), 32, 32)


def test_a_gguf_header_says_how_it_was_written_else_what_most_of_it_is() -> None:
    written, mostly = claim_of_gguf(gguf(15, q4_k=9), "m"), claim_of_gguf(gguf(1024, q4_k=9, fp32=1), "m")
    assert written is not None
    assert written.label == "q4_k_m"
    assert mostly is not None
    assert mostly.label == "q4_k"
    assert claim_of_gguf(gguf(None), "m") is None
    assert claim_of_gguf(gguf(None, **{"type-200": 4}), "m") is None
