"""Lines over time as SVG paths."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

WIDTH: Final = 1200
HEIGHT: Final = 220
LEFT: Final = 80
BOTTOM: Final = 24
TOP: Final = 10


@dataclass(frozen=True, slots=True)
class Chart:
    """A line that holds each value until the next.

    Args:
        path: The line, as SVG's ``d`` wants it.
        most: The largest value.
        top: The height of the largest value.
        foot: The height of nought.
        first, last: The ends of the time shown.
    """

    path: str
    most: int
    top: int
    foot: int
    first: datetime
    last: datetime


def line(points: Sequence[tuple[datetime, int]]) -> Chart | None:
    """Return the line of values over time, oldest first; ``None`` where there is nothing to draw."""
    most = max((value for _, value in points), default=0)
    if not most:
        return None
    first, last = points[0][0], points[-1][0]
    span = max((last - first).total_seconds(), 1.0)
    foot = HEIGHT - BOTTOM

    def x(when: datetime) -> float:
        return LEFT + (WIDTH - LEFT) * (when - first).total_seconds() / span

    def y(value: int) -> float:
        return foot - (foot - TOP) * value / most

    start = f"M{LEFT} {y(points[0][1]):.0f}"
    steps = [f"H{x(when):.1f}V{y(value):.1f}" for when, value in points]
    return Chart(f"{start}{''.join(steps)}H{WIDTH}", most, TOP, foot, first, last)
