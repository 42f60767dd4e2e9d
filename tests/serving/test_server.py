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

from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.foundation.http_access import ServerAccess, origin_of
from imageworks.foundation.http_server import ServerLimits, ServerStartError
from imageworks.serving.http_server import LIMITS, ModelServer
from imageworks.serving.model_list import ModelList, Offered
from support.serving import merged

HOST = "testhost"


def record(root: Path, *models: Mapping[str, object]) -> None:
    """Write models where :func:`recorded` reads them."""
    file = root / f"snapshot/{HOST}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(models), encoding="utf-8")
    draft.replace(file)


def recorded(root: Path) -> list[Mapping[str, object]]:
    """Return what :func:`record` wrote last, as the registry's door returns its models."""
    file = root / f"snapshot/{HOST}.json"
    try:
        models: list[Mapping[str, object]] = json.loads(file.read_bytes()) if file.exists() else []
    except ValueError as error:
        raise ImageworksError(f"{file}: {error}") from error
    return models


def catalogue_of(root: Path, offered: Offered | None = None) -> ModelList:
    """Return a catalogue of what :func:`record` wrote last."""
    return ModelList(lambda: recorded(root), offered or Offered(), root / "weights")


@contextmanager
def serving(
    root: Path, offered: Offered | None = None, *, origins: tuple[str, ...] = (), limits: ServerLimits = LIMITS
) -> Iterator[str]:
    catalogue = catalogue_of(root, offered)
    with ModelServer(catalogue, access=ServerAccess(origins=frozenset(origins)), limits=limits) as server:
        yield server.url


def ask(
    url: str, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request(
        method, path, body=body, headers={name.replace("_", "-"): said for name, said in headers.items()}
    )
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
                "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
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
    assert "python" not in head[1].get("Server", "").lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
def test_other_methods_are_refused(tmp_path: Path, method: str) -> None:
    with serving(tmp_path) as url:
        status, headers, body = ask(url, "/v1/models", method, b"x" * 100_000)
    assert (status, headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert "read-only" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/chat/completions", "/v1/modelsx", "/../etc/passwd", "//"])
def test_there_is_nothing_else(tmp_path: Path, path: str) -> None:
    with serving(tmp_path) as url:
        status, _, body = ask(url, path)
    assert (status, json.loads(body)["error"]["type"]) == (404, "invalid_request_error")


@pytest.mark.parametrize(
    "path", ["/v1//models", "//v1/models", "/v1/models//", "/v1/models/", "///v1///models///?a=//"]
)
def test_o15_slashes_too_many_lead_to_the_same_list(tmp_path: Path, path: str) -> None:
    record(tmp_path, merged("m", tmp_path))
    with serving(tmp_path) as url:
        assert [one["id"] for one in json.loads(ask(url, path)[2])["data"]] == ["m"]


PAGE = "http://localhost:3000"


def test_o15_only_pages_that_were_named_may_read(tmp_path: Path) -> None:
    record(tmp_path, merged("m", tmp_path))
    with serving(tmp_path) as url:
        assert "Access-Control-Allow-Origin" not in ask(url, "/v1/models", Origin=PAGE)[1]
        status, headers, body = ask(url, "/v1/models", "OPTIONS", Origin=PAGE, Access_Control_Request_Method="GET")
        assert (status, "Access-Control-Allow-Origin" in headers) == (403, False)
        assert "--cors" in json.loads(body)["error"]["message"]
        assert ask(url, "/v1/models", "OPTIONS")[:2][0] == 204
    with serving(tmp_path, origins=(PAGE,)) as url:
        for path in ("/v1/models", "/v1/models/m", "/nothing"):
            headers = ask(url, path, Origin=PAGE)[1]
            assert (headers["Access-Control-Allow-Origin"], headers["Vary"]) == (PAGE, "Origin")
        for other in ("http://localhost:3001", "https://localhost:3000", "null", "http://evil.example"):
            headers = ask(url, "/v1/models", Origin=other)[1]
            assert ("Access-Control-Allow-Origin" in headers, headers["Vary"]) == (False, "Origin")
        wanted = "authorization, content-type, x-stainless-os"
        status, headers, body = ask(
            url,
            "/v1/models",
            "OPTIONS",
            Origin=PAGE,
            Access_Control_Request_Method="GET",
            Access_Control_Request_Headers=wanted,
        )
    assert (status, body, headers["Access-Control-Allow-Origin"]) == (204, b"", PAGE)
    assert headers["Access-Control-Allow-Headers"] == wanted
    assert "*" not in str(headers)


@pytest.mark.parametrize(
    "said", ["*", "null", "localhost:3000", "http://", "http://a/path", "http://a@b", "http://a:port"]
)
def test_o15_what_is_no_origin_is_refused(said: str) -> None:
    with pytest.raises(UsageError):
        origin_of(said)


@pytest.mark.parametrize(
    ("said", "origin"),
    [
        ("HTTP://LocalHost:3000/", "http://localhost:3000"),
        ("https://chat.example:443", "https://chat.example"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_o15_an_origin_is_taken_as_browsers_send_it(said: str, origin: str) -> None:
    assert origin_of(said) == origin


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1//embeddings/", "/v1/responses", "/v1/rerank"])
def test_o15_a_post_says_where_the_model_is_served(tmp_path: Path, path: str) -> None:
    record(
        tmp_path,
        merged("m-vllm", tmp_path, served_model_id="m", backend_config={"port": 24001}),
        merged("no-port", tmp_path, backend="lmdeploy"),
    )
    with serving(tmp_path) as url:
        status, _, body = ask(url, path, "POST", json.dumps({"model": "m", "messages": []}).encode())
        error = json.loads(body)["error"]
        assert (status, error["code"], error["param"]) == (404, "not_served_here", "model")
        for part in ("http://localhost:24001/v1", "'m'", "imageworks-models launch vllm m-vllm"):
            assert part in error["message"]
        _, _, body = ask(url, path, "POST", b'{"model": "no-port"}')
        assert "launch lmdeploy no-port" in json.loads(body)["error"]["message"]
        status, _, body = ask(url, path, "POST", b'{"model": "unknown"}')
        assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
        for nonsense in (b"", b"[" * 100_000, b"\xff", b'{"model": 7}', b"x" * 3_000_000):
            status, _, body = ask(url, path, "POST", nonsense)
            assert (status, json.loads(body)["error"]["code"]) == (404, "not_served_here")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:8100", 200),
        ("[::1]:8100", 200),
        ("localhost.", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("192.168.1.5", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_x14_only_loopback_names_and_the_own_address_are_answered(tmp_path: Path, host: str, status: int) -> None:
    record(tmp_path, merged("m", tmp_path))
    with serving(tmp_path, origins=("http://evil.example",)) as url:
        found = ask(url, "/v1/models", Host=host)
        assert found[0] == status
        assert found[1]["X-Content-Type-Options"] == "nosniff"
        assert (b'"m"' in found[2]) is (status == 200)
        if host != "[":  # http.client would not send that
            assert ask(url, f"http://{host or 'x'}/v1/models")[0] == status


def test_x14_two_hosts_are_none(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
            assert b" 400 " in connection.recv(1000).splitlines()[0]


@pytest.mark.parametrize(("name", "status"), [("10.1.2.3", 200), ("host.docker.internal", 200), ("evil.example", 403)])
def test_x14_a_server_for_all_addresses_takes_addresses_and_no_names_of_others(
    tmp_path: Path, name: str, status: int
) -> None:
    record(tmp_path, merged("m", tmp_path))
    access = ServerAccess(insecure=True)
    with ModelServer(catalogue_of(tmp_path), host="0.0.0.0", access=access) as server:  # noqa: S104 # what is tested
        url = server.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 # where it can be reached
        assert ask(url, "/v1/models", Host=f"{name}:8100")[0] == status


def test_x14_a_request_that_drips_gives_its_place_back(tmp_path: Path) -> None:
    record(tmp_path, merged("m", tmp_path))
    with serving(tmp_path, limits=ServerLimits(request_seconds=0.3)) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n")
            ended = False
            for _ in range(1000):  # a byte more often than any single read would wait
                try:
                    connection.sendall(b"a")
                    connection.settimeout(0.02)
                    ended = connection.recv(1) == b""
                except TimeoutError:
                    continue
                except ConnectionError:
                    ended = True
                if ended:
                    break
            assert ended
        assert ids(url) == ["m"]


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
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass  # it did not read all of it
        assert ids(url) == ["m"]


def test_x14_connections_that_say_nothing_make_room_for_others(tmp_path: Path) -> None:
    record(tmp_path, merged("m", tmp_path))
    with serving(tmp_path) as url, ExitStack() as held:
        parts = urlsplit(url)
        address = (parts.hostname, parts.port)
        slow = [held.enter_context(socket.create_connection(address, timeout=60)) for _ in range(LIMITS.connections)]
        for connection in slow[::2]:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nA: ")
        assert [ids(url) for _ in range(LIMITS.connections + 8)] == [["m"]] * (LIMITS.connections + 8)


def test_a_bug_cuts_its_own_connection_and_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: ModelList) -> object:
        raise TypeError("a bug")

    monkeypatch.setattr(ModelList, "document", broken)
    record(tmp_path, merged("m", tmp_path))
    said: list[str] = []
    with ModelServer(catalogue_of(tmp_path), log=said.append) as server:
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server.url, "/v1/models")
        assert ask(server.url, "/health")[0] == 200
    assert "error: TypeError: a bug" in said


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with serving(tmp_path) as url, pytest.raises(ServerStartError, match="cannot listen on 127") as caught:
        ModelServer(catalogue_of(tmp_path), port=urlsplit(url).port or 0)
    assert "--port" in str(caught.value.remedy)


def test_an_address_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match="cannot listen on 256"):
        ModelServer(catalogue_of(tmp_path), host="256.0.0.1")


def test_it_serves_ipv6(tmp_path: Path) -> None:
    if not os.path.exists("/proc/net/if_inet6"):  # noqa: PTH110 # no other way to ask
        pytest.skip("no IPv6 here")
    record(tmp_path, merged("m", tmp_path))
    with ModelServer(catalogue_of(tmp_path), host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert ids(server.url) == ["m"]
