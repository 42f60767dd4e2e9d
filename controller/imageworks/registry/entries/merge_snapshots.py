"""Merge two sides of a snapshot model by model and field by field, as git merges what they were made from. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

Model = Mapping[str, object]
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class MergedSnapshot:
    """A snapshot of both sides.

    Args:
        models: The models; of what both sides changed differently, ours.
        conflicts: What that is: a model's name, or its name and field.
    """

    models: list[dict[str, object]]
    conflicts: tuple[str, ...]


def merge_snapshots(base: Sequence[Model], ours: Sequence[Model], theirs: Sequence[Model]) -> MergedSnapshot:
    """Return what two changed snapshots give together."""
    sides = [{str(model.get("name")): model for model in side} for side in (base, ours, theirs)]
    conflicts: list[str] = []
    merged: dict[str, object] = {}
    for name in sorted({name for side in sides for name in side}):
        value = _merged(name, [side.get(name, _ABSENT) for side in sides], conflicts)
        if value is not _ABSENT:
            merged[name] = value
    return MergedSnapshot([cast("dict[str, object]", model) for model in merged.values()], tuple(conflicts))


def _merged(place: str, sides: Sequence[object], conflicts: list[str]) -> object:
    base, ours, theirs = sides
    if theirs in (ours, base):  # mappings cannot be in a set
        return ours
    if ours == base:
        return theirs
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        under = base if isinstance(base, Mapping) else {}
        keys = dict.fromkeys((*ours, *theirs))
        found = {
            key: _merged(f"{place}: {key}", [side.get(key, _ABSENT) for side in (under, ours, theirs)], conflicts)
            for key in keys
        }
        return {key: value for key, value in found.items() if value is not _ABSENT}
    conflicts.append(place)
    return theirs if ours is _ABSENT else ours
