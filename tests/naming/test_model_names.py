import pytest

from imageworks.naming import model_names as naming
from imageworks.naming.model_names import NamingError


@pytest.mark.parametrize(
    ("family", "backend", "download_format", "quantization", "expected"),
    [
        ("llava-v1.5-13b", "vllm", "awq", None, "llava-v1.5-13b-vllm-awq"),
        ("llava-v1.5-13b", "vllm", "awq", "awq", "llava-v1.5-13b-vllm-awq"),
        ("llava-v1.5-13b", "vllm", "fp16", None, "llava-v1.5-13b-vllm-fp16"),
        ("Mistral-7B-Instruct-v0.2-GGUF", "ollama", "gguf", "Q4_K_M", "mistral-7b-instruct-v0.2-ollama-gguf-q4_k_m"),
        ("siglip-base-patch16-256", "vllm", None, None, "siglip-base-patch16-256-vllm"),
        ("Qwen2.5_VL 7B@dev", "lmdeploy", None, "w4g128", "qwen2.5-vl-7b-dev-lmdeploy-w4g128"),
        ("gguf", "ollama", "gguf", None, "gguf-ollama-gguf"),
        ("model", "vllm", "F16", "float16", "model-vllm-fp16"),
        ("a--b__c//d", "vllm", None, None, "a-b-c-d-vllm"),
        ("con", "vllm", None, None, "con-model-vllm"),
        ("Mistral-7B-GGUF", "gguf", "gguf", "q4_k_m", "mistral-7b-gguf-q4_k_m"),
    ],
)
def test_variant_names_follow_the_convention(
    family: str, backend: str, download_format: str | None, quantization: str | None, expected: str
) -> None:
    assert naming.variant_name(family, backend, download_format, quantization) == expected


@pytest.mark.parametrize(
    ("repo", "backend", "revision", "download_format", "quantization", "expected"),
    [
        ("liuhaotian/llava-v1.5-13b", "vllm", "main", "safetensors", "awq", "llava-v1.5-13b-vllm-awq"),
        ("liuhaotian/llava-v1.5-13b", "vllm", None, "safetensors", "fp16", "llava-v1.5-13b-vllm-fp16"),
        (
            "TheBloke/Mistral-7B-Instruct-v0.2-GGUF",
            "ollama",
            None,
            "gguf",
            "q4_k_m",
            "mistral-7b-instruct-v0.2-ollama-gguf-q4_k_m",
        ),
        ("google/siglip-base-patch16-256", "vllm", None, "safetensors", None, "siglip-base-patch16-256-vllm"),
        ("microsoft/DialoGPT-medium", "vllm", "dev", "safetensors", None, "dialogpt-medium-dev-vllm"),
        ("microsoft/DialoGPT-medium", "vllm", "a" * 40, "safetensors", None, "dialogpt-medium-vllm"),
        ("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", "vllm", None, "safetensors", "awq", "qwen2.5-vl-7b-instruct-vllm-awq"),
        ("mlx-community/gemma-3-4b-it-4bit", "unassigned", None, "mlx", "4bit", "gemma-3-4b-it-unassigned-mlx-4bit"),
    ],
)
def test_a_repository_gets_its_default_name(
    repo: str,
    backend: str,
    revision: str | None,
    download_format: str | None,
    quantization: str | None,
    expected: str,
) -> None:
    name = naming.default_variant_name(
        repo, backend, revision=revision, download_format=download_format, quantization=quantization
    )
    assert name == expected


@pytest.mark.parametrize(
    ("served", "family", "quantization", "variant"),
    [
        ("qwen2.5vl:7b", "qwen2.5vl-7b", None, "qwen2.5vl-7b-ollama-gguf"),
        ("llava:7b", "llava-7b", None, "llava-7b-ollama-gguf"),
        ("hf.co/o/X-GGUF:Q6_K", "hf.co-o-x-gguf", "q6_k", "hf.co-o-x-gguf-ollama-gguf-q6_k"),
        ("hf.co/...-GGUF:Q6_K", "hf.co-.-gguf", "q6_k", "hf.co-.-gguf-ollama-gguf-q6_k"),
        ("pixtral-local:latest", "pixtral-local-latest", None, "pixtral-local-latest-ollama-gguf"),
        ("pixtral-local", "pixtral-local-latest", None, "pixtral-local-latest-ollama-gguf"),
        ("llama3:q4_K_M", "llama3", "q4_k_m", "llama3-ollama-gguf-q4_k_m"),
        ("llama3:int8", "llama3", "int8", "llama3-ollama-gguf-int8"),
        ("llama3:f16", "llama3", "fp16", "llama3-ollama-gguf-fp16"),
        ("my  model:7b", "my-model-7b", None, "my-model-7b-ollama-gguf"),
        (
            "qwen2.5-coder:7b-instruct-q4_K_M",
            "qwen2.5-coder-7b-instruct-q4_k_m",
            None,
            "qwen2.5-coder-7b-instruct-q4_k_m-ollama-gguf",
        ),
        ("localhost:5000/me/m:7b", "localhost-5000-me-m-7b", None, "localhost-5000-me-m-7b-ollama-gguf"),
    ],
)
def test_strategy_a_names_ollama_models(served: str, family: str, quantization: str | None, variant: str) -> None:
    assert naming.ollama_name(served) == naming.OllamaName(served, family, quantization, variant)


@pytest.mark.parametrize(
    ("family", "size", "quantization", "display", "slug"),
    [
        ("llama", "12.2B", "q4_k_m", "llama 12.2b (Q4 K M)", "llama-12.2b-q4_k_m"),
        ("qwen2.5vl-7b", "8.3B", "q4_k_m", "qwen2.5vl 7b (Q4 K M)", "qwen2.5vl-7b-q4_k_m"),
        ("qwen2.5-vl-7b-instruct-awq", None, "awq", "qwen2.5-vl 7b-instruct (AWQ)", "qwen2.5-vl-7b-instruct-awq"),
        ("gpt-oss-20b", None, "mxfp4", "gpt-oss 20b (MXFP4)", "gpt-oss-20b-mxfp4"),
        ("qwen3-30b-a3b-thinking", None, "fp8", "qwen3 30b-a3b-thinking (FP8)", "qwen3-30b-a3b-thinking-fp8"),
        ("mixtral-8x7b", None, None, "mixtral 8x7b", "mixtral-8x7b"),
        ("siglip-large-patch16-384", None, None, "siglip-large-patch16-384", "siglip-large-patch16-384"),
    ],
)
def test_display_names_and_slugs_are_simple(
    family: str, size: str | None, quantization: str | None, display: str, slug: str
) -> None:
    assert naming.display_name(family, parameter_size=size, quantization=quantization) == display
    assert naming.simple_slug(family, parameter_size=size, quantization=quantization) == slug


def test_an_extra_word_tells_two_of_one_size_apart() -> None:
    assert naming.display_name("llama-8b", extra="dev", quantization="fp16") == "llama 8b-dev (FP16)"
    assert naming.display_name("florence", extra="dev") == "florence-dev"
    assert naming.display_name("llama", parameter_size="8B", extra="dev") == "llama 8b-dev"


@pytest.mark.parametrize(
    ("repo", "served", "folder", "expected"),
    [
        ("TheBloke/Llama-2-7B-GGUF", None, None, "thebloke"),
        (None, "hf.co/bartowski/X-GGUF:Q4_K_M", None, "bartowski"),
        (None, "registry.ollama.ai/library/qwen3:8b", None, None),
        (None, "someone/qwen3:8b", None, "someone"),
        (None, "qwen3:8b", None, None),
        (None, "qwen3:8b", "Qwen/Qwen3", "qwen"),
        (None, "localhost:5000/me/m", None, "me"),
        ("gpt2", None, "alone", None),
        (None, None, "../x", None),
    ],
)
def test_the_producer_is_the_owner_then_the_packager_then_the_folder(
    repo: str | None, served: str | None, folder: str | None, expected: str | None
) -> None:
    assert naming.producer_of(repo=repo, served_model_id=served, relative_path=folder) == expected


@pytest.mark.parametrize(
    "name",
    ["a-testzzz-b", "TESTZZZ", "model-awq", "model-awq-vllm", "model-fp16", "demo-model-3", "r", "r-vllm-awq", "R_x"],
)
def test_testing_entries_are_known_by_name(name: str) -> None:
    assert naming.is_testing_name(name)


@pytest.mark.parametrize("name", ["roberta-base-vllm", "my-model-awq", "a-demo-model", "deepseek-r1", "r1-distill"])
def test_real_models_are_not_taken_for_tests(name: str) -> None:
    assert not naming.is_testing_name(name)


def test_testing_patterns_can_be_added_and_the_display_name_is_searched() -> None:
    filters = naming.compile_testing_patterns("^scratch-, tmp$")
    assert naming.is_testing_name("scratch-1", filters=filters)
    assert naming.is_testing_name("my-tmp", filters=filters)
    assert naming.is_testing_name("x", display="Testzzz model", filters=filters)
    assert not naming.is_testing_name("x", display="qwen", filters=filters)


def test_a_bad_testing_pattern_is_named() -> None:
    with pytest.raises(NamingError, match=r"IMAGEWORKS_TEST_MODEL_PATTERNS: '\('"):
        naming.compile_testing_patterns("ok,(")


def test_generic_folders_are_known() -> None:
    assert all(naming.is_generic_family(family) for family in ("model", "Demo", "demo_model", "r"))
    assert not naming.is_generic_family("qwen")


@pytest.mark.parametrize("text", ["", "---", "///", "...", " "])
def test_a_name_cannot_be_made_of_nothing(text: str) -> None:
    with pytest.raises(NamingError):
        naming.normalize_family(text)
    with pytest.raises(NamingError):
        naming.variant_name("x", text or " ")


def test_long_names_are_abbreviated_stably_and_stay_distinct() -> None:
    first = naming.variant_name("a" * 120, "ollama", "gguf", "q4_k_m")
    second = naming.variant_name("a" * 121, "ollama", "gguf", "q4_k_m")
    assert len(first) == naming.LONGEST_NAME
    assert first.endswith("-ollama-gguf-q4_k_m")
    assert first != second
    assert first == naming.variant_name("a" * 120, "ollama", "gguf", "q4_k_m")


def test_letters_beyond_ascii_stay_distinct() -> None:
    assert naming.normalize_family("模型a") != naming.normalize_family("模式a")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Qwen2.5-7B-Instruct", "7b"),
        ("mixtral-8x7b", "8x7b"),
        ("Qwen3-30B-A3B", "30b-a3b"),
        ("bge-small-335M", "335m"),
        ("gpt2", None),
        ("bitnet-b1.58-2B", "2b"),
    ],
)
def test_a_name_says_its_size(text: str, size: str | None) -> None:
    assert naming.parameter_size_in(text) == size
