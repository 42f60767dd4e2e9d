"""The token: found where huggingface_hub finds it, checked against the library itself, and never shown."""

import json
import os
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import OIDCError
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from imageworks.providers.huggingface.client import HubClient
from imageworks.providers.huggingface.errors import OfflineError, UnauthorisedError
from imageworks.providers.huggingface.token import Token, find_token
from support.providers import CANARY, COMMIT


@pytest.fixture
def login(isolated_environment: Path) -> Path:
    """The file of ``hf auth login``, in a folder that is there."""
    file = isolated_environment / ".cache/huggingface/token"
    file.parent.mkdir(parents=True)
    return file


@pytest.mark.parametrize(
    ("variables", "value", "origin"),
    [
        ({}, "hf_file", "file"),
        ({"HF_TOKEN": "hf_one", "HUGGING_FACE_HUB_TOKEN": "hf_two"}, "hf_one", "HF_TOKEN"),
        ({"HUGGING_FACE_HUB_TOKEN": " hf_two\n"}, "hf_two", "HUGGING_FACE_HUB_TOKEN"),
        ({"HF_TOKEN": ""}, "hf_file", "file"),
        ({"HF_TOKEN": " \n"}, "hf_file", "file"),
        ({"HF_TOKEN": " ", "HUGGING_FACE_HUB_TOKEN": "hf_two"}, "hf_file", "file"),
        ({"HF_TOKEN": "hf_one", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "true"}, None, None),
    ],
)
def test_the_token_is_the_librarys_with_where_it_comes_from(
    variables: dict[str, str], value: str | None, origin: str | None, login: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login.write_text("hf_file\n")
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    found = find_token(os.environ)
    assert (found.value if found else None) == value
    assert (found.origin if found else None) == (str(login) if origin == "file" else origin)
    assert found is None or found.renewable == (origin == "file")


def test_no_login_means_no_token(login: Path) -> None:
    assert find_token(os.environ) is None
    login.write_text(" \n")
    assert find_token(os.environ) is None


@pytest.mark.parametrize("quote", ['"', "'"])
def test_d21_a_token_in_quotes_is_told(quote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{quote}{CANARY}{quote}")
    with pytest.raises(UnauthorisedError, match="HF_TOKEN: ") as caught:
        find_token(os.environ)
    assert CANARY not in caught.value.render()


def test_a_token_that_no_header_can_hold_is_refused_unseen(login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login.write_bytes(b"\xff\xfe")
    with pytest.raises(UnauthorisedError, match="cannot be read"):
        find_token(os.environ)
    monkeypatch.setenv("HF_TOKEN", f"{CANARY}ü")
    with pytest.raises(UnauthorisedError, match="HF_TOKEN") as caught:
        find_token(os.environ)
    assert CANARY not in caught.value.render()


def test_a_token_is_never_shown() -> None:
    assert CANARY not in repr(Token(CANARY, "HF_TOKEN"))


def test_a_trusted_publishers_exchange_is_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_exchanged")
    found = find_token({"HF_OIDC_RESOURCE": "models/o/m", "HF_TOKEN": "hf_one"})
    assert found is not None
    assert found.value == "hf_exchanged"


def test_a_failed_exchange_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OIDCError("no provider")

    monkeypatch.setattr(huggingface_hub, "get_token", fail)
    with pytest.raises(UnauthorisedError, match="HF_OIDC_RESOURCE failed: no provider"):
        find_token({"HF_OIDC_RESOURCE": "models/o/m"})


def test_a_refused_login_is_renewed_once_and_the_request_repeated(
    httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def respond(request: Request) -> Response:
        if request.headers.get("Authorization") == "Bearer hf_new":
            return Response(json.dumps({"id": "o/m", "sha": COMMIT}))
        return Response(status=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})

    httpserver.expect_request("/api/models/o/m/revision/main").respond_with_handler(respond)
    found = iter(("hf_old", "hf_new"))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: next(found))
    with HubClient(httpserver.url_for(""), lambda: find_token({}), cache_dir=tmp_path) as ours:
        assert ours.resolve("o/m").commit == COMMIT
    assert len(httpserver.log) == 2


def test_a_given_token_is_not_renewed(httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    httpserver.expect_request("/api/models/o/m/revision/main").respond_with_data(status=401)
    monkeypatch.setenv("HF_TOKEN", "hf_given")
    ours = HubClient(httpserver.url_for(""), lambda: find_token(os.environ), cache_dir=tmp_path)
    with ours, pytest.raises(UnauthorisedError, match="token from HF_TOKEN"):
        ours.resolve("o/m")
    assert len(httpserver.log) == 1


def test_a_run_that_asks_nothing_looks_for_no_token(tmp_path: Path) -> None:
    def find() -> Token | None:
        raise AssertionError

    with HubClient("http://127.0.0.1:9", find, cache_dir=tmp_path, offline=True) as ours, pytest.raises(OfflineError):
        ours.resolve("o/m")
