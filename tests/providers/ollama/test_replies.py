"""What the daemon says is read into values, and its words into errors that say what to do."""

import json

import pytest

from imageworks.providers.ollama.errors import OllamaBrokenStreamError
from imageworks.providers.ollama.replies import (
    hex_digest,
    read_listed,
    read_names,
    read_parameters,
    read_shown,
    refusal,
    said_error,
    utc_time,
    whole_object,
)

NEWER = "pull model manifest: 412: \n\nThe model you are attempting to pull requires a newer version of Ollama.\n\n"


@pytest.mark.parametrize(
    ("said", "status", "reason", "retryable"),
    [
        (NEWER, None, "ollama-needs-newer", False),
        ("pull model manifest: 412: {}", None, "ollama-needs-newer", False),
        ("whatever", 412, "ollama-needs-newer", False),
        ("pull model manifest: file does not exist", None, "ollama-not-found", False),
        ("model 'x' not found", 404, "ollama-not-found", False),
        ("write /x/blobs/sha256-a-partial: no space left on device", None, "ollama-disk-full", True),
        (
            "digest mismatch, file must be downloaded again: want sha256:a, got sha256:b",
            None,
            "ollama-digest-mismatch",
            True,
        ),
        ('digest mismatch, expected "sha256:a", got "sha256:b"', 400, "ollama-digest-mismatch", True),
        ("invalid model name", 400, "ollama-name", False),
        ("unauthorized", 401, "ollama-unauthorised", False),
        ("", 401, "ollama-unauthorised", False),
        ("", 403, "ollama-unauthorised", False),
        ("cloud is off", 403, "ollama-unauthorised", False),
        ("404 page", 404, "ollama-unreachable", False),
        ("dial tcp: lookup registry.ollama.ai: no such host", None, "ollama-refused", True),
        ("pull model manifest: 503: busy", None, "ollama-refused", True),
        ("runner crashed", 500, "ollama-refused", True),
        ("llama-quantize unavailable: llama-quantize binary not found", 500, "ollama-refused", False),
        ("open /x/sha256-ab: no such file or directory", None, "ollama-refused", False),
        ('pull model manifest: realm host "" does not match original host', None, "ollama-unauthorised", False),
        ("context canceled", None, "ollama-refused", True),
        ("neither 'from' or 'files' was specified", 400, "ollama-refused", False),
    ],
)
def test_words_and_statuses_become_reasons(said: str, status: int | None, reason: str, *, retryable: bool) -> None:
    error = said_error(said, "pulling x", status=status)
    assert (error.reason, error.retryable) == (reason, retryable)
    assert error.message.startswith("pulling x: ")
    assert error.remedy
    assert "\n" not in error.message


def test_a_registrys_own_shape_of_errors_is_read() -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "not for you"}]}'
    assert refusal(500, body, "x").message == "x: not for you"
    assert refusal(500, b'{"errors": []}', "x").message == "x: HTTP 500 without a word"


def test_a_size_is_not_taken_for_a_status() -> None:
    assert said_error("412 MB are too many", "x").reason == "ollama-refused"


def test_what_is_said_is_short_printable_and_without_secrets() -> None:
    said = 'Get "https://cdn.example/blob?X-Amz-Signature=abcdef": \x1b[31mkey canary came\u202e back ' + "long " * 500
    message = said_error(said, "pulling x", key="canary").message
    assert "abcdef" not in message
    assert "canary" not in message
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize("body", [b"<html><h1>Bad Gateway</h1></html>", b"", b"\xff\xfe", b"[]", b'{"error": 3}'])
def test_a_body_that_is_no_error_of_ollama_is_borne(body: bytes) -> None:
    error = refusal(502, body, "listing")
    assert error.message.startswith("listing: ")
    assert "<" not in error.message


@pytest.mark.parametrize(
    "rows",
    [
        {"models": 3},
        {"models": [3]},
        {"models": [{"name": "x"}]},
        {"models": [{"name": 3, "digest": "0" * 64}]},
        {"models": [{"name": "x", "digest": "short"}]},
    ],
)
def test_a_list_that_is_none_is_refused(rows: dict[str, object]) -> None:
    with pytest.raises(OllamaBrokenStreamError):
        read_listed(rows, "listing")


def test_a_list_of_nothing_and_sparse_rows_are_read() -> None:
    assert read_listed({"models": None}, "") == ()
    (found,) = read_listed({"models": [{"model": "x:y", "digest": "sha256:" + "0" * 64, "size": "?"}]}, "")
    assert (found.name, found.digest, found.size, found.modified_at) == ("x:y", "0" * 64, 0, None)
    assert read_names({"models": None}) == read_names({"models": 3}) == frozenset()
    assert read_names({"models": [{"name": "a:b"}, 3, {"model": "c:d"}]}) == {"a:b", "c:d"}


def test_parameters_are_read_from_aligned_text() -> None:
    text = r"""
stop                           "<|im_start|>"
stop                           "a \"b\" \x00 ü\n"
temperature                    0.7
num_ctx                        4096
top_p                          1e-05
use_mmap                       true
odd                            "never ends
plain                          some words
"""
    assert read_parameters(text) == {
        "stop": ["<|im_start|>", 'a "b" \0 ü\n'],
        "temperature": 0.7,
        "num_ctx": 4096,
        "top_p": 1e-05,
        "use_mmap": True,
        "odd": '"never ends',
        "plain": "some words",
    }


def test_a_licence_may_be_a_text_or_several() -> None:
    assert read_shown("x", {"license": ["a", "b"]}).license == "a\nb"
    assert read_shown("x", {"license": "a"}).license == "a"
    assert read_shown("x", {}).license == ""


@pytest.mark.parametrize(
    ("said", "time"),
    [
        ("2026-08-01T14:00:00.123456789+02:00", "2026-08-01T12:00:00Z"),
        ("2026-08-01T12:00:00Z", "2026-08-01T12:00:00Z"),
        ("2026-08-01T12:00:00.5-00:30", "2026-08-01T12:30:00Z"),
        ("2026-08-01T12:00:00", None),
        ("yesterday", None),
        (None, None),
        (3, None),
    ],
)
def test_times_are_utc_seconds(said: object, time: str | None) -> None:
    assert utc_time(said) == time


def test_digests_in_any_spelling() -> None:
    pure = "ab" * 32
    assert {hex_digest(text) for text in (pure, f"sha256:{pure}", f"sha256-{pure}", pure.upper())} == {pure}
    assert {hex_digest(value) for value in ("ab", "md5:" + pure, 3, None, pure + "\n")} == {None}


def test_only_objects_are_answers() -> None:
    assert whole_object(json.dumps({"a": 1}).encode(), "x") == {"a": 1}
    with pytest.raises(OllamaBrokenStreamError, match="not what Ollama says"):
        whole_object(b"[1]", "x")
