"""A treemap: areas in proportion to bytes, whose rectangles stay as square as can be.

The layout is that of Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000), as the library squarify makes it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

WIDTH: Final = 1200.0
HEIGHT: Final = 640.0
TITLE: Final = 15.0
"""What a group's name takes of its height."""
SMALLEST: Final = 3.0
SMALLEST_WHOLE: Final = 40.0
"""A rectangle with a shorter side is not drawn, or not its parts: nobody could see or point at them."""


@dataclass(frozen=True, slots=True)
class Area:
    """Something with a size, and what it consists of.

    Args:
        label: What it is called.
        size: Bytes; the sum of its parts where it has any.
        colours: Classes by which it is coloured.
        link: Where a click leads, or empty.
        parts: What it consists of.
    """

    label: str
    size: int
    colours: tuple[str, ...] = ()
    link: str = ""
    parts: tuple["Area", ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Box:
    """One rectangle.

    Args:
        area: What it stands for.
        depth: How deep it is nested; 0 for the outermost.
        path: The labels that lead to it, its own last.
        x, y, width, height: Where it is.
        titled: Whether its name has room above its parts.
    """

    area: Area
    depth: int
    path: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float
    titled: bool


def group(label: str, parts: Sequence[Area]) -> Area:
    """Return an area that is the sum of others."""
    return Area(label, sum(part.size for part in parts), parts=tuple(parts))


def boxes(areas: Sequence[Area], width: float = WIDTH, height: float = HEIGHT) -> list[Box]:
    """Return the rectangles of areas and all their parts, each before its parts."""
    return list(_boxes(areas, 0.0, 0.0, width, height, ()))


def _boxes(
    areas: Sequence[Area], x: float, y: float, width: float, height: float, above: tuple[str, ...]
) -> Iterator[Box]:
    import squarify

    shown = sorted((area for area in areas if area.size > 0), key=lambda area: (-area.size, area.label))
    if not shown or min(width, height) < (SMALLEST_WHOLE if above else SMALLEST):
        return
    sizes = squarify.normalize_sizes([area.size for area in shown], width, height)
    for area, place in zip(shown, squarify.squarify(sizes, x, y, width, height), strict=True):
        if min(place["dx"], place["dy"]) < SMALLEST:
            continue
        titled = bool(area.parts) and place["dy"] > 3 * TITLE and place["dx"] > 4 * TITLE
        path = (*above, area.label)
        yield Box(area, len(above), path, place["x"], place["y"], place["dx"], place["dy"], titled)
        edge, top = (1.0, TITLE) if titled else (0.0, 0.0)
        inner = (place["x"] + edge, place["y"] + top, place["dx"] - 2 * edge, place["dy"] - top - edge)
        yield from _boxes(area.parts, *inner, path)
