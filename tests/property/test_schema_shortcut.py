"""Laws of the shortcut past jsonschema: no yes where the schema says no, and a yes of what people write."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from imageworks.registry.documents.schema import SCHEMA_NAMES, load_schema
from imageworks.registry.documents.schema_shortcut import certainty
from imageworks.registry.documents.yaml_reader import parse_yaml

EXAMPLES = Path(__file__).parents[2] / "registry"
TESTS = {name: certainty(load_schema(name)) for name in SCHEMA_NAMES}
JUDGES = {name: Draft202012Validator(load_schema(name)) for name in SCHEMA_NAMES}
ODD = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 1.0, 8.0, 65_536, 1e400, "", "x", "a\n", "\n", "vllm", " ", [], {}, [None]),
        *({"": 1}, ["a\n"], [True], {"x": "y\n"}, {"a b": 1}, {"huggingface": "a/b"}, {"locked": 1}, "x" * 300),
    ]
).map(copy.deepcopy)


def whole(schema: dict[str, Any]) -> Any:  # noqa: ANN401 # any value
    """Return a value that has everything that a schema names, by its examples."""
    if "properties" in schema:
        return {key: whole(said) for key, said in schema["properties"].items()}
    if "items" in schema:
        return [whole(schema["items"])]
    return copy.deepcopy(schema["examples"][0]) if schema.get("examples") else schema.get("const")


def places(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401
    """Return each container with each of its keys or indexes."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(value, key) for key, _each in inside] + [place for _key, each in inside for place in places(each)]


@st.composite
def nearly_right(draw: st.DrawFn) -> tuple[str, Any]:
    """Return a document that is right but for a few places, or quite right."""
    name = draw(st.sampled_from(SCHEMA_NAMES))
    schema = load_schema(name)
    value = whole(schema)
    if isinstance(value, dict) and "source" in value and name == "manifest":
        value["source"] = draw(st.sampled_from([{"huggingface": "a/b"}, {"path": "/x"}, {"ollama": "q:7b"}]))
    for _ in range(draw(st.integers(0, 4))):
        found = places(value)
        if not found:
            break
        container, key = draw(st.sampled_from(found))
        if isinstance(container, dict) and draw(st.booleans()):
            container.pop(key, None)
        elif isinstance(container, dict) and draw(st.integers(0, 3)) == 0:
            container[draw(st.sampled_from(["", "unknown", "a b", "x\n", "url", "sha256", "branch"]))] = draw(ODD)
        elif isinstance(container, list) and key >= len(container):
            container.append(draw(ODD))
        else:
            container[key] = draw(ODD)
    return name, value


@given(nearly_right())
@example(("manifest", {"schema_version": True}))
@example(("manifest", {"schema_version": 1, "source": {"huggingface": "a/b", "path": "/x"}}))
@example(("entry", {"schema_version": 1, "name": "x\n", "managed": True}))
def test_it_never_says_yes_where_the_schema_says_no(case: tuple[str, Any]) -> None:
    name, value = case
    if TESTS[name](value):
        assert not list(JUDGES[name].iter_errors(value))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("models/*.yaml")), ids=lambda file: file.stem)
def test_it_says_yes_of_manifests_that_people_write(file: Path) -> None:
    assert TESTS["manifest"](parse_yaml(file.read_bytes(), f"models/{file.name}").value)


def test_it_says_yes_of_settings_and_entries() -> None:
    assert TESTS["registry"](parse_yaml((EXAMPLES / "registry.yaml").read_bytes(), "registry.yaml").value)
    assert TESTS["entry"](whole(load_schema("entry")))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date"},
        {"not": {"type": "string"}},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"enum": [[1]]},
        {"properties": {"a": {"if": {}}}},
        {"items": True},
    ],
)
def test_of_a_keyword_that_it_does_not_know_it_says_nothing(schema: dict[str, Any]) -> None:
    assert not any(certainty(schema)(value) for value in ("x", 1, [1], [True], {}, {"a": 1}, None))
