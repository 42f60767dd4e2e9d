"""How an unfinished download is told to people."""

from typing import TYPE_CHECKING, Final

from imageworks.cli.output import counted, human_bytes

if TYPE_CHECKING:
    from imageworks.reconcile.unfinished import Unfinished

_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def how_far(one: "Unfinished") -> str:
    """Return how much is here and how old that is, as ``61 % of 9.0 MiB, 3 days old``."""
    much = human_bytes(one.gathered)
    if one.total is not None and one.percent is not None:
        much = f"{one.percent} % of {human_bytes(one.total)}"
    return f"{much}, {age(one.age())}"


def age(seconds: float) -> str:
    """Return an age in its largest unit, as ``3 days old``."""
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{counted(int(seconds // length), unit)} old"
    return "just now"
