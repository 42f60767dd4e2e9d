"""A parsed document that still knows where each of its values stands in the file."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple, Protocol, Self, TypeAlias

from imageworks.foundation.errors import ImageworksError

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
Pointer: TypeAlias = tuple[str | int, ...]


class Position(NamedTuple):
    """A place in a file; both numbers start at 1 and columns count characters."""

    line: int
    column: int


START = Position(1, 1)


class DocumentError(ImageworksError):
    """A file that could not be read as a document, with the place of the first problem."""

    def __init__(self, file: str, position: Position, problem: str, *, remedy: str | None = None) -> None:
        super().__init__(f"{file}:{position.line}:{position.column}: {problem}", remedy=remedy)
        self.file = file
        self.line = position.line
        self.column = position.column
        self.problem = problem


@dataclass(frozen=True, slots=True)
class SourceMap:
    """Where the parts of a document are.

    Args:
        values: Each value's place, by its pointer (the keys and indexes that lead to it).
        keys: Each mapping key's place, by the pointer of its value.
        written: How a plain scalar that did not become text was written, by its pointer.
    """

    values: Mapping[Pointer, Position]
    keys: Mapping[Pointer, Position]
    written: Mapping[Pointer, str]


class PlaceFinder(Protocol):
    """Finds where the parts of a document are; goes through the whole file."""

    def __call__(self, wanted: Collection[Pointer] = ()) -> SourceMap:
        """Return places, at least those of some pointers and of what leads to them."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file's value together with the places of everything in it.

    Args:
        file: The file as the user knows it.
        value: What the file says, in JSON's data model.
        find_places: Finds places; called only when a problem must be shown.
    """

    file: str
    value: JsonValue
    find_places: PlaceFinder = field(repr=False, compare=False)

    def located(self, pointers: Iterable[Pointer]) -> Self:
        """Return the document with some places in reach: one way through the file, however many problems it has."""
        places = cache(lambda wanted=frozenset(pointers): self.find_places(wanted))
        return replace(self, find_places=lambda wanted=(): places())  # noqa: ARG005 # as the protocol has it

    def locate(self, pointer: Pointer, *, key: bool = False) -> Position:
        """Return where a value (or its key) stands, or its nearest parent that exists."""
        places = self.find_places((pointer,))
        if key and pointer in places.keys:
            return places.keys[pointer]
        while pointer not in places.values and pointer:
            pointer = pointer[:-1]
        return places.values.get(pointer, START)

    def written(self, pointer: Pointer) -> str | None:
        """Return how a plain scalar was written when it became a number, a truth value or nothing."""
        return self.find_places().written.get(pointer)
