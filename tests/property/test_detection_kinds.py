# ruff: noqa: E501 - keys and words in rows
"""Laws of detection: whatever a config, a card or a header says, there is an answer that an entry can hold."""

import json
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from imageworks.detection.capabilities import FLAGS, CapabilityHints, capabilities_of
from imageworks.detection.claims.config_claims import claim_of_quantization, claims_of_config
from imageworks.detection.describe import describe
from imageworks.detection.formats.readme import read_card
from imageworks.naming.quantization_labels import quantization_label

KEYS = (
    "quant_method", "quantization_config", "quantization", "config_groups", "quant_algo", "quantized_layers", "weights", "bits",
    "group_size", "num_bits", "type", "targets", "input_activations", "global_quant_config", "layer_quant_config", "weight",
    "dtype", "quant_type", "default", "_type", "_data", "vector_lens", "num_centroids", "config_for_layers", "dynamic", "mode",
    "model_type", "architectures", "vision_config", "audio_config", "id2label", "num_labels", "_class_name", "quant_config",
    "weight_quant_params", "nbits", "tensor_storage", "load_in_4bit", "forward_dtype", "expert_dtype", "weight_block_size",
)  # fmt: skip
WORDS = (
    "modelopt", "compressed-tensors", "quark", "torchao", "vptq", "aqlm", "hqq", "gptq", "awq", "fp8", "auto-round", "exl3",
    "float", "int", "NVFP4", "MIXED_PRECISION", "mx_fp", "fp4", "int4", "qwen2_5_vl", "whisper", "bert", "affine",
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)
configs = st.dictionaries(st.sampled_from(KEYS), values, max_size=8)


@dataclass(frozen=True)
class Listed:
    path: str
    size: int


@given(configs)
def test_a_claim_is_a_label_of_the_vocabulary_or_a_methods_name(config: dict[str, object]) -> None:
    claims = list(claims_of_config(config))
    one = claim_of_quantization(config, "config.json")
    for claim in [*claims, *([one] if one else [])]:
        assert claim.label == claim.label.lower()
        assert len(claim.label) < 24
        bits = claim.details.get("bits")
        assert bits is None or isinstance(bits, int | float)
        assert quantization_label(claim.label) in {claim.label, None}


@given(
    configs, st.text(max_size=20), st.sampled_from((None, "text-ranking", "text-to-speech", "feature-extraction", "x"))
)
def test_every_flag_is_said_and_each_true_one_has_its_reason(
    config: dict[str, object], name: str, task: str | None
) -> None:
    found = capabilities_of(CapabilityHints(config=config, name=name, task=task))
    assert set(found.flags) == set(FLAGS)
    assert {flag for flag, can in found.flags.items() if can} == set(found.evidence)
    assert not (found.flags["embedding"] and found.flags["reranker"])


@given(st.text(st.sampled_from("---\n: []'\"&*!{}#\tlicense mtagsx@,|>\x00"), max_size=200))
def test_a_card_of_any_text_is_read(text: str) -> None:
    card = read_card(f"---\n{text}\n---\n")
    assert all(one == one.strip() and one for one in (*card.licenses, *card.tags))


@settings(max_examples=50)
@given(configs, st.binary(max_size=80))
def test_an_entry_can_hold_every_answer(config: dict[str, object], head: bytes) -> None:
    small = {
        "config.json": json.dumps(config).encode(),
        "hf_quant_config.json": json.dumps({"quantization": config}).encode(),
    }
    files = {**small, "model.safetensors": head, "m-Q4_K_M.gguf": b"GGUF" + head}
    facts = describe(
        [Listed(path, len(data)) for path, data in files.items()],
        files.get,
        lambda path, offset, length: files[path][offset : offset + length],
        every_file=True,
    )
    json.dumps(facts.entry_fields(), allow_nan=False)
