"""OLLAMA_HOST means to us what it means to Ollama, and the key stays secret."""

from pathlib import Path

import pytest

from imageworks.files.content_index import ollama_stores
from imageworks.providers.ollama.address import from_environment, is_loopback, parse_host, written_address
from imageworks.providers.ollama.errors import OllamaUnauthorisedError, OllamaUnreachableError
from imageworks.serving.roles import base_url

CANARY = "canaryKeyThatNobodyMaySee"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ('"1.2.3.4"', "http://1.2.3.4:11434"),
        (" \" '1.2.3.4' \" ", "http://1.2.3.4:11434"),
        ("example.com", "http://example.com:11434"),
        ("host.docker.internal", "http://host.docker.internal:11434"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com", "https://example.com:443"),
        ("HTTPS://example.com", "https://example.com:443"),
        ("https://example.com/", "https://example.com:443"),
        ("https://example.com:8443/ollama", "https://example.com:8443/ollama"),
        ("example.com/ollama/", "http://example.com:11434/ollama"),
        ("ollama.com", "https://ollama.com:443"),
        ("http://ollama.com", "http://ollama.com:80"),
        (":8080", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 # a server's address, told to a client
        ("0.0.0.0:11434", "http://127.0.0.1:11434"),
        ("[::]:1234", "http://[::1]:1234"),
        ("::", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:80", "http://[::1]:80"),
        ("[0001:002:003:0004::1]", "http://[1:2:3:4::1]:11434"),
        ("example.com:0", "http://example.com:0"),
        ("example.com:", "http://example.com:11434"),
        ("1.2.3.4:70000", "http://1.2.3.4:11434"),
        ("1.2.3.4:asdf", "http://1.2.3.4:11434"),
        ("https://example.com:-1/x", "https://example.com:443/x"),
    ],
)
def test_a_host_is_read_as_ollama_reads_it(text: str, url: str) -> None:
    assert parse_host(text).url == url


def test_a_port_that_is_none_is_passed_over_with_a_warning() -> None:
    assert "70000" in (parse_host("x:70000").warning or "")
    assert parse_host("x:7000").warning is None


@pytest.mark.parametrize(
    "text", ["ftp://x", "unix:///run/x", "http://me:secret@x", "x?token=secret", "a b", "http://", "x\ny", "[::1", "ü"]
)
def test_other_texts_are_no_address(text: str) -> None:
    if text in {"http://", "[::1"}:  # Ollama makes something of these, too
        assert parse_host(text).is_loopback
        return
    with pytest.raises(OllamaUnreachableError) as caught:
        parse_host(text)
    assert "OLLAMA_HOST" in caught.value.message
    assert "secret" not in caught.value.render()


def test_the_key_is_never_shown() -> None:
    _, key = from_environment({"OLLAMA_API_KEY": f" {CANARY}\n"})
    assert key is not None
    assert key.value == CANARY
    assert CANARY not in repr(key)
    assert from_environment({"OLLAMA_API_KEY": " "})[1] is None
    with pytest.raises(OllamaUnauthorisedError) as caught:
        from_environment({"OLLAMA_API_KEY": f"{CANARY} x"})
    assert CANARY not in caught.value.render()


def test_what_is_this_machine() -> None:
    ours = ("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1")
    assert all(is_loopback(host) for host in ours)
    assert not any(is_loopback(host) for host in ("10.0.0.1", "localhost.example.com", "127.example.com", "", "::2"))


DOCKER = "host.docker.internal"


@pytest.mark.parametrize(
    ("named", "daemon", "host", "port", "url"),
    [
        (None, None, DOCKER, None, "http://host.docker.internal:11434/v1"),
        (None, "127.0.0.1:28434", DOCKER, 28434, "http://host.docker.internal:28434/v1"),
        (None, '"127.0.0.1:28434" ', DOCKER, 28434, "http://host.docker.internal:28434/v1"),
        (None, "127.0.0.1", DOCKER, None, "http://host.docker.internal:11434/v1"),
        (None, "0.0.0.0:28434", DOCKER, 28434, "http://host.docker.internal:28434/v1"),
        (None, ":28434", DOCKER, 28434, "http://host.docker.internal:28434/v1"),
        (None, "[::1]:28434", DOCKER, 28434, "http://host.docker.internal:28434/v1"),
        (None, "http://localhost", DOCKER, 80, "http://host.docker.internal:80/v1"),
        (None, "gpu1", "gpu1", None, "http://gpu1:11434/v1"),
        (None, "gpu1:28434", "gpu1", 28434, "http://gpu1:28434/v1"),
        (None, "10.0.0.7:28434", "10.0.0.7", 28434, "http://10.0.0.7:28434/v1"),
        (None, "[fd00::7]:28434", "fd00::7", 28434, "http://[fd00::7]:28434/v1"),
        (None, "http://gpu1", "gpu1", 80, "http://gpu1:80/v1"),
        (None, "https://gpu1/ollama", "https://gpu1:443/ollama", None, "https://gpu1:443/ollama/v1"),
        (None, "ftp://no address", DOCKER, None, "http://host.docker.internal:11434/v1"),
        (" box ", "other", "box", None, "http://box:11434/v1"),
        ("box", "127.0.0.1:28434", "box", 28434, "http://box:28434/v1"),
        ("box:8080", "127.0.0.1:28434", "box", 8080, "http://box:8080/v1"),
        ("box:11434", "127.0.0.1:28434", "box", None, "http://box:11434/v1"),
        ("https://box/", "127.0.0.1:28434", "https://box", None, "https://box/v1"),
        ("", "127.0.0.1:28434", DOCKER, 28434, "http://host.docker.internal:28434/v1"),
    ],
)
def test_o9_one_rule_says_where_entries_and_serve_find_ollama(
    named: str | None, daemon: str | None, host: str, port: int | None, url: str
) -> None:
    said = {"IMAGEWORKS_OLLAMA_HOST": named, "OLLAMA_HOST": daemon}
    written = written_address({key: value for key, value in said.items() if value is not None})
    assert written == (host, port)
    assert base_url({"name": "m", "backend": "ollama", "backend_config": written.fields}) == url


@pytest.mark.parametrize(
    ("text", "store"),
    [
        ("/srv/models", "/srv/models"),
        ("  /srv/models\t", "/srv/models"),
        ('"/srv/models"', "/srv/models"),
        ("'/srv/my models'", "/srv/my models"),
        (' "/srv/models" ', "/srv/models"),
        ("\"'/srv/models'\"", "/srv/models"),
        ("/srv/it's here", "/srv/it's here"),
    ],
)
def test_o17_quotes_and_spaces_around_the_store_are_trimmed_as_ollama_does(text: str, store: str) -> None:
    assert ollama_stores({"OLLAMA_MODELS": text}) == (Path(store),)


@pytest.mark.parametrize("text", ["", "  ", '""', " '' "])
def test_o17_a_store_that_is_not_named_is_the_usual_one(text: str) -> None:
    assert ollama_stores({"OLLAMA_MODELS": text}) == ollama_stores({})
