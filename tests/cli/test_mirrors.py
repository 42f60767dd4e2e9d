"""Issue 18: bytes come from a mirror before the hub, which is asked for what the mirror does not give right."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imageworks.foundation.http_access import ServerAccess
from imageworks.host.settings import load_host_settings
from imageworks.loopback_hub.server import HubServer
from imageworks.operations.fleet.installed_repositories import InstalledRepositories
from imageworks.operations.fleet.watch import run_cycle
from imageworks.reconcile.run_options import RunOptions
from support.hub import Fault, Faults, HubRepository, body, no_length, status, truncate, wrong_bytes
from support.reconcile import HOST, MODEL, NAME, REPO, Result, World, command
from support.transfer import content

OTHER = "elsewhere"
WEIGHTS = "model.safetensors"
BY_ARIA2 = {**MODEL, WEIGHTS: content("more than comes in one stream", 8_400_000)}
TOKEN = "a token of the mirror"  # noqa: S105 # of a test


@pytest.fixture(name="repository")
def served_model(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> HubRepository:
    """Let a host have a model, and let no other find its bytes on this disk; an entry of the cache is as good."""
    repository = world.serve(getattr(request, "param", MODEL))
    world.configure(transfer={"connections": 1})
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.reconcile()
    monkeypatch.setattr("imageworks.files.content_index.ContentIndex.find", lambda *_: None)
    return repository


@contextmanager
def installed(world: World, **options: object) -> Iterator[HubServer]:
    what = InstalledRepositories(world.root, load_host_settings(registry=world.root))
    with HubServer(what, **options) as hub:  # type: ignore[arg-type]
        yield hub


@pytest.fixture(name="mirror")
def mirror_of_a_host(world: World, repository: HubRepository) -> Iterator[HubServer]:
    del repository
    with installed(world) as hub:
        yield hub


@contextmanager
def elsewhere(world: World, patch: pytest.MonkeyPatch, mirror: str = "") -> Iterator[None]:
    """Be another host, whose owner names a mirror."""
    with patch.context() as there:
        there.setenv("IMAGEWORKS_HOST", OTHER)
        for name in ("STATE", "CACHE"):
            there.setenv(f"IMAGEWORKS_{name}_DIR", str(world.folder / f"its {name}"))
        there.setenv("IMAGEWORKS_MODEL_ROOT", str(world.folder / "its weights"))
        there.setenv("IMAGEWORKS_MIRROR", mirror)
        yield


def fetched(hub: HubServer) -> Counter[str]:
    """Return how often each file was got from a hub."""
    got = (one.path for one in hub.requests if one.method == "GET" and "/api/" not in one.path)
    return Counter(path.rpartition("/")[2] for path in got)


def take(world: World, *words: str | Path, code: int = 0) -> Result:
    result = command("reconcile", "--yes", "--registry", world.root, "--no-progress", *words)
    assert result.code == code, result
    if code == 0:
        world.check()
        assert world.entry()["artifacts"] == world.entry(host=OTHER)["artifacts"]
    return result


def test_two_hosts_get_each_file_once_from_upstream(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with elsewhere(world, monkeypatch, mirror.url):
        assert "mirror" not in take(world).err
    assert fetched(world.hub) == dict.fromkeys(MODEL, 1)
    assert fetched(mirror) == dict.fromkeys(MODEL, 1)
    assert all("/api/" not in one.path for one in mirror.requests), "nothing that a mirror says is asked for"
    assert not any(one.has_authorization for one in mirror.requests)


@pytest.mark.parametrize("repository", [BY_ARIA2], indirect=True)
@pytest.mark.parametrize("fault", [None, wrong_bytes, status(500)])
def test_a_file_of_several_connections_comes_from_the_mirror_else_from_the_hub(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch, fault: Fault | None
) -> None:
    before = fetched(world.hub)
    if fault is not None:
        Faults.install(mirror).add(fault, method="GET", origin="cdn", times=-1)
    with elsewhere(world, monkeypatch, mirror.url):
        told = take(world)
    assert fetched(mirror)[WEIGHTS] >= 1
    assert (fetched(world.hub) == before) == (fault is None)
    assert (mirror.url in told.err) == (fault is not None)
    if fault is wrong_bytes:
        assert "digest is" in told.err


@pytest.mark.parametrize(
    "fault",
    [
        wrong_bytes,
        truncate(3),
        status(404),
        status(403),
        status(429, ("Retry-After", "600")),
        status(503),
        body(b"<html>Log in first</html>"),
        no_length(2),
    ],
)
def test_what_a_mirror_does_not_give_right_comes_from_the_hub(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    Faults.install(mirror).add(fault, method="GET", times=-1)
    with elsewhere(world, monkeypatch, mirror.url):
        told = take(world)
    assert f"mirror {mirror.url}" in told.err
    assert fetched(world.hub) == dict.fromkeys(MODEL, 2)
    assert sum(fetched(mirror).values()) <= len(MODEL) + 1


def test_wrong_bytes_are_refused_by_their_digest_and_the_mirror_is_named(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Path(str(world.entry()["download_path"])) / WEIGHTS
    weights.write_bytes(bytes(len(MODEL[WEIGHTS])))
    with elsewhere(world, monkeypatch, mirror.url):
        told = take(world)
    assert f"mirror {mirror.url}: {WEIGHTS}: digest is" in " ".join(told.err.split())
    assert fetched(world.hub) == {**dict.fromkeys(MODEL, 1), WEIGHTS: 2}
    assert (world.folder / "its weights" / REPO / WEIGHTS).read_bytes() == MODEL[WEIGHTS]


def test_a_mirror_that_is_away_is_asked_once(world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    address = mirror.url
    mirror.stop()
    with elsewhere(world, monkeypatch, address):
        told = take(world)
    assert told.err.count(f"mirror {address}") == 1
    assert "not asked again" in " ".join(told.err.split())
    mirror.start()


def test_a_model_that_a_mirror_has_not_comes_from_the_hub_and_the_next_mirror_is_asked_first(
    world: World, mirror: HubServer, repository: HubRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = repository.commit({"README.md": b"# Newer\n"})
    world.declare(source={"huggingface": REPO, "revision": newer})
    with HubServer(world.folder / "hub") as second, elsewhere(world, monkeypatch, f"{mirror.url},{second.url}"):
        told = command("reconcile", "--yes", "--registry", world.root, "--no-progress")
        assert told.code == 0, told
        assert set(fetched(second)) == set(MODEL)
    assert fetched(world.hub) == dict.fromkeys(MODEL, 1)
    assert told.err.count("does not give all of") == 1


def test_the_token_of_the_hub_stays_with_the_hub(
    world: World, repository: HubRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    del repository
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_hub")
    with installed(world) as mirror, elsewhere(world, monkeypatch, mirror.url):
        take(world)
        assert set(fetched(mirror)) == set(MODEL)
        assert not any(one.has_authorization for one in mirror.requests)
    assert any(one.has_authorization for one in world.hub.requests)


def test_a_mirror_that_wants_a_token_gets_the_one_that_is_named_for_it(
    world: World, repository: HubRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    del repository
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_hub")
    with installed(world, access=ServerAccess(token=TOKEN)) as mirror, elsewhere(world, monkeypatch, mirror.url):
        monkeypatch.setenv("MIRROR_TOKEN", TOKEN)
        monkeypatch.setenv("IMAGEWORKS_CREDENTIALS", f"{mirror.url.removeprefix('http://')}=MIRROR_TOKEN")
        assert f"mirror {mirror.url}" not in take(world).err
        assert set(fetched(mirror)) == set(MODEL)
        mirror.requests.clear()
        monkeypatch.setenv("MIRROR_TOKEN", "")
        (world.folder / "its weights" / REPO / "config.json").unlink()
        told = take(world)
        assert "MIRROR_TOKEN, which is not set" in " ".join(told.err.split())
        assert mirror.requests == []


def test_a_mirror_that_wants_a_token_and_gets_none_is_told_with_where_to_name_it(
    world: World, repository: HubRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    del repository
    with installed(world, access=ServerAccess(token=TOKEN)) as mirror, elsewhere(world, monkeypatch, mirror.url):
        told = take(world)
    assert "`credentials` in config.toml" in told.err
    assert fetched(world.hub) == dict.fromkeys(MODEL, 2)


def test_registry_yaml_names_mirrors_by_address_or_by_host(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configure(mirror=HOST, hosts={HOST: {"hub": f"{mirror.url}/"}, OTHER: {}})
    world.reconcile()
    monkeypatch.setenv("IMAGEWORKS_PRIVATE_HOSTS", "127.0.0.1")
    with elsewhere(world, monkeypatch):
        take(world)
        shown = command("config", "--registry", world.root).out
    assert fetched(mirror) == dict.fromkeys(MODEL, 1)
    assert f"{HOST} ({mirror.url})" in shown
    with elsewhere(world, monkeypatch):
        world.configure(mirror=HOST, hosts={HOST: {"hub": mirror.url}, OTHER: {"mirror": []}})
        (world.folder / "its weights" / REPO / "config.json").unlink()
        take(world)
    assert fetched(mirror) == dict.fromkeys(MODEL, 1)


def test_a_registry_leads_nobody_into_a_private_network(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configure(mirror=[mirror.url])
    with elsewhere(world, monkeypatch):
        told = take(world)
    assert "private_hosts" in told.err
    assert mirror.requests == []


def test_the_option_names_a_host_whose_hub_registry_yaml_knows(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configure(hosts={HOST: {"hub": mirror.url}, OTHER: {}})
    with elsewhere(world, monkeypatch):
        told = take(world, "--mirror", OTHER, code=1)
        assert f"hosts: {{{OTHER}: {{hub:" in " ".join(told.err.split())
        assert "'ftp://x'" in take(world, "--mirror", "ftp://x", code=1).err
        take(world, "--mirror", HOST)
    assert fetched(mirror) == dict.fromkeys(MODEL, 1)


def test_a_mirror_that_nobody_knows_the_address_of_is_refused_by_validate(world: World) -> None:
    world.configure(mirror=["gpu09"], hosts={"gpu09": {}})
    told = command("validate", "--registry", world.root)
    assert told.code == 1
    assert 'host "gpu09" has no `hub`' in told.out + told.err
    world.configure(mirror="gpu09", hosts={"gpu09": {"hub": "http://10.0.0.9:8090"}})
    assert command("validate", "--registry", world.root).code == 0


def test_a_watch_and_a_plan_keep_to_the_mirror(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with elsewhere(world, monkeypatch, mirror.url):
        world.plan()
        done = run_cycle(world.root, RunOptions(mirrors=(mirror.url,)), report=None)
    assert (done.failed, done.changes) == ((), 1)
    assert fetched(world.hub) == dict.fromkeys(MODEL, 1)
    assert NAME in world.entries(OTHER)
