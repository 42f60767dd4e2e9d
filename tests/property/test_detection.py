"""Laws of detection: whatever strangers put into names, configs and cards, there is an answer that can be written."""

import json
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imageworks.detection.describe import describe
from imageworks.detection.file_names import Container, Role, classify, group_quants
from imageworks.detection.formats.readme import read_readme
from imageworks.detection.model_facts import Subject


@dataclass(frozen=True)
class Listed:
    path: str
    size: int


_WORDS = (
    "name gptq "
    "quantization_config quant_method awq bits group_size config_groups weights num_bits type float int text_config"
    " vision_config num_hidden_layers hidden_size rope_scaling auto_map architectures torch_dtype bfloat16 quantization"
    " chat_template template weight_map metadata total_parameters compressed-tensors modelopt quant_algo NVFP4 hqq"
    " quant_config torchao quant_type default _type fp8 weight_block_size bitsandbytes load_in_4bit mlx mode model_type"
)
_TEXTS = st.sampled_from(_WORDS.split()) | st.text(max_size=6)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=5),
    max_leaves=25,
)
_FILES = st.sampled_from(
    [
        "config.json",
        "tokenizer_config.json",
        "quantization_config.json",
        "quantize_config.json",
        "hf_quant_config.json",
        "model.safetensors.index.json",
        "chat_template.json",
        "params.json",
    ]
)
_NAMES = st.from_regex(
    r"([a-zA-Z0-9]{1,6}/)?[a-zA-Z0-9_.-]{1,24}(\.gguf|\.safetensors|\.bin|\.json|\.onnx)?", fullmatch=True
)


def noise(path: str, offset: int, length: int) -> bytes:
    assert path
    assert offset >= 0
    return b"\xff" * length


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_FILES, _JSON, max_size=5), st.lists(_NAMES, max_size=6), st.text(max_size=20))
def test_any_configs_and_names_get_an_answer_that_can_be_written(
    configs: dict[str, object], names: list[str], repo: str
) -> None:
    contents = {path: json.dumps(value).encode() for path, value in configs.items()}
    files = [Listed(path, 100) for path in dict.fromkeys((*contents, *names))]
    subject = Subject(repo=f"owner/x{repo}")
    facts = describe(files, contents.get, noise, subject=subject)
    assert json.loads(json.dumps(facts.entry_fields()))["chat_template"]["source"] in {"none", "embedded", "external"}
    assert 0 <= facts.detection.confidence <= 1
    again = describe(list(reversed(files)), contents.get, noise, subject=subject)
    assert again.entry_fields() == facts.entry_fields()


@settings(deadline=None)  # the first card imports its parser
@given(st.binary(max_size=300), st.text(alphabet="-:&*!{}[]'\" \nabk|>%@,#?\t", max_size=120))
def test_any_readme_gets_an_answer(data: bytes, front: str) -> None:
    assert read_readme(data).sha256
    card = read_readme(f"---\nlicense: {front}\ntags:\n- {front}\n---\n{front}".encode()).card
    assert card.license is None or isinstance(card.license, str)


@given(st.lists(_NAMES, max_size=12, unique=True))
def test_every_gguf_file_is_in_exactly_one_place(names: list[str]) -> None:
    groups = group_quants(names)
    placed = [path for variant in groups.variants for path in variant.files] + [*groups.projectors, *groups.aside]
    assert sorted(placed) == sorted(name for name in names if classify(name).container is Container.GGUF)
    for variant in groups.variants:
        assert all(classify(path).role is Role.WEIGHTS for path in variant.files)
