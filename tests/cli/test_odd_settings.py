"""Settings and answers that cannot be what they should be: one line that says which, never a bug of ours."""

from pathlib import Path

import pytest

from imageworks.foundation.http_messages import Request, Response
from imageworks.loopback_hub.server import HubServer
from support.hub import Faults, status
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import content

NOBODY = "~nobody-of-that-name/models"
COMMANDS = [("analyze", REPO), ("download", REPO, "--dry-run"), ("reconcile", "--dry-run")]


def said_by(world: World, *words: str | Path) -> str:
    """Return what a command says, for which nothing may be a bug."""
    result = command(*words, *(() if words[0] == "analyze" else ("--registry", world.root)))
    said = " ".join((result.out + result.err).split())
    assert "bug" not in said
    return said


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize(
    "address",
    [
        "http://[::1",
        "http://ada:secret@[::1",
        "ada:secret@hub.example",
        "ftp://ada:secret@hub.example",
        "http://hub.example:99999",
        "http://hub.example/?token=secret",
        "https://hub.example/#secret",
        "http://hüb.example",
        "hub.example",
        "://",
    ],
)
def test_d21_an_endpoint_that_is_no_address_names_its_variable(
    world: World, monkeypatch: pytest.MonkeyPatch, address: str, words: tuple[str, ...]
) -> None:
    world.declare(location="flat")
    monkeypatch.setenv("HF_ENDPOINT", address)
    said = said_by(world, *words)
    assert "HF_ENDPOINT: " in said
    assert "secret" not in said


@pytest.mark.parametrize("where", ["/revision/", "/tree/", "/resolve/"])
@pytest.mark.parametrize("location", ["http://[::1", "//[", "http://a:b:c/", "http://127.0.0.1:port/x"])
def test_d25_a_redirect_to_what_is_no_address_is_told(world: World, where: str, location: str) -> None:
    world.serve()
    world.declare(location="flat")
    Faults.install(world.hub).add(status(302, ("Location", location)), where=where, times=-1)
    assert "error: " in said_by(world, "reconcile", "-y")
    assert not (world.folder / "flat" / NAME).exists()


def test_d25_a_redirect_in_plain_utf8_is_followed(world: World) -> None:
    weights = content("large", 9 << 20)
    world.serve({**MODEL, "modèle.safetensors": weights})
    world.declare(location="flat", source={"huggingface": REPO, "include": ["modèle.safetensors"]})

    def plain(hub: HubServer, request: Request) -> Response:
        response = hub.respond(request)
        location = dict(response.headers).get("Location", "").replace("%C3%A8", "è".encode().decode("latin-1"))
        kept = tuple(pair for pair in response.headers if pair[0] != "Location")
        return Response(response.status, (*kept, ("Location", location)), response.body)

    Faults.install(world.hub).add(plain, where="/resolve/", times=-1)
    world.reconcile()
    assert (world.folder / "flat" / NAME / "modèle.safetensors").read_bytes() == weights


@pytest.mark.parametrize("link", ["http://[::1>", "<http://[::1>", "<>"])
def test_d25_a_link_to_the_next_page_that_is_no_address_is_no_bug(world: World, link: str) -> None:
    world.serve()
    Faults.install(world.hub).add(
        lambda hub, request: Response(200, (("Link", f'{link}; rel="next"'),), hub.respond(request).body),
        where="/tree/",
        times=-1,
    )
    assert REPO in said_by(world, "analyze", REPO)


@pytest.mark.parametrize(
    "words",
    [
        ("verify", NOBODY),
        ("status", NOBODY),
        ("launch", "vllm", NOBODY),
        ("scan", "--base", NOBODY),
        ("migrate", NOBODY),
        ("download", REPO, "--location", NOBODY),
    ],
)
def test_u3_the_home_of_nobody_is_told(world: World, words: tuple[str, ...]) -> None:
    world.serve()
    assert "nobody-of-that-name" in said_by(world, *words)


@pytest.mark.parametrize(
    "variable", ["IMAGEWORKS_MODEL_ROOT", "IMAGEWORKS_LMSTUDIO_ROOT", "HF_HOME", "HF_HUB_CACHE", "OLLAMA_MODELS"]
)
def test_p6_a_root_in_the_home_of_nobody_is_told(world: World, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, NOBODY)
    assert NOBODY in said_by(world, "reconcile", "--dry-run")


def test_u3_a_name_for_people_may_begin_with_a_tilde(world: World) -> None:
    world.serve()
    world.declare(location="flat", display_name="~best of all")
    world.reconcile()
    assert "intact" in said_by(world, "verify", "~best of all")


ODD_PATHS = {
    "C:\\Users\\me\\My Models": "/mnt/c/Users/me/My Models",
    "d:/ai stuff/models": "/mnt/d/ai stuff/models",
    '"/data/my models"': "/data/my models",
    "'/data'": "/data",
}


@pytest.mark.parametrize("variable", ["IMAGEWORKS_MODEL_ROOT", "IMAGEWORKS_LMSTUDIO_ROOT"])
@pytest.mark.parametrize(("path", "right"), ODD_PATHS.items())
def test_p6_a_root_of_another_system_or_in_quotes_names_its_variable(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str, right: str, variable: str
) -> None:
    monkeypatch.setenv(variable, path)
    said = said_by(world, "list")
    assert said.startswith(f"error: {variable}: {path}")
    assert f" {right}." in said
    monkeypatch.setenv(variable, right)
    assert "error" not in said_by(world, "list")


@pytest.mark.parametrize(("path", "right"), ODD_PATHS.items())
def test_p9_a_root_of_another_system_in_a_project_names_its_file(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str, right: str
) -> None:
    project = world.folder / "project"
    project.mkdir()
    table = f"[tool.imageworks.model-downloader]\nwindows_lmstudio_root = '''{path}'''\n"
    (project / "pyproject.toml").write_text(table, encoding="utf-8")
    monkeypatch.chdir(project)
    said = said_by(world, "list")
    assert "project/pyproject.toml: tool.imageworks.model-downloader.windows_lmstudio_root: " in said
    assert f" {right}." in said


def test_p6_the_whole_filesystem_is_no_root(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", "/")
    for words in (("list",), ("status",), ("reconcile", "--dry-run")):
        assert "error: environment IMAGEWORKS_MODEL_ROOT: " in said_by(world, *words)


@pytest.mark.parametrize("path", ["/", "//", "/."])
def test_p6_nor_is_it_a_location(world: World, path: str, isolated_environment: Path) -> None:
    world.user_config(isolated_environment, 'roots = ["/"]\n')
    world.serve()
    world.configure(locations={"flat": {"path": path}})
    world.declare(location="flat")
    said_by(world, "reconcile", "--dry-run")
    said_by(world, "status")


def test_p6_a_blank_variable_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("IMAGEWORKS_MODEL_ROOT", "IMAGEWORKS_LMSTUDIO_ROOT", "IMAGEWORKS_REGISTRY_DIR", "IMAGEWORKS_HOST"):
        monkeypatch.setenv(variable, "  ")
    assert "error" not in said_by(world, "config")


def test_u3_a_location_of_another_system_is_told(world: World) -> None:
    world.serve()
    assert "/mnt/d/my models" in said_by(world, "download", REPO, "--location", "D:/my models")
