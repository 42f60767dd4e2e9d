"""How an unfinished download is told to people."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from imageworks.cli.output import counted
from imageworks.foundation.texts import human_bytes

if TYPE_CHECKING:
    from imageworks.files.unfinished import Unfinished
    from imageworks.providers.model_claims import Arriving

_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def how_far(one: "Unfinished") -> str:
    """Return how much is here and how old that is, as ``61 % of 9.0 MiB, 3 days old``."""
    return f"{_much(one)}, {age(one.age())}"


def how_far_it_comes(one: "Arriving") -> str:
    """Return how far a model is that another run brings, as ``downloading, 61 % of 9.0 MiB``."""
    if one.staged is None or not one.staged.gathered:
        return "to be downloaded now"
    return f"downloading, {_much(one.staged)}"


def who_brings(arriving: "Sequence[Arriving]") -> Iterator[str]:
    """Yield a line for each process that downloads: how many models, since when, and how much of them is here."""
    groups: dict[int | None, list[Arriving]] = {}
    for one in arriving:
        groups.setdefault(one.holder.pid if one.holder else None, []).append(one)
    for process, together in groups.items():
        since = min((datetime.fromisoformat(one.holder.since) for one in together if one.holder), default=None)
        who = f" by process {process} since {since.astimezone():%H:%M}" if since else ""
        here = human_bytes(sum(one.staged.gathered for one in together if one.staged))
        yield f"downloading now{who}: {counted(len(together), 'model')}, {here} here so far"


def _much(one: "Unfinished") -> str:
    if one.total is not None and one.percent is not None:
        return f"{one.percent} % of {human_bytes(one.total)}"
    return human_bytes(one.gathered)


def age(seconds: float) -> str:
    """Return an age in its largest unit, as ``3 days old``."""
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{counted(int(seconds // length), unit)} old"
    return "just now"
