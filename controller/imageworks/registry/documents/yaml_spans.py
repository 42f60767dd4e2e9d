"""Where the values of a YAML file are written, for edits that change nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from imageworks.registry.documents.document import JsonValue, Pointer
from imageworks.registry.documents.yaml_reader import Builder, Event, Frame, decode, feed


class Span(NamedTuple):
    """Where a value is written; offsets count characters of the decoded file.

    Args:
        start: Its first character, an opening quote included.
        end: Behind its last character; behind the line breaks that follow a block scalar.
        style: Its opening quote or bracket, ``|``, ``>``, or nothing for a plain scalar and for a block.
    """

    start: int
    end: int
    style: str


@dataclass(frozen=True, slots=True)
class Spans:
    """Where a file's values are written.

    Args:
        values: Each scalar value's span, by its pointer.
        keys: Each key's span, by the pointer of its value.
        nodes: Each list's and mapping's span; a block's ends with its last value.
    """

    values: Mapping[Pointer, Span]
    keys: Mapping[Pointer, Span]
    nodes: Mapping[Pointer, Span]

    def of(self, pointer: Pointer) -> Span:
        """Return where a value is written, whatever it is."""
        return self.values[pointer] if pointer in self.values else self.nodes[pointer]

    def in_flow(self, pointer: Pointer) -> bool:
        """Return whether a value stands within brackets or braces."""
        return any(length in self.nodes and self.nodes[length].style for length in _above(pointer))

    def beside(self, above: Pointer) -> list[Pointer]:
        """Return the values of a mapping, in the order of the file."""
        return [pointer for pointer in self.keys if pointer[:-1] == above]


def _above(pointer: Pointer) -> list[Pointer]:
    return [pointer[:length] for length in range(len(pointer))]


@dataclass(slots=True)
class _SpanBuilder(Builder):
    """A builder that also keeps where each value ends."""

    value_spans: dict[Pointer, Span] = field(default_factory=dict)
    key_spans: dict[Pointer, Span] = field(default_factory=dict)
    node_spans: dict[Pointer, Span] = field(default_factory=dict)
    last: int = 0

    def place(self, event: Event, value: JsonValue) -> Pointer:
        pointer = Builder.place(self, event, value)
        start, self.last = event.start_mark.index, event.end_mark.index
        if isinstance(value, (list, dict)):
            bracket = "{" if isinstance(value, dict) else "["
            self.node_spans[pointer] = Span(start, start, bracket if event.flow_style else "")
        else:
            self.value_spans[pointer] = Span(start, self.last, event.style)
        return pointer

    def close(self, event: Event) -> None:
        span = self.node_spans[pointer := self.stack[-1].pointer]
        if span.style:
            self.last = event.end_mark.index
        self.node_spans[pointer] = span._replace(end=self.last)
        Builder.close(self, event)

    def take_key(self, event: Event, frame: Frame, mapping: dict[str, JsonValue], text: str) -> None:
        Builder.take_key(self, event, frame, mapping, text)
        self.key_spans[*frame.pointer, text] = Span(event.start_mark.index, event.end_mark.index, event.style)


def parse_spans(data: bytes, file: str) -> Spans:
    """Return where the values of a YAML file are written, or refuse the file as `parse_yaml` does."""
    builder = _SpanBuilder(file)
    feed(builder, decode(data, file))
    return Spans(builder.value_spans, builder.key_spans, builder.node_spans)
