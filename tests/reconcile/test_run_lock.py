"""A version lock holds a model to one set of bytes, whatever would bring others."""

from support.reconcile import MODEL, NAME, REPO, World
from support.transfer import tree, write

WRONG = "0" * 64


def aggregate(world: World) -> object:
    artifacts = world.entry()["artifacts"]
    assert isinstance(artifacts, dict)
    return artifacts["aggregate_sha256"]


def test_bytes_that_are_not_those_of_the_lock_are_not_installed(world: World) -> None:
    world.serve()
    world.declare(version_lock={"locked": True, "expected_aggregate_sha256": WRONG})
    result = world.reconcile(code=1, valid=False)
    assert f"models/{NAME}.yaml: version_lock expects {WRONG}" in result.err
    assert not (world.weights / REPO).exists()


def test_bytes_that_are_not_those_of_the_lock_are_not_adopted(world: World) -> None:
    world.serve()
    write(world.weights / REPO, dict(MODEL))
    world.declare(version_lock={"locked": True, "expected_aggregate_sha256": WRONG})
    assert "version_lock expects" in world.reconcile(code=1, valid=False).err
    assert tree(world.weights / REPO) == dict(MODEL)


def test_a_lock_that_names_other_bytes_than_the_installed_ones_is_told(world: World) -> None:
    world.serve()
    world.declare()
    world.reconcile()
    world.declare(version_lock={"locked": True, "expected_aggregate_sha256": aggregate(world)})
    assert "1 model unchanged." in world.reconcile().out
    world.declare(version_lock={"locked": True, "expected_aggregate_sha256": WRONG})
    assert world.plan(code=1).changes == {NAME: ("blocked", "locked")}


def test_a_lock_without_a_digest_holds_what_is_installed(world: World) -> None:
    repository = world.serve()
    lock = {"locked": True}
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id}, version_lock=lock)
    world.reconcile()
    new = repository.commit({"config.json": b"{}"})
    world.declare(source={"huggingface": REPO, "revision": new}, version_lock=lock)
    assert world.plan(code=1).changes == {NAME: ("blocked", "locked")}
    world.declare(source={"huggingface": REPO, "revision": new}, version_lock={"locked": False})
    assert world.plan().changes == {NAME: ("update", "revision-changed")}


def test_a_lock_on_other_bytes_lets_the_update_to_them_through(world: World) -> None:
    repository = world.serve()
    first = repository.commit_id
    world.declare(source={"huggingface": REPO, "revision": first})
    world.reconcile()
    meant = aggregate(world)
    second = repository.commit({"config.json": b"{}"})
    world.declare(source={"huggingface": REPO, "revision": second})
    world.reconcile()
    world.declare(
        source={"huggingface": REPO, "revision": first},
        version_lock={"locked": True, "expected_aggregate_sha256": meant},
    )
    world.reconcile()
    assert tree(world.weights / REPO) == dict(MODEL)
