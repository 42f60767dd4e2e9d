"""Laws of names: deterministic, idempotent, safe as a file's name, and distinct for distinct models."""

import re

from hypothesis import assume, given, reject
from hypothesis import strategies as st

from imageworks.naming import model_names as naming
from imageworks.naming.model_names import NamingError
from imageworks.naming.quantization_labels import find_quantizations, quantization_label

BACKENDS = ("vllm", "ollama", "lmdeploy", "lmstudio", "unassigned")
FORMATS = (None, "gguf", "safetensors", "mlx", "onnx")
QUANTS = (None, "q4_k_m", "q8_0", "awq", "gptq", "fp16", "bf16", "fp8", "w4g128", "ud-q4_k_xl")
SAFE = re.compile(r"[a-z0-9][a-z0-9._+-]*[a-z0-9]|[a-z0-9]")

families = st.text(min_size=1, max_size=140)
plain_families = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,4}", fullmatch=True)
parts = st.tuples(st.sampled_from(BACKENDS), st.sampled_from(FORMATS), st.sampled_from(QUANTS))


def safe(name: str) -> bool:
    return bool(SAFE.fullmatch(name)) and ".." not in name and "--" not in name and len(name) <= naming.LONGEST_NAME


@given(families, parts)
def test_a_variant_name_is_safe_as_a_file_name_and_short(family: str, rest: tuple[str, str | None, str | None]) -> None:
    try:
        name = naming.variant_name(family, *rest)
    except NamingError:
        reject()
    assert safe(name)
    assert name == naming.variant_name(family, *rest)


@given(families)
def test_normalizing_a_family_twice_changes_nothing(family: str) -> None:
    try:
        once = naming.normalize_family(family)
    except NamingError:
        reject()
    assert naming.normalize_family(once) == once


@given(plain_families, parts, plain_families, parts)
def test_distinct_models_get_distinct_names(
    family: str, rest: tuple[str, str | None, str | None], other: str, other_rest: tuple[str, str | None, str | None]
) -> None:
    words = {word for choice in (BACKENDS, FORMATS, QUANTS) for word in choice if word}
    for text in (family, other):
        assume(text.rsplit("-", 1)[-1] not in words)
        assume(not find_quantizations(text))
    same = (family, rest) == (other, other_rest)
    assert (naming.variant_name(family, *rest) == naming.variant_name(other, *other_rest)) == same


@given(plain_families, parts)
def test_a_family_that_already_says_a_suffix_does_not_say_it_twice(
    family: str, rest: tuple[str, str | None, str | None]
) -> None:
    backend, download_format, quantization = rest
    assume(quantization is not None)
    repeated = f"{family}-{quantization}"
    assert naming.variant_name(repeated, *rest) == naming.variant_name(family, backend, download_format, quantization)


@given(st.text(min_size=1, max_size=100), st.sampled_from([quant for quant in QUANTS if quant]))
def test_strategy_a_names_are_safe_and_keep_what_ollama_is_asked_for(base: str, tag: str) -> None:
    assume(base.strip())
    served = f"{base}:{tag}"
    try:
        found = naming.ollama_name(served)
    except NamingError:
        reject()
    assert found.served_model_id == served
    assert found.quantization == quantization_label(tag)
    assert found.variant.endswith(f"-ollama-gguf-{tag}")
    assert safe(found.variant)


@given(plain_families, st.sampled_from(QUANTS))
def test_slugs_are_safe_and_stable(family: str, quantization: str | None) -> None:
    slug = naming.simple_slug(family, quantization=quantization)
    assert safe(slug)
    assert naming.simple_slug(slug, quantization=quantization) == slug


@given(st.text(max_size=200))
def test_any_text_is_searched_for_quantizations_within_its_bounds(text: str) -> None:
    lowered = text.lower()
    for token in find_quantizations(lowered):
        assert quantization_label(lowered[token.start : token.end]) == token.label
