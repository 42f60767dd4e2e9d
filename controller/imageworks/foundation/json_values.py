"""Small JSON files of strangers, read so that nothing in them can hurt."""

import json
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring
from types import MappingProxyType
from typing import Any, Final

from imageworks.foundation.bounded_json import LARGEST, read_json

_SHORT: Final = 40
"""Characters; what is longer is a digest, a path or prose, which hardly two documents have in common."""
_encode: Final = json.JSONEncoder(ensure_ascii=False).encode
EMPTY: Final[Mapping[str, object]] = MappingProxyType({})


def parse_object(data: bytes | str | None) -> Mapping[str, object] | None:
    """Return the JSON object in some bytes, or ``None`` when there is none."""
    if data is None or len(data) > LARGEST:
        return None
    try:
        value = read_json(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def part(found: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return an object inside an object, empty when it is not one."""
    value = found.get(key)
    if value is None or isinstance(value, dict):  # most often, and asked so often that the general question costs
        return value or EMPTY
    return value if isinstance(value, Mapping) else EMPTY


def shared(value: Any) -> Any:  # noqa: ANN401 # JSON
    """Return a JSON value whose keys and short texts are the same objects as in other documents.

    Ten thousand documents say the same few things, of which each would be there ten thousand times.
    """
    if isinstance(value, str):
        return _known(value) if len(value) < _SHORT else value
    if isinstance(value, dict):
        return shared_object({_known(key): shared(one) for key, one in value.items()})
    return value


def shared_object(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object, or one that says the same in the same order: nobody changes what a document says."""
    text = _ObjectText(repr(value))
    text.value = value
    return _known_object(text)


def with_shared_parts(value: Any) -> Any:  # noqa: ANN401 # JSON
    """Return an object whose parts are the same objects as those of others that say the same: a third of its size."""
    if not isinstance(value, dict):
        return value
    return {key: shared_object(part) if isinstance(part, dict) else part for key, part in value.items()}


class _ObjectText(str):
    """An object as text, which is alike only where its values are of the same kinds, with the object."""

    __slots__ = ("value",)
    value: dict[str, Any]


@lru_cache(maxsize=1024)
def _known_object(text: _ObjectText) -> dict[str, Any]:
    return text.value


@lru_cache(maxsize=1024)
def _known(text: str) -> str:
    return text


def indented(value: object, indent: str = "", *, sort_keys: bool = True) -> str:
    """Return a JSON value as `json.dumps` writes it with ``indent=2, ensure_ascii=False``, in half its time.

    That leaves functions which refer to one another at each call: of ten thousand entries they were 6 MB.
    """
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"  # as is every other field's former value where a history begins
    inner = f"{indent}  "
    if isinstance(value, dict) and value:
        named = sorted(value.items()) if sort_keys else value.items()
        items = [f"{inner}{encode_basestring(key)}: {indented(one, inner, sort_keys=sort_keys)}" for key, one in named]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and value:
        return (
            "[\n"
            + ",\n".join([f"{inner}{indented(one, inner, sort_keys=sort_keys)}" for one in value])
            + f"\n{indent}]"
        )
    return _encode(value)


def mapping(value: object) -> Mapping[str, object]:
    """Return an object, empty when it is not one."""
    return value if isinstance(value, Mapping) else EMPTY


def text(found: Mapping[str, object], key: str) -> str | None:
    """Return a text inside an object, or ``None`` when it is not one."""
    value = found.get(key)
    return value if isinstance(value, str) else None


def whole(found: Mapping[str, object], *keys: str) -> int | None:
    """Return the first whole number under one of several keys."""
    for key in keys:
        value = found.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
