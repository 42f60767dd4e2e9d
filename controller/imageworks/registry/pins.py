"""Move the pin of a manifest that people wrote: the commit, and the note of where it came from. No other byte changes.

ruamel's round trip keeps comments, and normalises indents, trailing spaces and line ends; so the new text is put into
the span that the gate knows, and parsed again to prove that it says exactly what was meant.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from imageworks.registry.document import JsonValue, Pointer
from imageworks.registry.edit import EditError
from imageworks.registry.yaml_edit import NOTE, Edit, comment_behind, edited, line_end, note_edits
from imageworks.registry.yaml_gate import YamlError, parse_yaml
from imageworks.registry.yaml_spans import Span, Spans, parse_spans

MAIN: Final = "main"
SOURCE: Final[Pointer] = ("source",)
KEYS: Final[Mapping[str, str]] = {"huggingface": "revision", "ollama": "digest"}
"""The key of a pin, by the key of what is pinned."""
_REVISION: Final[Pointer] = ("source", "revision")
_BRANCH: Final[Pointer] = ("source", "branch")


@dataclass(frozen=True, slots=True)
class Pin:
    """What a pin becomes.

    Args:
        commit: 40 hexadecimal digits; for Ollama ``sha256:`` and 64.
        ref: The branch or tag that it is taken from; empty where the name that is pinned says it.
        day: When it is taken.
        branch: Whether the manifest says the ref as ``branch`` too, for the name of the model's folder.
    """

    commit: str
    ref: str
    day: date
    branch: bool = False

    @property
    def note(self) -> str:
        """The comment behind the commit."""
        return f"{self.ref}, {self.day.isoformat()}" if self.ref else self.day.isoformat()


def noted_ref(file: str, data: bytes) -> str | None:
    """Return the branch or tag that the comment behind a pin names; ``None`` without such a comment.

    Args:
        file: The manifest's path, for messages.
        data: The valid manifest.
    """
    span = parse_spans(data, file).values.get(_REVISION)
    if span is None:
        return None
    comment, _ = comment_behind(data.decode(), span)
    match = NOTE.match(comment)
    return match["ref"] if match else None


def repin(file: str, data: bytes, pin: Pin) -> bytes:
    """Return a manifest's bytes with another pin.

    Args:
        file: The manifest's path, for messages.
        data: The valid manifest of a hub's repository or a model of Ollama.
        pin: What it becomes.

    Raises:
        EditError: What would be written does not say exactly that.
    """
    spans = parse_spans(data, file)
    text = data.decode()
    kind = next((kind for kind in KEYS if (*SOURCE, kind) in spans.values), "huggingface")
    pointer = (*SOURCE, KEYS[kind])
    wanted = {KEYS[kind]: pin.commit} | ({"branch": pin.ref} if pin.branch else {})
    if pointer in spans.values:
        edits = _replaced(text, spans, pointer, pin)
        added = {"branch": pin.ref} if pin.branch and _BRANCH not in spans.values else {}
        edits += _added(text, spans, pointer, added, pin)
    else:
        edits = _added(text, spans, (*SOURCE, kind), wanted, pin)
    changed = edited(text, edits).encode()
    try:
        says = parse_yaml(changed, file).value
    except YamlError:
        says = None
    if says != _with_source(parse_yaml(data, file).value, wanted):
        raise EditError(f"{file}: its pin cannot be moved by a program here", remedy="Edit and commit the file.")
    return changed


def _with_source(value: JsonValue, wanted: dict[str, str]) -> JsonValue:
    source = value.get("source") if isinstance(value, dict) else None
    return {**value, "source": {**source, **wanted}} if isinstance(value, dict) and isinstance(source, dict) else value


def _replaced(text: str, spans: Spans, pointer: Pointer, pin: Pin) -> list[Edit]:
    """Return the edits that put another commit in the place of the present revision, and its note behind it."""
    span = spans.values[pointer]
    quote = "'" if span.style == "'" else '"'
    end = span.start + len(text[span.start : span.end].rstrip())  # a block scalar's span has line breaks behind it
    flow = SOURCE in spans.flow or () in spans.flow
    notes = note_edits(text, Span(span.start, end, span.style), pin.note, flow=flow)
    return [(span.start, end, f"{quote}{pin.commit}{quote}"), *notes]


def _added(text: str, spans: Spans, behind: Pointer, fields: dict[str, str], pin: Pin) -> list[Edit]:
    """Return the edit that adds fields to the source, behind one that is there."""
    if not fields:
        return []
    value, key = spans.values[behind], spans.keys[behind]
    quote = key.style
    if SOURCE in spans.flow or () in spans.flow:
        new = "".join(f", {quote}{name}{quote}: {json.dumps(text)}" for name, text in fields.items())
        return [(value.end, value.end, new)]
    start = text.rfind("\n", 0, key.start) + 1
    indent = text[start : key.start]
    end = value.end if text[value.end - 1] == "\n" else line_end(text, value.end)
    line_break = "\r\n" if text[:start].endswith("\r\n") else "\n"
    lines = [
        f"{indent}{quote}{name}{quote}: {json.dumps(value)}" + (f" # {pin.note}" if value == pin.commit else "")
        for name, value in fields.items()
    ]
    if end == value.end and text[end - 1] == "\n":
        return [(end, end, "".join(f"{line}{line_break}" for line in lines))]
    return [(end, end, "".join(f"{line_break}{line}" for line in lines))]
