"""What goes over the wire: headers, ranges, signed links, refusals, malformed requests, faults."""

import http.client
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from imageworks.foundation.http_access import ServerAccess
from imageworks.foundation.http_messages import Request, Response
from imageworks.foundation.http_server import ServerStartError
from imageworks.loopback_hub.content import StoragePolicy, git_object_id
from imageworks.loopback_hub.rate_limit import Quota
from imageworks.loopback_hub.responses import parse_range
from imageworks.loopback_hub.server import HubServer
from support.hub import Fault, Faults, HubRepository, body, header, ignore_range, no_length, reset, stall, truncate

SMALL = b"0123456789"
LARGE = bytes(range(256)) * 64


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    HubRepository(root, "acme/tiny", {"small.txt": SMALL, "model.gguf": LARGE})
    return root


@pytest.fixture
def hub(root: Path, clock: Clock) -> Iterator[HubServer]:
    with HubServer(root, clock=clock, link_lifetime=60) as server:
        yield server


def ask(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> Reply:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, data, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def talk(url: str, data: bytes) -> bytes:
    """Send raw bytes and return all that comes back until the server hangs up."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def small(hub: HubServer) -> str:
    return f"{hub.url}/acme/tiny/resolve/main/small.txt"


def large(hub: HubServer) -> str:
    return f"{hub.url}/acme/tiny/resolve/main/model.gguf"


def link(hub: HubServer) -> str:
    return ask(large(hub), "HEAD").headers["Location"]


def test_a_small_file_is_sent_with_its_git_blob_id(hub: HubServer) -> None:
    head, whole = ask(small(hub), "HEAD"), ask(small(hub))

    assert (head.status, head.body, whole.body) == (200, b"", SMALL)
    assert head.headers == whole.headers
    assert head.headers["ETag"] == f'"{git_object_id("blob", SMALL)}"'
    assert len(head.headers["X-Repo-Commit"]) == 40
    assert head.headers["Content-Length"] == "10"
    assert head.headers["RateLimit"].startswith('"resolvers";r=')
    assert "X-Xet-Hash" not in head.headers


def test_a_large_file_is_a_redirect_to_another_origin(hub: HubServer) -> None:
    reply = ask(large(hub), "HEAD")

    assert reply.status == 302
    assert reply.headers["X-Linked-Size"] == str(len(LARGE))
    assert urlsplit(reply.headers["Location"]).port != urlsplit(hub.url).port
    assert ask(reply.headers["Location"]).body == LARGE
    assert f'"{ask(reply.headers["Location"], "HEAD").headers["ETag"][1:-1]}"' == reply.headers["X-Linked-Etag"]


def test_x14_no_address_that_is_sent_comes_from_the_host_header(root: Path) -> None:
    with HubServer(root, page_size=1, access=ServerAccess(names=frozenset({"hub.example"}))) as hub:
        location = ask(large(hub), "HEAD", Host="HUB.example.:80").headers["Location"]
        assert location.startswith(hub.cdn_url.replace("127.0.0.1", "hub.example"))  # which we were told of
        for host in ("localhost:80", f"127.0.0.1:{urlsplit(hub.url).port}", "LOCALHOST.", "[::1]:9"):
            assert (
                urlsplit(ask(large(hub), "HEAD", Host=host).headers["Location"]).netloc == urlsplit(hub.cdn_url).netloc
            )
            following = ask(f"{hub.url}/api/models/acme/tiny/tree/main", Host=host).headers["Link"]
            assert following.startswith(f"<{hub.url}/api/")
        for host in ("evil.example", "a/b@c", "127.0.0.1.evil.example", "192.168.1.5", ""):
            reply = ask(large(hub), "HEAD", Host=host)
            assert (reply.status, "Location" in reply.headers) == (403, False)
            assert ask(hub.cdn_url, Host=host).status == 403


def test_an_external_static_server_takes_plain_folder_links(root: Path) -> None:
    repository = HubRepository(root, "acme/other", {"sub dir/a#b.gguf": b"x"})
    old = repository.commit_id
    repository.commit({"new.txt": b""})
    with HubServer(root, cdn_url="http://127.0.0.1:9/files/") as hub:
        url = f"{hub.url}/acme/other/resolve/{{}}/sub%20dir/a%23b.gguf"
        now, then = (ask(url.format(revision), "HEAD").headers["Location"] for revision in ("main", old))

    assert now == "http://127.0.0.1:9/files/acme/other/sub%20dir/a%23b.gguf"
    assert then == f"http://127.0.0.1:9/files/acme/other%40{old}/sub%20dir/a%23b.gguf"


def test_the_second_origin_refuses_and_records_credentials(hub: HubServer) -> None:
    reply = ask(link(hub), Authorization="Bearer hf_secret")

    assert reply.status == 400
    assert [request.has_authorization for request in hub.requests if request.origin == "cdn"] == [True]
    assert "hf_secret" not in repr(hub.requests)


def test_links_expire_and_cannot_be_altered(hub: HubServer, clock: Clock) -> None:
    good = link(hub)
    unsigned = good.partition("?")[0]

    assert ask(good.replace("model.gguf", "small.txt")).status == 403
    assert ask(good.replace("Expires=1", "Expires=9")).status == 403
    assert ask(unsigned).status == 403
    assert ask(f"{unsigned}?Expires=x&Signature=%C3%A9").status == 403
    assert ask(good, "POST", b"").status == 405
    clock.now += 61
    assert ask(good).status == 403
    assert ask(link(hub)).status == 200


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "expected"),
    [
        ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
        ("bytes=7-", 206, "bytes 7-9/10", b"789"),
        ("bytes=7-99", 206, "bytes 7-9/10", b"789"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=-99", 206, "bytes 0-9/10", SMALL),
        ("bytes=10-", 416, "bytes */10", b""),
        ("bytes=-0", 416, "bytes */10", b""),
        ("bytes=4-2", 200, None, SMALL),
        ("bytes=0-1,3-4", 200, None, SMALL),
        ("bytes=-", 200, None, SMALL),
        ("lines=1-2", 200, None, SMALL),
    ],
)
def test_ranges(hub: HubServer, asked: str, status: int, content_range: str | None, expected: bytes) -> None:
    reply = ask(small(hub), Range=asked)

    assert (reply.status, reply.headers.get("Content-Range"), reply.body) == (status, content_range, expected)


def test_a_range_of_a_linked_file(hub: HubServer) -> None:
    assert ask(link(hub), Range="bytes=1000-1999").body == LARGE[1000:2000]
    assert parse_range("bytes=0-", 0) == (0, 0)


def test_a_range_holds_only_for_the_version_it_was_meant_for(hub: HubServer) -> None:
    etag = ask(small(hub), "HEAD").headers["ETag"]

    assert ask(small(hub), Range="bytes=2-4", If_Range=etag).status == 206
    assert ask(small(hub), Range="bytes=2-4", If_Range='"other"').status == 200
    assert ask(small(hub), If_None_Match=etag).status == 304


def test_a_file_changed_in_place_is_never_sent_under_its_old_digest(hub: HubServer, root: Path) -> None:
    before = ask(small(hub), "HEAD").headers
    (root / "acme/tiny/small.txt").write_bytes(b"changed")
    after = ask(small(hub))

    assert after.body == b"changed"
    assert after.headers["ETag"] == f'"{git_object_id("blob", b"changed")}"'
    assert after.headers["X-Repo-Commit"] != before["X-Repo-Commit"]
    gone = ask(f"{hub.url}/acme/tiny/resolve/{before['X-Repo-Commit']}/small.txt")
    assert (gone.status, gone.headers["X-Error-Code"]) == (404, "RevisionNotFound")


def test_what_counts_as_large_can_be_set(root: Path) -> None:
    with HubServer(root, storage=StoragePolicy(large_bytes=9, suffixes=())) as hub:
        assert ask(small(hub), "HEAD").status == 302
    with HubServer(root, storage=StoragePolicy(suffixes=())) as hub:
        assert ask(large(hub)).body == LARGE


def test_enforced_limits_answer_429_until_the_window_ends(root: Path, clock: Clock) -> None:
    quotas = (Quota("api", 1, enforced=True), Quota("resolvers", 2, 30, enforced=True))
    with HubServer(root, clock=clock, quotas=quotas) as hub:
        first, second, third = (ask(small(hub), "HEAD") for _ in range(3))
        clock.now += 30
        fourth = ask(small(hub), "HEAD")

    assert [reply.status for reply in (first, second, third, fourth)] == [200, 200, 429, 200]
    assert third.headers["Retry-After"] == "30"
    assert third.headers["RateLimit"] == '"resolvers";r=0;t=30'
    assert third.headers["RateLimit-Policy"] == '"fixed window";"resolvers";q=2;w=30'


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/models/acme/none", 401, "RepoNotFound"),
        ("/api/models/acme/tiny/tree/none", 404, "RevisionNotFound"),
        ("/api/models/acme/tiny/unknown", 404, None),
        ("/api/datasets/acme/tiny", 404, "RepoNotFound"),
        ("/api/agent-harnesses", 404, None),
        ("/api/whoami-v2", 401, None),
        ("/acme/tiny/resolve/main/none%0d%0aX-Evil:%201", 404, "EntryNotFound"),
        ("/acme/tiny/resolve/main/", 404, "EntryNotFound"),
        ("/acme/tiny", 401, "RepoNotFound"),
        ("/datasets/acme/tiny/resolve/main/small.txt", 401, "RepoNotFound"),
        ("/", 401, "RepoNotFound"),
    ],
)
def test_errors_carry_the_hubs_codes(hub: HubServer, path: str, status: int, code: str | None) -> None:
    reply = ask(hub.url + path)

    assert (reply.status, reply.headers.get("X-Error-Code")) == (status, code)
    assert reply.headers["X-Error-Message"]
    assert "X-Evil" not in reply.headers
    assert json.loads(reply.body)["error"]


def test_nothing_can_be_written(hub: HubServer) -> None:
    for path in ("/api/models/acme/tiny", "/acme/tiny/resolve/main/small.txt"):
        reply = ask(hub.url + path, "PUT", b"x")
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 403),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 70000, 431),
    ],
)
def test_malformed_requests_are_refused(hub: HubServer, data: bytes, status: int) -> None:
    data = data.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost: localhost\r\n")

    assert talk(hub.url, data).startswith(f"HTTP/1.1 {status} ".encode())


def test_requests_may_follow_each_other_on_one_connection(hub: HubServer) -> None:
    first = (
        b"POST /api/models/acme/tiny/paths-info/main HTTP/1.1\r\nHost: localhost\r\n"
        b"Expect: 100-continue\r\nContent-Length: 15\r\n\r\n"
    )
    second = b"GET /acme/tiny/resolve/main/small.txt HTTP/1.0\r\n\r\n"

    answer = talk(hub.url, first + b"paths=small.txt" + second)

    assert answer.count(b"HTTP/1.1 ") == 3
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert answer.endswith(SMALL)


@pytest.mark.parametrize("fault", [truncate(100), reset(100)])
def test_a_body_cut_short_is_an_error_to_the_client(hub: HubServer, fault: Fault) -> None:
    Faults.install(hub).add(fault, origin="cdn")
    url = link(hub)

    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        ask(url)
    assert ask(url).body == LARGE


def test_a_body_without_length_ends_with_the_connection(hub: HubServer) -> None:
    Faults.install(hub).add(no_length(after=10), origin="cdn")

    reply = ask(link(hub))

    assert reply.body == LARGE[:10]
    assert "Content-Length" not in reply.headers


def test_a_stall_ends_when_released_or_with_the_server(hub: HubServer) -> None:
    release = threading.Event()
    faults = Faults.install(hub)
    faults.add(stall(10, release), origin="cdn", times=2)
    release.set()

    with pytest.raises(http.client.IncompleteRead):
        ask(link(hub))
    release.clear()
    url = urlsplit(link(hub))
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=60) as connection:
        connection.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(1)
        hub.stop()
        assert b"".join(iter(lambda: connection.recv(65536), b"")).endswith(LARGE[:10])


def test_other_faults_change_one_thing_only(hub: HubServer) -> None:
    faults = Faults.install(hub)
    faults.add(ignore_range, where="small.txt")
    faults.add(header("X-Repo-Commit", None), where="small.txt")
    faults.add(body(b"[]"), where="/tree/")

    assert ask(small(hub), Range="bytes=2-4").body == SMALL
    assert "X-Repo-Commit" not in ask(small(hub)).headers
    assert ask(f"{hub.url}/api/models/acme/tiny/tree/main").body == b"[]"
    assert ask(small(hub), Range="bytes=2-4").body == SMALL[2:5]


def test_files_of_git_repositories_are_sent_whole_and_in_part(root: Path) -> None:
    folder = root / "acme" / "versioned"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(LARGE)
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), (*identity, "commit", "-q", "-m", "First")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    with HubServer(root, cdn_url="http://127.0.0.1:9") as hub:
        location = ask(f"{hub.url}/acme/versioned/resolve/main/model.gguf", "HEAD").headers["Location"]

        assert location.startswith(hub.cdn_url)  # no static server can see inside git
        assert ask(location).body == LARGE
        assert ask(location, Range="bytes=5-").body == LARGE[5:]


def test_a_git_repository_that_cannot_be_opened_is_an_error_of_its_own(hub: HubServer, root: Path) -> None:
    (root / "acme" / "broken" / ".git").mkdir(parents=True)

    reply = ask(f"{hub.url}/api/models/acme/broken")

    assert (reply.status, "broken" in reply.headers["X-Error-Message"]) == (500, True)
    assert hub.names() == ["acme/broken", "acme/tiny"]
    hub.warm()
    assert ask(small(hub)).status == 200


def test_a_file_that_is_replaced_while_it_is_asked_for_is_not_sent(hub: HubServer, root: Path) -> None:
    path = root / "acme/tiny/small.txt"

    def replaced(server: HubServer, request: Request) -> Response:
        response = server.respond(request)
        path.unlink()
        path.write_bytes(b"other file")
        return response

    Faults.install(hub).add(replaced, where="small.txt")

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(small(hub))
    assert ask(small(hub)).body == b"other file"


def test_a_link_outlives_a_new_commit(root: Path) -> None:
    repository = HubRepository(root, "acme/moving", {"model.gguf": LARGE})
    with HubServer(root) as hub:
        url = ask(f"{hub.url}/acme/moving/resolve/main/model.gguf", "HEAD").headers["Location"]
        repository.commit({"model.gguf": b"new"})

        assert ask(url).body == LARGE


def test_links_to_what_is_gone_lead_nowhere(hub: HubServer, root: Path) -> None:
    url = link(hub)
    (root / "acme/tiny/model.gguf").unlink()

    assert ask(url).status == 404


def test_warming_hashes_everything_and_gives_up_when_the_server_ends(root: Path) -> None:
    hub = HubServer(root)
    hub.stop()
    hub.warm()  # returns at once: nobody is served any more

    with hub:
        hub.warm()
        assert hub.names() == ["acme/tiny"]
        assert ask(small(hub)).body == SMALL


def test_it_listens_on_ipv6_when_told_to(root: Path) -> None:
    with HubServer(root, host="::1") as hub:
        assert hub.url.startswith("http://[::1]:")
        assert ask(link(hub)).body == LARGE


def test_a_server_can_stop_and_start_again(root: Path) -> None:
    hub = HubServer(root)
    for _ in range(2):
        with hub:
            assert ask(small(hub)).body == SMALL


def test_what_cannot_be_served_is_said(root: Path, hub: HubServer) -> None:
    with pytest.raises(ServerStartError, match="not a folder"):
        HubServer(root / "none")
    with pytest.raises(ServerStartError, match="cannot listen"):
        HubServer(root, host="127.0.0.1", port=urlsplit(hub.url).port or 0).start()
