"""Links and bytes of a commit's files: where the token goes (I7), what is believed, what is refused."""

from collections.abc import Callable
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from imageworks.files.artifact import FileSource, RemoteFile
from imageworks.foundation.http import HttpPool, Reply
from imageworks.loopback_hub.rate_limit import Quota
from imageworks.loopback_hub.server import HubServer
from imageworks.providers.huggingface.errors import (
    GatedError,
    HubError,
    HubUnreachableError,
    InconsistentListingError,
    LinkNeedsCredentialsError,
    RateLimitedError,
    UnexpectedReplyError,
    UpstreamGoneError,
)
from imageworks.providers.huggingface.rate_limit import Pace
from imageworks.providers.huggingface.session import HubSession
from imageworks.providers.huggingface.source import HubSource
from imageworks.providers.huggingface.token import Token
from support.hub import Fault, Faults, HubRepository, header, ignore_range, no_length, reset, status, truncate
from support.providers import CANARY, COMMIT, Clock, absent, answer, client, large, metadata, small
from support.transfer import content

WEIGHTS = content("weights", 1_500_000)
CONFIG = b'{"model_type": "tiny"}'
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "empty.txt": b"", "a dir/ü#%20.json": b"{}"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def fetched(source: FileSource, file: RemoteFile, offset: int = 0) -> bytes:
    with source.stream(file, offset) as chunks:
        return b"".join(chunks)


def test_links_and_bytes_of_a_whole_repository(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root, tokens={CANARY: "ada"}, private={"o/m"}) as hub:
        ours = client(hub.url, tmp_path, token=CANARY)
        source = ours.source("o/m", commit)
        for file in ours.listing("o/m", commit).files:
            assert fetched(source, file) == FILES[file.path]
            half = file.size // 2
            assert fetched(source, file, half) == FILES[file.path][half:]
            if file.large:
                link = source.link(file)
                assert link.startswith(hub.cdn_url)
                with build_opener(ProxyHandler({})).open(link) as reply:
                    assert reply.read() == FILES[file.path]
        assert all(request.has_authorization for request in hub.requests if request.origin == "hub")
        assert [request for request in hub.requests if request.origin == "cdn"]
        # I7: the second origin never sees the token; it would have answered 400 as well
        assert not [request for request in hub.requests if request.origin == "cdn" and request.has_authorization]


def test_an_empty_file_is_never_asked_for(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root) as hub:
        assert fetched(client(hub.url, tmp_path).source("o/m", commit), small("empty.txt", b"")) == b""
        assert hub.requests == []


def test_a_link_costs_one_request(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root) as hub:
        client(hub.url, tmp_path).source("o/m", commit).link(large("model.safetensors", WEIGHTS))
        assert [(request.method, request.path) for request in hub.requests] == [
            ("HEAD", f"/o/m/resolve/{commit}/model.safetensors")
        ]


def test_a_gated_file_and_a_vanished_one(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root, gated={"o/m"}, tokens={CANARY: "ada"}) as hub:
        with pytest.raises(GatedError):
            client(hub.url, tmp_path).source("o/m", commit).link(large("model.safetensors", WEIGHTS))
        with pytest.raises(GatedError):
            fetched(client(hub.url, tmp_path).source("o/m", commit), small("config.json", CONFIG))
        known = client(hub.url, tmp_path, token=CANARY).source("o/m", commit)
        with pytest.raises(UpstreamGoneError, match="gone") as caught:
            fetched(known, absent("gone.json"))
        assert caught.value.reason == "upstream-gone"
        assert not caught.value.retryable


@pytest.mark.parametrize(
    ("name", "value", "kind", "says"),
    [
        ("X-Repo-Commit", "2" * 40, InconsistentListingError, "commit"),
        ("X-Linked-Etag", '"' + "a" * 64 + '"', InconsistentListingError, "digest"),
        ("X-Linked-Size", "7", InconsistentListingError, "size 7"),
        ("Location", "ftp://elsewhere/x", UnexpectedReplyError, "no web address"),
        ("Location", "https://user:pw@elsewhere/x", UnexpectedReplyError, "malformed"),
    ],
)
def test_a_redirect_that_does_not_fit_the_listing_is_refused(
    root: Path, tmp_path: Path, name: str, value: str | None, kind: type[HubError], says: str
) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root) as hub:
        Faults.install(hub).add(header(name, value), method="HEAD")
        with pytest.raises(kind, match=says) as caught:
            client(hub.url, tmp_path).source("o/m", commit).link(large("model.safetensors", WEIGHTS))
        assert "Signature=" not in caught.value.render()
        assert ":pw" not in caught.value.render()


def test_a_link_without_a_size_is_believed(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root) as hub:
        Faults.install(hub).add(header("X-Linked-Size", None), method="HEAD")
        link = client(hub.url, tmp_path).source("o/m", commit).link(large("model.safetensors", WEIGHTS))
        assert link.startswith(hub.cdn_url)


@pytest.mark.parametrize(
    ("fault", "offset", "says"),
    [
        (truncate(1000), 0, "cut|early"),
        (reset(1000), 0, "broke|cut|before the end"),
        (no_length(1000), 0, "ended 1499000 bytes early"),
        (header("Content-Range", "bytes 0-9/1500000"), 700, "others came"),
        (header("Content-Range", "bytes 700-1500000/1500001"), 700, "1500001 bytes are announced"),
        (header("Content-Encoding", "gzip"), 0, "encoded"),
        (status(403), 0, "expired"),
    ],
)
def test_bytes_that_are_not_the_file_are_refused(
    root: Path, tmp_path: Path, fault: Fault, offset: int, says: str
) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root) as hub:
        Faults.install(hub).add(fault, origin="cdn")
        source = client(hub.url, tmp_path).source("o/m", commit)
        with pytest.raises(HubError, match=says) as caught:
            fetched(source, large("model.safetensors", WEIGHTS), offset)
        assert "Signature=" not in caught.value.render()
        assert fetched(source, large("model.safetensors", WEIGHTS), offset) == WEIGHTS[offset:]


def test_an_ignored_range_is_made_up_for(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root) as hub:
        Faults.install(hub).add(ignore_range, origin="cdn")
        source = client(hub.url, tmp_path).source("o/m", commit)
        assert fetched(source, large("model.safetensors", WEIGHTS), 1_234_567) == WEIGHTS[1_234_567:]


def test_pieces_are_worth_a_write(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with (
        HubServer(root) as hub,
        client(hub.url, tmp_path).source("o/m", commit).stream(large("model.safetensors", WEIGHTS)) as chunks,
    ):
        sizes = [len(chunk) for chunk in chunks]
    assert all(256 * 1024 <= size <= 1024 * 1024 for size in sizes[:-1])


def test_failures_of_the_server_are_tried_again(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    clock = Clock()
    with HubServer(root) as hub:
        faults = Faults.install(hub)
        faults.add(status(503))
        faults.add(status(502), where="/resolve/")
        source = client(hub.url, tmp_path, clock=clock).source("o/m", commit)
        assert fetched(source, small("config.json", CONFIG)) == CONFIG
    assert len(clock.slept) == 2
    assert clock.slept[1] > clock.slept[0]


def test_a_server_that_keeps_failing_is_given_up(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root) as hub:
        faults = Faults.install(hub)
        faults.add(status(500), times=-1)
        with pytest.raises(HubUnreachableError, match="HTTP 500") as caught:
            client(hub.url, tmp_path).source("o/m", commit).link(large("model.safetensors", WEIGHTS))
        assert caught.value.retryable
        assert len(faults.seen) == 5


def test_a_429_waits_as_long_as_the_hub_asks(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    clock = Clock()
    with HubServer(root) as hub:
        Faults.install(hub).add(status(429, ("Retry-After", "17")), where="/resolve/")
        source = client(hub.url, tmp_path, clock=clock).source("o/m", commit)
        assert fetched(source, small("config.json", CONFIG)) == CONFIG
    assert 17 <= sum(clock.slept) < 19


def test_a_wait_beyond_reason_is_an_error(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    clock = Clock()
    with HubServer(root) as hub:
        Faults.install(hub).add(status(429, ("Retry-After", "7200")), times=-1)
        with pytest.raises(RateLimitedError, match="7200 s") as caught:
            client(hub.url, tmp_path, clock=clock).source("o/m", commit).link(large("model.safetensors", WEIGHTS))
    assert (caught.value.retry_after, caught.value.retryable, clock.slept) == (7200.0, True, [])


def serve_directly(server: HTTPServer, file: RemoteFile, data: bytes, *, closed: bool) -> Callable[[Request], Response]:
    """Let a server give a large file itself, as some mirrors do; to strangers too unless closed."""

    def respond(request: Request) -> Response:
        if closed and "Authorization" not in request.headers:
            return Response(status=401)
        return Response(data, headers=metadata(file))

    server.expect_request(f"/o/m/resolve/{COMMIT}/{file.path}").respond_with_handler(respond)
    return respond


def test_a_mirror_that_serves_large_files_itself(httpserver: HTTPServer, tmp_path: Path) -> None:
    file = large("model.bin", WEIGHTS)
    serve_directly(httpserver, file, WEIGHTS, closed=False)
    endpoint = httpserver.url_for("")
    direct = f"{endpoint.rstrip('/')}/o/m/resolve/{COMMIT}/model.bin"
    for token, requests in ((None, 1), (CANARY, 2)):
        httpserver.clear_log()
        source = client(endpoint, tmp_path, token=token).source("o/m", COMMIT)
        assert source.link(file) == direct
        assert len(httpserver.log) == requests
        assert source.link(file) == direct
        assert len(httpserver.log) == requests + 1


def test_a_mirror_that_wants_the_token_for_the_bytes_gives_no_link(httpserver: HTTPServer, tmp_path: Path) -> None:
    file = large("model.bin", WEIGHTS)
    serve_directly(httpserver, file, WEIGHTS, closed=True)
    source = client(httpserver.url_for(""), tmp_path, token=CANARY).source("o/m", COMMIT)
    with pytest.raises(LinkNeedsCredentialsError) as caught:
        source.link(file)
    assert (caught.value.reason, caught.value.retryable) == ("link-needs-credentials", False)
    assert fetched(source, file) == WEIGHTS


def test_a_small_file_may_come_from_the_hubs_own_cache(httpserver: HTTPServer, tmp_path: Path) -> None:
    file = small("config.json", CONFIG)
    httpserver.expect_request(f"/o/m/resolve/{COMMIT}/config.json").respond_with_data(
        "Temporary Redirect", 307, {"Location": "/api/resolve-cache/models/o/m/config.json?x=%22y%22"}
    )
    httpserver.expect_request("/api/resolve-cache/models/o/m/config.json").respond_with_data(CONFIG)
    assert fetched(client(httpserver.url_for(""), tmp_path, token=CANARY).source("o/m", COMMIT), file) == CONFIG
    assert [request.headers.get("Authorization") for request, _ in httpserver.log] == [f"Bearer {CANARY}"] * 2


def test_an_expired_link_is_asked_for_again(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    clock = Clock()
    file = large("model.safetensors", WEIGHTS)
    with HubServer(root, link_lifetime=60, clock=clock.now) as hub, HttpPool(user_agent="aria2") as stranger:
        source = client(hub.url, tmp_path, clock=clock).source("o/m", commit)
        first = source.link(file)
        assert stranger.request("GET", first, {}).body == WEIGHTS
        clock.time += 3600
        assert stranger.request("GET", first, {}).status == 403
        second = source.link(file)
        assert second != first
        assert stranger.request("GET", second, {}).body == WEIGHTS


def test_an_enforced_quota_is_never_overrun(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    clock = Clock()
    quotas = (Quota("api", 1000), Quota("resolvers", 3, window_seconds=60, enforced=True))
    log: list[str] = []
    with HubServer(root, quotas=quotas, clock=clock.now, log=log.append) as hub:
        source = client(hub.url, tmp_path, clock=clock).source("o/m", commit)
        for _ in range(10):
            source.link(large("model.safetensors", WEIGHTS))
    assert len(log) == 10
    assert not [line for line in log if line.endswith("429")]
    assert len(clock.slept) == 3
    assert all(60 <= seconds <= 62 for seconds in clock.slept)


@pytest.mark.parametrize(
    ("status_code", "headers", "says"),
    [
        (200, {"Content-Length": "5"}, "5 bytes are announced"),
        (206, {"Content-Range": "bytes 0-3/4"}, "unexpected answer HTTP 206"),
        (404, {}, "no longer there"),
        (418, {}, "unexpected answer HTTP 418"),
    ],
)
def test_an_answer_of_the_hub_itself_that_is_not_the_file(
    httpserver: HTTPServer, tmp_path: Path, status_code: int, headers: dict[str, str], says: str
) -> None:
    file = absent("x.json")
    httpserver.expect_request(f"/o/m/resolve/{COMMIT}/x.json").respond_with_response(
        Response(b"abcde"[: 5 if status_code == 200 else 4], status_code, headers)
    )
    with pytest.raises(HubError, match=says):
        fetched(client(httpserver.url_for(""), tmp_path).source("o/m", COMMIT), file)


def test_more_bytes_than_listed_are_refused(httpserver: HTTPServer, tmp_path: Path) -> None:
    def endless(_request: Request) -> Response:
        return Response(iter([b"abc", b"def"]))

    httpserver.expect_request(f"/o/m/resolve/{COMMIT}/x.json").respond_with_handler(endless)
    with pytest.raises(InconsistentListingError, match="more bytes come"):
        fetched(client(httpserver.url_for(""), tmp_path).source("o/m", COMMIT), absent("x.json"))


def test_bytes_behind_a_redirect_loop_are_given_up(httpserver: HTTPServer, tmp_path: Path) -> None:
    path = f"/o/m/resolve/{COMMIT}/x.json"
    httpserver.expect_request(path).respond_with_data("", 302, {"Location": path})
    with pytest.raises(UnexpectedReplyError, match="redirects"):
        fetched(client(httpserver.url_for(""), tmp_path).source("o/m", COMMIT), absent("x.json"))


def test_a_link_is_refused_where_the_second_origin_fails(root: Path, tmp_path: Path) -> None:
    commit = HubRepository(root, "o/m", FILES).commit_id
    with HubServer(root) as hub:
        Faults.install(hub).add(status(418), origin="cdn")
        with pytest.raises(UnexpectedReplyError, match="HTTP 418") as caught:
            fetched(client(hub.url, tmp_path).source("o/m", commit), large("model.safetensors", WEIGHTS))
    assert caught.value.retryable


def test_a_downgrade_to_plain_http_is_refused() -> None:
    session = HubSession("https://hub.example", lambda: None, HttpPool(user_agent="test"), Pace(), offline=False)
    reply = Reply("https://hub.example/o/m", 302, {})
    assert session.check_target("https://cdn.example/x?s=1", reply) == "https://cdn.example/x?s=1"
    with pytest.raises(UnexpectedReplyError, match="not encrypted"):
        session.check_target("http://cdn.example/x", reply)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://hub.example/x", True),
        ("https://HUB.example:443/x", True),
        ("http://hub.example/x", False),
        ("https://hub.example:444/x", False),
        ("https://hub.example.evil/x", False),
        ("https://hub.example@evil/x", False),
        ("https://hub.example:port/x", False),
    ],
)
def test_the_token_belongs_to_one_origin(url: str, *, own: bool) -> None:
    session = HubSession(
        "https://hub.example/mirror",
        lambda: Token(CANARY, "HF_TOKEN"),
        HttpPool(user_agent="test"),
        Pace(),
        offline=False,
    )
    assert session.is_own(url) is own
    assert ("authorization" in session._headers(url, None)) is own


def test_a_source_is_what_the_transfer_room_expects(httpserver: HTTPServer, tmp_path: Path) -> None:
    answer(httpserver, "/unused", {})
    source: FileSource = client(httpserver.url_for(""), tmp_path).source("o/m", COMMIT)
    assert isinstance(source, HubSource)
    assert source.url("a b/#%.json").endswith(f"/o/m/resolve/{COMMIT}/a%20b/%23%25.json")
