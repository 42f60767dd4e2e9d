"""The policy against pickles holds for bytes: before any byte by the listing, and before publishing by what came."""

import io
import json
import pickle
import struct
import zipfile

import pytest

from support.git import git
from support.reconcile import MODEL, NAME, REPO, World, command

CTRANSLATE2 = struct.pack("<I", 6) + struct.pack("<H", 12) + b"WhisperSpec\x00" + bytes(4000)
WHISPER = {"config.json": b"{}", "vocabulary.json": b"[]", "tokenizer.json": b"{}"}


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("ran",))


def torch() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    return stream.getvalue()


@pytest.fixture
def strict(world: World) -> World:
    world.configure(policies={"forbid_pickle": True})
    return world


def refused(world: World) -> str:
    result = world.reconcile(code=1)
    assert "policies.forbid_pickle" in result.out + result.err
    assert world.entries() == []
    assert not (world.weights / REPO).exists()
    return result.out + result.err


@pytest.mark.parametrize("data", [pickle.dumps(Bomb()), pickle.dumps(Bomb(), protocol=0), torch()], ids=range(3))
def test_x9_a_pickle_beside_a_vocabulary_is_refused_before_it_comes(strict: World, data: bytes) -> None:
    strict.serve({**WHISPER, "model.bin": data})
    strict.declare()
    assert "model.bin can run code" in refused(strict)
    assert command("reconcile", "--dry-run", "--registry", strict.root).code in {0, 1}
    assert not list(strict.weights.rglob("model.bin"))


@pytest.mark.parametrize(
    "name", ["model-extra.safetensors", "tokenizer.model", "openvino_model.bin", "added_tokens.json"]
)
def test_x9_a_pickle_under_a_harmless_name_is_refused_before_it_is_published(strict: World, name: str) -> None:
    strict.serve({**MODEL, name: pickle.dumps(Bomb())})
    strict.declare(source={"huggingface": REPO, "include": ["*"]})
    assert "as its bytes show" in refused(strict)
    refused(strict)  # nor by the next run, which has its bytes already


def test_x9_what_its_bytes_clear_comes_and_stays_without_a_word(strict: World) -> None:
    strict.serve({**WHISPER, "model.bin": CTRANSLATE2})
    strict.declare()
    strict.reconcile()
    assert (strict.weights / REPO / "model.bin").read_bytes() == CTRANSLATE2
    metadata = strict.entry()["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["safety"]["cleared"] == ["model.bin"]
    plan = strict.plan()
    assert plan.changes == {}
    assert "forbid_pickle" not in json.dumps(plan.json["notes"])


def test_x9_an_exception_lets_bytes_pass_too(strict: World) -> None:
    strict.serve({**MODEL, "added_tokens.json": pickle.dumps(Bomb())})
    exception = {"name": NAME, "policy": "forbid_pickle", "reason": "reviewed", "expires": "2999-12-31"}
    strict.configure(policies={"forbid_pickle": True, "exceptions": [exception]})
    strict.declare(source={"huggingface": REPO, "include": ["*"]})
    strict.reconcile()
    assert strict.entries() == [NAME]


def test_x9_without_the_policy_the_entry_says_what_came(world: World) -> None:
    world.serve({**WHISPER, "model.bin": pickle.dumps(Bomb())})
    world.declare()
    world.reconcile()
    metadata = world.entry()["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["safety"]["runs_code"] == [{"path": "model.bin", "reason": "pickle"}]


@pytest.mark.parametrize("name", ["model.bin", "model-extra.safetensors"])
def test_x9_a_local_folder_is_held_to_it(strict: World, name: str) -> None:
    folder = strict.weights / "given" / "model"
    folder.mkdir(parents=True)
    for path, data in {**WHISPER, name: pickle.dumps(Bomb())}.items():
        (folder / path).write_bytes(data)
    strict.declare(source={"path": str(folder)})
    result = strict.reconcile(code=1)
    assert "policies.forbid_pickle" in result.out + result.err
    assert strict.entries() == []


def test_x9_a_download_by_name_is_held_to_it(strict: World) -> None:
    strict.serve({**MODEL, "tokenizer.model": pickle.dumps(Bomb())})
    head = strict.head()
    result = command("download", REPO, "--registry", strict.root, "--no-progress")
    assert result.code == 1
    assert "policies.forbid_pickle" in result.out + result.err
    assert strict.head() == head
    assert git(strict.git_root, "status", "--porcelain").strip() == ""
