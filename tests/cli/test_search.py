"""``search``: models of the hub by words."""

from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from support.reconcile import QUANTS, REPO, World, command

CARD = b"---\nlicense: mit\n---\n# Many\n"


@pytest.fixture
def stocked(world: World) -> World:
    world.serve({**QUANTS, "README.md": CARD}, "acme/many-7b-GGUF")
    world.serve(name="acme/awq-7b-AWQ")
    world.serve()
    return world


def test_u6_models_with_licence_downloads_and_quantizations(stocked: World) -> None:
    found = command("search", "7b", "acme", "--json")
    assert found.code == 0, found
    models = found.json["models"]
    assert isinstance(models, list)
    assert [(one["name"], one["license"], one["quantizations"]) for one in models] == [
        ("acme/awq-7b-AWQ", None, ["awq"]),
        ("acme/many-7b-GGUF", "mit", ["q4_k_m", "q8_0"]),
    ]
    assert {one["downloads"] for one in models} == {0}
    shown = command("search", "many")
    assert shown.code == 0
    assert "q4_k_m, q8_0" in shown.out
    assert REPO not in shown.out
    assert len(command("search", "acme", "--limit", "1", "--json").json["models"]) == 1  # type: ignore[arg-type]
    assert command("search", "nothing of the kind").out == ""
    assert not (stocked.root / "discovered").exists()


@pytest.mark.parametrize("words", [["", " "], []])
def test_u6_no_words_are_a_usage_error(stocked: World, words: list[str]) -> None:
    assert stocked.root.is_dir()
    assert command("search", *words).code == 64


def test_u6_offline_says_so_and_asks_nobody(stocked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stocked.served.forget()
    result = command("search", "many", "--offline")
    assert (result.code, result.out) == (1, "")
    assert "offline" in result.err
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert command("search", "many").code == 1
    assert stocked.served.requests == 0


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("<html>", 200),
        ('{"error": "no"}', 200),
        ('[{"id": 7}, {"id": "a/b", "tags": 3, "siblings": null, "downloads": "x", "gated": null}]', 200),
        ("[]", 404),
        ("no", 500),
    ],
)
def test_u6_a_hub_that_answers_something_else(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, answer: str, status: int, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    httpserver.expect_request("/api/models").respond_with_data(answer, status, content_type="application/json")
    monkeypatch.setenv("HF_ENDPOINT", httpserver.url_for("").rstrip("/").replace("localhost", "127.0.0.1"))
    result = command("search", "x", "--json")
    if answer.startswith("[{"):
        assert (result.code, [one["name"] for one in result.json["models"]]) == (0, ["a/b"])  # type: ignore[attr-defined]
    else:
        assert (result.code, result.out) == (1, ""), result
    assert "Traceback" not in result.err
    assert "error: " in result.err or result.code == 0
