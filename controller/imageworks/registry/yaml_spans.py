"""Where the scalars of a YAML file are written, for edits that change nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from imageworks.registry.document import JsonValue, Pointer
from imageworks.registry.yaml_gate import Builder, Event, Frame, decode, feed


class Span(NamedTuple):
    """Where a scalar is written; offsets count characters of the decoded file.

    Args:
        start: Its first character, an opening quote included.
        end: Behind its last character; behind the line breaks that follow a block scalar.
        style: Its opening quote, ``|``, ``>``, or nothing for a plain one.
    """

    start: int
    end: int
    style: str


@dataclass(frozen=True, slots=True)
class Spans:
    """Where a file's scalars are written, for edits that change nothing else.

    Args:
        values: Each scalar value's span, by its pointer.
        keys: Each key's span, by the pointer of its value.
        flow: Pointers of what is written in brackets or braces.
    """

    values: Mapping[Pointer, Span]
    keys: Mapping[Pointer, Span]
    flow: frozenset[Pointer]


@dataclass(slots=True)
class _SpanBuilder(Builder):
    """A builder that also keeps where each scalar ends."""

    value_spans: dict[Pointer, Span] = field(default_factory=dict)
    key_spans: dict[Pointer, Span] = field(default_factory=dict)
    flow: set[Pointer] = field(default_factory=set)

    def place(self, event: Event, value: JsonValue) -> Pointer:
        pointer = Builder.place(self, event, value)
        if isinstance(value, (list, dict)):
            if event.flow_style:
                self.flow.add(pointer)
        else:
            self.value_spans[pointer] = Span(event.start_mark.index, event.end_mark.index, event.style)
        return pointer

    def take_key(self, event: Event, frame: Frame, mapping: dict[str, JsonValue], text: str) -> None:
        Builder.take_key(self, event, frame, mapping, text)
        self.key_spans[*frame.pointer, text] = Span(event.start_mark.index, event.end_mark.index, event.style)


def parse_spans(data: bytes, file: str) -> Spans:
    """Return where the scalars of a YAML file are written, or refuse the file as `parse_yaml` does.

    Args:
        data: The file's bytes.
        file: What to call the file in messages.

    Raises:
        YamlError: The gate does not let it in.
    """
    builder = _SpanBuilder(file)
    feed(builder, decode(data, file))
    return Spans(builder.value_spans, builder.key_spans, frozenset(builder.flow))
