"""The ``list-roles`` command: which models serve which role."""

import json

import pytest

from support.reconcile import NAME, World, command


@pytest.fixture
def serving(world: World) -> World:
    world.serve()
    world.declare(backend="vllm", roles=["caption", "keywords"], role_priority={"caption": 10})
    better = {"schema_version": 1, "backend": "ollama", "roles": ["caption"], "role_priority": {"caption": 90}}
    world.write("models/better.yaml", json.dumps(better))
    world.write("models/old.yaml", '{"schema_version": 1, "roles": ["caption"], "deprecated": true}')
    world.reconcile()
    return world


def test_one_row_a_role_the_preferred_model_first(serving: World) -> None:
    lines = command("list-roles", "--registry", serving.root).out.splitlines()
    assert [line.split() for line in lines] == [
        ["ROLE", "VARIANT", "PRIORITY", "BACKEND", "INSTALLED"],
        ["caption", "better", "90", "ollama", "no"],
        ["caption", NAME, "10", "vllm", "yes"],
        ["keywords", NAME, "0", "vllm", "yes"],
    ]


def test_capabilities_are_shown_when_asked_for(serving: World) -> None:
    lines = command("list-roles", "--show-capabilities", "--registry", serving.root).out.splitlines()
    assert lines[0].endswith("CAPABILITIES")
    assert lines[2].endswith("text")


def test_json_is_versioned(serving: World) -> None:
    document = command("list-roles", "--json", "--registry", serving.root).json
    assert document["format_version"] == 1
    roles = document["roles"]
    assert isinstance(roles, list)
    assert roles[0] == {
        "role": "caption",
        "priority": 90,
        "name": "better",
        "backend": "ollama",
        "installed": False,
        "capabilities": [],
    }


def test_without_roles_it_says_how_to_give_one(world: World) -> None:
    assert "declare `roles: [caption]`" in command("list-roles", "--registry", world.root).out
