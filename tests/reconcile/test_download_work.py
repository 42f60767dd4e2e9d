"""What a download does, counted: plans, requests, bytes read and files synced, each no more often than it needs."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from imageworks.files.digests import Algorithm, Hasher
from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.foundation.http_messages import Request, Response
from imageworks.plan.facts import HostState
from imageworks.providers.publish_intents import PublishJournal
from imageworks.reconcile import observe
from imageworks.reconcile.observe import ObservationContext
from imageworks.reconcile.phases import planning
from imageworks.transfer.engine import TransferEngine
from support.git import git
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import content, tree

LARGE = {f"model-{i}-of-9.safetensors": content(f"shard {i}", 50_000 + i) for i in range(1, 10)}
SMALL = {name: data for name, data in MODEL.items() if not name.endswith(".safetensors")}
MANY = {**SMALL, **LARGE}
FIRST = "model-1-of-9.safetensors"


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The names that each look at the whole situation was for."""
    looks: list[Sequence[str]] = []
    gather = observe.gather

    def counted(look: ObservationContext, names: Sequence[str] = ()) -> HostState:
        looks.append(names)
        return gather(look, names)

    monkeypatch.setattr(planning, "gather", counted)
    return looks


@pytest.fixture
def while_bytes_come(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Give a function that lets somebody do something once, when the first model's bytes begin to come."""
    waiting: list[Callable[[], object]] = []
    fetch = TransferEngine.fetch

    def late(self: TransferEngine, *args: object) -> None:
        while waiting:
            waiting.pop()()
        fetch(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(TransferEngine, "fetch", late)
    return waiting.append


@pytest.fixture
def declared(world: World) -> World:
    world.serve(MANY)
    world.declare()
    return world


def test_a_download_is_planned_once_where_nobody_else_does_anything(
    declared: World, plans: list[Sequence[str]]
) -> None:
    declared.reconcile()
    assert len(plans) == 1
    assert tree(declared.weights / REPO) == MANY


def test_an_update_and_a_repair_are_planned_once_too(declared: World, plans: list[Sequence[str]]) -> None:
    declared.declare("other", source={"huggingface": "acme/other"})
    declared.serve({**MODEL, "model.safetensors": content("other", 30_000)}, "acme/other")
    declared.reconcile()
    commit = declared.serve({**MANY, FIRST: content("newer", 70_000)}).commit_id
    declared.declare(source={"huggingface": REPO, "revision": commit})
    (declared.weights / "acme/other/model.safetensors").unlink()
    plans.clear()
    declared.reconcile()
    assert len(plans) == 1
    assert (declared.weights / REPO / FIRST).read_bytes() == content("newer", 70_000)
    assert (declared.weights / "acme/other/model.safetensors").read_bytes() == content("other", 30_000)


def a_commit(world: World, _home: Path) -> None:
    world.write("notes.md", "of a person\n")


def another_branch(world: World, _home: Path) -> None:
    git(world.git_root, "switch", "--quiet", "--create", "elsewhere")


def what_another_run_learned(_world: World, state: Path) -> None:
    with StateDatabase.open(state / STATE_FILE) as theirs:
        theirs.set_last_accessed("other", "2026-01-01")


def what_another_run_announced(world: World, state: Path) -> None:
    PublishJournal(state, world.root).announce("other", world.weights / "acme/other")


@pytest.mark.parametrize("deed", [a_commit, another_branch, what_another_run_learned, what_another_run_announced])
def test_it_is_planned_anew_where_somebody_did_something_meanwhile(
    declared: World,
    plans: list[Sequence[str]],
    while_bytes_come: Callable[[Callable[[], object]], None],
    isolated_environment: Path,
    deed: Callable[[World, Path], None],
) -> None:
    state = isolated_environment / ".local/state/imageworks"
    while_bytes_come(lambda: deed(declared, state))
    declared.reconcile()
    assert len(plans) == 2
    assert tree(declared.weights / REPO) == MANY


def test_a_model_that_somebody_takes_back_meanwhile_is_not_installed(
    declared: World, while_bytes_come: Callable[[Callable[[], object]], None]
) -> None:
    while_bytes_come(lambda: declared.delete(NAME))
    declared.reconcile()
    assert not (declared.weights / REPO).exists()
    assert not (declared.root / "discovered").exists()


@pytest.fixture
def asked(world: World) -> Counter[str]:
    """What the hub was asked, and how often."""
    counts: Counter[str] = Counter()

    def counted(request: Request) -> Response:
        kind = "question" if "/api/" in request.path else "link" if request.method == "HEAD" else "bytes"
        counts[f"{kind} {request.path.partition('?')[0]}"] += 1
        return world.served(request)

    world.hub.intercept = counted
    return counts


def test_the_hub_is_asked_once_for_a_commit_its_files_and_each_link(declared: World, asked: Counter[str]) -> None:
    declared.reconcile()
    assert set(asked.values()) == {1}, asked
    assert sum(name.startswith("question") for name in asked) <= 2, asked
    assert sum(name.startswith("link") for name in asked) == len(LARGE), asked


def test_a_download_by_name_asks_no_more_often_what_a_branch_is(world: World, asked: Counter[str]) -> None:
    world.serve(MANY)
    done = command("download", REPO, "--yes", "--registry", world.root)
    assert done.code == 0, done
    questions = {name: count for name, count in asked.items() if name.startswith("question")}
    assert set(questions.values()) == {1}, questions
    assert len(questions) == 2, questions


def test_each_byte_is_read_once_for_its_digest(declared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: Counter[Algorithm] = Counter()
    update = Hasher.update

    def counted(self: Hasher, data: bytes) -> None:
        hashed[self.algorithm] += len(data)
        update(self, data)

    monkeypatch.setattr(Hasher, "update", counted)
    declared.reconcile()
    small, large = (sum(map(len, files.values())) for files in (SMALL, LARGE))
    # A small file comes by its blob id, and its entry wants its sha256.
    assert hashed == {Algorithm.GIT_BLOB: small, Algorithm.SHA256: small + large}


def test_each_file_is_synced_once(declared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: Counter[tuple[int, int]] = Counter()
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            synced[found.st_dev, found.st_ino] += 1
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    declared.reconcile()
    for file in (declared.weights / REPO).iterdir():
        assert synced[file.stat().st_dev, file.stat().st_ino] == 1, file
