"""Sources that are not what they seem: a renamed repository, a person's own folder."""

from dataclasses import replace

from imageworks.hub.wire import Request, Response
from support.reconcile import MODEL, NAME, World
from support.transfer import tree


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
