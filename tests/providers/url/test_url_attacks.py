"""What a request may try with addresses of files: places that are kept, addresses that are none, answers that lie."""

import json
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from support.ollama_content import hex_sha256
from support.reconcile import World, command

NAME = "tool-7b-q4"
DIGEST = "0" * 64


def refused(world: World, url: str) -> str:
    """Return what ``validate`` says of an address, having seen that the rest of the registry is judged with it."""
    world.declare("broken", source={"url": "https://files.example/m.gguf", "sha256": "short"})
    world.declare(NAME, source={"url": url, "sha256": DIGEST})
    result = command("validate", "--registry", world.root, "--json")
    found = json.loads(result.out)["diagnostics"]
    assert {Path(one["file"]).stem for one in found} == {NAME, "broken"}
    assert "bug" not in result.err
    return str(next(one["message"] for one in found if Path(one["file"]).stem == NAME))


@pytest.mark.parametrize("place", ["registry.yaml", ".git/config", "models/x.gguf", "link/config"])
def test_x1_no_file_of_a_registry_is_named_by_its_address(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(world.folder))
    (world.root / "models").mkdir(exist_ok=True)
    (world.root / "models" / "x.gguf").write_bytes(b"GGUF")
    (world.folder / "link").symlink_to(world.git_root / ".git")
    file = (world.folder if place.startswith("link") else world.git_root) / place
    if not file.exists():
        file = world.root / place
    world.declare(
        NAME,
        source={"url": f"file://{file}", "sha256": hex_sha256(file.read_bytes())},
        location=str(world.folder / "x"),
    )
    assert "is no place for a model" in command("validate", "--registry", world.root).out
    assert "root-not-allowed" in world.reconcile(code=1, valid=False).out
    assert not (world.folder / "x").exists()


def test_x1_a_folder_or_a_pipe_is_no_file_of_an_address(world: World) -> None:
    world.declare(NAME, source={"url": f"file://{world.weights}", "sha256": DIGEST})
    assert "source-unusable" in world.reconcile(code=1).out


@pytest.mark.parametrize(
    "url",
    [
        "https://[bad/m.gguf",
        "https://[::::]/m.gguf",
        "https://files.example:99999/m.gguf",
        "https://files.example:0/m.gguf",
        "https://files.example%00/m.gguf",
        "file:///tmp/%00/m.gguf",
        "https://ﬁles.example/m.gguf",
        "https:///m.gguf",
    ],
)
def test_x7_an_address_that_is_none_is_told_with_its_line_and_stops_nothing_else(world: World, url: str) -> None:
    world.configure(policies={"allowed_owners": ["files.example"]})
    assert refused(world, url)


@pytest.mark.parametrize("said", ["bytes 0-0/²", "bytes 0-0/" + "9" * 5000, "bytes 0-0/-1", "bytes 0-0/*"])
def test_x15_a_size_that_is_none_blocks_the_model(
    world: World, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("IMAGEWORKS_PRIVATE_HOSTS", "127.0.0.1,localhost")

    def answer(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(status=405)
        return Response(b"x", status=206, headers={"content-range": said})

    httpserver.expect_request("/m.gguf").respond_with_handler(answer)
    url = httpserver.url_for("/m.gguf").replace("localhost", "127.0.0.1")
    world.declare(NAME, source={"url": url, "sha256": DIGEST})
    assert "unexpected-reply" in world.reconcile(code=1).out
