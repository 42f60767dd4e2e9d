r"""The one way YAML comes into this project: a gate, a constructor and a map of places in a single pass.

A general loader is the wrong tool for files that anyone may propose: 60 KB of ``[`` crash the C loader, 500 bytes of
aliases keep a validator busy for ever, and YAML 1.1 readers turn ``NO`` into false and a commit id into a float. This
gate reads libyaml's events, which do not recurse, refuses what a manifest never needs, and builds the value itself.

Plain (unquoted) scalars mean exactly this, quoted ones are always text:

| written                                              | is             |
|------------------------------------------------------|----------------|
| ``12``, ``-1``, ``0.5``, ``1e3``: JSON's numbers     | a number       |
| ``true`` ``True`` ``TRUE``, ``false`` and so on      | a truth value  |
| ``null`` ``Null`` ``NULL`` ``~``, or nothing at all  | nothing        |
| anything else: ``NO``, ``yes``, ``on``, ``012``,     | text           |
| ``0x10``, ``12:30:00``, ``2026-11-20``, ``.inf``,    |                |
| ``1_000``, ``+1``                                    |                |

Within brackets and braces libyaml wants text with a colon in quotes, ``{ollama: "qwen2.5vl:7b"}``; in a block not.
"""

import math
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from imageworks.foundation.json_values import shared
from imageworks.registry.documents.document import (
    START,
    Document,
    DocumentError,
    JsonValue,
    Pointer,
    Position,
    SourceMap,
)
from imageworks.registry.documents.git_leftovers import CONFLICT, CONFLICT_REMEDY, LFS_POINTER, POINTER, conflict_line

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 16
MAX_EVENTS: Final = 5000
MAX_INTEGER: Final = 2**63 - 1
MAX_INTEGER_LENGTH: Final = len(str(-MAX_INTEGER))

_SHOWN_CHARACTERS = 40

# Control characters, the line breaks that only some readers know, everything that is invisible or turns the reading
# direction, and what is no character at all. Tab and line feed are judged by where they stand.
_HIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff9-\uffff\U000e0000-\U000e007f"
)
_REFUSED_IN_FILE = re.compile(f"[{_HIDDEN}]|\r(?!\n)")
_REFUSED_IN_VALUE = re.compile(f"[{_HIDDEN}\r]")

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")
_CONSTANTS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NOT_BLANK = re.compile(r"\S")
_MAYBE_NUMBER = frozenset("-0123456789")

_INDENT_REMEDY = "indent with spaces, two per level, and line the keys of one block up in one column"

# libyaml's own words are for people who write parsers; these are for people who write manifests.
_TRANSLATIONS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "mapping values are not allowed",
        "a second `key: value` starts here, inside another value",
        "put the text that contains `: ` in quotes, or give the key a line of its own with the right indent",
    ),
    (
        "could not find expected ':'",
        "a key without a colon after it",
        "write `key: value`, with a space after the colon",
    ),
    ("found unexpected ':'", "a colon inside a text in brackets or braces", "put the text in quotes"),
    ("tab character", "a tab is used as indent or separator", "use spaces; most editors can convert tabs"),
    ("did not find expected key", "a key was expected here", _INDENT_REMEDY),
    ("did not find expected '-' indicator", "another `- item` of the list was expected here", _INDENT_REMEDY),
    ("block sequence entries are not allowed", "a list item cannot start here", _INDENT_REMEDY),
    ("block mapping", "a key was expected here", _INDENT_REMEDY),
    (
        "did not find expected ',' or ']'",
        "the list in brackets is not continued or closed here",
        "separate items with `,` and close the list with `]`",
    ),
    (
        "did not find expected ',' or '}'",
        "the mapping in braces is not continued or closed here",
        "separate pairs with `,` and close the mapping with `}`",
    ),
    ("unexpected end of stream", "the file ends inside a quoted text", "close the quote"),
    ("unexpected document indicator", "a document marker stands inside a quoted text", "close the quote before it"),
    ("unknown escape character", "an unknown escape in a double-quoted text", "write `\\\\` for a backslash"),
    ("invalid Unicode character escape", "an escape that stands for no character", "write the character itself"),
    ("did not find expected hexdecimal number", "an incomplete escape", "write the character itself"),
    ("directive", "directives are not allowed", "remove the line that starts with `%`"),
    ("incompatible YAML document", "directives are not allowed", "remove the line that starts with `%`"),
    ("tag", "tags are not allowed", "remove it, or put the text in quotes"),
    ("did not find URI escape", "tags are not allowed", "remove it, or put the text in quotes"),
    ("alphabetic or numeric character", "anchors and aliases are not allowed", "put the text in quotes"),
    ("did not find expected <document start>", "only one document is allowed in a file", _INDENT_REMEDY),
    ("did not find expected node content", "a value was expected here", "give a value, or put the text in quotes"),
    ("expected comment or line break", "text stands on the line that opens a block", "start it on the next line"),
    ("indentation", "the indent is wrong here", _INDENT_REMEDY),
)


class _Mark(Protocol):
    index: int
    line: int
    column: int


class Event(Protocol):
    """What the parser says of an event; each kind has only those of these that it needs."""

    start_mark: _Mark
    end_mark: _Mark
    value: str
    style: str
    flow_style: bool
    anchor: str | None
    tag: str | None
    version: object
    tags: object


class YamlError(DocumentError):
    """A YAML file that the gate refused, with the place and the remedy."""


@dataclass(slots=True)
class Frame:
    """A list or mapping that is still open."""

    value: list[JsonValue] | dict[str, JsonValue]
    pointer: Pointer
    key: str | None = None


@dataclass(slots=True)
class Builder:
    """Turns events into a value; keeps the places as it goes."""

    file: str
    value: JsonValue = None
    stack: list[Frame] = field(default_factory=list)
    values: dict[Pointer, Position] = field(default_factory=dict)
    keys: dict[Pointer, Position] = field(default_factory=dict)
    written: dict[Pointer, str] = field(default_factory=dict)
    spans: list[tuple[int, int, bool]] = field(default_factory=list)
    documents: int = 0

    def refuse(self, event: Event, problem: str, remedy: str) -> YamlError:
        """Return the error about an event."""
        return YamlError(self.file, _position(event), problem, remedy=remedy)

    def open(self, event: Event, container: list[JsonValue] | dict[str, JsonValue]) -> None:
        """Begin a list or mapping at the place where a value is due."""
        _check_properties(self, event)
        if len(self.stack) >= MAX_DEPTH:
            raise self.refuse(event, f"nested deeper than {MAX_DEPTH} levels", "flatten the document")
        pointer = self.place(event, container)
        self.stack.append(Frame(container, pointer))

    def close(self, event: Event) -> None:  # noqa: ARG002 # whoever keeps ends looks at it
        """End the innermost list or mapping."""
        self.stack.pop()

    def scalar(self, event: Event) -> None:
        """Take a scalar as a key or as a value."""
        _check_properties(self, event)
        text: str = event.value
        self.spans.append((event.start_mark.index, event.end_mark.index, event.style == ""))
        if event.style == '"' and _REFUSED_IN_VALUE.search(text):
            raise self.refuse(event, "an escape for a control or invisible character", "remove the escape")
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.key is None and isinstance(frame.value, dict):
            self.take_key(event, frame, frame.value, text)
            return
        if event.style:
            self.place(event, text)
            return
        value = _resolve(self, event, text)
        pointer = self.place(event, value)
        if value is not text:
            self.written[pointer] = text

    def take_key(self, event: Event, frame: Frame, mapping: dict[str, JsonValue], text: str) -> None:
        """Remember the key that the next value belongs to."""
        if _is_no_key(event, text):
            shown = _shorten(text)
            problem = "merge keys are not allowed" if text == "<<" else f"a key must be text, and `{shown}` is not"
            remedy = "write the fields out" if text == "<<" else f'write "{shown}" in quotes if it is meant as a name'
            raise self.refuse(event, problem, remedy)
        pointer = (*frame.pointer, text)
        if text in mapping:
            first = self.keys[pointer].line
            raise self.refuse(
                event, f'duplicate key "{_shorten(text)}", first given on line {first}', "keep one of them"
            )
        self.keys[pointer] = _position(event)
        frame.key = text

    def place(self, event: Event, value: JsonValue) -> Pointer:
        """Put a value where it is due and return its pointer."""
        if not self.stack:
            self.value = value
            pointer: Pointer = ()
        else:
            frame = self.stack[-1]
            if isinstance(frame.value, list):
                pointer = (*frame.pointer, len(frame.value))
                frame.value.append(value)
            elif frame.key is None:
                raise self.refuse(event, "a key must be text, not a list or mapping", "write the key as plain text")
            else:
                pointer = (*frame.pointer, frame.key)
                frame.value[frame.key] = value
                frame.key = None
        self.values[pointer] = _position(event)
        return pointer

    def start_document(self, event: Event) -> None:
        """Refuse a second document and directives."""
        self.documents += 1
        if self.documents > 1:
            raise self.refuse(event, "only one document is allowed in a file", "move the second one to its own file")
        if event.version or event.tags:
            raise self.refuse(event, "directives are not allowed", "remove the line that starts with `%`")

    def alias(self, event: Event) -> None:
        """Refuse an alias."""
        raise self.refuse(event, "aliases are not allowed", "write the value out, or put the text in quotes")


class _ValueBuilder(Builder):
    """Keeps no places, which only what is wrong needs; what it refuses is judged and told by a builder that does."""

    def scalar(self, event: Event) -> None:
        """Take a scalar as a key or as a value."""
        _check_properties(self, event)
        text: str = event.value
        if event.style == '"' and _REFUSED_IN_VALUE.search(text):
            raise self.refuse(event, "", "")
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.key is None and isinstance(frame.value, dict):
            if text in frame.value or _is_no_key(event, text):
                raise self.refuse(event, "", "")
            frame.key = sys.intern(text)  # ten thousand manifests have the same keys
        else:
            self.place(event, shared(text if event.style else _resolve(self, event, text)))

    def place(self, event: Event, value: JsonValue) -> Pointer:
        """Put a value where it is due."""
        frame = self.stack[-1] if self.stack else None
        if frame is None:
            self.value = value
        elif isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key is None:
            raise self.refuse(event, "", "")
        else:
            frame.value[frame.key] = value
            frame.key = None
        return ()


def _is_no_key(event: Event, text: str) -> bool:
    return not event.style and (text == "<<" or text in _CONSTANTS or _NUMBER.match(text) is not None)


def parse_yaml(data: bytes, file: str) -> Document:
    """Return what a YAML file says, or refuse it."""
    text, places = decode(data, file), _Places(data, file)
    quick = _ValueBuilder(file)
    try:
        feed(quick, text)
    except YamlError:
        places()  # which says what is wrong in words
        raise
    if "\t" in text:
        places()
    return Document(file, quick.value, places)


class _Places:
    """Finds the places in a file once somebody asks: ten thousand manifests have one, so it is small until then."""

    __slots__ = ("_data", "_file", "_found")

    def __init__(self, data: bytes, file: str) -> None:
        self._data = data
        self._file = file
        self._found: SourceMap | None = None

    def __call__(self, wanted: Collection[Pointer] = ()) -> SourceMap:  # noqa: ARG002 # a manifest is small: all are found
        if self._found is None:
            builder, text = Builder(self._file), decode(self._data, self._file)
            feed(builder, text)
            if "\t" in text:
                _refuse_tabs(builder, text)
            self._found = SourceMap(builder.values, builder.keys, builder.written)
        return self._found


def decode(data: bytes, file: str) -> str:
    """Return the file's text after the checks that need no parser."""
    if len(data) > MAX_BYTES:
        raise YamlError(
            file,
            START,
            f"the file is {len(data)} bytes long; at most {MAX_BYTES} are allowed",
            remedy="a manifest describes one model in a few dozen lines; move the rest out of it",
        )
    if data.startswith(LFS_POINTER):
        remedy = "commit the file itself: no filter of git is run here; take it out of .gitattributes"
        raise YamlError(file, START, POINTER, remedy=remedy)
    if (line := conflict_line(data)) is not None:
        raise YamlError(file, Position(line, 1), CONFLICT, remedy=CONFLICT_REMEDY)
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise YamlError(file, START, "the file starts with a byte order mark", remedy="save it as UTF-8 without BOM")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise YamlError(file, _place_in(before), "the file is not UTF-8 here", remedy="save it as UTF-8") from None
    found = _REFUSED_IN_FILE.search(text)
    if found:
        character = found.group()
        raise YamlError(
            file,
            _place_in(text[: found.start()]),
            f"the control or invisible character U+{ord(character):04X} is not allowed",
            remedy="delete it; most editors can show invisible characters",
        )
    return text


def feed(builder: Builder, text: str) -> None:
    """Run the parser over the text and give the builder each event."""
    from _ruamel_yaml import CParser  # its public loaders build values, and tell no places
    from ruamel.yaml import events
    from ruamel.yaml.error import YAMLError

    handlers: dict[type, Callable[[Event], None]] = {
        events.ScalarEvent: builder.scalar,
        events.MappingStartEvent: lambda event: builder.open(event, {}),
        events.MappingEndEvent: builder.close,
        events.SequenceStartEvent: lambda event: builder.open(event, []),
        events.SequenceEndEvent: builder.close,
        events.DocumentStartEvent: builder.start_document,
        events.DocumentEndEvent: lambda _event: None,
        events.StreamStartEvent: lambda _event: None,
        events.AliasEvent: builder.alias,
    }
    parser = CParser(text)
    end = events.StreamEndEvent
    for _count in range(MAX_EVENTS):
        try:
            event = parser.get_event()
        except (YAMLError, ValueError) as error:
            raise _translate(builder.file, text, error) from None
        if type(event) is end:
            return
        handlers[type(event)](event)
    raise builder.refuse(
        event, f"more than {MAX_EVENTS} keys, values and brackets", "split the file, or shorten its lists"
    )


def _position(event: Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1)


def _place_in(before: str) -> Position:
    """Return the place that follows the given text."""
    return Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _shorten(text: str) -> str:
    """Return the text in one short printable line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 1] + "…"


def _check_properties(builder: Builder, event: Event) -> None:
    if event.anchor is not None:
        raise builder.refuse(event, "anchors are not allowed", "write the value out, or put the text in quotes")
    if event.tag is not None:
        raise builder.refuse(event, "tags are not allowed", "remove it, or put the text in quotes")


def _resolve(builder: Builder, event: Event, text: str) -> JsonValue:
    """Return what a plain scalar means, by the table at the top of this module."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _MAYBE_NUMBER:
        return text
    match = _NUMBER.match(text)
    if match is None:
        return text
    whole = match.group(1) is None and match.group(2) is None
    if whole and len(text) <= MAX_INTEGER_LENGTH and abs(number := int(text)) <= MAX_INTEGER:
        return number
    if not whole and math.isfinite(real := float(text)):
        return real
    shown = _shorten(text)
    raise builder.refuse(event, f"the number `{shown}` is too large", f'write "{shown}" in quotes if it is text')


def _refuse_tabs(builder: Builder, text: str) -> None:
    """Refuse tabs that indent or separate; those inside a text or a comment are harmless.

    libyaml lets some of them pass (``a:<TAB>1``) that other readers refuse, so they would mean different things to
    different tools.
    """
    spans = iter([*builder.spans, (len(text), len(text), False)])
    previous_end = line_start = seen = 0
    start, end, plain = next(spans)
    for match in re.finditer("\t", text):
        index = match.start()
        while index >= end:
            previous_end = end
            start, end, plain = next(spans)
        line_start = text.rfind("\n", seen, index) + 1 or line_start
        seen = index
        # Both looks end at the first character that counts: a line may be all tabs.
        if index >= start:
            harmless = not plain or _NOT_BLANK.search(text, max(line_start, start), index) is not None
        else:
            harmless = text.find("#", max(line_start, previous_end), index) >= 0
        if not harmless:
            raise YamlError(
                builder.file,
                _place_in(text[:index]),
                "a tab is used as indent or separator",
                remedy="use spaces; most editors can convert tabs",
            )


def _translate(file: str, text: str, error: Exception) -> YamlError:
    """Return the parser's complaint in plain words."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    words = f"{getattr(error, 'problem', '') or ''} {getattr(error, 'context', '') or ''}"
    position = START if mark is None else Position(mark.line + 1, mark.column + 1)
    if mark is not None and re.search(r"[\"']\Z", text[: mark.index]) and text[mark.index : mark.index + 1].isalnum():
        problem = "text follows a closing quote"
        return YamlError(file, position, problem, remedy="write a quote inside single quotes twice, or use double ones")
    if "cannot start any token" in words and mark is not None:
        return _unexpected_character(file, text, position)
    for known, problem, remedy in _TRANSLATIONS:
        if known in words:
            return YamlError(file, position, problem, remedy=remedy)
    return YamlError(file, position, "this is not valid YAML", remedy=_INDENT_REMEDY)


def _unexpected_character(file: str, text: str, position: Position) -> YamlError:
    lines = text.split("\n")
    line = lines[position.line - 1] if position.line <= len(lines) else ""
    character = line[position.column - 1 : position.column]
    if character == "\t":
        return YamlError(file, position, "a tab is used as indent or separator", remedy="use spaces")
    if character == "%":
        return YamlError(file, position, "directives are not allowed", remedy="remove it, or put the text in quotes")
    return YamlError(file, position, f"a value cannot start with `{character}`", remedy="put the text in quotes")
