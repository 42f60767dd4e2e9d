"""The token: found where huggingface_hub finds it, checked against the library itself, and never shown."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import OIDCError
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from imageworks.providers.hub_errors import UnauthorisedError
from imageworks.providers.hub_token import Token, find_token, renewed, token_file
from imageworks.providers.huggingface import HubClient
from support.providers import CANARY, COMMIT


def library_token(environment: Mapping[str, str], home: Path) -> str | None:
    """Return what huggingface_hub itself finds, in a process of its own: it reads the environment at import."""
    code = (
        "from huggingface_hub import constants, get_token\n"
        "print(None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token())"
    )
    base = {"PATH": os.environ["PATH"], "HOME": str(home)}
    told = subprocess.run(
        [sys.executable, "-c", code], env={**base, **environment}, capture_output=True, text=True, check=True
    )
    found = told.stdout.strip()
    return None if found == "None" else found


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_TOKEN": "hf_one", "HUGGING_FACE_HUB_TOKEN": "hf_two"},
        {"HUGGING_FACE_HUB_TOKEN": " hf_two\n"},
        {"HF_TOKEN": ""},
        {"HF_TOKEN": " \n"},
        {"HF_TOKEN": " ", "HUGGING_FACE_HUB_TOKEN": "hf_two"},
        {"HF_HOME": "{home}/elsewhere"},
        {"HF_TOKEN_PATH": "$HOME/given", "HF_HOME": "{home}/elsewhere"},
        {"XDG_CACHE_HOME": "{home}/xdg"},
        {"HF_TOKEN": "hf_one", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "true"},
    ],
)
def test_the_token_is_the_one_that_the_library_finds(
    variables: dict[str, str], isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = isolated_environment
    for place in (".cache/huggingface/token", "elsewhere/token", "given", "xdg/huggingface/token"):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text(f"hf_{place.replace('/', '_')}\n")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    environment = {name: value.format(home=home) for name, value in variables.items()}
    found = find_token(environment)
    assert (found.value if found else None) == library_token(environment, home)


def test_no_login_means_no_token(tmp_path: Path) -> None:
    assert find_token({"HF_HOME": str(tmp_path)}) is None
    (tmp_path / "token").write_text(" \n")
    assert find_token({"HF_HOME": str(tmp_path)}) is None
    assert token_file({"HF_HOME": str(tmp_path)}) == tmp_path / "token"


@pytest.mark.parametrize("variable", ["HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME"])
def test_d21_an_empty_variable_about_the_token_is_none(variable: str, isolated_environment: Path) -> None:
    file = isolated_environment / ".cache/huggingface/token"
    file.parent.mkdir(parents=True)
    file.write_text("hf_usual\n")
    found = find_token({variable: ""})
    assert found is not None
    assert found.value == "hf_usual"


@pytest.mark.parametrize("quote", ['"', "'"])
def test_d21_a_token_in_quotes_is_told(quote: str) -> None:
    with pytest.raises(UnauthorisedError, match="HF_TOKEN: ") as caught:
        find_token({"HF_TOKEN": f"{quote}{CANARY}{quote}"})
    assert CANARY not in caught.value.render()


def test_a_token_that_no_header_can_hold_is_refused_unseen(tmp_path: Path) -> None:
    with pytest.raises(UnauthorisedError, match="HF_TOKEN") as caught:
        find_token({"HF_TOKEN": f"{CANARY}\x00ü"})
    assert CANARY not in caught.value.render()
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(UnauthorisedError, match="cannot be read"):
        find_token({"HF_HOME": str(tmp_path)})


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
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_new")
    old = Token("hf_old", "~/.cache/huggingface/token", renewable=True)
    with HubClient(httpserver.url_for(""), old, cache_dir=tmp_path) as ours:
        assert ours.resolve("o/m").commit == COMMIT
    assert len(httpserver.log) == 2
    assert renewed(Token("hf_given", "HF_TOKEN")) is None
