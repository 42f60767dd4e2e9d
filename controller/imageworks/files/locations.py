"""Whether the places of this host's models can be spoken of: whose disk is there, and where another's went."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from imageworks.files.location_markers import (
    LocationStanding,
    LocationState,
    RootSeen,
    judge,
    look_at_root,
    remedy_of,
    write_marker,
)
from imageworks.files.mounts import Mount, mount_of, mounts, unmounted_above
from imageworks.files.safe_names import STAGING_NAME
from imageworks.files.safe_paths import NOT_THERE
from imageworks.files.state import Numbers, Remembered, StateDatabase

# Of these, inode numbers are made up when a file is first looked at, so that each mount has others.
_INVENTS_NUMBERS: Final = re.compile(r"vfat|msdos|exfat|fuse.*")


class Locations:
    """Knows of each root on this host whether it can be spoken of; looks at each once, when first asked."""

    def __init__(
        self,
        remembered: Iterable[Remembered] = (),
        *,
        recorded: Iterable[Path] = (),
        verified_on: Callable[[Path], str | None] = lambda _path: None,
    ) -> None:
        self._remembered = {one.root: one for one in remembered}
        self._roots: dict[Path, str] = {root: one.name for root, one in self._remembered.items()}
        self._above: dict[str, Path | None] = {}
        self._recorded = recorded
        self._verified_on = verified_on
        self._seen: dict[Path, RootSeen] = {}
        self._states: dict[Path, LocationState] = {}
        self._moved: dict[Path, Path] | None = None

    def add(self, root: Path, name: str) -> None:
        """Let a folder be the root of a location."""
        if root not in self._roots:
            self._above = {}
            self._moved = None
        self._roots[root] = name

    @property
    def roots(self) -> Mapping[Path, str]:
        """The names of all locations that are declared or remembered, by their roots."""
        return dict(sorted(self._roots.items()))

    def root_of(self, path: Path) -> Path | None:
        """Return the root that a path lies below; the innermost of several."""
        return self._root_at_or_above(os.path.dirname(path))  # noqa: PTH120 # asked for each of ten thousand models

    def _root_at_or_above(self, folder: str) -> Path | None:
        above = self._above
        if not above:
            above = self._above = {str(root): root for root in self._roots}
        if folder in above:
            return above[folder]
        parent = os.path.dirname(folder)  # noqa: PTH120
        found = None if parent == folder else self._root_at_or_above(parent)
        above[folder] = found
        return found

    def state_of(self, path: Path) -> LocationState:
        """Return whether the place of a model can be spoken of, wherever that is."""
        root = self.root_of(path)
        if root is not None:
            return self.state_at(root)
        if (state := self._states.get(path)) is None:
            state = self._states[path] = _outside(path)
        return state

    def state_below(self, folder: Path) -> LocationState:
        """Return whether what is in a folder can be spoken of; the folder may itself be the root of a location."""
        return self.state_of(folder / STAGING_NAME)

    def state_at(self, root: Path) -> LocationState:
        """Return whether a root holds what this host knows of it; what lies in another location shares its fate."""
        state = self._states.get(root)
        if state is None:  # models are applied side by side, and each has a root looked at again
            state = self._states[root] = self._judged(root, self.seen(root))
        return state

    def look_again(self, root: Path) -> LocationState:
        """Return how a root stands now, in case its drive went since it was looked at."""
        self._seen.pop(root, None)
        self._states.pop(root, None)
        return self.state_at(root)

    def seen(self, root: Path) -> RootSeen:
        """Return what a look at a root found."""
        seen = self._seen.get(root)
        if seen is None:
            seen = self._seen[root] = look_at_root(root)
        return seen

    def _judged(self, root: Path, seen: RootSeen) -> LocationState:
        marked = seen.marker is not None or seen.error is not None
        recorded = [] if marked else [path for path in self._recorded if self.root_of(path) == root]
        state = judge(
            root,
            seen,
            self._remembered.get(root),
            recorded=len(recorded),
            verified_on=next((on for path in recorded if (on := self._verified_on(path)) is not None), None),
            unmounted=None if marked else unmounted_above(root),
        )
        above = self.root_of(root) if root.parent != root else None
        if state.present and seen.marker is None and above is not None and not self.state_at(above).present:
            return self.state_at(above)
        return state

    def relocated(self, path: Path) -> Path | None:
        """Return where a recorded model is now, when its drive stands at the root of another location."""
        root = self.root_of(path) if self._moves else None
        now = self._moves.get(root) if root is not None else None
        return None if root is None or now is None else now / path.relative_to(root)

    def former(self, path: Path) -> Path | None:
        """Return where a file was before its drive came to stand at the root of another location."""
        root = self.root_of(path) if self._moves else None
        before = next((one for one, now in self._moves.items() if now == root), None)
        return None if root is None or before is None else before / path.relative_to(root)

    @property
    def _moves(self) -> Mapping[Path, Path]:
        """The roots whose drives stand at the root of another location now, with that."""
        moved = self._moved
        if moved is None:
            moved = {}
            for root, one in self._remembered.items():
                if one.marker is not None and not self.state_at(root).present:
                    others = (other for other in self._roots if other != root and self._holds(other, one.marker))
                    if (now := next(others, None)) is not None:
                        moved[root] = now
            self._moved = moved
        return moved

    def _holds(self, root: Path, marker: str) -> bool:
        found = self.seen(root).marker
        return found is not None and found.id == marker and self.state_at(root).present

    def numbers(self, path: Path) -> Numbers:
        """Return which numbers of files mean something on the disk of a path; asked only where some differ."""
        invented = _INVENTS_NUMBERS.fullmatch(mount_of(path, self._mounts).kind) is not None
        root = self.root_of(path)
        marker = self.seen(root).marker if root is not None else None
        known = [one for one in self._remembered.values() if marker is not None and one.marker == marker.id]
        remembered = next((one for one in known if one.root == root), known[0] if known else None)
        if marker is None or remembered is None:
            return Numbers(device=True, inode=not invented)
        same_inode = marker.inode == remembered.inode and not remembered.renumbers
        return Numbers(device=marker.device == remembered.device, inode=same_inode and not invented)

    @cached_property
    def _mounts(self) -> dict[Path, Mount]:
        return mounts()

    def mark(self, root: Path, state: StateDatabase) -> None:
        """Leave a marker at a present root that has none, and remember which disk is there; best effort."""
        if not self.look_again(root).present or not self.seen(root).exists:
            return
        before = self._remembered.get(root)
        if before is not None and before.mounted:
            return
        marker = self.seen(root).marker or write_marker(root)
        name = self._roots.get(root, root.name)
        if marker is None:  # a drive that is only read: its number says more than nothing
            now = Remembered(root, name, None, self.seen(root).device, None, renumbers=False)
        else:
            kept = before is not None and before.marker == marker.id
            renumbers = before is not None and kept and (before.renumbers or before.inode != marker.inode)
            now = Remembered(root, name, marker.id, marker.device, marker.inode, renumbers=renumbers)
        if now != before:
            if marker is not None:
                self._renew(root, state)
            state.remember_location(now)
            self._remembered[root] = now
        if root not in self._roots:
            self.add(root, name)
        self._seen.pop(root, None)
        self._states.pop(root, None)

    def remember_mount(self, path: Path, state: StateDatabase) -> None:
        """Remember the mount point that a model outside of all locations stands below, to notice when it goes.

        No marker is left there: nobody gave us that disk.
        """
        mount = mount_of(path, self._mounts).path
        if mount.parent == mount or not path.is_relative_to(mount) or not self.seen(mount).mounted:
            return
        now = Remembered(mount, str(mount), None, self.seen(mount).device, None, renumbers=False, mounted=True)
        if mount not in self._remembered or self._remembered[mount].device is None:
            state.remember_location(now)
            self._remembered[mount] = now
            self.add(mount, str(mount))

    def _renew(self, root: Path, state: StateDatabase) -> None:
        """Remember files as they look on a disk that shows other numbers now, or at another place; reads none.

        Else the next run would compare them with numbers that are not their disk's any more.
        """
        before = next((one for one, now in self._moves.items() if now == root), root)
        renewed = []
        for known in state.each_below(before):
            path = root / Path(known.path).relative_to(before)
            try:
                found = path.stat()
            except OSError:
                continue
            if not (before == root and known.matches(found)) and known.matches(found, self.numbers(path)):
                renewed.append(known.renewed(path, found))
        state.keep(renewed)

    def forget(self, root: Path, state: StateDatabase) -> None:
        """Take a person's word that what was at a root is gone, and that whatever is there from now on is new."""
        seen = look_at_root(root)
        marker = seen.marker
        now = Remembered(root, self._roots.get(root, root.name), None, None, None, renumbers=False)
        if marker is not None:
            now = now._replace(marker=marker.id, device=marker.device, inode=marker.inode)
        state.remember_location(now)
        self._remembered[root] = now
        self.add(root, now.name)
        self._seen.pop(root, None)
        self._states.clear()
        self._moved = None


def _outside(path: Path) -> LocationState:
    """Return the state of a place in no location: only that nothing is mounted, or does not answer, says something."""
    try:
        path.stat()
    except OSError as error:
        if error.errno not in NOT_THERE:
            why = f"{path} cannot be looked at: {os.strerror(error.errno or 0)}"
            return LocationState(path, LocationStanding.UNREADABLE, why, remedy_of(path, LocationStanding.UNREADABLE))
        if (mount := unmounted_above(path)) is not None:
            why = f"nothing is mounted at {mount}, where {path} was"
            return LocationState(path, LocationStanding.ABSENT, why, remedy_of(path.parent, LocationStanding.ABSENT))
    return LocationState(path, LocationStanding.PRESENT)
