"""Whatever people wrote and whatever changes: the file says what was meant, and every comment elsewhere stays."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from imageworks.registry.documents.document import JsonValue
from imageworks.registry.documents.yaml_reader import parse_yaml
from imageworks.registry.manifests.edit import edit_manifest

FILE = "models/m.yaml"
names = st.sampled_from(["source", "roles", "hosts", "labels", "a", "b-c"])
texts = st.sampled_from(["main", "yes", "it's", "12e45678", "a: b", "# x"])
scalars = st.one_of(st.booleans(), st.integers(-9, 99), texts)


def nested(leaves: st.SearchStrategy[JsonValue]) -> st.SearchStrategy[JsonValue]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
        max_leaves=6,
    )


@st.composite
def written(draw: st.DrawFn, value: JsonValue, indent: int) -> str:
    """Return a value as it may stand behind a key: on the line, or in the lines below."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        lines = [f"\n{' ' * indent}{key}:{draw(written(one, indent + 2))}" for key, one in value.items()]
        return draw(comments) + "".join(lines)
    if isinstance(value, list) and value and draw(st.booleans()):
        dash = " " * draw(st.sampled_from([indent, max(indent - 2, 0)]))
        items = [f"\n{dash}- {json.dumps(one)}{draw(comments)}" for one in value]
        return draw(comments) + "".join(items)
    if isinstance(value, str) and value.isalpha() and draw(st.booleans()):
        return draw(st.sampled_from([f" >-\n{' ' * indent}{value}", f" '{value}'"]))
    return f" {json.dumps(value)}{draw(comments)}"


comments = st.sampled_from(["", " # why", "   ", " # main, 2026-01-02"])
documents = st.dictionaries(names, nested(st.one_of(st.none(), scalars)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(documents, st.data())
def test_any_value_of_an_ordinary_file_can_be_set_and_taken_away(
    before: dict[str, JsonValue], data: st.DataObject
) -> None:
    lines = ["schema_version: 1", "# top"]
    for key, value in before.items():
        lines.append(f"{key}:{data.draw(written(value, 2))}")
        lines += data.draw(st.lists(st.sampled_from(["", "# next"]), max_size=2))
    text = "\n".join(lines) + data.draw(st.sampled_from(["", "\n"]))
    assert parse_yaml(text.encode(), FILE).value == {"schema_version": 1, **before}
    keys: tuple[str, ...] = (data.draw(names),)
    inner = before.get(keys[0])
    if isinstance(inner, dict) and data.draw(st.booleans()):
        keys = (*keys, data.draw(names))
    new = data.draw(st.one_of(st.none(), nested(scalars)))
    changed = edit_manifest(FILE, text.encode(), {keys: new})
    wanted: dict[str, JsonValue] = {"schema_version": 1, **before}
    place = wanted
    if len(keys) == 2 and isinstance(inner, dict):
        place = wanted[keys[0]] = dict(inner)
    if new is None:
        place.pop(keys[-1], None)
    else:
        place[keys[-1]] = new
    assert parse_yaml(changed, FILE).value == wanted
    assert changed.startswith(b"schema_version: 1\n# top\n")
    assert changed.count(b"\n# next") == text.count("\n# next")
