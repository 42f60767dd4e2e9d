"""Models behind proxies and office certificates, by the command line: nothing goes around, each refusal is named."""

import os
import re
from pathlib import Path

import pytest

from imageworks.foundation.http_messages import Request, Response
from support.hub import paths
from support.network import HUB_NAME, ForwardProxy, Relay, SocksProxy, TlsFront, make_authority
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import content

LARGE = {**MODEL, "model.safetensors": content("large weights", 9 * 1024 * 1024)}
USER, PASSWORD = "us@er", "p:ss#1"
WRITTEN = "us%40er:p%3Ass%231@"


def behind(world: World, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let the hub be reached by a name that only a proxy knows; return the size of the model there."""
    world.serve(LARGE)
    world.declare(location="flat")
    monkeypatch.setenv("HF_ENDPOINT", world.hub.url.replace("127.0.0.1", HUB_NAME))
    return sum(map(len, LARGE.values()))


def installed(world: World) -> dict[str, bytes]:
    folder = world.folder / "flat" / NAME
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_d19_d20_every_byte_goes_by_the_proxy(world: World, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    total = behind(world, monkeypatch)
    with ForwardProxy(USER, PASSWORD) as proxy:
        monkeypatch.setenv(variable, f"http://{WRITTEN}127.0.0.1:{proxy.port}")
        world.reconcile("-y")
        assert installed(world) == LARGE
        assert proxy.received >= total
        assert {target.removeprefix("http://").split(":")[0] for target in proxy.targets} == {HUB_NAME}
        assert {request.origin for request in world.hub.requests} == {"hub", "cdn"}


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("user", [USER, None])
def test_d21_a_socks_proxy_carries_everything(
    world: World, monkeypatch: pytest.MonkeyPatch, scheme: str, user: str | None
) -> None:
    total = behind(world, monkeypatch)
    with SocksProxy(user, PASSWORD) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{WRITTEN if user else ''}127.0.0.1:{proxy.port}")
        done = world.reconcile("-y")
        assert installed(world) == LARGE
        assert proxy.received >= total
        assert {target.split(":")[0] for target in proxy.targets} == {HUB_NAME}
        assert "ALL_PROXY" in done.err  # why the large file came over one connection


@pytest.mark.parametrize("kind", [ForwardProxy, SocksProxy])
@pytest.mark.parametrize("given", ["", "us%40er:wrong@"])
def test_d19_a_proxy_that_refuses_is_named_with_its_variable(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[ForwardProxy | SocksProxy], given: str
) -> None:
    behind(world, monkeypatch)
    with kind(USER, PASSWORD) as proxy:
        scheme = "http" if kind is ForwardProxy else "socks5h"
        monkeypatch.setenv("all_proxy", f"{scheme}://{given}127.0.0.1:{proxy.port}")
        failed = world.reconcile("-y", code=1)
    assert f"127.0.0.1:{proxy.port} (all_proxy)" in failed.err + failed.out
    assert "wrong" not in failed.err + failed.out
    assert proxy.refused == 1  # asking again would change nothing


def test_d21_no_proxy_is_obeyed_by_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve(LARGE)
    world.declare(location="flat")
    with ForwardProxy() as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "other.example,127.0.0.0/8")
        world.reconcile("-y")
        assert installed(world) == LARGE
        assert proxy.targets == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP_PROXY", "http://[::1"),
        ("http_proxy", "http://proxy:99999"),
        ("ALL_PROXY", "gopher://proxy"),
        ("ALL_PROXY", "http://u:se#cret@proxy:1"),
        ("ALL_PROXY", "http://127.0.0.1:9"),
        ("all_proxy", "socks5://127.0.0.1:9"),
    ],
)
@pytest.mark.parametrize("words", [("reconcile", "-y"), ("download", REPO), ("analyze", REPO), ("outdated",)])
def test_d21_a_useless_proxy_is_one_line_with_its_variable(
    world: World, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: tuple[str, ...]
) -> None:
    world.serve()
    world.declare(source={"huggingface": REPO, "revision": "1" * 40})
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("imageworks.providers.huggingface.session._FIRST_PAUSE_SECONDS", 0.0)
    registry = () if words[0] == "analyze" else ("--registry", world.root)
    failed = command(*words, *registry)
    said = failed.out + failed.err
    assert variable in said
    assert not re.search("bug|Traceback|secret", said)
    assert failed.code == (0 if words[0] == "outdated" else 1), failed


def through_tls(world: World, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Relay, Relay]:
    """Serve the hub and its links encrypted, at localhost."""
    plain = {
        origin: int(url.rpartition(":")[2]) for origin, url in (("hub", world.hub.url), ("cdn", world.hub.cdn_url))
    }
    hub, links = (TlsFront(plain[origin], certificate) for origin in ("hub", "cdn"))

    def encrypted(request: Request) -> Response:
        response = world.hub.respond(request)
        headers = [
            (name, re.sub(r"^http://[^/]*", f"https://localhost:{links.port}", value) if name == "Location" else value)
            for name, value in response.headers
        ]
        return Response(response.status, tuple(headers), response.body)

    world.hub.intercept = encrypted
    monkeypatch.setenv("HF_ENDPOINT", f"https://localhost:{hub.port}")
    return hub, links


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("proxied", [True, False])
def test_d21_certificates_of_the_office_hold_for_all(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, *, proxied: bool
) -> None:
    office = make_authority(tmp_path / "office")
    world.serve(LARGE)
    world.declare(location="flat")
    only = tmp_path / "only"
    only.mkdir()
    (only / "office.crt").write_bytes(office.root.read_bytes())
    hub, links = through_tls(world, office.server, monkeypatch)
    with hub, links, ForwardProxy(USER, PASSWORD) as proxy:
        if proxied:
            monkeypatch.setenv("HTTPS_PROXY", f"http://{WRITTEN}127.0.0.1:{proxy.port}")
        monkeypatch.setattr("imageworks.providers.huggingface.session._FIRST_PAUSE_SECONDS", 0.0)
        failed = world.reconcile("-y", code=1)
        assert "SSL_CERT_FILE" in failed.out + failed.err  # what would help
        monkeypatch.setenv(variable, str(only if variable == "SSL_CERT_DIR" else only / "office.crt"))
        world.reconcile("-y")
        assert installed(world) == LARGE
        assert (proxy.received > sum(map(len, LARGE.values()))) == proxied
    assert any("/lfs/" in path for path in paths(world.hub.requests, "cdn", "GET"))


@pytest.mark.parametrize("kind", ["missing", "folder", "garbage"])
def test_d21_useless_certificates_are_one_line_with_their_variable(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    world.serve()
    world.declare()
    path = tmp_path / kind
    path.mkdir() if kind == "folder" else path.write_bytes(b"\xff") if kind == "garbage" else None
    monkeypatch.setenv("HF_ENDPOINT", "https://localhost:9")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    failed = world.reconcile("-y", code=1)
    assert "SSL_CERT_FILE: " in failed.out + failed.err
    assert "bug" not in failed.out + failed.err
    assert os.environ["SSL_CERT_FILE"] == str(path)
