"""The list of models over HTTP: OpenAI's shape, read-only, bounded, and always as the last commit has it."""

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from imageworks.registry.snapshot import read_snapshot
from imageworks.serving.catalogue import Catalogue, Offered
from imageworks.serving.server import MOST_CONNECTIONS, ModelServer, ServeError
from support.serving import merged

HOST = "testhost"


def record(root: Path, *models: Mapping[str, object]) -> None:
    """Write a snapshot as a commit would leave it: another file under the same name."""
    file = root / f"snapshot/{HOST}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(models), encoding="utf-8")
    draft.replace(file)


def catalogue_of(root: Path, offered: Offered | None = None) -> Catalogue:
    """Return a catalogue of what :func:`record` wrote last."""
    return Catalogue(lambda: read_snapshot(root, HOST), offered or Offered(), root / "weights")


@contextmanager
def serving(root: Path, offered: Offered | None = None) -> Iterator[str]:
    catalogue = catalogue_of(root, offered)
    with ModelServer(catalogue) as server:
        yield server.url


def ask(url: str, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request(method, path, body=body)
    reply = connection.getresponse()
    said = reply.status, dict(reply.getheaders()), reply.read()
    connection.close()
    return said


def ids(url: str) -> list[str]:
    return [model["id"] for model in json.loads(ask(url, "/v1/models")[2])["data"]]


def test_the_list_has_openais_shape_and_the_names_that_list_shows(tmp_path: Path) -> None:
    weights = tmp_path / "weights/TheBloke/llama"
    weights.mkdir(parents=True)
    record(
        tmp_path,
        merged(
            "llama-12.2b-vllm-q4_k_m",
            weights,
            family="llama-12.2b",
            quantization="q4_k_m",
            served_model_id="llama",
            downloaded_at="2026-11-20T00:00:00Z",
            backend_config={"port": 24001},
            roles=["caption"],
            capabilities={"vision": True, "audio": False},
        ),
    )
    with serving(tmp_path) as url:
        status, headers, body = ask(url, "/v1/models")
    assert status == 200
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(body) == {
        "object": "list",
        "data": [
            {
                "id": "llama-12.2b-vllm-q4_k_m",
                "object": "model",
                "created": 1795132800,
                "owned_by": "thebloke",
                "name": "llama 12.2b (Q4 K M)",
                "imageworks": {
                    "backend": "vllm",
                    "served_model_id": "llama",
                    "base_url": "http://localhost:24001/v1",
                    "format": None,
                    "quantization": "q4_k_m",
                    "roles": ["caption"],
                    "capabilities": ["vision"],
                    "installed": True,
                },
            }
        ],
    }
    assert str(tmp_path) not in body.decode()


@pytest.mark.parametrize(
    ("offered", "shown"),
    [
        (Offered(), ["here"]),
        (Offered(testing=True), ["here", "mine-testzzz"]),
        (Offered(non_installed=True), ["gone", "here", "logical"]),
        (Offered(deprecated=True), ["here", "old"]),
        (Offered(patterns="^here$"), []),
    ],
)
def test_only_installed_current_models_are_shown_unless_asked(
    tmp_path: Path, offered: Offered, shown: list[str]
) -> None:
    record(
        tmp_path,
        merged("gone", tmp_path / "gone"),
        merged("here", tmp_path),
        merged("logical"),
        merged("mine-testzzz", tmp_path),
        merged("old", tmp_path, deprecated=True),
    )
    with serving(tmp_path, offered) as url:
        assert ids(url) == shown


def test_new_commits_and_lost_files_show_without_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        assert ids(url) == []
        (tmp_path / "a").mkdir()
        record(tmp_path, merged("a", tmp_path / "a"))
        assert ids(url) == ["a"]
        record(tmp_path, merged("a", tmp_path / "a"), merged("b", tmp_path))
        assert ids(url) == ["a", "b"]
        (tmp_path / "a").rmdir()
        assert ids(url) == ["b"]
        (tmp_path / f"snapshot/{HOST}.json").unlink()
        assert ids(url) == []


def test_one_model_is_found_by_every_name_it_has(tmp_path: Path) -> None:
    record(tmp_path, merged("m-vllm", tmp_path, served_model_id="a/b", display_name="m (AWQ)"), merged("n", tmp_path))
    with serving(tmp_path) as url:
        for name in ("m-vllm", "a/b", "m (AWQ)"):
            status, _, body = ask(url, f"/v1/models/{quote(name, safe='')}")
            assert (status, json.loads(body)["id"]) == (200, "m-vllm")
        assert ask(url, "/v1/models/a/b")[0] == 200
        status, _, body = ask(url, "/v1/models/nothing")
    assert status == 404
    assert json.loads(body)["error"] == {
        "message": "The model 'nothing' does not exist",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }


def test_a_name_that_two_models_have_is_none(tmp_path: Path) -> None:
    record(tmp_path, merged("m", tmp_path, model_aliases=["x"]), merged("n", tmp_path, model_aliases=["x"]))
    with serving(tmp_path) as url:
        assert ask(url, "/v1/models/x")[0] == 404


def test_health_counts_what_is_shown(tmp_path: Path) -> None:
    record(tmp_path, merged("m", tmp_path))
    with serving(tmp_path) as url:
        assert json.loads(ask(url, "/health")[2]) == {"status": "ok", "models": 1}


def test_head_has_the_headers_and_no_body(tmp_path: Path) -> None:
    record(tmp_path, merged("m", tmp_path))
    with serving(tmp_path) as url:
        whole, head = ask(url, "/v1/models/"), ask(url, "/v1/models?x=1", "HEAD")
    assert (head[0], head[2]) == (200, b"")
    assert head[1]["Content-Length"] == whole[1]["Content-Length"] == str(len(whole[2]))
    assert "python" not in head[1]["Server"].lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_methods_are_refused(tmp_path: Path, method: str) -> None:
    with serving(tmp_path) as url:
        status, headers, body = ask(url, "/v1/models", method, b"x" * 100_000)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert "read-only" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/chat/completions", "/v1/modelsx", "/../etc/passwd", "//"])
def test_there_is_nothing_else(tmp_path: Path, path: str) -> None:
    with serving(tmp_path) as url:
        status, _, body = ask(url, path)
    assert (status, json.loads(body)["error"]["type"]) == (404, "invalid_request_error")


def test_a_broken_snapshot_is_told_and_mended_without_a_restart(tmp_path: Path) -> None:
    record(tmp_path, merged("m", tmp_path))
    file = tmp_path / f"snapshot/{HOST}.json"
    with serving(tmp_path) as url:
        assert ids(url) == ["m"]
        file.write_text("[{", encoding="utf-8")
        for path in ("/v1/models", "/v1/models/m", "/health"):
            status, _, body = ask(url, path)
            assert (status, json.loads(body)["error"]["type"]) == (503, "server_error")
        record(tmp_path, merged("m", tmp_path))
        assert ids(url) == ["m"]


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"GET /v1/models\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: nonsense\r\n\r\n",
        b"",
    ],
)
def test_nonsense_ends_its_connection_and_nothing_else(tmp_path: Path, sent: bytes) -> None:
    record(tmp_path, merged("m", tmp_path))
    with serving(tmp_path) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass  # it did not read all of it
        assert ids(url) == ["m"]


def test_too_many_connections_are_turned_away_and_room_comes_back(tmp_path: Path) -> None:
    record(tmp_path, merged("m", tmp_path))
    with serving(tmp_path) as url, ExitStack() as held:
        parts = urlsplit(url)
        address = (parts.hostname, parts.port)
        idle = [held.enter_context(socket.create_connection(address, timeout=20)) for _ in range(MOST_CONNECTIONS)]
        with socket.create_connection(address, timeout=20) as over:
            assert over.recv(100).startswith(b"HTTP/1.1 503 ")
        for connection in idle:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        reply = None
        while reply != 200:  # a thread gives its room back just after its connection ended
            reply = ask(url, "/health")[0]


def test_a_bug_cuts_its_own_connection_and_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Catalogue) -> object:
        raise TypeError("a bug")

    monkeypatch.setattr(Catalogue, "document", broken)
    record(tmp_path, merged("m", tmp_path))
    said: list[str] = []
    with ModelServer(catalogue_of(tmp_path), log=said.append) as server:
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server.url, "/v1/models")
        assert ask(server.url, "/health")[0] == 200
    assert "error: TypeError: a bug" in said


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with serving(tmp_path) as url, pytest.raises(ServeError, match="cannot listen on 127") as caught:
        ModelServer(catalogue_of(tmp_path), port=urlsplit(url).port or 0)
    assert "--port" in str(caught.value.remedy)


def test_an_address_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="cannot listen on 256"):
        ModelServer(catalogue_of(tmp_path), host="256.0.0.1")


def test_it_serves_ipv6(tmp_path: Path) -> None:
    if not os.path.exists("/proc/net/if_inet6"):  # noqa: PTH110 # no other way to ask
        pytest.skip("no IPv6 here")
    record(tmp_path, merged("m", tmp_path))
    with ModelServer(catalogue_of(tmp_path), host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert ids(server.url) == ["m"]
