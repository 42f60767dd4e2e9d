"""The locations of this host as a person sees them, and a person's word that what was at one is gone."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from imageworks.files.location_markers import LocationStanding, LocationState
from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.reconcile.ledger import RecordSession
from imageworks.registry.entries.entry import is_in_store


class LocationError(ImageworksError):
    """A location cannot be forgotten."""


@dataclass(frozen=True, slots=True)
class ShownLocation:
    """One location of this host.

    Args:
        name: What manifests call it; its root for one that has no name.
        state: Whether it can be spoken of.
        models: How many models are recorded there.
        marker: The id of the marker that is there, if one is.
    """

    name: str
    state: LocationState
    models: int
    marker: str | None

    def document(self) -> dict[str, object]:
        """Return the location as JSON values."""
        return {
            "name": self.name,
            "root": str(self.state.root),
            "state": self.state.standing.value,
            "models": self.models,
            "marker": self.marker,
            "reason": "" if self.state.present else self.state.reason,
            "message": self.state.message,
        }


def shown_locations(ledger: RecordSession) -> list[ShownLocation]:
    """Return the locations that are declared, remembered, or that models are recorded in."""
    locations = ledger.places.locations
    models: Counter[Path] = Counter()
    for entry in ledger.registry.entries.values():
        if entry.path is not None and entry.files and not is_in_store(entry):
            root = locations.root_of(ledger.places.current(entry).path or entry.path)
            if root is not None:
                models[root] += 1
    remembered = {one.root for one in ledger.state.locations()}
    declared = ledger.registry.settings.locations
    return [
        ShownLocation(name, locations.state_at(root), models[root], marker.id if marker else None)
        for root, name in locations.roots.items()
        if name in declared or root in remembered or models[root]
        for marker in [locations.seen(root).marker]
    ]


def forget_location(ledger: RecordSession, asked: str, *, dry_run: bool = False) -> list[ShownLocation]:
    """Take a person's word that what was at a location is gone, and that what is there from now on is new."""
    path = Path(os.path.abspath(os.path.expanduser(asked)))  # noqa: PTH100, PTH111 # as roots are written
    known = shown_locations(ledger)
    named = [one for one in known if asked == one.name or path == one.state.root]
    if not named and asked.startswith(("/", "~")) and not ledger.places.locations.state_below(path).present:
        named = [ShownLocation(asked, ledger.places.locations.state_below(path), 0, None)]
    if not named:
        names = ", ".join(sorted({one.name for one in known})) or "none"
        raise UsageError(f"no location is called {asked!r} on this host", remedy=f"There are: {names}.")
    away = [one for one in named if not one.state.present]
    if not away:
        raise LocationError(f"{asked} is there, with what this host knows of it: nothing is to be forgotten")
    for one in away:
        if one.state.standing is LocationStanding.UNREADABLE:
            raise LocationError(one.state.why, remedy="Unmount its drive first; nothing was forgotten.")
    roots = [
        path if one.name == asked and one.state.root != path and not one.models else one.state.root for one in away
    ]
    for root in () if dry_run else roots:
        ledger.places.locations.forget(root, ledger.state)
    return away
