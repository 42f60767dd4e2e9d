"""JSON that the controller wrote, read back with bounds and, when something is wrong in it, with places."""

import json
import re
from typing import Final, NoReturn

from imageworks.registry.document import START, Document, DocumentError, JsonValue, Places, Pointer, Position

MAX_BYTES: Final = 32 * 1024 * 1024
_REMEDY: Final = "only the controller writes this file; restore it from git"
_WORD: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class JsonError(DocumentError):
    """A JSON file that cannot be used, with the place of the problem."""


class _DuplicateKeyError(ValueError):
    pass


def parse_json(data: bytes, file: str) -> Document:
    """Return what a JSON file says, or refuse it.

    Args:
        data: The file's bytes.
        file: What to call the file in messages.

    Raises:
        JsonError: It is too large, not UTF-8, not strict JSON, or gives a key twice.
    """
    if len(data) > MAX_BYTES:
        problem = f"the file is {len(data)} bytes long; at most {MAX_BYTES} are allowed"
        raise JsonError(file, START, problem, remedy=_REMEDY)
    try:
        text = data.decode("utf-8")
        value: JsonValue = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise JsonError(file, START, "the file is not UTF-8", remedy=_REMEDY) from None
    except json.JSONDecodeError as error:
        raise JsonError(file, Position(error.lineno, error.colno), "not valid JSON", remedy=_REMEDY) from None
    except RecursionError:
        raise JsonError(file, START, "nested too deep", remedy=_REMEDY) from None
    except ValueError as error:
        problem = str(error) if isinstance(error, _DuplicateKeyError) else "a number that JSON does not know"
        raise JsonError(file, START, problem, remedy=_REMEDY) from None
    return Document(file, value, lambda: find_places(text))


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys = [key for key, _value in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _DuplicateKeyError(f'duplicate key "{twice[:40]}"')
    return mapping


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


def find_places(text: str) -> Places:
    """Return where each value of a valid JSON text stands.

    Args:
        text: The JSON text.
    """
    values: dict[Pointer, Position] = {}
    keys: dict[Pointer, Position] = {}
    pointer: list[str | int] = []
    line, line_start, seen = 1, 0, 0
    key_due = False
    for match in _WORD.finditer(text):
        word, start = match.group(), match.start()
        newlines = text.count("\n", seen, start)
        if newlines:
            line += newlines
            line_start = text.rfind("\n", seen, start) + 1
        seen = start
        position = Position(line, start - line_start + 1)
        if word in "]}":
            pointer.pop()
            key_due = False
        elif word == ",":
            last = pointer[-1]
            key_due = isinstance(last, str)
            if isinstance(last, int):
                pointer[-1] = last + 1
        elif word == ":":
            key_due = False
        elif key_due:
            pointer[-1] = json.loads(word)
            keys[tuple(pointer)] = position
        else:
            values[tuple(pointer)] = position
            if word in "[{":
                pointer.append(0 if word == "[" else "")
                key_due = word == "{"
    return Places(values, keys, {})
