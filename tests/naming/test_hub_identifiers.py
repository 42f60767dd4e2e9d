import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imageworks.foundation.errors import ExitCode
from imageworks.naming.hub_identifiers import HubIdentifier, IdentifierError, parse_hub_identifier

DIALO = "microsoft/DialoGPT-medium"
SHA = "536a3578c1e0fdc5c36ac8a7d0e6d1e0b9d1f2a3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DIALO, HubIdentifier(DIALO)),
        (f"  {DIALO}/ ", HubIdentifier(DIALO)),
        (f"{DIALO}@dev", HubIdentifier(DIALO, "dev")),
        (f"{DIALO}@refs/pr/7", HubIdentifier(DIALO, "refs/pr/7")),
        (f"{DIALO}@{SHA}", HubIdentifier(DIALO, SHA)),
        ("gpt2", HubIdentifier("gpt2")),
        ("gpt2@main", HubIdentifier("gpt2", "main")),
        ("o/r:Q4_K_M", HubIdentifier("o/r", quantization="Q4_K_M")),
        ("o/r@main:Q4_K_M", HubIdentifier("o/r", "main", quantization="Q4_K_M")),
        ("hf.co/o/r:Q4_K_M", HubIdentifier("o/r", quantization="Q4_K_M")),
        ("huggingface.co/o/r", HubIdentifier("o/r")),
        ("https://hf.co/o/r", HubIdentifier("o/r")),
        (f"https://huggingface.co/{DIALO}", HubIdentifier(DIALO)),
        (f"http://www.huggingface.co/{DIALO}/", HubIdentifier(DIALO)),
        (f"HTTPS://HuggingFace.co/{DIALO}.git", HubIdentifier(DIALO)),
        (f"https://huggingface.co/{DIALO}?library=transformers#usage", HubIdentifier(DIALO)),
        (f"https://huggingface.co/{DIALO}?revision=dev", HubIdentifier(DIALO, "dev")),
        (f"https://huggingface.co/{DIALO}@dev", HubIdentifier(DIALO, "dev")),
        (f"https://huggingface.co/{DIALO}/tree/main", HubIdentifier(DIALO, "main")),
        (f"https://huggingface.co/{DIALO}/tree/main/onnx/q4", HubIdentifier(DIALO, "main", "onnx/q4")),
        (f"https://huggingface.co/{DIALO}/tree/refs%2Fpr%2F7/a", HubIdentifier(DIALO, "refs/pr/7", "a")),
        (f"https://huggingface.co/{DIALO}/tree/refs/pr/7/a", HubIdentifier(DIALO, "refs/pr/7", "a")),
        (f"https://huggingface.co/{DIALO}/blob/main/config.json", HubIdentifier(DIALO, "main", "config.json")),
        (
            f"https://huggingface.co/{DIALO}/resolve/main/a%20b.bin?download=true",
            HubIdentifier(DIALO, "main", "a b.bin"),
        ),
        (f"https://huggingface.co/{DIALO}/commit/{SHA}", HubIdentifier(DIALO, SHA)),
        (f"https://huggingface.co/{DIALO}/discussions/3", HubIdentifier(DIALO)),
        (f"https://huggingface.co/api/models/{DIALO}/revision/dev", HubIdentifier(DIALO, "dev")),
        ("https://huggingface.co/gpt2/tree/main", HubIdentifier("gpt2", "main")),
        ("https://huggingface.co/gpt2/resolve/main/config.json", HubIdentifier("gpt2", "main", "config.json")),
        ("hf://o/r@dev/a/b.json", HubIdentifier("o/r", "dev", "a/b.json")),
        ("hf://o/r", HubIdentifier("o/r")),
    ],
)
def test_every_way_to_name_a_model_is_read(text: str, expected: HubIdentifier) -> None:
    assert parse_hub_identifier(text) == expected


def test_pages_of_a_mirror_are_read_when_it_is_the_endpoint() -> None:
    expected = HubIdentifier("o/r", "main", "a.json")
    endpoints = ("https://hf-mirror.com", "http://127.0.0.1:8000/hub/")
    assert parse_hub_identifier("https://hf-mirror.com/o/r/blob/main/a.json", endpoints=endpoints) == expected
    assert parse_hub_identifier("http://127.0.0.1:8000/hub/o/r/blob/main/a.json", endpoints=endpoints) == expected
    with pytest.raises(IdentifierError):
        parse_hub_identifier("http://127.0.0.1:8000/other/o/r", endpoints=endpoints)
    with pytest.raises(IdentifierError):
        parse_hub_identifier("https://hf-mirror.com/o/r")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("a\nb", "control"),
        ("x" * 5000, "too long"),
        ("https://huggingface.co/datasets/o/r", "a dataset"),
        ("https://huggingface.co/spaces/o/r", "a space"),
        ("datasets/o/r", "a dataset"),
        ("hf://datasets/o/r", "a dataset"),
        ("https://huggingface.co/collections/o/r", "a collection"),
        ("https://huggingface.co/docs/hub", "a page"),
        ("https://huggingface.co/", "names no model"),
        ("https://example.com/o/r", "not the Hugging Face Hub"),
        ("https://huggingface.co.evil.example/o/r", "not the Hugging Face Hub"),
        ("https://huggingface.co@evil.example/o/r", "not the Hugging Face Hub"),
        ("ftp://huggingface.co/o/r", "only http"),
        ("https://[::1/o/r", "not a valid URL"),
        ("qwen2.5vl:7b", "Ollama"),
        ("a/b/c", "one owner"),
        ("../etc", "cannot be part"),
        ("o/..", "cannot be part"),
        ("o/.hidden", "cannot be part"),
        ("o/-r", "cannot be part"),
        ("o/a--b", "cannot be part"),
        ("o/r.git", "cannot be part"),
        ("o/r r", "cannot be part"),
        ("o/" + "r" * 100, "at most 96"),
        ("o/r@", "not a branch"),
        ("o/r@a..b", "not a branch"),
        ("o/r@-x", "not a branch"),
        ("o/r@x^", "not a branch"),
        ("o/r:", "not a quantization tag"),
        ("https://huggingface.co/o/r/blob/main/%2e%2e/x", "not lie inside"),
        ("https://huggingface.co/o/r/blob/main/a%5Cb", "not lie inside"),
        ("https://huggingface.co/o/r/tree/%2e%2e", "not a branch"),
        ("https://huggingface.co/o/r/tree", "not a page"),
        ("https://huggingface.co/o/r/unknown/x", "not a page"),
    ],
)
def test_what_names_no_model_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(IdentifierError, match=why) as caught:
        parse_hub_identifier(text)
    assert caught.value.remedy
    assert caught.value.exit_code is ExitCode.USAGE


def test_an_identifier_tells_its_owner_and_reads_back() -> None:
    identifier = parse_hub_identifier("hf.co/o/r@dev:q8_0")
    assert identifier.owner == "o"
    assert parse_hub_identifier(str(identifier)) == identifier
    assert parse_hub_identifier("gpt2").owner is None


@example("0/:0")
@example("0/@main:0")
@given(st.text(max_size=60) | st.from_regex(r"(https?://|hf://)?[a-z.@:/%?#-]{0,40}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        identifier = parse_hub_identifier(text)
    except IdentifierError:
        return
    assert ".." not in identifier.repo
    assert parse_hub_identifier(str(identifier)).repo == identifier.repo


def test_a_refusal_shows_no_password_and_no_signed_query() -> None:
    with pytest.raises(IdentifierError) as caught:
        parse_hub_identifier("https://me:hf_secret@example.com/o/r?X-Amz-Signature=hf_secret")
    assert "hf_secret" not in caught.value.render()
    assert "example.com" in caught.value.render()
