"""Says of a document that its schema certainly accepts it, in a tenth of the time; of all others it says nothing.

jsonschema judges, and words what is wrong. But nearly all documents are right, and it takes half of a `validate` to
find nothing. What is here only knows the keywords of our schemas, and never says yes where it does not know one.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from imageworks.registry.documents.document import JsonValue

Test = Callable[[Any], bool]
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),  # 8.0 is none here: Python code that was promised one would not find it
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_SAYS_NOTHING: Final = frozenset({"$schema", "$id", "title", "description", "examples", "default"})


class _UnknownKeywordError(Exception):
    """A schema has something that is not known here."""


def certainty(schema: "Mapping[str, JsonValue]") -> Test:
    """Return a test that is true only of values which a schema accepts."""
    try:
        return _test(schema)
    except _UnknownKeywordError:
        return lambda _value: False


def _test(schema: Any) -> Test:  # noqa: ANN401 # a part of a schema
    if not isinstance(schema, dict):
        raise _UnknownKeywordError
    tests = [_KEYWORDS[key](said) for key, said in schema.items() if key in _KEYWORDS]
    members = _members(schema)
    if members is not None:
        tests.append(members)
    if unknown := schema.keys() - _KEYWORDS.keys() - _OF_MEMBERS - _SAYS_NOTHING:
        raise _UnknownKeywordError(*unknown)
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _type(said: Any) -> Test:  # noqa: ANN401
    names = said if isinstance(said, list) else [said]
    types = frozenset(each for name in names for each in _TYPES[name])
    return lambda value: type(value) in types  # not isinstance: True is no integer


def _one_of_values(said: Any) -> Test:  # noqa: ANN401
    if any(isinstance(each, dict | list) for each in said):
        raise _UnknownKeywordError("enum")  # whose parts may be true beside 1
    known = frozenset((type(each), each) for each in said)
    return lambda value: not isinstance(value, dict | list) and (type(value), value) in known


def _pattern(said: str) -> Test:
    # As a text: most patterns of a schema meet no value, and `re` keeps those that do.
    return lambda value: not isinstance(value, str) or re.search(said, value) is not None


def _items(said: Any) -> Test:  # noqa: ANN401
    test = _test(said)
    return lambda value: not isinstance(value, list) or all(map(test, value))


def _required(said: list[str]) -> Test:
    needed = frozenset(said)
    return lambda value: not isinstance(value, dict) or needed <= value.keys()


def _property_names(said: Any) -> Test:  # noqa: ANN401
    test = _test(said)
    return lambda value: not isinstance(value, dict) or all(map(test, value))


def _dependent(said: Mapping[str, list[str]]) -> Test:
    def test(value: Any) -> bool:  # noqa: ANN401
        keys = value.keys() if isinstance(value, dict) else frozenset()
        return all(keys >= set(needed) for key, needed in said.items() if key in keys)

    return test


def _exactly_one(said: list[dict[str, Any]]) -> Test:
    if any(branch.keys() - _SAYS_NOTHING != {"required"} for branch in said):
        raise _UnknownKeywordError("oneOf")  # of others it is not certain that they do *not* accept a value
    tests = [_required(branch["required"]) for branch in said]
    return lambda value: sum(test(value) for test in tests) == 1


def _members(schema: Mapping[str, Any]) -> Test | None:
    """Return the test of an object's members: those that are named, and the others."""
    if not schema.keys() & _OF_MEMBERS:
        return None
    named = {key: _test(said) for key, said in schema.get("properties", {}).items()}
    others = schema.get("additionalProperties", True)
    other: Test = (lambda _value: others) if isinstance(others, bool) else _test(others)

    def test(value: Any) -> bool:  # noqa: ANN401
        return not isinstance(value, dict) or all(named.get(key, other)(each) for key, each in value.items())

    return test


_OF_MEMBERS: Final = frozenset({"properties", "additionalProperties"})
_KEYWORDS: Final[Mapping[str, Callable[[Any], Test]]] = {
    "type": _type,
    "const": lambda said: _one_of_values([said]),
    "enum": _one_of_values,
    "pattern": _pattern,
    "minimum": lambda said: lambda value: not isinstance(value, int | float) or value >= said,
    "maximum": lambda said: lambda value: not isinstance(value, int | float) or value <= said,
    "minLength": lambda said: lambda value: not isinstance(value, str) or len(value) >= said,
    "maxLength": lambda said: lambda value: not isinstance(value, str) or len(value) <= said,
    "minItems": lambda said: lambda value: not isinstance(value, list) or len(value) >= said,
    "maxItems": lambda said: lambda value: not isinstance(value, list) or len(value) <= said,
    "items": _items,
    "required": _required,
    "propertyNames": _property_names,
    "dependentRequired": _dependent,
    "oneOf": _exactly_one,
}
