"""Laws of the gate: it says YamlError or gives a value, and the value is the one that was dumped."""

import io
import math
import string

from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from imageworks.registry.documents.document import JsonValue, Pointer
from imageworks.registry.documents.yaml_reader import YamlError, parse_yaml

MANIFEST = b"""\
# yaml-language-server: $schema=../.schemas/manifest.schema.json
schema_version: 1
source:
  huggingface: Qwen/Qwen2.5-VL-7B-Instruct-AWQ
  revision: "536a3571234567890123456789012345678901ab" # main
  include: ["*.safetensors", '*.json']
backend_config: {port: 24001, extra_args: [--x, "0.87"]}
generation_defaults:
  temperature: 0.35
  stop_sequences:
    - "<|end|>\\n"
    - |
      block
      text
    - >-
      folded
state: present
"""
VISIBLE = st.characters(
    codec="utf-8",
    exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"),
    exclude_characters="\u115f\u1160\u3164\uffa0",
)
TEXTS = st.one_of(
    st.text(VISIBLE, max_size=40),
    st.text(VISIBLE | st.sampled_from("\n\t"), max_size=40),
    st.text(string.digits + "eE.+-_:xoNOyes~ ", max_size=12),
    st.sampled_from(
        ["NO", "yes", "012", "1e3", "12:30:00", "2026-11-20", "null", "true", "~", "", "<<", "=", "- a", "#"]
    ),
)
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


def dump(value: JsonValue) -> io.BytesIO:
    """Return a value in block style, as our own writer has it; old libyaml wants quotes around colons in brackets."""
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_unicode = True
    yaml.default_flow_style = False
    stream = io.BytesIO()
    yaml.dump(value, stream)
    return stream


def parse_or_refuse(data: bytes) -> JsonValue:
    try:
        document = parse_yaml(data, "f.yaml")
    except YamlError as caught:
        error = caught
    else:
        # Places are found by a way of their own, which sees the same values.
        found = set(document.find_places().values)
        assert found == set(pointers(document.value)) or (document.value is None and not found)  # of an empty file
        return document.value
    assert error.remedy
    assert error.line >= 1
    assert error.column >= 1
    assert "\n" not in error.message
    assert len(error.render()) < 400
    return None


@given(st.binary(max_size=300))
@example(b"2024-99-99")
@example(b"a: !!timestamp 2024-99-99")
def test_any_bytes_give_a_value_or_a_yaml_error(data: bytes) -> None:
    parse_or_refuse(data)


@given(st.text(st.sampled_from("ab1:-?[]{},&*!|>'\"%@`#~<=. \n\t\\u\u00e9"), max_size=120))
def test_any_punctuation_gives_a_value_or_a_yaml_error(text: str) -> None:
    parse_or_refuse(text.encode())


@given(st.lists(st.tuples(st.integers(0, len(MANIFEST)), st.integers(0, 8), st.binary(max_size=4)), max_size=6))
def test_any_change_to_a_manifest_gives_a_value_or_a_yaml_error(edits: list[tuple[int, int, bytes]]) -> None:
    data = MANIFEST
    for start, length, inserted in edits:
        data = data[:start] + inserted + data[start + length :]
    parse_or_refuse(data)


@given(VALUES)
def test_what_ruamel_dumps_is_what_the_gate_reads(value: JsonValue) -> None:
    stream = dump(value)
    assert same(parse_yaml(stream.getvalue(), "f.yaml").value, value)


def same(left: JsonValue, right: JsonValue) -> bool:
    """Return whether two values are equal in type and value."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) or (left.keys() == right.keys() and all(same(left[k], right[k]) for k in left))
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-15) or left == right
    return type(left) is type(right) and left == right


@given(VALUES)
def test_every_value_has_a_place_inside_the_file(value: JsonValue) -> None:
    stream = dump(value)
    document = parse_yaml(stream.getvalue(), "f.yaml")
    lines = stream.getvalue().decode().split("\n")
    places = document.find_places()
    assert set(places.values) == set(pointers(document.value))
    for position in (*places.values.values(), *places.keys.values()):
        assert 1 <= position.line <= len(lines)
        assert 1 <= position.column <= len(lines[position.line - 1]) + 1


def pointers(value: JsonValue, base: Pointer = ()) -> list[Pointer]:
    """Return the pointers of a value and of everything in it."""
    found = [base]
    if isinstance(value, dict):
        for key, item in value.items():
            found += pointers(item, (*base, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += pointers(item, (*base, index))
    return found
