"""A locked model keeps its bytes: verification tells of others, and nothing puts others in their place unasked."""

import json

import pytest

from imageworks.registry.version_lock import UNLOCKED, VersionLock, lock_of
from support.reconcile import MODEL, NAME, REPO, World, command
from support.transfer import tree

OTHER = b'{"model_type": "llama", "by": "somebody"}'


def locked(world: World) -> str:
    """Install a model, lock it in its manifest and return the digest that it is locked to."""
    world.serve()
    world.declare(backend="vllm")
    world.reconcile()
    artifacts = world.entry()["artifacts"]
    assert isinstance(artifacts, dict)
    digest = str(artifacts["aggregate_sha256"])
    world.declare(backend="vllm", version_lock={"locked": True, "expected_aggregate_sha256": digest})
    world.reconcile()
    return digest


def test_damage_is_told_and_not_undone_unasked(world: World) -> None:
    locked(world)
    config = world.weights / REPO / "config.json"
    config.write_bytes(OTHER)
    for _ in range(2):
        result = world.reconcile(code=1)
        assert result.planned[NAME] == ("blocked", "locked")
        assert f"verify {NAME} --repair" in result.out
        assert config.read_bytes() == OTHER
    assert command("verify", NAME, "--registry", world.root).code == 1
    assert command("verify", NAME, "--repair", "--registry", world.root).code == 0
    assert tree(world.weights / REPO) == dict(MODEL)
    assert "No changes." in world.reconcile().out


def test_what_is_gone_comes_back_for_nothing_is_replaced_by_it(world: World) -> None:
    locked(world)
    (world.weights / REPO / "config.json").unlink()
    assert world.plan().changes == {NAME: ("repair", "file-missing")}
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)


def test_download_with_force_does_not_move_a_locked_pin(world: World) -> None:
    repository = world.serve()
    assert command("download", REPO, "--registry", world.root, "--no-progress").code == 0
    name = "tiny-1b-vllm"
    manifest = world.root / f"models/{name}.yaml"
    world.write(f"models/{name}.yaml", manifest.read_text(encoding="utf-8") + "version_lock: {locked: true}\n")
    before = tree(world.weights / REPO), manifest.read_bytes(), world.head()
    repository.commit({"config.json": OTHER})
    refused = command("download", REPO, "--force", "--registry", world.root, "--no-progress")
    assert refused.code == 1
    assert "version_lock holds the installed files" in refused.err
    assert (tree(world.weights / REPO), manifest.read_bytes(), world.head()) == before


def test_a_lock_from_before_the_model_was_declared_holds_it_too(world: World) -> None:
    repository = world.serve()
    assert command("download", REPO, "--no-manifest", "--registry", world.root, "--no-progress").code == 0
    name = "tiny-1b-vllm"
    entry = world.entry(name)
    entry["version_lock"] = {"locked": True}
    world.write(f"discovered/testhost/{name}.json", json.dumps(entry))
    new = repository.commit({"config.json": OTHER})
    world.declare(name, source={"huggingface": REPO, "revision": new})
    result = world.reconcile(code=1, valid=False)
    assert result.planned[name] == ("blocked", "locked")
    assert tree(world.weights / REPO) == dict(MODEL)
    world.declare(name, source={"huggingface": REPO, "revision": new}, version_lock={"locked": False})
    world.reconcile()
    assert tree(world.weights / REPO)["config.json"] == OTHER


def test_a_scan_leaves_a_locked_model_as_it_is_recorded(world: World) -> None:
    folder = world.weights / "acme/found-1b"
    folder.mkdir(parents=True)
    for name, data in MODEL.items():
        (folder / name).write_bytes(data)
    assert command("scan", "--registry", world.root).code == 0
    (name,) = world.entries()
    entry = world.entry(name)
    entry["version_lock"] = {"locked": True}
    world.write(f"discovered/testhost/{name}.json", json.dumps(entry))
    (folder / "config.json").write_bytes(OTHER)
    command("scan", "--update-existing", "--registry", world.root)
    assert world.entry(name) == entry
    assert command("verify", name, "--registry", world.root).code == 1


@pytest.mark.parametrize(
    ("declared", "recorded", "expected"),
    [
        (None, None, UNLOCKED),
        (None, {"locked": True}, VersionLock(locked=True)),
        (
            {"locked": False},
            {"locked": True, "expected_aggregate_sha256": "a" * 64},
            VersionLock(locked=False, expected_aggregate_sha256="a" * 64),
        ),
        (
            {"locked": True, "expected_aggregate_sha256": None},
            {"expected_aggregate_sha256": "b" * 64},
            VersionLock(locked=True, expected_aggregate_sha256="b" * 64),
        ),
        (
            {"locked": True, "expected_aggregate_sha256": "c" * 64},
            {"locked": False},
            VersionLock(locked=True, expected_aggregate_sha256="c" * 64),
        ),
    ],
)
def test_what_is_declared_wins_key_by_key(declared: object, recorded: object, expected: VersionLock) -> None:
    from imageworks.registry.entries.entry import Entry
    from imageworks.registry.manifests.manifest import Manifest

    manifest = Manifest("m", "models/m.yaml", None, {"version_lock": declared} if declared else {})
    entry = Entry("m", {"version_lock": recorded} if recorded else {})
    assert lock_of(manifest, entry) == expected
    assert expected.digest == (expected.expected_aggregate_sha256 if expected.locked else None)
