"""Issue 18: a host serves what it has installed to the others, so that upstream is asked once, and nothing else."""

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imageworks.host.settings import load_host_settings
from imageworks.loopback_hub.server import HubServer
from imageworks.operations.fleet.installed_repositories import InstalledRepositories
from support.hub import HubRepository
from support.reconcile import HOST, MODEL, NAME, QUANTS, REPO, World, command
from support.registry import PROGRAM

OTHER = "elsewhere"
MANY = "acme/many-7b"


@pytest.fixture(name="repository")
def served_model(world: World) -> HubRepository:
    return world.serve()


@pytest.fixture(name="mirror")
def mirror_of_a_host(world: World, repository: HubRepository) -> Iterator[HubServer]:
    """A hub of what this host has: one model at a pinned commit, one quantization of another."""
    world.serve(QUANTS, MANY)
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.declare("many-gguf", source={"huggingface": MANY}, quantization="Q4_K_M", location="flat", hosts=[HOST])
    world.reconcile()
    world.served.forget()
    with HubServer(InstalledRepositories(world.root, load_host_settings(registry=world.root))) as hub:
        yield hub


@contextmanager
def elsewhere(world: World, hub: HubServer, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be another host that takes models from a hub."""
    with patch.context() as there:
        there.setenv("IMAGEWORKS_HOST", OTHER)
        there.setenv("IMAGEWORKS_STATE_DIR", str(world.folder / "its state"))
        there.setenv("IMAGEWORKS_CACHE_DIR", str(world.folder / "its cache"))
        there.setenv("IMAGEWORKS_MODEL_ROOT", str(world.folder / "its weights"))
        there.setenv("HF_ENDPOINT", hub.url)
        yield


def ask(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as reply:  # noqa: S310 # loopback
        return bytes(reply.read())


def folder_of(world: World, name: str = NAME) -> Path:
    return Path(str(world.entry(name)["download_path"]))


def without_copies(world: World, patch: pytest.MonkeyPatch) -> None:
    """Let the other host find no bytes on this disk: it is to take them from the hub."""
    patch.setattr("imageworks.files.content_index.ContentIndex.find", lambda *_: None)
    del world


def test_others_take_from_a_host_and_upstream_is_asked_once(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_copies(world, monkeypatch)
    with elsewhere(world, mirror, monkeypatch):
        world.reconcile()
    assert world.served.requests == 0
    assert world.served.files == {}
    assert any("/resolve/" in one.path for one in mirror.requests)
    here, there = world.entry(), world.entry(host=OTHER)
    assert here["artifacts"] == there["artifacts"]
    assert here["resolved"] == there["resolved"]


def test_nothing_is_served_but_what_is_recorded(world: World, mirror: HubServer) -> None:
    (folder_of(world) / "notes.txt").write_text("private\n", encoding="utf-8")
    assert mirror.names() == [MANY, REPO]
    commit = str(world.entry()["resolved"]["revision"])  # type: ignore[index]
    info = json.loads(ask(f"{mirror.url}/api/models/{REPO}/revision/{commit}?blobs=true"))
    assert {one["rfilename"] for one in info["siblings"]} == set(MODEL)
    for path in (
        f"{REPO}/resolve/{commit}/notes.txt",
        f"{REPO}/resolve/{commit}/../../../../registry.yaml",
        f"{REPO}/resolve/{commit}/%2e%2e/%2e%2e/x",
        f"{MANY}/resolve/main/many-7b-Q8_0.gguf",
        f"acme/other/resolve/{commit}/config.json",
        f"api/models/{REPO}/revision/{'0' * 40}",
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"{mirror.url}/{path}")
        assert refused.value.code in {400, 401, 404}
        refused.value.close()


def test_a_file_that_was_changed_is_refused_by_its_digest(
    world: World, mirror: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_copies(world, monkeypatch)
    weights = folder_of(world) / "model.safetensors"
    weights.write_bytes(bytes(len(MODEL["model.safetensors"])))
    with elsewhere(world, mirror, monkeypatch):
        told = command("reconcile", "--yes", "--registry", world.root, "--no-progress")
        assert told.code == 1
        assert "model.safetensors" in told.err
        assert not (world.folder / "its weights" / REPO / "model.safetensors").exists()
    # One that has another size is not offered at all.
    weights.write_bytes(b"short")
    commit = str(world.entry()["resolved"]["revision"])  # type: ignore[index]
    info = json.loads(ask(f"{mirror.url}/api/models/{REPO}/revision/{commit}?blobs=true"))
    assert {one["rfilename"] for one in info["siblings"]} == set(MODEL) - {"model.safetensors"}


def test_links_that_lead_elsewhere_are_not_followed(world: World, mirror: HubServer) -> None:
    folder = folder_of(world)
    readme = folder / "README.md"
    outside = world.folder / "outside.md"
    outside.write_bytes(MODEL["README.md"])
    readme.unlink()
    readme.symlink_to(outside)
    commit = str(world.entry()["resolved"]["revision"])  # type: ignore[index]
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{mirror.url}/{REPO}/resolve/{commit}/README.md")
    refused.value.close()


def test_what_is_installed_later_is_served_without_a_restart(
    world: World, mirror: HubServer, repository: HubRepository
) -> None:
    newer = repository.commit({"README.md": b"# Newer\n"})
    world.declare(source={"huggingface": REPO, "revision": newer})
    world.reconcile()
    assert ask(f"{mirror.url}/{REPO}/resolve/{newer}/README.md") == b"# Newer\n"
    world.declare(state="absent", source={"huggingface": REPO, "revision": newer})
    world.reconcile()
    assert mirror.names() == [MANY]


def test_the_command_serves_a_registry_until_it_is_ended(world: World, mirror: HubServer) -> None:
    del mirror
    child = subprocess.Popen(
        [*PROGRAM, "hub", "serve", "--registry", str(world.root), "--json"],
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        url = json.loads(child.stdout.readline())["url"]
        listed = json.loads(ask(f"{url}/api/models/{REPO}"))
        assert listed["id"] == REPO
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 0, err
    assert "2 repositories of what is installed here" in err
    refused = command("hub", "serve", world.folder, "--registry", world.root)
    assert refused.code == 64
