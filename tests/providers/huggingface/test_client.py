"""The client against the loopback hub: revisions, listings, refusals, the cache, and one contract with HfApi."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from imageworks.loopback_hub.server import HubServer
from imageworks.providers.huggingface.errors import (
    DisabledError,
    GatedError,
    HubError,
    HubUnreachableError,
    InconsistentListingError,
    OfflineError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    UnauthorisedError,
    UnexpectedReplyError,
)
from support.hub import Faults, HubHistory, HubRepository, body, header, status
from support.providers import CANARY, COMMIT, answer, client

FILES = {
    "README.md": b"---\nlicense: apache-2.0\npipeline_tag: text-generation\n---\n# A model\n",
    "config.json": b'{"model_type": "tiny"}',
    "sub/tokenizer.json": b"{}",
    "sub/deep/notes.txt": b"hello",
    "empty.txt": b"",
    "model-00001-of-00002.safetensors": b"a" * 5000,
    "model-00002-of-00002.safetensors": b"b" * 3000,
}

RESULTS = [
    {
        "name": "n",
        "results": [
            {
                "task": {"type": "t"},
                "dataset": {"name": "d", "type": "x"},
                "metrics": [{"type": "acc", "value": 1}],
            }
        ],
    }
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def repository(root: Path) -> HubRepository:
    return HubRepository(root, "owner/model", FILES)


@pytest.fixture
def hub(root: Path, repository: HubRepository) -> Iterator[HubServer]:
    for name in ("owner/private", "owner/gated", "owner/refused"):
        HubRepository(root, name, FILES)
    with HubServer(
        root,
        tokens={CANARY: "ada"},
        private={"owner/private"},
        gated={"owner/gated"},
        refused={"owner/refused"},
        page_size=2,
    ) as server:
        assert repository.commit_id
        yield server


def test_a_revision_becomes_a_commit_with_what_the_hub_says(
    hub: HubServer, repository: HubRepository, tmp_path: Path
) -> None:
    resolved = client(hub.url, tmp_path).resolve("owner/model")
    assert (resolved.repo, resolved.commit, resolved.ref) == ("owner/model", repository.commit_id, "main")
    assert (resolved.license, resolved.pipeline_tag, resolved.gated) == ("apache-2.0", "text-generation", False)
    assert resolved.card["license"] == "apache-2.0"


def test_branches_with_slashes_and_earlier_commits_resolve(
    hub: HubServer, repository: HubRepository, tmp_path: Path
) -> None:
    old = repository.commit_id
    other = repository.branch("refs/pr/1", {"config.json": b"{}"})
    new = repository.commit({"config.json": b"[]"})
    ours = client(hub.url, tmp_path)
    assert ours.resolve("owner/model", "refs/pr/1").commit == other
    assert ours.resolve("owner/model", old.upper()).commit == old
    assert ours.resolve("owner/model").commit == new


def test_the_listing_is_what_hfapi_lists(hub: HubServer, repository: HubRepository, tmp_path: Path) -> None:
    ours = client(hub.url, tmp_path).listing("owner/model", repository.commit_id)
    theirs = HfApi(endpoint=hub.url, token=False).list_repo_tree(
        "owner/model", revision=repository.commit_id, recursive=True
    )
    expected = {
        entry.path: (entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id, entry.lfs is not None)
        for entry in theirs
        if isinstance(entry, RepoFile)
    }
    assert {file.path: (file.size, file.digest.value, file.large) for file in ours.files} == expected
    assert ours.total_bytes == sum(len(data) for data in FILES.values())


def test_a_known_commit_asks_no_network(hub: HubServer, repository: HubRepository, tmp_path: Path) -> None:
    first = client(hub.url, tmp_path)
    resolved = first.resolve("owner/model", repository.commit_id)
    listing = first.listing("owner/model", resolved.commit)
    asked = len(hub.requests)
    again = client(hub.url, tmp_path, offline=True)
    assert again.resolve("owner/model", repository.commit_id) == resolved
    assert again.listing("owner/model", resolved.commit) == listing
    assert len(hub.requests) == asked


def test_a_listing_is_confirmed_whatever_was_asked_meanwhile(
    hub: HubServer, repository: HubRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imageworks.providers.huggingface.client.MOST_NAMED", 1)
    old = repository.commit_id
    new = repository.commit({"config.json": b"[]"})
    ours = client(hub.url, tmp_path, write_cache=False)
    for commit in (old, new):
        ours.resolve("owner/model", commit)
    assert ours.listing("owner/model", old).confirmed
    assert ours.listing("owner/model", new).confirmed


def test_a_dry_run_writes_nothing(hub: HubServer, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    ours = client(hub.url, cache, write_cache=False)
    ours.listing("owner/model", ours.resolve("owner/model").commit)
    assert not cache.exists()


def test_offline_says_what_it_would_need(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(OfflineError, match="owner/model") as caught:
        client(hub.url, tmp_path, offline=True).resolve("owner/model")
    assert (caught.value.reason, hub.requests) == ("offline", [])


@pytest.mark.parametrize(
    ("repo", "revision", "token", "kind", "reason"),
    [
        ("owner/missing", "main", None, RepositoryNotFoundError, "repository-not-found"),
        ("owner/missing", "main", CANARY, RepositoryNotFoundError, "repository-not-found"),
        ("owner/private", "main", None, RepositoryNotFoundError, "repository-not-found"),
        ("owner/model", "nope", None, RevisionNotFoundError, "revision-not-found"),
        ("owner/model", "f" * 40, None, RevisionNotFoundError, "revision-not-found"),
        ("owner/model", "main", "hf_wrongwrong", UnauthorisedError, "unauthorised"),
        ("../etc", "main", None, RepositoryNotFoundError, "repository-not-found"),
        ("owner/model", "../x", None, RevisionNotFoundError, "revision-not-found"),
    ],
)
def test_each_refusal_has_its_own_error(
    hub: HubServer, tmp_path: Path, repo: str, revision: str, token: str | None, kind: type[HubError], reason: str
) -> None:
    with pytest.raises(kind) as caught:
        client(hub.url, tmp_path, token=token).resolve(repo, revision)
    assert caught.value.reason == reason
    assert caught.value.remedy
    assert "hf_" not in caught.value.render()


def test_a_private_repository_opens_with_a_token(hub: HubServer, tmp_path: Path) -> None:
    ours = client(hub.url, tmp_path, token=CANARY)
    resolved = ours.resolve("owner/private")
    assert len(ours.listing(resolved.repo, resolved.commit).files) == len(FILES)


def test_gated_access_is_checked_before_any_byte(hub: HubServer, tmp_path: Path) -> None:
    anonymous, known = client(hub.url, tmp_path), client(hub.url, tmp_path, token=CANARY)
    for ours, repo in ((anonymous, "owner/gated"), (known, "owner/refused")):
        with pytest.raises(GatedError, match="is gated") as caught:
            ours.check_access(ours.resolve(repo))
        assert f"{hub.url}/{repo}" in (caught.value.remedy or "")
    known.check_access(known.resolve("owner/gated"))
    known.check_access(known.resolve("owner/model"))


def test_a_bare_401_for_a_stranger_means_private(hub: HubServer, tmp_path: Path) -> None:
    Faults.install(hub).add(status(401), times=2)
    with pytest.raises(RepositoryNotFoundError, match="private"):
        client(hub.url, tmp_path).resolve("owner/model")
    with pytest.raises(UnauthorisedError, match="token from HF_TOKEN"):
        client(hub.url, tmp_path, token=CANARY).resolve("owner/model")


def test_a_disabled_repository_says_so(hub: HubServer, tmp_path: Path) -> None:
    Faults.install(hub).add(status(403, ("X-Error-Message", "Access to this resource is disabled.")))
    with pytest.raises(DisabledError, match=r"owner/model has been disabled by the hub: Access"):
        client(hub.url, tmp_path).resolve("owner/model")


def test_i8_names_that_the_commit_does_not_have_condemn_the_listing(
    hub: HubServer, repository: HubRepository, tmp_path: Path
) -> None:
    entry = '{"type":"file","oid":"%s","size":1,"path":"../../.bashrc"}' % ("0" * 40)
    Faults.install(hub).add(body(f"[{entry}]".encode()), where="/tree/", times=-1)
    with pytest.raises(InconsistentListingError):
        client(hub.url, tmp_path).listing("owner/model", repository.commit_id)
    assert not list(tmp_path.rglob("*.listing.json"))


def test_the_history_is_read_over_pages_until_the_commit_that_is_known(
    hub: HubServer, root: Path, tmp_path: Path
) -> None:
    kept = HubHistory(root, "owner/history")
    for number in range(6):
        kept.commit({"count.txt": b"%d" % number}, age=timedelta(days=6 - number))
    ours = client(hub.url, tmp_path)
    newest = kept.commits[::-1]
    assert [one.commit for one in ours.history("owner/history", newest[0])] == newest
    stopped = ours.history("owner/history", newest[0], until=newest[2])
    assert [one.commit for one in stopped] == newest[:3]
    assert stopped[0].title == "Commit 5"
    assert stopped[0].date is not None
    assert stopped[2].date is not None
    assert stopped[0].date - stopped[2].date == timedelta(days=2)


@pytest.mark.parametrize("sent", [b"[{}]", b'[{"id": "main"}]', b"{}", b"[1]", b"nothing"])
def test_a_malformed_history_is_refused(sent: bytes, hub: HubServer, repository: HubRepository, tmp_path: Path) -> None:
    Faults.install(hub).add(body(sent), where="/commits/")
    with pytest.raises(UnexpectedReplyError):
        client(hub.url, tmp_path).history("owner/model", repository.commit_id)


def test_a_listing_without_an_end_is_refused(hub: HubServer, repository: HubRepository, tmp_path: Path) -> None:
    faults = Faults.install(hub)
    faults.add(header("Link", '<http://elsewhere.example/?cursor=x>; rel="next"'), where="/tree/", times=-1)
    with pytest.raises(UnexpectedReplyError, match="does not end"):
        client(hub.url, tmp_path, token=CANARY).listing("owner/model", repository.commit_id)
    asked = [request.path for request in faults.seen if "/tree/" in request.path]
    assert asked == [asked[0]] * 2


def test_another_commit_than_asked_is_refused(hub: HubServer, repository: HubRepository, tmp_path: Path) -> None:
    Faults.install(hub).add(body(b'{"id": "owner/model", "sha": "%s"}' % COMMIT.encode()))
    with pytest.raises(InconsistentListingError, match=COMMIT):
        client(hub.url, tmp_path).resolve("owner/model", repository.commit_id)


def test_a_web_page_instead_of_a_hub_is_told(httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/api/models/a/b/revision/main").respond_with_data("<html>Welcome</html>")
    with pytest.raises(UnexpectedReplyError, match="not JSON") as caught:
        client(httpserver.url_for(""), tmp_path).resolve("a/b")
    assert "HF_ENDPOINT" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff",
        b"[" * 100_000,
        b"",
        b"[]",
        b"7",
        b'{"id": "o/m", "sha": 1, "siblings": [{}]}',
        b'{"cardData": {"self": 1}}',
    ],
)
def test_a_hostile_answer_is_told(sent: bytes, httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/api/models/a/b/revision/main").respond_with_data(sent)
    with pytest.raises(UnexpectedReplyError, match="the answer"):
        client(httpserver.url_for(""), tmp_path).resolve("a/b")


@pytest.mark.parametrize(
    "entry",
    [
        "text",
        {"type": "file", "path": "m.bin", "size": 7, "oid": "1" * 40, "lfs": "yes"},
        {"type": "file", "path": "m.bin", "size": 7, "oid": "1" * 40, "lfs": {"oid": "2" * 64}},
        {"type": "file", "size": 7, "oid": "1" * 40},
    ],
)
def test_a_malformed_tree_is_told(entry: object, hub: HubServer, repository: HubRepository, tmp_path: Path) -> None:
    Faults.install(hub).add(body(json.dumps([entry]).encode()), where="/tree/")
    with pytest.raises(UnexpectedReplyError):
        client(hub.url, tmp_path).listing("owner/model", repository.commit_id)


def test_nothing_is_asked_but_the_hub_and_nothing_written_for_the_library(hub: HubServer, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from imageworks.providers.huggingface.client import HubClient;"
        "HubClient(sys.argv[1], lambda: None, cache_dir=Path(sys.argv[2]), write_cache=False).resolve('owner/model')"
    )
    with HTTPServer(port=0) as elsewhere:
        environment = {"HOME": str(tmp_path), "HF_ENDPOINT": elsewhere.url_for(""), "PATH": os.environ["PATH"]}
        subprocess.run([sys.executable, "-c", code, hub.url, tmp_path], check=True, env=environment)
        assert elsewhere.log == []
    assert {request.path for request in hub.requests} == {"/api/models/owner/model/revision/main"}
    assert not list(tmp_path.rglob("*harness*"))


@pytest.mark.parametrize("results", ["x", [{"results": 1}], RESULTS])
def test_evaluation_tables_are_no_matter(
    results: object, httpserver: HTTPServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    card = {"license": "mit", "model-index": results}
    answer(httpserver, "/api/models/o/m/revision/main", {"id": "o/m", "sha": COMMIT, "cardData": card})
    resolved = client(httpserver.url_for(""), tmp_path).resolve("o/m")
    assert resolved.license == "mit"
    assert client(httpserver.url_for(""), tmp_path, offline=True).resolve("o/m", COMMIT).card == resolved.card
    assert capfd.readouterr() == ("", "")


def test_a_name_that_the_library_refuses_is_told_as_one(httpserver: HTTPServer, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError, match="cannot be the name"):
        client(httpserver.url_for(""), tmp_path).resolve("o/m--x")
    assert httpserver.log == []


def test_i7_two_hubs_are_asked_at_once_each_with_its_own_token(tmp_path: Path) -> None:
    met = threading.Barrier(2, timeout=30)
    with HTTPServer(port=0, threaded=True) as one, HTTPServer(port=0, threaded=True) as other:
        for server, name in ((one, "o/one"), (other, "o/other")):

            def respond(_: Request, name: str = name) -> Response:
                met.wait()
                return Response(json.dumps({"id": name, "sha": COMMIT}))

            server.expect_request("/api/models/o/m/revision/main").respond_with_handler(respond)
        places = enumerate(server.url_for("") for server in (one, other))
        clients = [client(url, tmp_path, token=f"hf_{CANARY}{number}") for number, url in places]
        with ThreadPoolExecutor(2) as threads:
            found = list(threads.map(lambda ours: ours.resolve("o/m").repo, clients))
        assert found == ["o/one", "o/other"]
        sent = [server.log[0][0].headers["Authorization"] for server in (one, other)]
        assert sent == [f"Bearer hf_{CANARY}{number}" for number in (0, 1)]


def test_what_the_process_asks_by_the_library_itself_stays_its_own(hub: HubServer, tmp_path: Path) -> None:
    client(hub.url, tmp_path).resolve("owner/model")
    theirs = HfApi(endpoint=hub.url, token=CANARY).model_info("owner/private")
    assert theirs.id == "owner/private"
    sent = [request for request in hub.requests if request.has_authorization]
    assert ["private" in request.path for request in sent] == [True]


def test_a_renamed_repository_leads_to_its_present_name(httpserver: HTTPServer, tmp_path: Path) -> None:
    httpserver.expect_request("/hf/api/models/old/name/revision/main").respond_with_data(
        "", 307, {"Location": "/hf/api/models/new/name/revision/main"}
    )
    answer(httpserver, "/hf/api/models/new/name/revision/main", {"id": "new/name", "sha": COMMIT})
    ours = client(httpserver.url_for("/hf//"), tmp_path, token=CANARY)
    assert ours.resolve("old/name").repo == "new/name"
    sent = [request.headers.get("Authorization") for request, _ in httpserver.log]
    assert sent == [f"Bearer {CANARY}"] * 2
    asked = len(httpserver.log)
    assert ours.resolve("old/name", COMMIT).repo == ours.resolve("new/name", COMMIT).repo == "new/name"
    assert len(httpserver.log) == asked


def test_an_api_that_redirects_elsewhere_is_named_and_never_followed(httpserver: HTTPServer, tmp_path: Path) -> None:
    with HTTPServer(port=0) as other:
        httpserver.expect_request("/api/models/a/b/revision/main").respond_with_data(
            "", 302, {"Location": other.url_for("/api/models/a/b/revision/main?secret=1")}
        )
        with pytest.raises(UnexpectedReplyError, match="away from the hub") as caught:
            client(httpserver.url_for(""), tmp_path, token=CANARY).resolve("a/b")
        assert other.log == []
    assert "302" in caught.value.message
    assert "secret" not in caught.value.render()


def test_a_redirect_loop_ends(httpserver: HTTPServer, tmp_path: Path) -> None:
    path = "/api/models/a/b/revision/main"
    httpserver.expect_request(path).respond_with_data("", 307, {"Location": path})
    with pytest.raises(UnexpectedReplyError, match="redirects"):
        client(httpserver.url_for(""), tmp_path).resolve("a/b")


def test_a_dead_hub_is_told_once_and_remembered(tmp_path: Path) -> None:
    ours = client("http://127.0.0.1:9", tmp_path)
    for _ in range(2):
        with pytest.raises(HubUnreachableError, match="cannot connect") as caught:
            ours.resolve("a/b")
    assert caught.value.retryable


@pytest.mark.parametrize(
    "endpoint", ["ftp://hub", "https://user:pw@hub", "hub.example", "https://hub:x", "https://h?q=1"]
)
def test_a_useless_endpoint_is_refused(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(HubUnreachableError, match="HF_ENDPOINT") as caught:
        client(endpoint, tmp_path)
    assert ":pw" not in caught.value.render()


def test_the_environment_says_which_hub_and_whether(tmp_path: Path) -> None:
    from imageworks.providers.huggingface.client import HubClient

    environment = {"HF_ENDPOINT": "http://127.0.0.1:9/x/", "HF_TOKEN": CANARY, "HF_HUB_OFFLINE": "1"}
    with HubClient.from_environment(environment, cache_dir=tmp_path) as ours:
        assert ours.endpoint == "http://127.0.0.1:9/x"
        assert CANARY not in repr(ours)
        with pytest.raises(OfflineError):
            ours.resolve("a/b")
    assert (
        HubClient.from_environment({"HF_HOME": str(tmp_path)}, cache_dir=tmp_path).endpoint == "https://huggingface.co"
    )
