"""What Python code gets back as a list, shown as a table: a short one at a prompt, HTML in a notebook."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Final, Generic, TypeVar, overload

from imageworks.foundation.similar_words import did_you_mean

MOST_ROWS: Final = 40
"""How many rows are shown; the values are all there."""

Item_co = TypeVar("Item_co", covariant=True)
Columns = Mapping[str, Callable[[Item_co], object]]


def html_table(headings: Iterable[str], rows: Iterable[Sequence[object]], *, caption: str = "", below: str = "") -> str:
    """Return a table for a notebook; every cell is text of somebody else and escaped as such."""
    head = "".join(f"<th style='text-align:left'>{escape(one)}</th>" for one in headings)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    titled = f"<caption style='text-align:left'>{escape(caption)}</caption>" if caption else ""
    after = f"<p>{escape(below)}</p>" if below else ""
    return f"<table>{titled}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{after}"


def text_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned columns; what a name holds besides printable characters is shown as escapes."""
    lines = [list(headings), *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(headings))]
    return "\n".join("  ".join(f"{cell:{widths[at]}}" for at, cell in enumerate(line)).rstrip() for line in lines)


class ResultTable(Sequence[Item_co], Generic[Item_co]):
    """Values in their order, each by number or by name; prints as a table.

    Args:
        items: The values.
        columns: By heading, what is shown of each.
        title: What they are, in the plural.
    """

    __slots__ = ("_columns", "_items", "_title")

    def __init__(self, items: Iterable[Item_co], columns: Columns[Item_co], title: str) -> None:
        self._items = tuple(items)
        self._columns = columns
        self._title = title

    @overload
    def __getitem__(self, key: int | str) -> Item_co: ...
    @overload
    def __getitem__(self, key: slice) -> "ResultTable[Item_co]": ...
    def __getitem__(self, key: int | str | slice) -> "Item_co | ResultTable[Item_co]":
        if isinstance(key, slice):
            return ResultTable(self._items[key], self._columns, self._title)
        if isinstance(key, int):
            return self._items[key]
        found = next((item for item in self._items if getattr(item, "name", None) == key), None)
        if found is None:
            raise self._missing(key)
        return found

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultTable):
            return self._items == other._items
        return self._items == tuple(other) if isinstance(other, (list, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        rows = text_table(list(self._columns), self._rows()) if self._items else ""
        return "\n".join(filter(None, (f"<{self._count}>", rows, self._more)))

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it."""
        return html_table(self._columns, self._rows(), caption=self._count, below=self._more)

    @property
    def _count(self) -> str:
        return f"{len(self)} {self._title.removesuffix('s') if len(self) == 1 else self._title}"

    def _missing(self, key: object) -> KeyError:
        names = [str(item.name) for item in self._items if hasattr(item, "name")]
        listed = ", ".join(names[:MOST_ROWS]) or "they have no names"
        return KeyError(f"{key!r} is none of the {self._count}: {did_you_mean(str(key), names) or listed}")

    def _rows(self) -> list[list[object]]:
        return [[shown(item) for shown in self._columns.values()] for item in self._items[:MOST_ROWS]]

    @property
    def _more(self) -> str:
        return f"… and {len(self) - MOST_ROWS} more" if len(self) > MOST_ROWS else ""


def _cell(cell: object) -> str:
    return escape(_plain(cell))


def _plain(cell: object) -> str:
    """Return a cell in one line: nothing in it drives a terminal or begins a row of its own."""
    text = "" if cell is None else str(cell)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
