"""Sources that are not what they seem: a renamed repository, a person's own folder."""

from dataclasses import replace

from imageworks.foundation.http_messages import Request, Response
from support.reconcile import MODEL, NAME, REPO, World
from support.transfer import tree, write


def test_a_model_declared_by_its_repositorys_older_name_converges(world: World) -> None:
    """I4: gpt2 is openai-community/gpt2 now, and a hub answers for both."""
    world.serve(MODEL, "openai-community/gpt2")

    def renamed(request: Request) -> Response:
        path = request.path.replace("/models/gpt2", "/models/openai-community/gpt2")
        return world.hub.respond(replace(request, path=path))

    world.hub.intercept = renamed
    world.declare(source={"huggingface": "gpt2"})
    world.reconcile()
    assert tree(world.weights / "openai-community/gpt2") == dict(MODEL)
    assert "No changes." in world.reconcile("--offline").out
    world.declare(source={"huggingface": "openai-community/gpt2"})
    assert "1 model unchanged." in world.reconcile("--offline").out
    world.declare(source={"huggingface": "acme/other"})
    assert world.plan(code=1).changes == {NAME: ("blocked", "repository-not-found")}


def acquisition(world: World, name: str) -> object:
    metadata = world.entry(name)["metadata"]
    assert isinstance(metadata, dict)
    return metadata["acquisition"]


def test_a_persons_own_folder_stays_when_its_model_gets_a_location(world: World) -> None:
    """I5: it was declared as a source, not given away."""
    own = world.folder / "mine/model"
    write(own, dict(MODEL))
    world.declare("m", source={"path": str(own)})
    world.reconcile()
    world.declare("m", source={"path": str(own)}, location="second")
    result = world.reconcile()
    assert result.planned["m"] == ("update", "location-changed")
    assert tree(own) == dict(MODEL)
    assert tree(world.folder / "second/m") == dict(MODEL)
    assert acquisition(world, "m") == "installed"
    assert "No changes." in world.reconcile().out


def test_a_persons_own_folder_is_not_taken_for_ours_when_the_copy_goes(world: World) -> None:
    """I5: pruning it later would delete what was never ours."""
    own = world.folder / "mine/model"
    write(own, dict(MODEL))
    world.serve()
    world.declare()
    world.declare("m", source={"path": str(own)}, location="second")
    world.reconcile()
    world.declare("m", source={"path": str(own)}, prune="enabled")
    world.reconcile()
    assert acquisition(world, "m") == "adopted"
    assert not (world.folder / "second/m").exists()
    world.delete("m")
    world.reconcile()
    assert world.entries() == [NAME]
    assert tree(own) == dict(MODEL)


def test_a_persons_own_copy_at_the_new_location_is_adopted_there(world: World) -> None:
    """I5."""
    world.serve()
    world.declare()
    world.reconcile()
    write(world.folder / "second" / REPO, dict(MODEL))
    world.declare(location="second")
    world.reconcile()
    assert acquisition(world, NAME) == "adopted"
    assert not (world.weights / REPO).exists()
    world.declare(state="absent")
    world.reconcile()
    assert tree(world.folder / "second" / REPO) == dict(MODEL)
