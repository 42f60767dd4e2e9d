"""Hubs that refuse, mirrors that leave things out, and listings that are not true, through the command line."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imageworks.foundation.http_messages import Request, Response
from imageworks.loopback_hub.server import HubServer
from support.hub import Faults, body, header, status
from support.mirrors import CachedRedirects, Mirror
from support.providers import CANARY
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import content

NINE = {
    "config.json": b'{"model_type": "llama"}\n',
    "generation_config.json": b"{}\n",
    "model-00001-of-00003.safetensors": content("one", 5000),
    "model-00002-of-00003.safetensors": content("two", 5000),
    "model-00003-of-00003.safetensors": content("three", 5000),
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {f"layer.{n}": f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)}}
    ).encode(),
    "special_tokens_map.json": b"{}\n",
    "tokenizer.json": b'{"version": "1.0"}\n',
    "tokenizer_config.json": b"{}\n",
}


@contextmanager
def world_with(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Iterator[World]:
    (tmp_path / "hub").mkdir()
    with HubServer(tmp_path / "hub", **settings) as hub:  # type: ignore[arg-type]
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(tmp_path / "weights"))
        monkeypatch.setattr("imageworks.providers.huggingface.session._FIRST_PAUSE_SECONDS", 0.0)
        monkeypatch.chdir(tmp_path)
        made = World(tmp_path, hub)
        made.user_config(home, f'roots = ["{tmp_path}"]\n')
        yield made


@pytest.fixture
def paged(tmp_path: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A hub whose pages hold four entries, and a model of nine files."""
    with world_with(tmp_path, isolated_environment, monkeypatch, page_size=4) as made:
        made.serve(NINE)
        yield made


def files(world: World, name: str = NAME) -> set[str]:
    return {path.name for path in (world.folder / "flat" / name).iterdir()}


def pages(change: Callable[[list[dict[str, object]], int], list[dict[str, object]]]) -> Callable[..., Response]:
    """Return a fault that changes the entries of a page; it gets where the page begins."""

    def fault(hub: HubServer, request: Request) -> Response:
        response = hub.respond(request)
        start = int(dict(pair.split("=", 1) for pair in request.query.split("&")).get("cursor", "0"))
        assert isinstance(response.body, bytes)
        changed = change(json.loads(response.body), start)
        return Response(response.status, response.headers, json.dumps(changed).encode())

    return fault


def more(entries: list[dict[str, object]], start: int) -> list[dict[str, object]]:
    return entries if start else [*entries, {**entries[0], "path": "zz.json"}]


FAULTS = {
    "no link": (header("Link", None), "4"),
    "a page cut": (pages(lambda entries, start: entries[:2] if start == 4 else entries), "7"),
    "a file left out": (pages(lambda entries, _: [e for e in entries if e["path"] != "tokenizer.json"]), "8"),
    "one more": (pages(more), "10"),
    "an empty page": (pages(lambda entries, start: [] if start == 8 else entries), "8"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("words", [("reconcile", "-y"), ("download", REPO), ("analyze", REPO)])
def test_d18_a_listing_that_the_commit_contradicts_is_refused_and_never_kept(
    paged: World, fault: str, words: tuple[str, ...]
) -> None:
    paged.declare(location="flat")
    faults = Faults.install(paged.hub)
    faults.add(FAULTS[fault][0], where="/tree/", times=-1)
    registry = () if words[0] == "analyze" else ("--registry", paged.root)
    refused = command(*words, *registry)
    said = " ".join((refused.out + refused.err).split())
    assert refused.code == 1
    assert f"lists {FAULTS[fault][1]} files" in said
    assert "names 9 " in said
    assert paged.hub.url.removeprefix("http://") in said
    paged.hub.intercept = None
    paged.reconcile("-y")
    assert files(paged) == set(NINE)


def test_d18_a_page_that_comes_twice_is_refused(paged: World) -> None:
    paged.declare(location="flat")
    first: list[list[dict[str, object]]] = []

    def again(entries: list[dict[str, object]], start: int) -> list[dict[str, object]]:
        first.append(entries)
        return first[0] if start == 4 else entries

    Faults.install(paged.hub).add(pages(again), where="/tree/", times=-1)
    assert paged.plan(code=1).changes[NAME] == ("blocked", "inconsistent-listing")


@pytest.mark.parametrize("count", [3, 4, 5])
def test_d18_a_listing_that_ends_with_a_page_is_whole(paged: World, count: int) -> None:
    kept = dict(sorted(NINE.items())[:2]) | {f"model{n}.safetensors": content(f"{n}", 50) for n in range(count - 2)}
    paged.serve(kept, "acme/edge")
    paged.declare("edge", source={"huggingface": "acme/edge"}, location="flat")
    paged.reconcile("-y")
    assert files(paged, "edge") == set(kept)


def seven_of_nine(world: World) -> None:
    """Install seven files of nine, as a hub does of whose lies nothing is to be seen."""
    world.declare(source={"huggingface": REPO, "revision": world.serve(NINE).commit_id}, location="flat")
    faults = Faults.install(world.hub)

    def fewer(hub: HubServer, request: Request) -> Response:
        response = hub.respond(request)
        assert isinstance(response.body, bytes)
        document = json.loads(response.body)
        if isinstance(document, list):
            document = [entry for entry in document if not str(entry["path"]).startswith("to")]
        else:
            document["siblings"] = [one for one in document["siblings"] if not one["rfilename"].startswith("to")]
        return Response(response.status, response.headers, json.dumps(document).encode())

    faults.add(fewer, where="/api/models/", times=-1)
    world.reconcile("-y")
    assert len(files(world)) == 7
    world.hub.intercept = None
    assert world.plan().changes == {}  # a pinned model that is as recorded asks no network


@pytest.mark.parametrize(
    "words",
    [
        ("download", REPO, "--force"),
        ("download", f"{REPO}@{{commit}}", "--force"),
        ("verify", NAME, "--repair"),
    ],
)
def test_d18_force_and_repair_ask_anew_and_bring_what_was_never_listed(paged: World, words: tuple[str, ...]) -> None:
    seven_of_nine(paged)
    commit = str(paged.entry()["resolved"]["revision"])  # type: ignore[index]
    mended = command(*(word.format(commit=commit) for word in words), "--registry", paged.root)
    assert mended.code == 0, mended
    assert files(paged) == set(NINE)
    assert len(paged.entry()["download_files"]) == 9  # type: ignore[arg-type]
    paged.check()


@pytest.mark.parametrize("words", [("download", REPO), ("verify", "--repair"), ("verify", NAME, "--repair")])
def test_d18_what_an_older_version_kept_is_not_believed(
    paged: World, isolated_environment: Path, words: tuple[str, ...]
) -> None:
    seven_of_nine(paged)
    for kept in (isolated_environment / ".cache").rglob("*.json"):
        kept.write_text(kept.read_text().replace('"about":[2,', '"about":[1,'))
    mended = command(*words, "--registry", paged.root)
    assert mended.code == 0, mended
    assert files(paged) == set(NINE)


def test_d18_repair_does_without_a_hub_that_is_away(paged: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seven_of_nine(paged)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert command("verify", "--repair", "--registry", paged.root).code == 0
    for variable, value in (("HF_HUB_OFFLINE", "1"), ("HF_TOKEN", "no token"), ("HF_ENDPOINT", "ftp://hub")):
        monkeypatch.setenv(variable, value)
        assert command("verify", NAME, "--repair", "--registry", paged.root).code == 0


def test_d18_a_hub_that_names_nothing_with_the_commit_is_told_of(paged: World, isolated_environment: Path) -> None:
    paged.declare(location="flat")

    def silent(hub: HubServer, request: Request) -> Response:
        response = hub.respond(request)
        assert isinstance(response.body, bytes)
        document = json.loads(response.body)
        del document["siblings"]
        return Response(response.status, response.headers, json.dumps(document).encode())

    Faults.install(paged.hub).add(silent, where="/revision/", times=-1)
    assert "9 listed" in paged.reconcile("-y").out
    assert files(paged) == set(NINE)
    assert not list((isolated_environment / ".cache").rglob("*.listing.json"))


GATES = [
    (401, "GatedRepo", "Access to model acme/tiny-1b is restricted. Please log in.", None, "Accept"),
    (403, "GatedRepo", "Access is restricted and you are not in the authorized list.", CANARY, "Accept"),
    (403, "GatedRepo", "Your request to access it is awaiting a review from the repo authors.", CANARY, "Wait"),
    (
        403,
        "GatedRepo",
        "Please enable access to public gated repositories in your fine-grained token settings.",
        CANARY,
        "settings/tokens",
    ),
    (401, None, "Invalid credentials in Authorization header", CANARY, "hf auth login"),
    (401, None, 'User Access Token "laptop" is expired', CANARY, "Make a new token"),
    (403, None, "This token has no permission to read this.", CANARY, "settings/tokens"),
]


@pytest.mark.parametrize(("code", "error", "says", "token", "remedy"), GATES)
def test_d22_u5_what_the_hub_would_refuse_is_blocked_in_the_plan_in_its_own_words(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    error: str | None,
    says: str,
    token: str | None,
    remedy: str,
) -> None:
    repository = world.serve()
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    faults = Faults.install(world.hub)
    faults.add(
        body(b'{"id": "%s", "sha": "%s", "gated": "manual"}' % (REPO.encode(), repository.commit_id.encode())),
        where="/revision/",
        times=-1,
    )
    headers = (("X-Error-Message", says + "\x1b[31m"), *((("X-Error-Code", error),) if error else ()))
    faults.add(status(code, *headers), where="/resolve/", times=-1)
    faults.add(status(404), where="/auth-check", times=-1)
    planned = world.reconcile("--dry-run", code=1)
    assert "! " in planned.out
    assert says in " ".join(planned.out.split())
    assert remedy in " ".join(planned.out.split())
    assert "\x1b[31m" not in planned.out
    reason = "gated" if error else "unauthorised"
    assert world.plan(code=1).changes == {NAME: ("blocked", reason)}
    faults.seen.clear()
    world.reconcile("-y", code=1)
    assert [request.method for request in faults.seen if "/resolve/" in request.path] == ["HEAD"]
    assert not (world.weights / REPO).exists()


def test_u5_a_repository_that_was_closed_since_is_blocked_in_the_plan(world: World) -> None:
    commit = world.serve().commit_id
    world.declare(source={"huggingface": REPO, "revision": commit})
    assert command("analyze", f"{REPO}@{commit}").code == 0  # its answers are known now
    faults = Faults.install(world.hub)
    faults.add(status(401, ("X-Error-Code", "GatedRepo")), where="/resolve/", times=-1)
    assert world.plan(code=1).changes == {NAME: ("blocked", "gated")}
    assert [request.method for request in faults.seen] == ["HEAD"]


def test_u5_what_is_not_fetched_is_not_asked_for(
    tmp_path: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world_with(tmp_path, isolated_environment, monkeypatch, gated={REPO}, tokens={CANARY: "ada"}) as made:
        commit = made.serve().commit_id
        made.declare(source={"huggingface": REPO, "revision": commit}, location="flat")
        assert made.plan(code=1).changes == {NAME: ("blocked", "gated")}
        folder = made.folder / "flat" / NAME
        folder.mkdir(parents=True)
        for name, data in MODEL.items():
            (folder / name).write_bytes(data)
        made.hub.requests.clear()
        assert made.plan().changes == {NAME: ("adopt", "found")}
        made.reconcile("-y")
        assert not [request for request in made.hub.requests if "/resolve/" in request.path]
        made.hub.requests.clear()
        assert made.plan().changes == {}
        assert made.hub.requests == []
        assert command("reconcile", "--dry-run", "--offline", "--registry", made.root).code == 0


def test_u5_a_token_that_is_let_in_installs(
    tmp_path: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"gated": {REPO, "acme/shut"}, "refused": {"acme/shut"}, "tokens": {CANARY: "ada"}}
    with world_with(tmp_path, isolated_environment, monkeypatch, **settings) as made:
        made.serve()
        made.serve(MODEL, "acme/shut")
        made.declare()
        made.declare("shut", source={"huggingface": "acme/shut"})
        monkeypatch.setenv("HF_TOKEN", CANARY)
        assert made.plan(code=1).changes == {NAME: ("install", "missing"), "shut": ("blocked", "gated")}
        made.reconcile("-y", code=1)
        assert made.entries() == [NAME]


LARGE = {**MODEL, "model.safetensors": content("large weights", 9 * 1024 * 1024)}
BARE = frozenset({"x-repo-commit", "x-linked-etag", "x-linked-size", "etag"})


@pytest.mark.parametrize("token", [None, CANARY])
@pytest.mark.parametrize(
    "settings",
    [
        {"path": "/artifactory/api/huggingfaceml/models", "xet": True},
        {"path": "/repository/hf-proxy", "dropped": frozenset({"x-repo-commit"}), "no_expand": True},
        {"dropped": BARE, "limited": 2},
        {"path": "/hf", "upstream_links": True, "bare_redirects": True},
        {"path": "/hf", "no_head": True, "dropped": BARE},
        {"no_tree": True, "dropped": BARE},
    ],
    ids=["artifactory", "nexus", "bare", "path", "no head", "no tree"],
)
def test_d25_a_mirror_serves_what_the_listing_proves(
    tmp_path: Path,
    isolated_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object],
    token: str | None,
) -> None:
    hub = {"page_size": 2, "tokens": {CANARY: "ada"}}
    with world_with(tmp_path, isolated_environment, monkeypatch, **hub) as made:
        made.serve(LARGE)
        made.declare(location="flat")
        mirror = Mirror(made.hub, **settings)  # type: ignore[arg-type]
        made.hub.intercept = CachedRedirects(mirror)
        monkeypatch.setenv("HF_ENDPOINT", mirror.url)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        made.reconcile("-y")
        installed = {path.name: path.read_bytes() for path in (made.folder / "flat" / NAME).iterdir()}
        assert installed == LARGE
        assert mirror.strayed == []
        assert not any(request.has_authorization for request in made.hub.requests if request.origin == "cdn")


def test_d25_wrong_bytes_of_a_mirror_without_headers_are_refused(world: World) -> None:
    world.serve()
    world.declare(location="flat")
    mirror = Mirror(world.hub, dropped=BARE)

    def swapped(request: Request) -> Response | None:
        if request.origin == "cdn":
            return Response(200, (("Content-Length", "60000"),), bytes(60000))
        answer = mirror(request)
        assert answer is None or isinstance(answer, Response)
        return answer

    world.hub.intercept = swapped
    assert "digest" in world.reconcile("-y", code=1).err
    assert not (world.folder / "flat" / NAME).exists()


@pytest.mark.parametrize("words", [("reconcile", "-y"), ("download", REPO)])
def test_d25_an_http_endpoint_that_redirects_to_https_is_told_so(world: World, words: tuple[str, ...]) -> None:
    world.serve()
    world.declare(location="flat")
    target = "https://127.0.0.1:8443/api/models/x?secret=1"
    Faults.install(world.hub).add(status(301, ("Location", target)), where="/api/", times=-1)
    failed = command(*words, "--registry", world.root)
    said = failed.out + failed.err
    assert failed.code == 1
    assert "Set HF_ENDPOINT to https://127.0.0.1:8443." in said
    assert "secret" not in said
