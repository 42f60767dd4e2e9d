"""Change a few values of a manifest that people wrote; comments, order and quoting of the rest survive."""

from collections.abc import Iterator, Mapping

from imageworks.foundation.errors import ImageworksError
from imageworks.registry.documents.document import DocumentError, JsonValue, Pointer
from imageworks.registry.documents.yaml_edit import with_value, without_lines
from imageworks.registry.documents.yaml_reader import parse_yaml

Keys = tuple[str, ...]


class EditError(ImageworksError):
    """A manifest cannot be changed without changing more than was asked."""


def edit_manifest(
    file: str,
    data: bytes,
    changes: Mapping[Keys, JsonValue],
    *,
    comments: Mapping[Keys, str] | None = None,
    behind: Mapping[Keys, Pointer] | None = None,
) -> bytes:
    """Return a manifest's bytes with some values changed, and taken away where they become ``None``."""
    for keys, new in changes.items():
        before = parse_yaml(data, file).value
        for inner, value in _differing(before, keys, new):
            wanted = _applied(parse_yaml(data, file).value, {inner: value})
            note, place = (comments or {}).get(inner, ""), (behind or {}).get(inner)
            there = _at(before, inner)
            appends = isinstance(there, list) and isinstance(value, list) and value[: len(there)] == there
            changed = with_value(file, data, inner, value, note, place, appends=appends)
            if changed is None or not _says(file, changed, wanted):
                named = ".".join(inner)
                raise EditError(
                    f"{file}: {named} cannot be changed by a program here", remedy="Edit and commit the file."
                )
            data = changed
    return data


def without_key(file: str, data: bytes, key: str) -> bytes | None:
    """Return a manifest without one of its keys, its lines cut out; ``None`` where it has no lines of its own."""
    cut = without_lines(file, data, (key,))
    return cut if cut is not None and _says(file, cut, _applied(parse_yaml(data, file).value, {(key,): None})) else None


def _says(file: str, data: bytes, wanted: JsonValue) -> bool:
    try:
        return parse_yaml(data, file).value == wanted
    except DocumentError:
        return False


def _differing(before: JsonValue, keys: Keys, new: JsonValue) -> Iterator[tuple[Keys, JsonValue]]:
    """Yield what differs, as deep in mappings as both go."""
    found = _at(before, keys)
    if isinstance(found, dict) and isinstance(new, dict) and found and new:
        for key in dict.fromkeys((*found, *new)):
            yield from _differing(before, (*keys, key), new.get(key))
    elif _applied(before, {keys: new}) != before:
        yield keys, new


def _at(value: JsonValue, keys: Keys) -> JsonValue:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _applied(value: JsonValue, changes: Mapping[Keys, JsonValue]) -> JsonValue:
    if not isinstance(value, dict):
        return value
    changed = dict(value)
    for key in dict.fromkeys(keys[0] for keys in changes):
        below = {keys[1:]: new for keys, new in changes.items() if keys[0] == key}
        if () not in below:
            changed[key] = _applied(changed.get(key, {}), below)
        elif below[()] is None:
            changed.pop(key, None)
        else:
            changed[key] = below[()]
    return changed
