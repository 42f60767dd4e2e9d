"""The door to HTTP: connections are kept and shared, proxies obeyed, and no message shows a secret."""

import threading
from collections.abc import Iterator

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from imageworks import http
from imageworks.http import HttpError, HttpPool, origin, shown_url


@pytest.fixture
def pool() -> Iterator[HttpPool]:
    with HttpPool(user_agent="imageworks-models/test", connect_seconds=2, read_seconds=2) as made:
        yield made


def test_an_answer_is_whole_and_headers_are_lower_case(httpserver: HTTPServer, pool: HttpPool) -> None:
    response = Response("hello", 418, {"X-Thing": "One"})
    response.headers.add("X-Thing", "Two")
    httpserver.expect_request("/a").respond_with_response(response)
    reply = pool.request("GET", httpserver.url_for("/a"), {"x-mine": "yes"})
    assert (reply.status, reply.body, reply.headers["x-thing"]) == (418, b"hello", "One, Two")
    request = httpserver.log[0][0]
    assert (request.headers["User-Agent"], request.headers["X-Mine"]) == ("imageworks-models/test", "yes")


def test_redirects_and_cookies_are_left_alone(httpserver: HTTPServer, pool: HttpPool) -> None:
    httpserver.expect_request("/a").respond_with_data("", 302, {"Location": "/b", "Set-Cookie": "s=1"})
    for _ in range(2):
        assert pool.request("GET", httpserver.url_for("/a"), {}).status == 302
    assert [(request.path, request.headers.get("Cookie")) for request, _ in httpserver.log] == [("/a", None)] * 2


def test_each_thread_has_a_connection_while_it_needs_one(pool: HttpPool) -> None:
    met = threading.Barrier(4, timeout=10)

    def respond(_request: Request) -> Response:
        met.wait()  # all four are being answered at once
        return Response("ok")

    with HTTPServer(port=0, threaded=True) as server:
        server.expect_request("/a").respond_with_handler(respond)
        threads = [threading.Thread(target=pool.request, args=("GET", server.url_for("/a"), {})) for _ in range(4)]
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


def test_a_refused_connection_is_told_apart(pool: HttpPool) -> None:
    with pytest.raises(HttpError, match=r"http://127\.0\.0\.1:9/a: cannot connect") as caught:
        pool.request("GET", "http://127.0.0.1:9/a?Signature=secret", {})
    assert caught.value.unconnected
    assert "secret" not in caught.value.message


def test_a_header_that_cannot_be_sent_is_not_quoted(httpserver: HTTPServer, pool: HttpPool) -> None:
    with pytest.raises(HttpError, match="cannot be sent") as caught:
        pool.request("GET", httpserver.url_for("/a"), {"authorization": "Bearer hf_canary\nx"})
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "hf_canary" not in str(chain)
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


def test_a_proxy_of_the_environment_is_asked(
    httpserver: HTTPServer, pool: HttpPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", httpserver.url_for("").replace("http://", "http://ada:pw@"))
    monkeypatch.setenv("no_proxy", "direct.example")
    httpserver.expect_request("/a").respond_with_data("by proxy")
    assert pool.request("GET", "http://hub.example/a", {}).body == b"by proxy"
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
