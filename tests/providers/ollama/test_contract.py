"""What Ollama's API does, held against the loopback Ollama and, with ``-m ollama``, against a real daemon.

    OLLAMA_HOST=127.0.0.1:11434 pytest -m ollama tests/providers/ollama/test_contract.py

The real one must run on this machine, since it pulls from a registry of the test; what the tests make there is called
``imageworks-contract/…`` and is removed again. OLLAMA_MODELS names its store where that is not the usual one.
"""

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imageworks.files.content_index import ollama_stores
from imageworks.providers.ollama.client import OllamaClient
from imageworks.providers.ollama.errors import (
    OllamaBrokenStreamError,
    OllamaCancelledError,
    OllamaDigestMismatchError,
    OllamaError,
    OllamaNeedsNewerError,
    OllamaNotFoundError,
)
from imageworks.providers.ollama.model import CreateSpec, PullProgress
from imageworks.providers.ollama.names import parse_name
from imageworks.providers.ollama.service import OllamaService
from imageworks.providers.ollama.store import is_store, manifest_digest, read_store
from support.ollama import LoopbackOllama
from support.ollama_content import Content, hex_sha256, model
from support.ollama_registry import OllamaRegistry
from support.weights import STRING, U32, gguf_file

OWNER = "imageworks-contract"
USERS = {name: os.environ[name] for name in ("OLLAMA_HOST", "OLLAMA_MODELS", "HOME") if name in os.environ}
READ_FROM_WEIGHTS = ("context_length", "embedding_length")  # by the daemon, where the config does not say
WEIGHTS = gguf_file([("general.architecture", STRING, "llama"), ("llama.block_count", U32, 1)], data=b"w" * 300_000)


@dataclass
class World:
    """A daemon, a registry to pull from, and where its store is, if that is known."""

    ollama: OllamaService
    registry: OllamaRegistry
    store: Path | None

    def offer(self, short: str = "tiny:1b", content: Content | None = None) -> str:
        return self.registry.add(f"{OWNER}/{short}", content or model(WEIGHTS, parameters={"stop": ["<a>", "b c"]}))

    def raw(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Ask without the client that is under test; the environment's address was read by it, though."""
        request = urllib.request.Request(self.ollama.address.url + path, body, method=method)  # noqa: S310 # loopback
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture(params=["loopback", pytest.param("real", marks=pytest.mark.ollama)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    registry = OllamaRegistry()
    daemon: LoopbackOllama | None = None
    if request.param == "loopback":
        daemon = LoopbackOllama(tmp_path / "its models", registry=registry.host)
        environment = daemon.environment
    elif "OLLAMA_HOST" in USERS:
        environment = {"OLLAMA_MODELS": str(Path(USERS.get("HOME", "/")) / ".ollama/models"), **USERS}
    else:
        pytest.skip("needs OLLAMA_HOST")
    store = next(iter(ollama_stores(environment)))
    with OllamaService.from_environment(environment) as ollama:
        yield World(ollama, registry, store if is_store(store) else None)
        if daemon is None:
            for left in ollama.observe().models:
                if OWNER in left.name:
                    ollama.delete(left.name)
    registry.stop()
    if daemon is not None:
        daemon.stop()


def test_it_says_its_version(world: World) -> None:
    version = world.ollama.observe().version
    assert version is not None
    assert version[0].isdigit()


def test_a_pull_tells_its_progress_and_ends_with_success(world: World) -> None:
    name = world.offer()
    told: list[PullProgress] = []
    installed = world.ollama.pull(name, told=told.append)
    assert told[0].digest is None
    assert told[-1].status == "success"
    assert all(line.completed <= (line.total or 0) for line in told if line.digest)
    assert installed.name == name
    assert installed.digest == model(WEIGHTS, parameters={"stop": ["<a>", "b c"]}).digest
    assert world.ollama.observe().find(name.upper()) == installed


def test_a_second_pull_asks_for_the_manifest_alone(world: World) -> None:
    name = world.offer()
    world.ollama.pull(name)
    world.registry.requests.clear()
    world.ollama.pull(name)
    assert {asked.path.split("/")[-2] for asked in world.registry.requests} == {"manifests"}


def test_a_pull_takes_a_blob_that_is_there_for_a_good_one(world: World) -> None:
    if world.store is None:
        pytest.skip("its store is not to be read from here")
    name = world.offer(content=model(WEIGHTS + b"to be cut"))
    digest = hex_sha256(WEIGHTS + b"to be cut")
    world.ollama.pull(name)
    blob = world.store / "blobs" / f"sha256-{digest}"
    os.truncate(blob, 100)
    assert not world.ollama.pull(name).complete
    world.ollama.delete(name)
    assert not blob.exists()
    assert world.ollama.pull(name).complete


def test_a_moved_tag_is_pulled_anew(world: World) -> None:
    first = world.ollama.pull(world.offer())
    moved = world.offer(content=model(WEIGHTS, system="Now with a system message"))
    upstream = world.ollama.upstream(moved)
    assert upstream is not None
    assert upstream.digest != first.digest
    second = world.ollama.pull(moved)
    assert second.digest == upstream.digest
    assert not any(world.ollama.has_blob(digest) for digest in set(first.content) - set(second.content))


def test_a_pull_in_another_case_is_of_the_model_that_is_there(world: World) -> None:
    name = world.offer()
    assert world.ollama.pull(name).name == name
    assert world.ollama.pull(name.upper()).name == name
    assert len([each for each in world.ollama.observe().models if OWNER in each.name.lower()]) == 1


def test_the_api_and_the_store_say_the_same(world: World) -> None:
    if world.store is None:
        pytest.skip("its store is not to be read from here")
    world.ollama.pull(world.offer())
    world.ollama.pull(world.offer("Other:Q8_0", model(WEIGHTS + b"more", projector=b"eyes", quantization="Q8_0")))
    world.ollama.create(CreateSpec(f"{OWNER}/made:x", world.offer(), system="Hi"))
    listed = {each.name: each for each in world.ollama.observe().models}
    assert listed[f"{OWNER}/made:x"].details["parent_model"] == world.offer()
    read = {each.name: each for each in read_store(world.store).models}
    assert listed.keys() == read.keys()
    for name, each in listed.items():
        held = read[name]
        assert (each.digest, each.size, each.modified_at) == (held.digest, held.size, held.modified_at), name
        known = {key: value for key, value in each.details.items() if key not in READ_FROM_WEIGHTS}
        assert known == held.details, name
        assert each.remote_host == held.remote_host
        assert set(held.capabilities) <= set(each.capabilities)


def test_a_registry_without_the_model_is_told_under_status_200(world: World) -> None:
    name = world.registry.name(f"{OWNER}/nothing:here")
    with pytest.raises(OllamaNotFoundError, match="nothing:here"):
        world.ollama.pull(name)
    assert world.ollama.upstream(name) is None


def test_a_model_for_a_newer_ollama_is_told_apart(world: World) -> None:
    name = world.offer()
    world.registry.needs_newer.add("tiny:1b")
    with pytest.raises(OllamaNeedsNewerError) as caught:
        world.ollama.pull(name)
    assert (caught.value.reason, caught.value.retryable) == ("ollama-needs-newer", False)


def test_wrong_bytes_of_a_registry_are_told_and_leave_no_model(world: World) -> None:
    name = world.offer("broken:1b", model(WEIGHTS + b"to be broken"))
    world.registry.corrupt.add(hex_sha256(WEIGHTS + b"to be broken"))
    with pytest.raises(OllamaDigestMismatchError):
        world.ollama.pull(name)
    assert world.ollama.observe().find(name) is None


def test_a_pull_that_is_called_off_ends_and_the_next_goes_on(world: World) -> None:
    name = world.offer("slow:1b", model(WEIGHTS + b"slow"))
    stop = threading.Event()
    with pytest.raises(OllamaCancelledError):
        world.ollama.pull(name, told=lambda _: stop.set(), cancelled=stop.is_set)
    assert world.ollama.pull(name).name == name


def test_missing_models_are_not_found(world: World) -> None:
    for deed in (world.ollama.show, world.ollama.delete):
        with pytest.raises(OllamaNotFoundError):
            deed(f"{OWNER}/missing")
    with pytest.raises(OllamaNotFoundError):
        world.ollama.copy(f"{OWNER}/missing", f"{OWNER}/other")


def test_a_copy_is_the_same_manifest_and_deleting_one_leaves_the_other(world: World) -> None:
    name = world.offer()
    pulled = world.ollama.pull(name)
    copied = world.ollama.copy(name, f"{OWNER}/copy:x")
    assert (copied.name, copied.digest, copied.size) == (f"{OWNER}/copy:x", pulled.digest, pulled.size)
    world.ollama.delete(name)
    assert world.ollama.has_blob(hex_sha256(WEIGHTS))
    world.ollama.delete(f"{OWNER}/COPY:X")
    assert not world.ollama.has_blob(hex_sha256(WEIGHTS))
    assert world.ollama.observe().find(f"{OWNER}/copy:x") is None


def test_a_model_is_shown(world: World) -> None:
    name = world.offer(
        content=model(WEIGHTS, licenses=["MIT"], parameters={"stop": ["<a>", "b c"], "temperature": 0.5})
    )
    world.ollama.pull(name)
    shown = world.ollama.show(name)
    assert shown.parameters == {"stop": ["<a>", "b c"], "temperature": 0.5}
    assert (shown.template, shown.license, shown.system) == ("{{ .Prompt }}", "MIT", "")
    assert shown.details["quantization_level"] == "Q4_K_M"
    assert "completion" in shown.capabilities
    assert shown.modified_at == world.ollama.observe().find(name).modified_at  # type: ignore[union-attr]


def test_a_model_is_created_from_a_base_and_again(world: World) -> None:
    base = world.ollama.pull(
        world.offer(content=model(WEIGHTS, parameters={"stop": ["<a>", "b c"], "num_ctx": 1}, licenses=["BASE"]))
    )
    spec = CreateSpec(f"{OWNER}/mine:x", base.name, system="Be brief.", parameters={"num_ctx": 4096}, license=("MIT",))
    told: list[PullProgress] = []
    made = world.ollama.create(spec, told=told.append)
    assert told[-1].status == "success"
    shown = world.ollama.show(spec.name)
    assert (shown.system, shown.license) == ("Be brief.", "BASE\nMIT")
    assert shown.parameters == {"stop": ["<a>", "b c"], "num_ctx": 4096}
    if made.layers:
        assert hex_sha256(WEIGHTS) in made.content
    again = world.ollama.create(CreateSpec(spec.name, base.name, system="Be long."))
    assert again.digest != made.digest
    assert world.ollama.show(spec.name).system == "Be long."


def test_bytes_are_given_once_and_checked(world: World, tmp_path: Path) -> None:
    file = tmp_path / "some adapter.bin"
    file.write_bytes(os.urandom(3_000_000))
    digest = hex_sha256(file.read_bytes())
    assert not world.ollama.has_blob(digest)
    sent: list[int] = []
    assert world.ollama.upload_blob(file, digest, told=sent.append)
    assert sum(sent) == 3_000_000
    assert world.ollama.has_blob(f"sha256:{digest}")
    assert not world.ollama.upload_blob(file, digest)


def test_bytes_with_a_wrong_digest_are_refused_but_kept_under_the_right_one(world: World, tmp_path: Path) -> None:
    file = tmp_path / "some adapter.bin"
    file.write_bytes(os.urandom(1000))
    with pytest.raises(OllamaDigestMismatchError):
        world.ollama.upload_blob(file, "0" * 63 + "1")
    assert not world.ollama.has_blob("0" * 63 + "1")
    assert world.ollama.has_blob(hex_sha256(file.read_bytes()))


def test_a_base_that_is_missing_is_pulled_first(world: World) -> None:
    base = world.offer("base:x")
    made = world.ollama.create(CreateSpec(f"{OWNER}/mine:x", base, system="Hi"))
    assert made.details["parent_model"] == base
    assert world.ollama.observe().find(base) is not None


def test_the_daemon_itself_pulls_a_base_never_over_plain_http(world: World) -> None:
    base = world.offer("base:x")
    with OllamaClient(world.ollama.address) as client, pytest.raises(OllamaError):
        client.create(CreateSpec(f"{OWNER}/mine:x", base))
    assert world.ollama.observe().find(f"{OWNER}/mine:x") is None
    assert not any("manifests" in asked.path for asked in world.registry.requests)


def test_nothing_is_loaded_by_pulling(world: World) -> None:
    name = world.offer()
    world.ollama.pull(name)
    assert not world.ollama.observe().is_in_use(name)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/pull", None, 405),
        ("POST", "/api/show", b"", 400),
        ("POST", "/api/show", b'{"model": "a/b/c/d"}', 400),
        ("POST", "/api/show", b'{"model": "imageworks-contract/missing"}', 404),
        ("POST", "/api/pull", b'{"model": "a/b/c/d"}', 400),
        ("DELETE", "/api/delete", b'{"model": "imageworks-contract/missing"}', 404),
        ("POST", "/api/copy", b'{"source": "imageworks-contract/missing", "destination": "b"}', 404),
        ("POST", "/api/create", b'{"model": "imageworks-contract/x"}', 400),
        ("POST", "/api/create", b'{"model": "a/b/c/d", "from": "x"}', 400),
        ("HEAD", "/api/tags", None, 200),
        ("HEAD", "/api/blobs/sha256:nonsense", None, 400),
        ("HEAD", f"/api/blobs/sha256:{'0' * 64}", None, 404),
        ("POST", f"/api/blobs/sha256:{'0' * 64}", b"other bytes", 400),
    ],
)
def test_refusals_have_these_statuses(world: World, method: str, path: str, body: bytes | None, status: int) -> None:
    assert world.raw(method, path, body)[0] == status


def test_without_a_stream_the_same_failure_has_a_status(world: World) -> None:
    name = world.registry.name(f"{OWNER}/nothing:here")
    status, body = world.raw("POST", "/api/pull", f'{{"model": "{name}", "stream": false, "insecure": true}}'.encode())
    assert (status, b'"error"' in body) == (500, True)


def test_a_model_without_its_template_is_not_listed(world: World) -> None:
    if world.store is None or not os.access(world.store / "blobs", os.W_OK):
        pytest.skip("its store is not to be written from here")
    pulled = world.ollama.pull(world.offer(content=model(WEIGHTS, template="{{ .Prompt }} and so on")))
    copied = world.store.joinpath("manifests", "registry.ollama.ai", OWNER, "bare")
    copied.mkdir(parents=True)
    (world.store / "blobs" / f"sha256-{pulled.layers[1].digest}").unlink()
    manifest = world.store.joinpath("manifests", *parse_name(pulled.name).parts)
    (copied / "x").write_bytes(manifest.read_bytes())
    seen = world.ollama.observe()
    assert seen.find(f"{OWNER}/bare:x") is None
    assert copied / "x" in {path for path, _ in seen.damaged}
    (copied / "x").unlink()


def test_a_damaged_manifest_hides_its_model_and_no_other(world: World) -> None:
    if world.store is None or not os.access(world.store / "manifests", os.W_OK):
        pytest.skip("its store is not to be written from here")
    kept = world.ollama.pull(world.offer())
    hurt = world.ollama.copy(kept.name, f"{OWNER}/hurt:x")
    manifest = world.store / "manifests" / "registry.ollama.ai" / OWNER / "hurt" / "x"
    held = manifest.read_bytes()
    manifest.write_bytes(b'{"schemaVersion": 2, "config": ')
    try:
        found = world.ollama.observe()
        assert (found.find(hurt.name), found.find(kept.name)) == (None, kept)
        assert [path for path, _ in found.damaged] == [manifest]
    finally:
        manifest.write_bytes(held)


@pytest.mark.parametrize("length", [511, 512, 513, 1536, 3584])
@pytest.mark.parametrize("tail", [b"", b"\n"])
def test_a_manifest_has_the_digest_that_the_store_reader_gives_it(world: World, length: int, tail: bytes) -> None:
    if world.store is None or not os.access(world.store / "manifests", os.W_OK):
        pytest.skip("its store is not to be written from here")
    kept = world.ollama.pull(world.offer(content=model(WEIGHTS, template=None)))
    manifest = world.store.joinpath("manifests", *parse_name(kept.name).parts)
    found = json.loads(manifest.read_bytes())
    shortest = len(json.dumps({**found, "filler": ""}, separators=(",", ":")))
    if shortest > length:
        found["layers"] = []
        shortest = len(json.dumps({**found, "filler": ""}, separators=(",", ":")))
    filled = json.dumps({**found, "filler": "x" * (length - shortest)}, separators=(",", ":")).encode()
    assert len(filled) == length
    manifest.write_bytes(filled + tail)
    listed = world.ollama.observe().find(kept.name)
    assert listed is not None
    assert listed.digest == manifest_digest(filled + tail)
    assert listed.store == world.store


def test_errors_are_of_one_family(world: World) -> None:
    with pytest.raises(OllamaError) as caught:
        world.ollama.pull(world.registry.name(f"{OWNER}/nothing:here"))
    assert not isinstance(caught.value, OllamaBrokenStreamError)
    assert caught.value.remedy


def test_o2_a_pull_takes_a_damaged_blob_for_a_good_one(world: World) -> None:
    if world.store is None:
        pytest.skip("the daemon's store is not on this machine")
    content = model(WEIGHTS, licenses=("a licence that no other model has",))
    name = world.offer("damaged:1b", content)
    world.ollama.pull(name)
    digest = hex_sha256(b"a licence that no other model has")
    blob = world.store / "blobs" / f"sha256-{digest}"
    blob.write_bytes(b"A licence that no other model has")
    world.ollama.pull(name)
    assert blob.read_bytes() == b"A licence that no other model has", "so that it must be put right in the store"
    assert world.ollama.upload_blob(blob, digest) is False
