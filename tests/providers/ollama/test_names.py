"""Names are read as Ollama reads them, and two spellings of one model are one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageworks.naming.model_names import ollama_name
from imageworks.providers.ollama.errors import OllamaNameError
from imageworks.providers.ollama.names import parse_name, same_model, stored_name

PART = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("llama3", ("registry.ollama.ai", "library", "llama3", "latest")),
        ("qwen2.5vl:7b", ("registry.ollama.ai", "library", "qwen2.5vl", "7b")),
        ("me/model", ("registry.ollama.ai", "me", "model", "latest")),
        ("hf.co/owner/repo:Q4_K_M", ("hf.co", "owner", "repo", "Q4_K_M")),
        ("hf.co/o/r:some-file.Q4_K_M.gguf", ("hf.co", "o", "r", "some-file.Q4_K_M.gguf")),
        ("localhost:5000/me/tiny:x", ("localhost:5000", "me", "tiny", "x")),
        ("localhost:5000/me/tiny", ("localhost:5000", "me", "tiny", "latest")),
        ("http://localhost:5000/me/tiny", ("localhost:5000", "me", "tiny", "latest")),
        (" _x ", ("registry.ollama.ai", "library", "_x", "latest")),
        ("m:8b:local", ("registry.ollama.ai", "library", "m", "8b")),
        ("m:LOCAL", ("registry.ollama.ai", "library", "m", "latest")),
        ("m:cloud", ("registry.ollama.ai", "library", "m", "cloud")),
        ("m:8b:cloud", ("registry.ollama.ai", "library", "m", "8b-cloud")),
        ("m:8b-cloud", ("registry.ollama.ai", "library", "m", "8b-cloud")),
        ("a" * 80 + ":" + "b" * 80, ("registry.ollama.ai", "library", "a" * 80, "b" * 80)),
    ],
)
def test_a_name_has_four_parts(text: str, parts: tuple[str, ...]) -> None:
    assert parse_name(text).parts == parts


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the model ''"),
        ("localhost:5000/tiny", "looks like a host"),
        ("hf.co/User.Name/Repo", "has a dot"),
        ("m@sha256:" + "a" * 64, "cannot be pinned by a digest"),
        ("m:x@sha256", "cannot be pinned by a digest"),
        ("a/b/c/d", "the host 'a/b'"),
        (".hidden", "the model"),
        ("-x", "the model"),
        ("m:", "the tag ''"),
        ("m:.x", "the tag"),
        ("/m", "the namespace ''"),
        ("a//m", "the namespace ''"),
        ("m d", "the model"),
        ("modèle", "the model"),
        ("a" * 81, "the model"),
        ("m:" + "a" * 81, "the tag"),
        ("n" * 81 + "/m", "the namespace"),
        ("h" * 351 + "/n/m", "the host"),
        ("m:local:cloud", "says twice"),
        ("m:-cloud", "no tag before"),
        ("m\n", ""),
    ],
)
def test_other_texts_are_no_names(text: str, why: str) -> None:
    if text == "m\n":  # blanks around are not part of it
        assert parse_name(text).shortest == "m:latest"
        return
    with pytest.raises(OllamaNameError) as caught:
        parse_name(text)
    assert why in caught.value.message
    assert caught.value.remedy
    assert caught.value.reason == "ollama-name"


@pytest.mark.parametrize(
    ("text", "shortest"),
    [
        ("registry.ollama.ai/library/x", "x:latest"),
        ("Registry.Ollama.AI/Library/X:T", "X:T"),
        ("registry.ollama.ai/me/x", "me/x:latest"),
        ("hf.co/library/x", "hf.co/library/x:latest"),
    ],
)
def test_the_shortest_form_drops_only_defaults(text: str, shortest: str) -> None:
    assert parse_name(text).shortest == shortest


def test_case_does_not_tell_models_apart_but_hosts_do() -> None:
    assert same_model("hf.co/A/b:q4_k_m", "HF.co/a/B:Q4_K_M")
    assert same_model("Foo", "foo:latest")
    assert not same_model("hf.co/a/b", "huggingface.co/a/b")
    assert same_model("a/b/c/d", "a/b/c/d")
    assert not same_model("a/b/c/d", "A/b/c/d")


def test_names_of_the_cloud_and_of_the_hub_are_told() -> None:
    assert [parse_name(name).is_cloud for name in ("m:cloud", "m:8b-CLOUD", "cloud:8b")] == [True, True, False]
    assert [parse_name(name).is_from_hub for name in ("hf.co/a/b", "HuggingFace.co/a/b", "a/b")] == [True, True, False]


def test_a_store_knows_only_complete_names() -> None:
    assert stored_name(("h", "n", "m", "t")) is not None
    assert stored_name(("h", "n", "m")) is None
    assert stored_name(("h", "n.n", "m", "t")) is None


@given(host=PART, namespace=PART, model=PART, tag=PART)
def test_the_shortest_form_leads_back_to_the_name(host: str, namespace: str, model: str, tag: str) -> None:
    tag = tag.lower().removesuffix("-cloud") or "x"
    if tag in {"local", "cloud"}:
        tag = "x"
    name = stored_name((host, namespace, model, tag))
    assert name is not None
    again = parse_name(name.shortest)
    assert again.key == name.key
    assert parse_name(again.shortest) == again


def test_strategy_a_names_what_the_store_lists() -> None:
    assert ollama_name(parse_name("hf.co/o/R-GGUF:Q6_K").shortest).quantization == "q6_k"
    assert ollama_name(parse_name("llava:7b").shortest).variant == "llava-7b-ollama-gguf"
