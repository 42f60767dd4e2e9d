"""Ollama as a provider: one observation whoever answers, deeds that return what is then there, offline no network."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from imageworks.providers.ollama import store as ollama_store
from imageworks.providers.ollama.client import OllamaClient
from imageworks.providers.ollama.errors import (
    OllamaBrokenStreamError,
    OllamaError,
    OllamaInUseError,
    OllamaNeedsNewerError,
    OllamaNotFoundError,
    OllamaOfflineError,
    OllamaStoreError,
    OllamaUnauthorisedError,
    OllamaUnreachableError,
)
from imageworks.providers.ollama.model import CreateSpec, OllamaModel, OllamaObservation
from imageworks.providers.ollama.service import OllamaService
from support.ollama import LoopbackOllama
from support.ollama_content import Store, hex_sha256, model
from support.ollama_registry import OllamaRegistry


@pytest.fixture
def registry() -> Iterator[OllamaRegistry]:
    made = OllamaRegistry()
    yield made
    made.stop()


@pytest.fixture
def daemon(tmp_path: Path, registry: OllamaRegistry) -> Iterator[LoopbackOllama]:
    made = LoopbackOllama(tmp_path / "models of Ollama", registry=registry.host)
    yield made
    made.stop()


@pytest.fixture
def ollama(daemon: LoopbackOllama) -> Iterator[OllamaService]:
    with OllamaService.from_environment(daemon.environment) as made:
        yield made


def without_daemon(*stores: Path) -> OllamaService:
    address = OllamaService.from_environment({"OLLAMA_HOST": "127.0.0.1:9"}).address
    return OllamaService(OllamaClient(address), stores)


def test_a_running_daemon_is_observed_with_layers_from_its_store(daemon: LoopbackOllama, ollama: OllamaService) -> None:
    daemon.install("b:x", model(b"one"))
    daemon.install("a:x", model(b"two", template="{{ .Tools }}"))
    daemon.loaded.add("a:x")
    seen = ollama.observe()
    assert (seen.origin, seen.version, seen.problem, seen.damaged) == ("api", "0.33.0", None, ())
    assert seen.daemon_answers
    assert [each.name for each in seen.models] == ["a:x", "b:x"]
    found = seen.find("A:X")
    assert found is not None
    assert found.capabilities == ("completion", "tools")
    assert (found.store, found.complete, found.layers[0].digest) == (daemon.store.folder, True, hex_sha256(b"two"))
    assert seen.is_in_use("A:x")
    assert not seen.is_in_use("b:x")
    assert (seen.find("c"), seen.find("no/such/name/here"), seen.is_in_use("")) == (None, None, False)


def test_another_machines_daemon_gets_no_layers_from_our_store(
    daemon: LoopbackOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.install("a", model())
    monkeypatch.setattr("imageworks.providers.ollama.address.is_loopback", lambda _: False)
    with OllamaService.from_environment(daemon.environment) as ollama:
        (found,) = ollama.observe().models
    assert (found.layers, found.store, found.config_digest, found.content) == ((), None, None, ())
    assert found.blob("a" * 64) is None


def test_a_store_with_another_manifest_of_that_name_is_not_the_daemons(daemon: LoopbackOllama, tmp_path: Path) -> None:
    daemon.install("a", model(b"one"))
    Store(tmp_path / "other").install("a", model(b"two"))
    environment = {**daemon.environment, "OLLAMA_MODELS": str(tmp_path / "other")}
    with OllamaService.from_environment(environment) as ollama:
        (found,) = ollama.observe().models
    assert (found.digest, found.store) == (model(b"one").digest, None)


def test_without_a_daemon_the_store_is_observed_and_says_so(daemon: LoopbackOllama, ollama: OllamaService) -> None:
    path = daemon.install("a:x", model())
    bad = daemon.store.write_manifest("bad", b"{")
    online = ollama.observe()
    daemon.stop()
    seen = ollama.observe()
    assert (seen.origin, seen.version, seen.daemon_answers) == ("store", None, False)
    assert "cannot connect" in (seen.problem or "")
    assert "ollama serve" in (seen.remedy or "")
    assert [each for each, _ in seen.damaged] == [bad]
    assert online.damaged == seen.damaged
    (stored,), (listed,) = seen.models, online.models
    assert replace(stored, capabilities=listed.capabilities) == listed
    assert path.exists()


def test_with_neither_daemon_nor_store_nothing_is_known(tmp_path: Path) -> None:
    with without_daemon(tmp_path / "absent") as ollama:
        seen = ollama.observe()
    assert (seen.origin, seen.models) == ("nothing", ())
    assert seen.problem


def test_a_store_of_another_user_is_a_problem_and_not_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = Store(tmp_path / "mine"), tmp_path / "theirs"
    mine.install("a", model())

    def is_store(folder: Path) -> bool:
        if folder == theirs:
            raise OllamaStoreError(f"{folder}: cannot be read", remedy="Join the group.")
        return ollama_store.is_store(folder)

    monkeypatch.setattr("imageworks.providers.ollama.service.is_store", is_store)
    with without_daemon(theirs) as ollama:
        alone = ollama.observe()
    with without_daemon(mine.folder, theirs) as ollama:
        both = ollama.observe()
    assert (alone.origin, both.origin) == ("nothing", "store")
    for seen in (alone, both):
        assert str(theirs) in (seen.problem or "")
        assert "Join the group." in (seen.remedy or "")
    assert [each.name for each in both.models] == ["a:latest"]


def test_of_one_name_in_two_stores_the_first_counts(tmp_path: Path) -> None:
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    one.install("a", model(b"first"))
    two.install("A", model(b"second"))
    two.install("b", model())
    with without_daemon(one.folder, two.folder) as ollama:
        seen = ollama.observe()
    assert [(each.name, each.store) for each in seen.models] == [("a:latest", one.folder), ("b:latest", two.folder)]


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_daemon_behind_a_key_is_a_problem_to_tell(daemon: LoopbackOllama, key: str | None) -> None:
    daemon.install("a", model())
    daemon.key = "right"
    environment = {**daemon.environment, **({"OLLAMA_API_KEY": key} if key else {})}
    with OllamaService.from_environment(environment) as ollama:
        seen = ollama.observe()
    assert (seen.origin, len(seen.models)) == ("store", 1)
    assert "unauthorized" in (seen.problem or "")


def test_a_pull_returns_the_model_as_it_is_then(ollama: OllamaService, registry: OllamaRegistry) -> None:
    content = model(b"weights", licenses=["MIT"])
    registry.add("tiny:1b", content)
    pulled = ollama.pull("Tiny:1B".lower())
    assert (pulled.name, pulled.digest, pulled.size, pulled.complete) == ("tiny:1b", content.digest, content.size, True)
    assert ollama.observe().find("tiny:1b") == pulled


def test_a_name_in_another_case_is_the_model_that_is_there(ollama: OllamaService, registry: OllamaRegistry) -> None:
    registry.add("tiny:1b", model(b"weights"))
    ollama.pull("tiny:1b")
    assert ollama.pull("TINY:1B").name == "tiny:1b"
    assert len(ollama.observe().models) == 1


def test_a_pull_that_leaves_no_model_is_an_error(
    ollama: OllamaService, registry: OllamaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("tiny:1b", model())
    monkeypatch.setattr(OllamaClient, "tags", lambda _: ())
    with pytest.raises(OllamaNotFoundError, match="does not list it"):
        ollama.pull("tiny:1b")


def test_a_loaded_model_is_left_alone(daemon: LoopbackOllama, ollama: OllamaService) -> None:
    daemon.install("a:x", model())
    daemon.loaded.add("a:x")
    with pytest.raises(OllamaInUseError, match="A:x is loaded") as caught:
        ollama.delete("A:x")
    assert caught.value.reason == "ollama-in-use"
    daemon.loaded.clear()
    ollama.delete("A:x")
    assert ollama.observe().models == ()


def test_a_created_model_is_returned(daemon: LoopbackOllama, ollama: OllamaService, registry: OllamaRegistry) -> None:
    registry.add("base:x", model(b"weights", parameters={"top_k": 5}))
    made = ollama.create(CreateSpec("mine", base="base:x", system="Hi", parameters={"num_ctx": 8}))
    assert [layer.kind for layer in made.layers] == ["model", "template", "system", "params"]
    assert ollama.observe().find("base:x") is not None  # a missing base is pulled on the way
    assert ollama.show("mine").parameters == {"top_k": 5, "num_ctx": 8}
    assert daemon.store.blob(made.layers[0].digest).read_bytes() == b"weights"


def test_upstream_is_told_by_config_and_layers(ollama: OllamaService, registry: OllamaRegistry) -> None:
    name = registry.add("me/tiny:1b", model(b"weights"))
    installed = ollama.pull(name)
    same = ollama.upstream(name)
    assert same is not None
    assert (same.content, same.digest, same.size) == (installed.content, installed.digest, installed.size)
    registry.add("me/tiny:1b", model(b"other weights"))
    moved = ollama.upstream(name)
    assert moved is not None
    assert moved.content != installed.content
    registry.remove("me/tiny:1b")
    assert ollama.upstream(name) is None


def test_an_older_manifest_of_the_same_content_is_not_drift(
    daemon: LoopbackOllama, ollama: OllamaService, registry: OllamaRegistry
) -> None:
    content = model(b"weights")
    name = registry.add("tiny:1b", content)
    daemon.install(name, replace(content, manifest=content.manifest + b"\n"))
    installed, upstream = ollama.observe().find(name), ollama.upstream(name)
    assert installed is not None
    assert upstream is not None
    assert installed.digest != upstream.digest
    assert installed.content == upstream.content


def test_a_registry_that_fails_is_told(ollama: OllamaService, registry: OllamaRegistry) -> None:
    name = registry.add("tiny:1b", model())
    registry.needs_newer.add("tiny:1b")
    with pytest.raises(OllamaNeedsNewerError):
        ollama.upstream(name)
    registry.bearer = "x"
    with pytest.raises(OllamaUnauthorisedError):
        ollama.upstream(name)
    registry.bearer, registry.status = None, 503
    with pytest.raises(OllamaError, match="503") as caught:
        ollama.upstream(name)
    assert caught.value.retryable
    registry.status = 200
    with pytest.raises(OllamaBrokenStreamError, match="names no config"):
        ollama.upstream(name)
    registry.stop()
    with pytest.raises(OllamaUnreachableError, match="cannot connect"):
        ollama.upstream(name)


@pytest.mark.parametrize("manifest", [b"<html>", b"[]", b'{"layers": 3}', b'{"config": {"digest": "x"}}'])
def test_an_answer_that_is_no_manifest_is_told(
    ollama: OllamaService, registry: OllamaRegistry, manifest: bytes
) -> None:
    name = registry.add("tiny:1b", replace(model(), manifest=manifest))
    with pytest.raises(OllamaBrokenStreamError, match="sends no manifest"):
        ollama.upstream(name)


def redirecting(server: HTTPServer, target: str) -> str:
    """Let a registry redirect a model's manifest; returns the model's name."""
    server.expect_request("/v2/me/m/manifests/x").respond_with_data("", 307, {"Location": target})
    return f"{server.host.replace('localhost', '127.0.0.1')}:{server.port}/me/m:x"


def test_a_redirect_of_a_registry_is_followed(ollama: OllamaService, httpserver: HTTPServer) -> None:
    name = redirecting(httpserver, "/elsewhere")
    httpserver.expect_request("/elsewhere").respond_with_data(model().manifest)
    found = ollama.upstream(name)
    assert found is not None
    assert (found.name, found.digest) == (name, model().digest)


@pytest.mark.parametrize("target", ["http://registry.example/v2/", "ftp://127.0.0.1/", "file:///etc/passwd"])
def test_a_redirect_to_where_it_is_not_encrypted_is_refused(
    ollama: OllamaService, httpserver: HTTPServer, target: str
) -> None:
    with pytest.raises(OllamaError, match="which is not encrypted"):
        ollama.upstream(redirecting(httpserver, target))


@pytest.mark.parametrize("target", ["https://169.254.169.254/x", "https://0xa9fea9fe/x", "https://224.0.0.1/x"])
def test_x15_a_registry_leads_to_nothing_that_is_none_of_its_business(
    ollama: OllamaService, httpserver: HTTPServer, target: str
) -> None:
    with pytest.raises(OllamaError, match="address") as caught:
        ollama.upstream(redirecting(httpserver, target))
    assert caught.value.reason == "private-address"


def test_redirects_without_end_are_refused(ollama: OllamaService, httpserver: HTTPServer) -> None:
    with pytest.raises(OllamaError, match="more than 5 redirects"):
        ollama.upstream(redirecting(httpserver, "/v2/me/m/manifests/x"))


def test_names_that_only_the_daemon_knows_are_borne(ollama: OllamaService, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = OllamaModel("no name/of this:grammar!", "0" * 64, 1)
    monkeypatch.setattr(OllamaClient, "tags", lambda _: (strange,))
    assert ollama.observe().models == (strange,)


def test_it_shows_its_address_and_no_key() -> None:
    with OllamaService.from_environment({"OLLAMA_HOST": "gpu:1", "OLLAMA_API_KEY": "canaryKey"}) as ollama:
        assert repr(ollama) == "OllamaService(OllamaClient('http://gpu:1', key=given))"


def test_offline_nothing_leaves_this_machine(daemon: LoopbackOllama, registry: OllamaRegistry) -> None:
    name = registry.add("tiny:1b", model())
    daemon.install("here", model())
    with OllamaService.from_environment(daemon.environment, offline=True) as ollama:
        assert ollama.observe().origin == "api"
        assert ollama.create(CreateSpec("mine", base="HERE", system="x")).name == "mine:latest"
        for deed in (
            lambda: ollama.pull(name),
            lambda: ollama.upstream(name),
            lambda: ollama.create(CreateSpec("other", base=name)),
            lambda: ollama.show("big:cloud"),
        ):
            with pytest.raises(OllamaOfflineError) as caught:
                deed()
            assert caught.value.reason == "offline"
    assert registry.requests == []


def test_offline_a_daemon_elsewhere_is_not_asked(tmp_path: Path) -> None:
    Store(tmp_path).install("a", model())
    environment = {"OLLAMA_HOST": "gpu.example", "OLLAMA_MODELS": str(tmp_path)}
    with OllamaService.from_environment(environment, offline=True) as ollama:
        seen = ollama.observe()
        assert (seen.origin, len(seen.models)) == ("store", 1)
        assert "not to be used" in (seen.problem or "")
        with pytest.raises(OllamaOfflineError):
            ollama.delete("a")


def test_blobs_and_copies_pass_through(daemon: LoopbackOllama, ollama: OllamaService, tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.write_bytes(os.urandom(1000))
    digest = hex_sha256(file.read_bytes())
    assert not ollama.has_blob(digest)
    assert ollama.upload_blob(file, digest)
    assert ollama.has_blob(digest)
    daemon.install("a", model())
    assert ollama.copy("a", "b").digest == model().digest


def test_an_observation_finds_by_any_spelling() -> None:
    one = OllamaModel("hf.co/O/R:Q4_K_M", "0" * 64, 1)
    seen = OllamaObservation(models=(one,), in_use=frozenset({"hf.co/O/R:Q4_K_M"}))
    assert seen.find("HF.CO/o/r:q4_k_m") is one
    assert seen.is_in_use("hf.co/o/r:Q4_K_M")


def test_five_hundred_models_are_observed(daemon: LoopbackOllama, ollama: OllamaService) -> None:
    for number in range(500):
        daemon.install(f"m{number}:x", model(f"weights {number}".encode(), parameters={"top_k": number}))
    assert len(ollama.observe().models) == 500
