"""The client meets daemons that die, lie, stall or want a key: one clear error each, and no secret in any."""

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from imageworks.providers.ollama import client as ollama_client
from imageworks.providers.ollama import stream as ollama_stream
from imageworks.providers.ollama.address import OllamaKey, parse_host
from imageworks.providers.ollama.client import OllamaClient
from imageworks.providers.ollama.errors import (
    OllamaBrokenStreamError,
    OllamaCancelledError,
    OllamaDigestMismatchError,
    OllamaDiskFullError,
    OllamaError,
    OllamaNameError,
    OllamaNotFoundError,
    OllamaUnauthorisedError,
    OllamaUnreachableError,
)
from imageworks.providers.ollama.model import CreateSpec, PullProgress
from support.ollama import LoopbackOllama
from support.ollama_content import hex_sha256, model
from support.ollama_registry import OllamaRegistry

CANARY = "canaryKeyThatNobodyMaySee"
LARGE = bytes(range(256)) * 4000


@pytest.fixture
def registry() -> Iterator[OllamaRegistry]:
    made = OllamaRegistry()
    made.add("tiny:1b", model(LARGE))
    yield made
    made.stop()


@pytest.fixture
def daemon(tmp_path: Path, registry: OllamaRegistry) -> Iterator[LoopbackOllama]:
    made = LoopbackOllama(tmp_path / "models of Ollama", registry=registry.host)
    yield made
    made.stop()


@pytest.fixture
def client(daemon: LoopbackOllama) -> Iterator[OllamaClient]:
    with OllamaClient(parse_host(daemon.url)) as made:
        yield made


def server_client(server: HTTPServer, key: OllamaKey | None = None) -> OllamaClient:
    return OllamaClient(parse_host(server.url_for("").rstrip("/")), key)


def test_no_daemon_is_told_with_what_to_do(daemon: LoopbackOllama, client: OllamaClient) -> None:
    daemon.stop()
    for deed in (
        client.version,
        client.tags,
        client.ps,
        lambda: client.pull("tiny"),
        lambda: client.has_blob("a" * 64),
    ):
        with pytest.raises(OllamaUnreachableError, match="cannot connect") as caught:
            deed()
        assert "ollama serve" in (caught.value.remedy or "")


def test_a_daemon_that_dies_in_a_pull_breaks_the_stream_and_keeps_what_came(
    daemon: LoopbackOllama, client: OllamaClient
) -> None:
    daemon.die_after_lines = 5
    with pytest.raises(OllamaBrokenStreamError, match="pulling tiny:1b") as caught:
        client.pull("tiny:1b")
    assert caught.value.retryable
    assert any("-partial" in path.name for path in (daemon.store.folder / "blobs").iterdir())


def test_a_cut_connection_resumes_with_the_next_pull(
    daemon: LoopbackOllama, client: OllamaClient, registry: OllamaRegistry
) -> None:
    daemon.cut_after_lines = 6
    with pytest.raises(OllamaBrokenStreamError):
        client.pull("tiny:1b")
    daemon.cut_after_lines = None
    registry.requests.clear()
    client.pull("tiny:1b")
    first = next(asked.headers["range"] for asked in registry.requests if "range" in asked.headers)
    assert not first.startswith("bytes=0-")
    assert [each.name for each in client.tags()] == ["tiny:1b"]


def test_an_end_without_success_is_no_success(daemon: LoopbackOllama, client: OllamaClient) -> None:
    daemon.end_after_lines = 3
    with pytest.raises(OllamaBrokenStreamError, match="stopped before it was done"):
        client.pull("tiny:1b")


def test_garbage_in_a_stream_is_told(daemon: LoopbackOllama, client: OllamaClient) -> None:
    daemon.garbage_after_lines = 2
    with pytest.raises(OllamaBrokenStreamError, match="Bad Gateway"):
        client.pull("tiny:1b")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"status": "success"', "not what Ollama says"),
        (b"[]\n", "not what Ollama says"),
        (b"[" * 100_000 + b"\n", "not what Ollama says"),
        (b"\xff\n", "not what Ollama says"),
        (b'{"status": "pulling"}\n', "stopped before it was done"),
        (b'{"status": "success"}\n{"status": "and then"}\n', "stopped before it was done"),
        (b"", "stopped before it was done"),
        (b'{"status": "%s' % (b"x" * 5_000_000), "a line of more than"),
        (b'{"error": {"code": 3}}\n', "code"),
    ],
)
def test_a_stream_that_is_none_of_ollamas_is_refused(httpserver: HTTPServer, body: bytes, why: str) -> None:
    httpserver.expect_request("/api/pull").respond_with_data(body)
    with server_client(httpserver) as client, pytest.raises(OllamaError, match=why):
        client.pull("x")


@pytest.mark.parametrize("body", [b'{"status":"success"}', b'\n\r\n{"status":"a"}\r\n\n{"status":"success"}\n\n'])
def test_blank_lines_and_a_missing_last_end_of_line_are_borne(httpserver: HTTPServer, body: bytes) -> None:
    httpserver.expect_request("/api/pull").respond_with_data(body)
    told: list[PullProgress] = []
    with server_client(httpserver) as client:
        client.pull("x", told=told.append)
    assert told[-1].status == "success"


def test_a_full_disk_is_told_in_a_stream_and_in_an_upload(
    daemon: LoopbackOllama, client: OllamaClient, tmp_path: Path
) -> None:
    daemon.disk_full = True
    with pytest.raises(OllamaDiskFullError, match="no space left"):
        client.pull("tiny:1b")
    file = tmp_path / "a file.gguf"
    file.write_bytes(b"gguf")
    with pytest.raises(OllamaDiskFullError):
        client.upload_blob(file, hex_sha256(b"gguf"))


def test_an_error_as_the_first_line_has_a_status(daemon: LoopbackOllama, client: OllamaClient) -> None:
    with pytest.raises(OllamaError, match="neither 'from' or 'files'") as caught:
        client.create(CreateSpec("mine"))
    assert not isinstance(caught.value, OllamaBrokenStreamError)
    assert [asked.path for asked in daemon.requests] == ["/api/create"]


def test_a_pull_is_called_off_while_it_ticks(daemon: LoopbackOllama, client: OllamaClient) -> None:
    daemon.wait = threading.Event()
    with pytest.raises(OllamaCancelledError, match="called off"):
        client.pull("tiny:1b", cancelled=daemon.pulling.is_set)
    assert daemon.left.wait(20)  # the daemon has noticed, and stops too
    assert client.tags() == ()


def test_a_pull_is_called_off_while_it_is_silent(daemon: LoopbackOllama, client: OllamaClient) -> None:
    daemon.silent = threading.Event()
    stop = threading.Event()

    def told(line: PullProgress) -> None:
        if line.digest and line.completed == line.total:
            stop.set()

    with pytest.raises(OllamaCancelledError):
        client.pull("tiny:1b", told=told, cancelled=stop.is_set)
    daemon.silent.set()


def test_silence_is_borne_while_the_daemon_answers(
    daemon: LoopbackOllama, client: OllamaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama_stream, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(ollama_stream, "_STEP_SECONDS", 0.01)
    daemon.silent = threading.Event()
    asked = threading.Event()
    silent, version = daemon.silent, daemon.version

    def respond_version() -> str:
        if asked.is_set():
            silent.set()
        asked.set()
        return version

    monkeypatch.setattr(
        LoopbackOllama, "version", property(lambda _: respond_version(), lambda *_: None), raising=False
    )
    client.pull("tiny:1b")
    assert asked.is_set()


def test_silence_ends_when_the_daemon_is_gone(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama_stream, "QUIET_SECONDS", 0.0)
    released = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b'{"status": "pulling manifest"}\n'
        released.wait(20)

    with HTTPServer(port=0, threaded=True) as server:
        server.expect_request("/api/pull").respond_with_handler(lambda _: Response(pieces()))
        server.expect_request("/api/version").respond_with_data("", 502)
        with server_client(server) as client, pytest.raises(OllamaError, match="502"):
            client.pull("x")
        released.set()
    assert not httpserver.log


def test_an_error_of_the_listener_ends_the_pull(daemon: LoopbackOllama, client: OllamaClient) -> None:
    daemon.wait = threading.Event()

    def told(line: PullProgress) -> None:
        if line.digest:
            raise KeyError(line.digest)

    with pytest.raises(KeyError):
        client.pull("tiny:1b", told=told)
    assert daemon.left.wait(20)


def test_the_key_goes_to_the_daemon_alone_and_is_never_shown(
    daemon: LoopbackOllama, registry: OllamaRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.key = CANARY
    with OllamaClient(parse_host(daemon.url), OllamaKey(CANARY)) as client:
        assert CANARY not in repr(client)
        client.pull("tiny:1b")
        client.has_blob("a" * 64)
    assert {asked.headers["authorization"] for asked in daemon.requests} == {f"Bearer {CANARY}"}
    assert not any("authorization" in asked.headers for asked in registry.requests)
    with (
        OllamaClient(parse_host(daemon.url), OllamaKey(f"{CANARY}2")) as other,
        pytest.raises(OllamaUnauthorisedError) as caught,
    ):
        other.tags()
    assert CANARY not in caught.value.render() + caplog.text


def test_a_key_that_comes_back_is_not_shown(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/api/tags").respond_with_handler(
        lambda request: Response(f'{{"error": "bad {request.headers["Authorization"]}"}}', 500)
    )
    with server_client(httpserver, OllamaKey(CANARY)) as client, pytest.raises(OllamaError) as caught:
        client.tags()
    assert CANARY not in caught.value.render()


def test_no_redirect_is_followed_so_no_key_leaves(httpserver: HTTPServer, daemon: LoopbackOllama) -> None:
    location = {"Location": f"{daemon.url}/api/tags"}
    httpserver.expect_request("/api/tags").respond_with_data("", 307, location)
    with server_client(httpserver, OllamaKey(CANARY)) as client, pytest.raises(OllamaError, match="307"):
        client.tags()
    assert daemon.requests == []


def test_a_proxy_is_not_asked_for_this_machine(client: OllamaClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert client.version() == "0.33.0"


def test_a_proxy_is_asked_for_another_machine(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", httpserver.url_for(""))
    httpserver.expect_request("/api/version").respond_with_json({"version": "by proxy"})
    with OllamaClient(parse_host("gpu.example:11434")) as client:
        assert client.version() == "by proxy"


@pytest.mark.parametrize("body", [b"Ollama is running", b"[]", b"{}", b'{"version": 3}'])
def test_another_server_at_the_address_is_not_taken_for_ollama(httpserver: HTTPServer, body: bytes) -> None:
    httpserver.expect_request("/api/version").respond_with_data(body)
    with server_client(httpserver) as client, pytest.raises(OllamaUnreachableError, match="is not Ollama"):
        client.version()


def test_a_path_before_the_api_is_kept(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/ollama/api/version").respond_with_json({"version": "1"})
    with OllamaClient(parse_host(httpserver.url_for("/ollama/"))) as client:
        assert client.version() == "1"


def test_a_name_that_is_none_asks_nobody(daemon: LoopbackOllama, client: OllamaClient) -> None:
    for deed in (client.pull, client.show, client.delete):
        with pytest.raises(OllamaNameError):
            deed("hf.co/User.Name/Repo")
    with pytest.raises(OllamaNameError):
        client.create(CreateSpec("mine", base="a/b/c/d"))
    assert daemon.requests == []


def test_a_registry_on_this_machine_alone_is_asked_over_plain_http(httpserver: HTTPServer) -> None:
    bodies: list[object] = []

    def respond(request: Request) -> Response:
        bodies.append(request.get_json())
        return Response(b'{"status": "success"}')

    httpserver.expect_request("/api/pull").respond_with_handler(respond)
    with server_client(httpserver) as client:
        for name in ("127.0.0.1:5000/a/b", "registry.example/a/b", "tiny"):
            client.pull(name)
    assert bodies == [
        {"model": "127.0.0.1:5000/a/b:latest", "stream": True, "insecure": True},
        {"model": "registry.example/a/b:latest", "stream": True},
        {"model": "tiny:latest", "stream": True},
    ]


def test_a_model_is_made_from_an_uploaded_file(daemon: LoopbackOllama, client: OllamaClient, tmp_path: Path) -> None:
    file = tmp_path / "my model.gguf"
    file.write_bytes(LARGE)
    digest = hex_sha256(LARGE)
    assert client.upload_blob(file, digest)
    client.create(CreateSpec("mine", files={"my model.gguf": digest}, adapters={"a": digest}, template="{{ .Prompt }}"))
    (made,) = client.tags()
    assert made.name == "mine:latest"
    assert client.show("mine").template == "{{ .Prompt }}"
    assert daemon.store.layers(daemon.store.manifest("mine"), "model") != [LARGE]  # repacked, as since 0.30
    with pytest.raises(OllamaError, match="no such file"):
        client.create(CreateSpec("other", files={"a": "b" * 64}))


@pytest.mark.parametrize("digest", ["", "abc", "sha256:" + "g" * 64, "md5:" + "0" * 64])
def test_a_digest_that_is_none_asks_nobody(
    daemon: LoopbackOllama, client: OllamaClient, tmp_path: Path, digest: str
) -> None:
    with pytest.raises(OllamaDigestMismatchError):
        client.upload_blob(tmp_path / "x", digest)
    with pytest.raises(OllamaDigestMismatchError):
        client.create(CreateSpec("x", files={"x": digest}))
    assert daemon.requests == []


def test_a_file_that_cannot_be_read_is_told(client: OllamaClient, tmp_path: Path) -> None:
    with pytest.raises(OllamaError, match="cannot be read: No such file"):
        client.upload_blob(tmp_path / "absent", "a" * 64)
    with pytest.raises(OllamaError, match="cannot be read: Is a directory"):
        client.upload_blob(tmp_path, "a" * 64)


def test_a_disk_that_fails_in_an_upload_is_told(
    daemon: LoopbackOllama, client: OllamaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.BytesIO):
        def fileno(self) -> int:
            return directory

        def read(self, _size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    directory = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(Path, "open", lambda *_: Failing())
    with pytest.raises(OllamaError, match="cannot be read: Input/output error"):
        client.upload_blob(tmp_path / "x", "a" * 64)
    os.close(directory)
    assert not daemon.store.blob("a" * 64).exists()


def test_an_odd_answer_about_a_blob_is_told(httpserver: HTTPServer) -> None:
    httpserver.expect_request(f"/api/blobs/sha256:{'a' * 64}").respond_with_data("", 500)
    with server_client(httpserver) as client, pytest.raises(OllamaError, match="HTTP 500 without a word"):
        client.has_blob("a" * 64)


def test_a_long_answer_to_an_upload_is_cut(httpserver: HTTPServer, tmp_path: Path) -> None:
    path = f"/api/blobs/sha256:{'a' * 64}"
    httpserver.expect_request(path, method="HEAD").respond_with_data("", 404)
    httpserver.expect_request(path, method="POST").respond_with_data("x" * 1_000_000, 500)
    (tmp_path / "x").touch()
    with server_client(httpserver) as client, pytest.raises(OllamaError) as caught:
        client.upload_blob(tmp_path / "x", "a" * 64)
    assert len(caught.value.message) < 1000


def test_lines_that_come_faster_than_they_are_told_wait(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama_stream, "_HELD_PIECES", 1)
    monkeypatch.setattr(ollama_stream, "_STEP_SECONDS", 0.001)
    lines = [b'{"status": "%d"}\n' % number for number in range(50)] + [b'{"status": "success"}\n']
    httpserver.expect_request("/api/pull").respond_with_handler(lambda _: Response(iter(lines)))
    told: list[str] = []

    def slowly(line: PullProgress) -> None:
        threading.Event().wait(0.003)
        told.append(line.status)

    with server_client(httpserver) as client:
        client.pull("x", told=slowly)
    assert told == [*(str(number) for number in range(50)), "success"]


def test_a_reader_that_ends_before_its_time_is_not_waited_for(
    client: OllamaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama_stream._Reading, "_read", lambda _: None)
    with pytest.raises(OllamaBrokenStreamError, match="ended early"):
        client.pull("tiny:1b")


def test_an_upload_is_called_off(daemon: LoopbackOllama, client: OllamaClient, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"x" * 3_000_000)
    sent: list[int] = []
    with pytest.raises(OllamaCancelledError):
        client.upload_blob(file, "a" * 64, told=sent.append, cancelled=lambda: bool(sent))
    assert not daemon.store.blob("a" * 64).exists()


def test_a_daemon_that_dies_in_an_upload_is_told(daemon: LoopbackOllama, client: OllamaClient, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"x" * 3_000_000)
    with pytest.raises(OllamaUnreachableError):
        client.upload_blob(file, "a" * 64, told=lambda _: daemon.stop())


def test_a_missing_model_is_told_also_by_a_bare_404(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/api/show").respond_with_data("", 404)
    with server_client(httpserver) as client, pytest.raises(OllamaNotFoundError, match="x:latest is not installed"):
        client.show("x")


def test_long_lists_come_only_when_asked_for(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/api/show", json={"model": "x:latest", "verbose": True}).respond_with_json({})
    with server_client(httpserver) as client:
        assert client.show("x", verbose=True).name == "x:latest"


def test_nobody_is_told_and_nobody_calls_off_by_default() -> None:
    assert not ollama_client.never()
