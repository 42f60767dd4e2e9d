"""Set one value in a YAML file that people wrote, and change no byte of the rest: text put into spans."""

import json
import re
from collections.abc import Sequence
from typing import Final

from imageworks.registry.document import JsonValue, Pointer
from imageworks.registry.yaml_spans import Span, Spans, parse_spans

NOTE: Final = re.compile(r"#[ \t]*(?P<note>(?:(?P<ref>[^\s,;]+), )?\d{4}-\d{2}-\d{2})(?=$|[\s;])")
"""The comment that a program wrote behind a pin."""
Edit = tuple[int, int, str]
"""From where to where a text is replaced, and by what."""
_REST: Final = re.compile(r"[ \t,}\]]*(?P<comment>(?<=[ \t])#.*)?")
_PLAIN: Final = re.compile(r"[A-Za-z]+(?:[-_][A-Za-z]+)*")
_OTHER_TYPES: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def edited(text: str, edits: Sequence[Edit]) -> str:
    """Return a text with edits that do not overlap.

    Args:
        text: What it was.
        edits: What becomes of it.
    """
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def with_value(file: str, data: bytes, pointer: tuple[str, ...], new: JsonValue, note: str) -> bytes | None:
    """Return a file's bytes with one value set; ``None`` where that is not a matter of one place.

    What comes out has to be parsed again to know that it says just that.

    Args:
        file: What to call the file in messages.
        data: Its bytes, a mapping.
        pointer: The keys that lead to the value.
        new: The value; no mapping.
        note: What the comment behind it says; empty for none.
    """
    spans, text = parse_spans(data, file), data.decode()
    if isinstance(new, list):
        edits = _longer_list(text, spans, pointer, new)
    elif pointer in spans.values:
        edits = _other_scalar(text, spans, pointer, new, note)
    else:
        edits = None
    if edits is None and pointer not in spans.keys and not isinstance(new, dict):
        edits = _another_key(text, spans, pointer, new, note)
    return None if edits is None else edited(text, edits).encode()


def note_edits(text: str, span: Span, note: str, *, flow: bool) -> list[Edit]:
    """Return the edits that put a note behind a value, in the place of an earlier note or before what people wrote.

    Args:
        text: The file.
        span: The value.
        note: What the note says.
        flow: Whether more may follow the value on its line.
    """
    comment, at = comment_behind(text, span)
    match = NOTE.match(comment)
    if match:
        return [(at + match.start("note"), at + match.end("note"), note)]
    if comment:
        return [(at, at + 1, f"# {note};")]
    return [] if flow else [(span.end, span.end, f" # {note}")]


def comment_behind(text: str, span: Span) -> tuple[str, int]:
    """Return the comment that follows a value on its line, and where it begins; empty where something else does.

    Args:
        text: The file.
        span: The value.
    """
    line = text[span.end : line_end(text, span.end)]
    match = _REST.fullmatch(line)
    if match is None or match["comment"] is None or text[span.end - 1] == "\n":
        return "", span.end
    return match["comment"], span.end + match.start("comment")


def line_end(text: str, start: int) -> int:
    """Return where a line ends, before its line break.

    Args:
        text: The file.
        start: A place in the line.
    """
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return end - 1 if end > start and text[end - 1] == "\r" else end


def _other_scalar(text: str, spans: Spans, pointer: Pointer, new: JsonValue, note: str) -> list[Edit] | None:
    span = spans.values[pointer]
    if span.style in {"|", ">"} or span.end == span.start:
        return None
    edits = [(span.start, span.end, _written(new, span.style))]
    return edits + (note_edits(text, span, note, flow=_in_flow(spans, pointer)) if note else [])


def _longer_list(text: str, spans: Spans, pointer: Pointer, new: Sequence[JsonValue]) -> list[Edit] | None:
    """Return the edit that adds items to a list behind its last one."""
    there = [place for place in spans.values if place[:-1] == pointer]
    more = new[len(there) :]
    if not there or not more or any(isinstance(item, list | dict) for item in more):
        return None
    last = spans.values[there[-1]]
    if _in_flow(spans, there[-1]):
        return [(last.end, last.end, "".join(f", {_written(item, last.style)}" for item in more))]
    start = text.rfind("\n", 0, last.start) + 1
    if text[start : last.start].strip() != "-" or last.style in {"|", ">"}:
        return None
    lines = [text[start : last.start] + _written(item, last.style) for item in more]
    end = line_end(text, last.end)
    return [(end, end, "".join(_line_break(text) + line for line in lines))]


def _another_key(text: str, spans: Spans, pointer: Pointer, new: JsonValue, note: str) -> list[Edit] | None:
    above, key = pointer[:-1], str(pointer[-1])
    flow = _in_flow(spans, pointer)
    written = f"[{', '.join(_written(item, '') for item in new)}]" if isinstance(new, list) else ""
    if not above and not flow:
        line = f"{key}: {written or _written(new, '')}" + (f" # {note}" if note else "")
        if not text or text.endswith("\n"):
            return [(len(text), len(text), line + _line_break(text))]
        return [(len(text), len(text), _line_break(text) + line)]
    beside = [place for place in spans.values if place[:-1] == above and isinstance(place[-1], str)]
    if not beside:
        return None
    value, sibling = spans.values[beside[-1]], spans.keys[beside[-1]]
    if flow:
        quote = sibling.style
        shown = f"[{', '.join(map(json.dumps, new))}]" if isinstance(new, list) else written or _written(new, quote)
        return [(value.end, value.end, f", {quote}{key}{quote}: {shown}")]
    indent = text[text.rfind("\n", 0, sibling.start) + 1 : sibling.start]
    if indent.strip() or value.style in {"|", ">"}:
        return None
    end = line_end(text, value.end)
    line = f"{indent}{key}: {written or _written(new, '')}" + (f" # {note}" if note else "")
    return [(end, end, _line_break(text) + line)]


def _in_flow(spans: Spans, pointer: Pointer) -> bool:
    return any(pointer[:length] in spans.flow for length in range(len(pointer)))


def _line_break(text: str) -> str:
    return "\r\n" if text[: text.find("\n") + 1].endswith("\r\n") else "\n"


def _written(value: JsonValue, quote: str) -> str:
    """Return a scalar as YAML, in the quotes that stand there already where it can be."""
    if not isinstance(value, str):
        return json.dumps(value)
    if not quote and _PLAIN.fullmatch(value) and value.lower() not in _OTHER_TYPES:
        return value
    if quote == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return json.dumps(value, ensure_ascii=False)
