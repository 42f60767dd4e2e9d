"""Change values in a YAML file that people wrote, and no byte of the rest: text put into spans, and read again."""

import json
import re
from collections.abc import Sequence
from typing import Final

from imageworks.registry.documents.document import JsonValue, Pointer
from imageworks.registry.documents.yaml_spans import Span, Spans, parse_spans

NOTE: Final = re.compile(r"#[ \t]*(?P<note>(?:(?P<ref>[^\s,;]+), )?\d{4}-\d{2}-\d{2})(?=$|[\s;])")
"""The comment that a program wrote behind a pin."""
Edit = tuple[int, int, str]
"""From where to where a text is replaced, and by what."""
_REST: Final = re.compile(r"[ \t,}\]]*(?P<comment>(?<=[ \t])#.*)?")
_COLON: Final = re.compile(r"[ \t]*:")
_PLAIN: Final = re.compile(r"[A-Za-z]+(?:[-_][A-Za-z]+)*")
_OTHER_TYPES: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def edited(text: str, edits: Sequence[Edit]) -> str:
    """Return a text with edits that do not overlap."""
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def with_value(
    file: str,
    data: bytes,
    pointer: tuple[str, ...],
    new: JsonValue,
    note: str = "",
    behind: Pointer | None = None,
    *,
    appends: bool = False,
) -> bytes | None:
    """Return a file's bytes with one value set, or without it for ``None``; ``None`` where no place for it is found.

    A key that is new follows the value that ``behind`` names, else its last sibling. What comes out has to be parsed
    again to know that it says just that. A list that only gets more items (``appends``) keeps those that it has as they
    are written.
    """
    spans, text = parse_spans(data, file), data.decode()
    if appends and isinstance(new, list) and (more := _longer_list(text, spans, pointer, new)) is not None:
        return edited(text, more).encode()
    edits = _without(text, spans, pointer) if new is None else _with(text, spans, pointer, new, note, behind)
    return None if edits is None else edited(text, edits).encode()


def without_lines(file: str, data: bytes, pointer: Pointer) -> bytes | None:
    """Return a file without the lines of a key; ``None`` where it has no lines of its own."""
    spans, text = parse_spans(data, file), data.decode()
    edits = _cut_lines(text, spans, pointer)
    return None if edits is None else edited(text, edits).encode()


def respelt(file: str, data: bytes, pointer: Pointer, new: str, *, key: bool = False) -> bytes:
    """Return a file's bytes with another text in the place of a scalar, or of the key of a value."""
    spans = parse_spans(data, file)
    span = (spans.keys if key else spans.values)[pointer]
    return edited(data.decode(), [(span.start, span.end, _written(new, span.style))]).encode()


def comment_behind(text: str, span: Span) -> tuple[str, int]:
    """Return the comment that follows a value on its line, and where it begins; empty where something else does."""
    line = text[span.end : _line_end(text, span.end)]
    match = _REST.fullmatch(line)
    if match is None or match["comment"] is None or text[span.end - 1] == "\n":
        return "", span.end
    return match["comment"], span.end + match.start("comment")


def _with(
    text: str, spans: Spans, pointer: Pointer, new: JsonValue, note: str, behind: Pointer | None
) -> list[Edit] | None:
    if pointer not in spans.keys:
        if pointer[:-1] and not spans.beside(pointer[:-1]):  # nothing is there, or an empty mapping
            return _with(text, spans, pointer[:-1], {str(pointer[-1]): new}, "", None)
        return _another_key(text, spans, pointer, new, note, behind)
    span = _trimmed(text, spans.of(pointer))
    flow = spans.in_flow(pointer)
    if pointer in spans.nodes and not span.style and span.end > span.start:
        colon = _COLON.match(text, spans.keys[pointer].end)
        if colon is None:
            return None
        behind_key = _line_end(text, colon.end())  # a comment behind the key stays
        return [(colon.end(), colon.end(), f" {_written(new, '')}"), (behind_key, max(span.end, behind_key), "")]
    shown = _written(new, span.style if pointer in spans.values and span.style not in {"|", ">"} else "")
    edits = [(span.start, span.end, shown if span.end > span.start else f" {shown}")]
    return edits + (_note_edits(text, span, note, flow=flow) if note else [])


def _without(text: str, spans: Spans, pointer: Pointer) -> list[Edit] | None:
    siblings = spans.beside(pointer[:-1])
    number = siblings.index(pointer)
    if not spans.in_flow(pointer):
        if len(siblings) > 1:
            return _cut_lines(text, spans, pointer)
        return _with(text, spans, pointer[:-1], {}, "", None) if pointer[:-1] else None
    if number:
        return [(spans.of(siblings[number - 1]).end, spans.of(pointer).end, "")]
    following = siblings[1:2]
    return [(spans.keys[pointer].start, spans.keys[following[0]].start if following else spans.of(pointer).end, "")]


def _cut_lines(text: str, spans: Spans, pointer: Pointer) -> list[Edit] | None:
    """Return the edit that cuts a key with its lines out, and the comments that are indented below it."""
    if pointer not in spans.keys or spans.in_flow(pointer):
        return None
    key = spans.keys[pointer].start
    start = text.rfind("\n", 0, key) + 1
    if text[start:key].strip():
        return None
    end = text.find("\n", max(_trimmed(text, spans.of(pointer)).end, key)) + 1 or len(text)
    while text.startswith(" " * (key - start + 1), end):
        end = text.find("\n", end) + 1 or len(text)
    return [(start, end, "")]


def _trimmed(text: str, span: Span) -> Span:
    """Return a span without the line breaks that end a block scalar's."""
    return span._replace(end=span.start + len(text[span.start : span.end].rstrip()))


def _note_edits(text: str, span: Span, note: str, *, flow: bool) -> list[Edit]:
    """Return the edits that put a note behind a value, in the place of an earlier note or before what people wrote."""
    comment, at = comment_behind(text, span)
    match = NOTE.match(comment)
    if match:
        return [(at + match.start("note"), at + match.end("note"), note)]
    if comment:
        return [(at, at + 1, f"# {note};")]
    return [] if flow else [(span.end, span.end, f" # {note}")]


def _longer_list(text: str, spans: Spans, pointer: Pointer, new: Sequence[JsonValue]) -> list[Edit] | None:
    """Return the edit that adds items to a list behind its last one; ``None`` where that is not what changes."""
    there = [place for place in (*spans.values, *spans.nodes) if place[:-1] == pointer]
    more = new[len(there) :]
    if not there or not more or any(place in spans.nodes for place in there):
        return None
    if any(isinstance(item, list | dict) for item in more):
        return None
    last = spans.values[there[-1]]
    if spans.in_flow(there[-1]):
        return [(last.end, last.end, "".join(f", {_written(item, last.style)}" for item in more))]
    start = text.rfind("\n", 0, last.start) + 1
    if text[start : last.start].strip() != "-" or last.style in {"|", ">"}:
        return None
    lines = [text[start : last.start] + _written(item, last.style) for item in more]
    end = _line_end(text, last.end)
    return [(end, end, "".join(_line_break(text, end) + line for line in lines))]


def _another_key(
    text: str, spans: Spans, pointer: Pointer, new: JsonValue, note: str, behind: Pointer | None
) -> list[Edit] | None:
    above, key = pointer[:-1], str(pointer[-1])
    siblings = spans.beside(above)
    last = behind if behind is not None else siblings[-1] if siblings else None
    quote = '"' if behind is not None else ""
    if last is not None and spans.in_flow(last):
        style = spans.keys[last].style
        shown = (
            json.dumps(new, ensure_ascii=False) if isinstance(new, list) and style else _written(new, quote or style)
        )
        end = _trimmed(text, spans.of(last)).end
        return [(end, end, f", {style}{key}{style}: {shown}")]
    if last is None:
        return None
    sibling = spans.keys[last]
    indent = text[text.rfind("\n", 0, sibling.start) + 1 : sibling.start]
    if indent.strip():
        return None
    style, value = sibling.style if behind is not None else "", spans.of(last)
    end = _line_end(text, max(_trimmed(text, value).end, sibling.end))
    line_break = _line_break(text, end)
    line = f"{indent}{style}{key}{style}:{_block(new, quote, indent, line_break)}" + (f" # {note}" if note else "")
    if above or behind is not None:
        return [(end, end, line_break + line)]
    # At the end of the file, behind its last comment.
    return [(len(text), len(text), line + line_break if text.endswith("\n") else line_break + line)]


def _block(value: JsonValue, quote: str, indent: str, line_break: str) -> str:
    """Return a value with what stands between a key's colon and it, in the lines of a block."""
    if not isinstance(value, dict) or not value:
        return f" {_written(value, quote)}"
    deeper = f"{indent}  "
    return "".join(f"{line_break}{deeper}{key}:{_block(one, quote, deeper, line_break)}" for key, one in value.items())


def _line_end(text: str, start: int) -> int:
    """Return where a line ends, before its line break."""
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return end - 1 if end > start and text[end - 1] == "\r" else end


def _line_break(text: str, at: int) -> str:
    """Return how lines end before a place, or at it where it is on the first."""
    end = text.rfind("\n", 0, at)
    return "\r\n" if text[: (text.find("\n") if end < 0 else end) + 1].endswith("\r\n") else "\n"


def _written(value: JsonValue, quote: str) -> str:
    """Return a value as YAML on one line, in the quotes that stand there already where it can be."""
    if isinstance(value, list):
        return f"[{', '.join(_written(item, '') for item in value)}]"
    if isinstance(value, dict):
        pairs = (f"{_written(key, '')}: {_written(item, '')}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if not isinstance(value, str):
        return json.dumps(value)
    if not quote and _PLAIN.fullmatch(value) and value.lower() not in _OTHER_TYPES:
        return value
    if quote == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return json.dumps(value, ensure_ascii=False)
