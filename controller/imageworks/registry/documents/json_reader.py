"""JSON that the controller wrote, read back with bounds and, when something is wrong in it, with places."""

import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, NoReturn

from imageworks.foundation.bounded_json import LARGEST, JsonReadError, read_json
from imageworks.registry.documents.document import (
    START,
    Document,
    DocumentError,
    JsonValue,
    Pointer,
    Position,
    SourceMap,
)
from imageworks.registry.documents.git_leftovers import (
    CONFLICT,
    CONFLICT_REMEDY,
    LFS_POINTER,
    POINTER,
    POINTER_REMEDY,
    conflict_line,
)

MAX_BYTES: Final = LARGEST
_REMEDY: Final = "only the controller writes this file; restore it from git"
_NESTING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')
_WORD: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


class JsonError(DocumentError):
    """A JSON file that cannot be used, with the place of the problem."""


class _DuplicateKeyError(ValueError):
    pass


def parse_json(data: bytes, file: str) -> Document:
    """Return what a JSON file says, or refuse it."""
    if len(data) > MAX_BYTES:
        problem = f"the file is {len(data)} bytes long; at most {MAX_BYTES} are allowed"
        raise JsonError(file, START, problem, remedy=_REMEDY)
    if data.startswith(LFS_POINTER):
        raise JsonError(file, START, POINTER, remedy=POINTER_REMEDY)
    if (line := conflict_line(data)) is not None:
        raise JsonError(file, Position(line, 1), CONFLICT, remedy=CONFLICT_REMEDY)
    try:
        text = data.decode("utf-8")
        value: JsonValue = read_json(text, pairs=_unique, constant=_refuse_constant)
    except UnicodeError:
        raise JsonError(file, START, "the file is not UTF-8", remedy=_REMEDY) from None
    except json.JSONDecodeError as error:
        raise JsonError(file, Position(error.lineno, error.colno), "not valid JSON", remedy=_REMEDY) from None
    except JsonReadError as error:
        raise JsonError(file, START, str(error).removeprefix("it is "), remedy=_REMEDY) from None
    except ValueError as error:
        problem = str(error) if isinstance(error, _DuplicateKeyError) else "a number that JSON does not know"
        raise JsonError(file, START, problem, remedy=_REMEDY) from None
    return Document(file, value, lambda wanted=(): find_places(text, wanted))


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _value in pairs).items() if times > 1)
        raise _DuplicateKeyError(f'duplicate key "{twice[:40]}"')
    return mapping


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


@dataclass(slots=True)
class _Wanted:
    """A value whose place is wanted, or that leads to one."""

    pointer: Pointer
    inside: "dict[str | int, _Wanted]" = field(default_factory=dict)
    missing: int = 0
    """How many of those inside were not met yet."""


@dataclass(slots=True)
class _Open:
    """A list or object that is still open and leads to something wanted."""

    node: _Wanted
    step: str | int
    key_due: bool


@dataclass(slots=True)
class _Finder:
    """Takes the words of a JSON text and keeps the places of what is wanted, and of nothing else.

    A hostile file has millions of values, and of its problems a hundred at most are shown.
    """

    root: _Wanted = field(default_factory=lambda: _Wanted(()))
    values: dict[Pointer, Position] = field(default_factory=dict)
    keys: dict[Pointer, Position] = field(default_factory=dict)
    opened: list[_Open] = field(default_factory=list)
    nodes: int = 1
    passed_over: int = 0
    """Lists and objects that are open and lead to nothing wanted."""

    def want(self, pointer: Pointer) -> None:
        """Look for a value."""
        node = self.root
        for step in pointer:
            if step not in node.inside:
                node.inside[step] = _Wanted((*node.pointer, step))
                node.missing += 1
                self.nodes += 1
            node = node.inside[step]

    def take(self, word: str, position: Position) -> None:
        """Take the next word that stands directly in something that is looked into."""
        around = self.opened[-1] if self.opened else None
        if word in "]}":
            self.opened.pop()
        elif word == ",":
            self._next(around)
        elif around is not None and around.key_due:
            around.step, around.key_due = json.loads(word), False
            if (found := around.node.inside.get(around.step)) is not None:
                self.keys[found.pointer] = position
        elif word != ":":
            self._value(word, position, self.root if around is None else around.node.inside.get(around.step))

    def _next(self, around: _Open | None) -> None:
        if around is None:
            return
        if not around.node.missing:
            self.opened.pop()  # nothing more is wanted in here
            self.passed_over = 1
        elif isinstance(around.step, int):
            around.step += 1
        else:
            around.key_due = True

    def _value(self, word: str, position: Position, found: _Wanted | None) -> None:
        if found is not None:
            self.values[found.pointer] = position
            if self.opened:
                self.opened[-1].node.missing -= 1
        if word not in "[{":
            return
        if found is not None and found.inside:
            self.opened.append(_Open(found, 0 if word == "[" else "", key_due=word == "{"))
        else:
            self.passed_over = 1


def find_places(text: str, wanted: Collection[Pointer] = ()) -> SourceMap:
    """Return where some values of a valid JSON text stand, and what leads to them; one way through the text."""
    finder = _Finder()
    for pointer in wanted:
        finder.want(pointer)
    line, line_start, seen = 1, 0, 0
    match = _WORD.search(text) if wanted else None
    while match is not None and len(finder.values) < finder.nodes:
        word, start = match.group(), match.start()
        if finder.passed_over:
            finder.passed_over += (word in "[{") - (word in "]}")
        else:
            newlines = text.count("\n", seen, start)
            if newlines:
                line += newlines
                line_start = text.rfind("\n", seen, start) + 1
            seen = start
            finder.take(word, Position(line, start - line_start + 1))
        match = (_NESTING if finder.passed_over else _WORD).search(text, match.end())
    return SourceMap(finder.values, finder.keys, {})
