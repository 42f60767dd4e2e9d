"""Models that are files by their addresses, through the real program: real HTTP on loopback, a real aria2c."""

import base64
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from support.git import git
from support.ollama_content import hex_sha256
from support.reconcile import World, command
from support.transfer import content, gguf_content, tree

NAME = "tool-7b-q4"
GGUF = gguf_content("Q4_K_M", 40_000)
LARGE = content("a large file", 9 * 1024 * 1024)  # more than what is fetched in Python
PICKLE = b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."


class Site:
    """A site that gives files, some of them only to whom it knows."""

    def __init__(self, server: HTTPServer) -> None:
        self.server = server
        self.files: dict[str, bytes] = {}
        self.wanted: str | None = None
        self.asked: list[tuple[str, str, str]] = []
        server.expect_request("/moved").respond_with_handler(self._moved)
        server.expect_request("/outside").respond_with_handler(
            lambda _: Response(status=302, headers={"location": "http://169.254.169.254/latest/meta-data"})
        )
        server.expect_request("/").respond_with_handler(lambda _: Response(status=404))
        for name in ("a.gguf", "b.safetensors", "config.json", "model.bin", "large.gguf"):
            server.expect_request(f"/{name}").respond_with_handler(self._give)

    def _moved(self, request: Request) -> Response:
        self.asked.append((request.method, request.path, request.headers.get("authorization", "")))
        return Response(
            status=302, headers={"location": self.server.url_for("/a.gguf").replace("127.0.0.1", "localhost")}
        )

    def _give(self, request: Request) -> Response:
        known = request.headers.get("authorization", "")
        self.asked.append((request.method, request.path, known))
        if self.wanted is not None and known != self.wanted:
            return Response("who are you?", status=401)
        data = self.files.get(request.path[1:])
        if data is None:
            return Response(status=404)
        response = Response(data, headers={"accept-ranges": "bytes"})
        response.make_conditional(request, accept_ranges=True, complete_length=len(data))
        return response

    def url(self, name: str) -> str:
        return self.server.url_for(f"/{name}").replace("localhost", "127.0.0.1")

    def source(self, name: str, **more: str) -> dict[str, str]:
        return {"url": self.url(name), "sha256": hex_sha256(self.files[name]), **more}


@pytest.fixture
def site(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("IMAGEWORKS_PRIVATE_HOSTS", "127.0.0.1,localhost")
    made = Site(httpserver)
    made.files = {"a.gguf": GGUF, "config.json": b'{"model_type": "llama"}\n', "b.safetensors": content("b", 50_000)}
    return made


def installed(world: World, name: str = NAME) -> dict[str, bytes]:
    return tree(Path(str(world.entry(name)["download_path"])))


def test_a_file_is_installed_verified_and_then_nobody_is_asked(world: World, site: Site) -> None:
    world.declare(NAME, source=site.source("a.gguf"), backend="gguf")
    assert world.plan().changes == {NAME: ("install", "missing")}
    world.reconcile()
    assert installed(world) == {"a.gguf": GGUF}
    entry = world.entry(NAME)
    assert (entry["source_provider"], entry["verification"]) == ("url", "pinned-digest")
    assert entry["metadata"]["source_urls"] == [site.url("a.gguf")]  # type: ignore[index]
    assert entry["download_format"] == "gguf"
    site.asked.clear()
    head = world.head()
    assert world.plan().changes == {}
    world.reconcile()
    assert (site.asked, world.head()) == ([], head)


def test_several_files_have_paths_of_their_own(world: World, site: Site) -> None:
    files = [site.source("b.safetensors", path="weights/model.safetensors"), site.source("config.json")]
    world.declare(NAME, source={"files": files})
    world.reconcile()
    assert installed(world) == {
        "weights/model.safetensors": site.files["b.safetensors"],
        "config.json": site.files["config.json"],
    }


def test_an_adapter_is_told_before_it_is_fetched(world: World, site: Site) -> None:
    site.files["config.json"] = b'{"peft_type": "LORA", "base_model_name_or_path": "acme/base-1b"}'
    files = [
        site.source("b.safetensors", path="adapter_model.safetensors"),
        site.source("config.json", path="adapter_config.json"),
    ]
    world.declare(NAME, source={"files": files})
    shown = world.reconcile("--dry-run")
    assert "acme/base-1b" in shown.out + shown.err
    assert {path for method, path, _ in site.asked if method == "GET"} == {"/config.json"}


def test_a_large_file_comes_through_aria2_from_where_it_is_led_to(world: World, site: Site) -> None:
    site.files["a.gguf"] = LARGE
    world.declare(NAME, source={"files": [{"url": site.url("moved"), "sha256": hex_sha256(LARGE), "path": "m.gguf"}]})
    world.reconcile()
    assert installed(world) == {"m.gguf": LARGE}


def test_other_bytes_than_declared_are_refused_and_nothing_is_published(world: World, site: Site) -> None:
    world.declare(NAME, source={"url": site.url("a.gguf"), "sha256": "0" * 64})
    assert world.reconcile(code=1).code == 1
    assert world.entries() == []
    assert not list(world.weights.rglob("a.gguf"))


def test_another_digest_is_an_update_and_a_lost_file_comes_alone(world: World, site: Site) -> None:
    world.declare(NAME, source={"files": [site.source("a.gguf"), site.source("config.json")]})
    world.reconcile()
    Path(str(world.entry(NAME)["download_path"]), "config.json").unlink()
    site.asked.clear()
    assert world.plan().changes == {NAME: ("repair", "file-missing")}
    world.reconcile()
    assert {path for method, path, _ in site.asked if method == "GET"} == {"/config.json"}
    site.files["a.gguf"] = gguf_content("Q8_0", 50_000)
    world.declare(NAME, source={"files": [site.source("a.gguf"), site.source("config.json")]})
    assert world.plan().changes == {NAME: ("update", "revision-changed")}
    world.reconcile()
    assert installed(world)["a.gguf"] == site.files["a.gguf"]


def test_bytes_that_are_here_are_not_fetched_again(world: World, site: Site) -> None:
    world.declare("first", source=site.source("a.gguf"))
    world.reconcile()
    world.declare("second", source=site.source("a.gguf"), location="second")
    site.asked.clear()
    world.reconcile()
    assert [path for method, path, _ in site.asked if method == "GET"] == []
    assert installed(world, "second") == {"a.gguf": GGUF}


def test_what_lies_there_already_is_adopted(world: World, site: Site) -> None:
    folder = world.weights / NAME
    folder.mkdir(parents=True)
    (folder / "a.gguf").write_bytes(GGUF)
    world.declare(NAME, source=site.source("a.gguf"))
    assert world.plan().changes == {NAME: ("adopt", "found")}
    world.reconcile()
    assert [path for method, path, _ in site.asked if method == "GET"] == []


def test_a_file_of_this_host_is_taken_from_below_its_roots_alone(world: World) -> None:
    inside = world.weights / "store/model.gguf"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(GGUF)
    outside = Path(__file__)
    world.declare(NAME, source={"url": inside.as_uri(), "sha256": hex_sha256(GGUF)})
    world.declare("other", source={"url": outside.as_uri(), "sha256": hex_sha256(GGUF)})
    world.reconcile(code=1)
    assert installed(world) == {"model.gguf": GGUF}
    assert world.plan(code=1).changes == {"other": ("blocked", "root-not-allowed")}


@pytest.mark.parametrize("how", ["netrc", "variable"])
def test_credentials_are_this_hosts_own_and_go_nowhere_else(
    world: World, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    if how == "netrc":
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password s3cret-word\n", encoding="utf-8")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        site.wanted = "Basic " + base64.b64encode(b"me:s3cret-word").decode()
    else:
        monkeypatch.setenv("SITE_TOKEN", "s3cret-word")
        monkeypatch.setenv("IMAGEWORKS_CREDENTIALS", "127.0.0.1=SITE_TOKEN")
        site.wanted = "Bearer s3cret-word"
    world.declare(NAME, source=site.source("a.gguf"))
    shown = world.reconcile()
    assert installed(world) == {"a.gguf": GGUF}
    assert "s3cret-word" not in shown.out + shown.err + git(world.git_root, "log", "-p")
    site.wanted = None
    site.asked.clear()
    world.declare("led", source={"files": [{"url": site.url("moved"), "sha256": hex_sha256(GGUF[::-1]), "path": "x"}]})
    world.plan()
    assert [known for _, path, known in site.asked if path == "/a.gguf"] == [""]
    assert all(known for _, path, known in site.asked if path == "/moved")


def test_a_site_that_wants_to_know_us_is_told_of_before_anything_is_done(world: World, site: Site) -> None:
    site.wanted = "Bearer x"
    world.declare(NAME, source=site.source("a.gguf"))
    plan = world.plan(code=1)
    assert plan.changes == {NAME: ("blocked", "unauthorised")}
    assert "netrc" in plan.out


@pytest.mark.parametrize("name", ["outside", "a.gguf"])
def test_x15_a_manifest_leads_to_no_private_address(
    world: World, site: Site, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "a.gguf":
        monkeypatch.delenv("IMAGEWORKS_PRIVATE_HOSTS")
    world.declare(NAME, source={"url": site.url(name), "sha256": "0" * 64})
    assert world.plan(code=1).changes == {NAME: ("blocked", "private-address")}


@pytest.mark.parametrize("said", ["\xb2", "9" * 5000, "9" * 19, "-1", "1e3", "nan"])
def test_x15_a_size_that_is_no_number_blocks_the_model_alone(world: World, site: Site, said: str) -> None:
    def give(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(status=405)
        return Response(b"x", status=206, headers={"content-range": f"bytes 0-0/{said}"})

    site.server.expect_request("/odd.gguf").respond_with_handler(give)
    world.declare(source={"url": site.url("odd.gguf"), "sha256": "0" * 64})
    planned = world.plan(code=1)
    assert "unexpected-reply" in planned.out
    assert "bug" not in planned.out + planned.err


def test_offline_asks_nobody(world: World, site: Site) -> None:
    world.declare(NAME, source=site.source("a.gguf"))
    assert world.plan("--offline", code=1).changes == {NAME: ("blocked", "offline")}
    assert site.asked == []


@pytest.mark.parametrize(
    "source",
    [
        {"url": "https://models.example.com/a.gguf"},
        {"url": "http://models.example.com/a.gguf", "sha256": "0" * 64},
        {"url": "https://me:word@models.example.com/a.gguf", "sha256": "0" * 64},
        {"url": "ftp://models.example.com/a.gguf", "sha256": "0" * 64},
        {"files": []},
        {"files": [{"url": "https://models.example.com/a.gguf", "sha256": "0" * 64, "path": "../a"}]},
        {"url": "https://models.example.com/a.gguf", "sha256": "0" * 64, "huggingface": "acme/tiny"},
    ],
)
def test_what_is_no_source_is_told_with_its_place(world: World, source: object) -> None:
    world.declare(NAME, source=source)
    shown = command("validate", "--registry", world.root)
    assert shown.code == 1
    assert f"models/{NAME}.yaml:" in shown.out + shown.err


def test_i8_two_files_of_one_path_and_paths_without_a_name_are_refused(world: World, site: Site) -> None:
    world.declare(NAME, source={"files": [site.source("a.gguf", path="M"), site.source("config.json", path="m")]})
    world.declare(
        "nameless", source={"url": site.server.url_for("/").replace("localhost", "127.0.0.1"), "sha256": "0" * 64}
    )
    assert world.plan(code=1).changes == {NAME: ("blocked", "unsafe-name"), "nameless": ("blocked", "invalid-manifest")}


def test_policies_judge_hosts_and_bytes(world: World, site: Site) -> None:
    site.files["model.bin"] = PICKLE
    world.declare(NAME, source=site.source("model.bin"))
    world.configure(policies={"forbid_pickle": True, "require_pins": True})
    assert world.plan(code=1).changes == {NAME: ("blocked", "policy-violated")}
    world.configure(policies={"allowed_owners": ["models.example.com"]})
    assert world.plan(code=1).changes == {NAME: ("blocked", "policy-violated")}
    world.configure(policies={"allowed_owners": ["127.0.0.1"], "require_pins": True})
    assert world.plan().changes == {NAME: ("install", "missing")}


def test_outdated_says_that_digests_pin(world: World, site: Site) -> None:
    world.declare(NAME, source=site.source("a.gguf"))
    world.reconcile()
    shown = command("outdated", "--json", "--registry", world.root)
    assert shown.code == 0
    assert "pinned by its digests" in shown.out
