"""One copy: bytes that a store of this machine has are linked or copied, not fetched twice, and never shared badly."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imageworks.host.settings import load_host_settings
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from support.ollama_content import hex_sha256
from support.ollama_content import model as content_of
from support.ollama_world import OllamaWorld
from support.reconcile import QUANTS, World, command

REPO = "acme/many-7b-gguf"
FILE = "many-7b-Q4_K_M.gguf"
WEIGHTS = QUANTS[FILE]
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
NAME = "many-7b-gguf-q4_k_m"
OTHER = "many-again"


def in_ollama(_: World, home: Path) -> Path:
    blob = home / ".ollama/models/blobs" / f"sha256-{SHA256}"
    return written(blob)


def in_lmstudio(_: World, home: Path) -> Path:
    return written(home / ".lmstudio/models/someone/many/renamed by hand.gguf")


def in_hub_cache(_: World, home: Path) -> Path:
    return written(home / f".cache/huggingface/hub/models--{REPO.replace('/', '--')}/blobs" / SHA256)


def in_another_model(world: World, _: Path) -> Path:
    world.declare(OTHER, source={"huggingface": REPO}, quantization="q4_k_m", location="second")
    world.reconcile()
    world.served.forget()
    return world.folder / "second" / REPO / FILE


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_bytes(WEIGHTS)
    return path


STORES: Mapping[str, Callable[[World, Path], Path]] = {
    "Ollama's blobs": in_ollama,
    "LM Studio's folder": in_lmstudio,
    "the Hugging Face cache": in_hub_cache,
    "another managed model": in_another_model,
}


@pytest.fixture(name="offered")
def offered_world(world: World) -> World:
    world.serve(QUANTS, REPO)
    return world


def declare(world: World) -> None:
    world.declare(NAME, source={"huggingface": REPO}, quantization="q4_k_m")


@pytest.mark.parametrize("store", STORES)
def test_a_gguf_that_some_store_has_is_not_fetched(offered: World, isolated_environment: Path, store: str) -> None:
    there = STORES[store](offered, isolated_environment)
    declare(offered)
    planned = offered.reconcile("--dry-run").out
    assert "39.1 KiB reused" in planned
    assert "reused from this machine: 39.1 KiB" in planned
    offered.reconcile()
    here = offered.weights / REPO / FILE
    assert offered.served.files.get(FILE, 0) == 0
    assert here.read_bytes() == WEIGHTS
    assert there.read_bytes() == WEIGHTS
    assert offered.plan().changes == {}


@pytest.mark.parametrize("store", STORES)
def test_removing_one_never_breaks_the_other(offered: World, isolated_environment: Path, store: str) -> None:
    there = STORES[store](offered, isolated_environment)
    declare(offered)
    offered.reconcile()
    removed = command("remove", NAME, "--delete-files", "--purge", "--force", "--registry", offered.root)
    assert removed.code == 0, removed
    assert not (offered.weights / REPO / FILE).exists()
    assert there.read_bytes() == WEIGHTS


@pytest.mark.parametrize("store", STORES)
def test_the_store_may_lose_its_own_name_of_it(offered: World, isolated_environment: Path, store: str) -> None:
    there = STORES[store](offered, isolated_environment)
    declare(offered)
    offered.reconcile()
    there.unlink()
    assert (offered.weights / REPO / FILE).read_bytes() == WEIGHTS
    assert command("verify", NAME, "--registry", offered.root).code == 0


def test_a_repair_never_writes_into_a_shared_file(offered: World, isolated_environment: Path) -> None:
    there = in_lmstudio(offered, isolated_environment)
    declare(offered)
    offered.reconcile()
    here = offered.weights / REPO / FILE
    damaged = b"x" * len(WEIGHTS)
    there.write_bytes(damaged)  # another program writes in place, through its own name
    offered.reconcile()
    assert here.read_bytes() == WEIGHTS
    assert there.read_bytes() == damaged
    assert not here.samefile(there)


def test_where_nothing_can_be_linked_the_bytes_are_copied(
    offered: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = in_lmstudio(offered, isolated_environment)
    declare(offered)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("imageworks.files.staging.os.link", refused)
    monkeypatch.setattr("imageworks.files.staging._reflink", lambda *_: False)
    offered.reconcile()
    here = offered.weights / REPO / FILE
    assert offered.served.files.get(FILE, 0) == 0
    assert here.read_bytes() == WEIGHTS
    assert not here.samefile(there)


def test_a_file_of_the_same_size_and_other_content_is_not_taken(offered: World, isolated_environment: Path) -> None:
    there = isolated_environment / ".lmstudio/models/someone/other/other.gguf"
    there.parent.mkdir(parents=True)
    there.write_bytes(bytes(len(WEIGHTS)))
    declare(offered)
    assert "reused" not in offered.reconcile("--dry-run").out.partition("Plan:")[0]
    offered.reconcile()
    assert offered.served.files[FILE] == len(WEIGHTS)


def test_lmstudios_files_are_read_once(
    offered: World, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = isolated_environment / ".lmstudio/models/someone/other/other.gguf"
    there.parent.mkdir(parents=True)
    there.write_bytes(bytes(len(WEIGHTS)))
    declare(offered)
    offered.reconcile()
    (offered.weights / REPO / FILE).unlink()
    read: list[Path] = []
    from imageworks.files.digests import hash_file

    def counted(path: Path, *more: object) -> object:
        read.append(path)
        return hash_file(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr("imageworks.providers.disk.hash_file", counted)
    offered.reconcile()
    assert there not in read


def test_a_removal_says_what_shared_links_leave_it(offered: World, isolated_environment: Path) -> None:
    there = in_lmstudio(offered, isolated_environment)
    declare(offered)
    offered.reconcile()
    here = offered.weights / REPO / FILE
    if not here.samefile(there):  # a filesystem with reflinks shares blocks instead
        here.unlink()
        os.link(there, here)
        offered.reconcile()
    offered.delete(NAME)
    changes = offered.plan("--prune", "--allow-empty").json["changes"]
    assert isinstance(changes, list)
    (change,) = changes
    rest = sum(len(data) for file, data in QUANTS.items() if not file.endswith(".gguf"))
    assert (change["action"], change["bytes_freed"]) == ("remove", rest)


def test_what_a_disk_has_is_handed_to_ollama_before_it_pulls(ollama: OllamaWorld) -> None:
    ollama.world.serve(QUANTS, REPO)
    declare(ollama.world)
    ollama.world.reconcile()
    pulled = content_of(WEIGHTS)
    ollama.models.add("many:q4_k_m", pulled)
    ollama.declare("many-ollama-gguf-q4_k_m", short="many:q4_k_m")
    change = ollama.planned()
    assert change["bytes_reused"] == len(WEIGHTS)
    assert change["bytes_to_fetch"] == pulled.size - len(WEIGHTS)
    ollama.world.reconcile()
    fetched = [asked.path for asked in ollama.models.requests if SHA256 in asked.path]
    assert fetched == []
    assert hex_sha256(ollama.daemon.store.blob(SHA256).read_bytes()) == SHA256


def test_what_cannot_be_handed_over_is_fetched(ollama: OllamaWorld, isolated_environment: Path) -> None:
    there = in_lmstudio(ollama.world, isolated_environment)
    pulled = content_of(WEIGHTS)
    ollama.models.add("many:q4_k_m", pulled)
    ollama.declare("many-ollama-gguf-q4_k_m", short="many:q4_k_m")
    host = load_host_settings(registry=ollama.world.root)
    with Run.open(ollama.world.root, host, RunOptions()) as run:
        plan = run.plan()
        assert [change.bytes_reused for change in plan.changes] == [len(WEIGHTS)]
        there.write_bytes(bytes(len(WEIGHTS)))
        report = run.apply(plan)
    assert not report.failed
    assert ollama.daemon.store.blob(SHA256).read_bytes() == WEIGHTS


def test_what_ollama_has_pulled_serves_a_disk(ollama: OllamaWorld) -> None:
    ollama.models.add("many:q4_k_m", content_of(WEIGHTS))
    ollama.declare("many-ollama-gguf-q4_k_m", short="many:q4_k_m")
    ollama.world.reconcile()
    ollama.world.serve(QUANTS, REPO)
    declare(ollama.world)
    ollama.world.reconcile()
    assert ollama.world.served.files.get(FILE, 0) == 0
