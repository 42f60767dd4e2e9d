"""The door to HTTP: connections are kept and shared, proxies obeyed, and no message shows a secret."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from imageworks.foundation import http
from imageworks.foundation.http import HttpError, HttpPool, origin, shown_url, whole_number

either = pytest.mark.parametrize("method", ["GET", "HEAD"])  # the two go by connections of two kinds


@pytest.fixture
def pool() -> Iterator[HttpPool]:
    with HttpPool(user_agent="imageworks-models/test", connect_seconds=60, read_seconds=60) as made:
        yield made


@either
def test_an_answer_is_whole_and_headers_are_lower_case(httpserver: HTTPServer, pool: HttpPool, method: str) -> None:
    response = Response("hello", 418, {"X-Thing": "One"})
    response.headers.add("X-Thing", "Two")
    httpserver.expect_request("/a").respond_with_response(response)
    reply = pool.request(method, httpserver.url_for("/a"), {"x-mine": "yes"})
    assert (reply.status, reply.body, reply.headers["x-thing"]) == (
        418,
        b"hello" if method == "GET" else b"",
        "One, Two",
    )
    request = httpserver.log[0][0]
    assert (request.headers["User-Agent"], request.headers["X-Mine"]) == ("imageworks-models/test", "yes")


@either
def test_redirects_and_cookies_are_left_alone(httpserver: HTTPServer, pool: HttpPool, method: str) -> None:
    httpserver.expect_request("/a").respond_with_data("", 302, {"Location": "/b", "Set-Cookie": "s=1"})
    for _ in range(2):
        assert pool.request(method, httpserver.url_for("/a"), {}).status == 302
    assert [(request.path, request.headers.get("Cookie")) for request, _ in httpserver.log] == [("/a", None)] * 2


@either
def test_each_thread_has_a_connection_while_it_needs_one(pool: HttpPool, method: str) -> None:
    met = threading.Barrier(4, timeout=60)

    def respond(_request: Request) -> Response:
        met.wait()  # all four are being answered at once
        return Response("ok")

    with HTTPServer(port=0, threaded=True) as server:
        server.expect_request("/a").respond_with_handler(respond)
        threads = [threading.Thread(target=pool.request, args=(method, server.url_for("/a"), {})) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.log) == 4
    assert not met.broken


def test_a_body_beyond_reason_is_refused(
    httpserver: HTTPServer, pool: HttpPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LARGEST_BODY_BYTES", 1000)
    httpserver.expect_request("/a").respond_with_data(b"x" * 2000)
    with pytest.raises(HttpError, match="larger than 1000 bytes"):
        pool.request("GET", httpserver.url_for("/a?token=1"), {})


@either
def test_a_refused_connection_is_told_apart(pool: HttpPool, method: str) -> None:
    with pytest.raises(HttpError, match=r"http://127\.0\.0\.1:9/a: cannot connect") as caught:
        pool.request(method, "http://127.0.0.1:9/a?Signature=secret", {})
    assert caught.value.unconnected
    assert "secret" not in caught.value.message


@either
def test_what_is_no_address_is_told_and_not_tried_again(pool: HttpPool, method: str) -> None:
    with pytest.raises(HttpError) as caught:
        pool.request(method, "http://127.0.0.1:x/a", {})
    assert caught.value.lasting


def test_letters_of_an_address_are_sent_as_browsers_send_them(httpserver: HTTPServer, pool: HttpPool) -> None:
    httpserver.expect_request("/é x/%2F").respond_with_data("ok")
    assert pool.request("GET", httpserver.url_for("/é x/%252F"), {}).body == b"ok"
    with pytest.raises(HttpError, match="cannot connect"):
        pool.request("GET", "http://bücher.invalid/", {})


@either
def test_an_address_gives_no_credentials(httpserver: HTTPServer, pool: HttpPool, method: str) -> None:
    httpserver.expect_request("/a").respond_with_data("ok")
    pool.request(method, httpserver.url_for("/a").replace("http://", "http://ada:pw@"), {})
    assert "Authorization" not in httpserver.log[0][0].headers


def test_what_is_under_way_outlives_its_pool(pool: HttpPool) -> None:
    closed = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"a"
        closed.wait(20)
        yield b"b"

    with HTTPServer(port=0, threaded=True) as server:
        server.expect_request("/a").respond_with_handler(lambda _: Response(pieces()))
        with pool.stream("GET", server.url_for("/a"), {}) as answer:
            first = next(answer.chunks)
            pool.close()
            closed.set()
            assert first + b"".join(answer.chunks) == b"ab"


@either
def test_a_header_that_cannot_be_sent_is_not_quoted(httpserver: HTTPServer, pool: HttpPool, method: str) -> None:
    with pytest.raises(HttpError, match="cannot be sent") as caught:
        pool.request(method, httpserver.url_for("/a"), {"authorization": "Bearer hf_canary\nx"})
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "hf_canary" not in str(chain)
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


@either
def test_a_proxy_of_the_environment_is_asked(
    httpserver: HTTPServer, pool: HttpPool, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("http_proxy", httpserver.url_for("").replace("http://", "http://ada:pw@"))
    monkeypatch.setenv("no_proxy", "direct.example")
    httpserver.expect_request("/a").respond_with_data("by proxy")
    assert pool.request(method, "http://hub.example/a", {}).status == 200
    assert httpserver.log[0][0].headers["Proxy-Authorization"] == "Basic YWRhOnB3"


def test_what_a_message_shows_of_a_url() -> None:
    assert shown_url("https://u:p@hub.example:8/a/b?Signature=1#x") == "https://hub.example:8/a/b"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Hub.example/a", ("https", "hub.example", 443)),
        ("http://hub.example", ("http", "hub.example", 80)),
        ("http://hub.example:8080", ("http", "hub.example", 8080)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, expected: tuple[str, str, int]) -> None:
    assert origin(url) == expected


def test_a_body_is_sent_whole_or_in_pieces(httpserver: HTTPServer, pool: HttpPool) -> None:
    httpserver.expect_request("/a").respond_with_handler(lambda request: Response(request.get_data()[::-1]))
    assert pool.request("POST", httpserver.url_for("/a"), {}, b"abc").body == b"cba"
    with pool.stream("POST", httpserver.url_for("/a"), {"content-length": "4"}, iter([b"ab", b"cd"])) as answer:
        assert b"".join(answer.chunks) == b"dcba"
    assert httpserver.log[1][0].headers["Content-Length"] == "4"


def test_what_the_pieces_of_a_body_raise_comes_out(httpserver: HTTPServer, pool: HttpPool) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"ab"
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"), pool.stream("POST", httpserver.url_for("/"), {}, pieces()):
        pass


def test_another_thread_can_end_a_silent_answer(pool: HttpPool) -> None:
    released = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"first"
        released.wait(20)

    with HTTPServer(port=0, threaded=True) as server:
        server.expect_request("/a").respond_with_handler(lambda _: Response(pieces()))
        try:
            with pool.stream("GET", server.url_for("/a"), {}) as answer:
                assert next(answer.chunks) == b"first"
                cutter = threading.Thread(target=answer.cut)
                cutter.start()
                with pytest.raises(HttpError, match=r"the connection was cut$"):
                    next(answer.chunks)
                cutter.join(10)
        finally:
            released.set()  # the server waits for its answers to end


def test_proxies_can_be_left_aside(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    httpserver.expect_request("/a").respond_with_data("direct")
    with HttpPool(user_agent="imageworks-models/test", proxies=False) as direct:
        assert direct.request("GET", httpserver.url_for("/a"), {}).body == b"direct"


@pytest.mark.parametrize(
    ("said", "number"),
    [("0", 0), ("007", 7), ("9" * 18, int("9" * 18)), ("9" * 19, None), ("\xb2", None), ("\u0663", None), ("+1", None)],
)
def test_x15_a_number_is_what_everybody_reads_as_one(said: str, number: int | None) -> None:
    assert whole_number(said) == number


def test_x15_an_answer_that_comes_drop_by_drop_ends(httpserver: HTTPServer) -> None:
    endless = threading.Event()

    def drip(_: Request) -> Response:
        return Response(iter(lambda: None if endless.wait(0.01) else b" ", None), headers={"Content-Length": "9999999"})

    httpserver.expect_request("/a").respond_with_handler(drip)
    with HttpPool(user_agent="imageworks-models/test", answer_seconds=0.05) as pool:
        try:
            with pytest.raises(HttpError, match="did not end"):
                pool.request("GET", httpserver.url_for("/a"), {})
        finally:
            endless.set()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"", None),
    ],
    ids=["hints before the answer", "another protocol", "nothing"],
)
@either
def test_what_is_no_answer_is_none(pool: HttpPool, said: bytes, status: int | None, method: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)

        def answer() -> None:
            with suppress(OSError):  # who asked is gone
                for _ in range(2):  # a HEAD is asked once more where hints came
                    connection, _address = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(said)

        answering = threading.Thread(target=answer)
        answering.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a"
        try:
            if status is not None:
                assert pool.request(method, url, {}).status == status
            else:
                with pytest.raises(HttpError, match="not HTTP"):
                    pool.request(method, url, {})
        finally:
            socket.create_connection(server.getsockname()).close()  # in place of a second request
            answering.join()
