"""Which disk stands at the root of a location: a marker of ours lies there, and this host remembers which.

Absent is not missing. A drive that is not mounted, another in its place, or one that does not answer, says nothing of
the models that are recorded on it: they are unknown, and nothing is installed, repaired, pruned or removed there.
"""

import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Final

from imageworks.transfer.errors import StagingError
from imageworks.transfer.mounts import Mount, mount_of, mounts
from imageworks.transfer.names import STAGING_NAME
from imageworks.transfer.paths import NOT_THERE, open_folder
from imageworks.transfer.state import Numbers, Remembered, StateDatabase

MARKER_NAME: Final = "location.json"
FSTAB: Path = Path("/etc/fstab")  # not Final, so that tests have one of their own

_ID: Final = re.compile(r"[0-9a-f]{32}")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")  # how fstab writes a space
_LONGEST: Final = 4096  # bytes; a marker has about 150
# Of these, inode numbers are made up when a file is first looked at, so that each mount has others.
_INVENTS_NUMBERS: Final = re.compile(r"vfat|msdos|exfat|fuse.*")


class Standing(StrEnum):
    """Whether a location can be spoken of."""

    PRESENT = "present"
    ABSENT = "absent"
    CHANGED = "changed-disk"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Marker:
    """The marker of a root as it was found.

    Args:
        id: What it says.
        device: The device number of its file.
        inode: The inode number of its file.
    """

    id: str
    device: str
    inode: str


@dataclass(frozen=True, slots=True)
class RootSeen:
    """What a look at a root found.

    Args:
        exists: Whether a folder is there.
        marker: Its marker, if it has one.
        empty: Whether it holds nothing.
        device: Its device number; ``None`` where nothing is there.
        mounted: Whether something is mounted at the very root.
        error: What the system said instead of an answer.
    """

    exists: bool = False
    marker: Marker | None = None
    empty: bool = True
    device: str | None = None
    mounted: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LocationState:
    """Whether the root of a location holds what this host knows of it.

    Args:
        root: The root.
        standing: In one word.
        why: Why nothing can be said of it; empty where it is present.
        remedy: What a person may do about it.
    """

    root: Path
    standing: Standing
    why: str = ""
    remedy: str = ""

    @property
    def present(self) -> bool:
        """Whether what is or is not there means something."""
        return self.standing is Standing.PRESENT

    @property
    def reason(self) -> str:
        """The reason in plans and reports."""
        return f"location-{self.standing.value}"

    @property
    def message(self) -> str:
        """Why and what to do, in one sentence."""
        return f"{self.why}; {self.remedy}" if self.remedy else self.why


def judge(
    root: Path,
    seen: RootSeen,
    remembered: Remembered | None,
    *,
    recorded: int = 0,
    verified_on: str | None = None,
    unmounted: Path | None = None,
) -> LocationState:
    """Return whether a root holds what this host knows of it. Pure: the one place where that is decided.

    Args:
        root: The root.
        seen: What a look at it found.
        remembered: What this host remembers of it, if anything.
        recorded: How many models are recorded there.
        verified_on: The device number that files there were verified on, where that is known.
        unmounted: The mount point at or above it that is known to have nothing mounted.
    """
    expected = remembered.marker if remembered is not None else None
    if seen.error is not None:
        return _away(root, Standing.UNREADABLE, f"{root} cannot be looked at: {seen.error}")
    if seen.marker is not None:
        if expected in {None, seen.marker.id}:
            return LocationState(root, Standing.PRESENT)
        return _away(root, Standing.CHANGED, f"{root} is on another disk than this host remembers")
    why = _why_absent(root, seen, remembered, recorded=recorded, verified_on=verified_on, unmounted=unmounted)
    return LocationState(root, Standing.PRESENT) if why is None else _away(root, Standing.ABSENT, why)


def _why_absent(
    root: Path,
    seen: RootSeen,
    remembered: Remembered | None,
    *,
    recorded: int,
    verified_on: str | None,
    unmounted: Path | None,
) -> str | None:
    """Return why a root without a marker is not the one that this host knows; ``None`` where it may be."""
    if remembered is not None and remembered.marker is None and remembered.device is None:
        return None  # a person said that anything may be here
    if remembered is not None and remembered.mounted and not seen.mounted:
        return f"nothing is mounted at {root}"
    models = "1 model is" if recorded == 1 else f"{recorded} models are"
    if remembered is not None and remembered.marker is not None and seen.exists:
        return f"{root} {'is empty' if seen.empty else 'lacks the marker of its disk'}"
    if unmounted is not None and seen.empty:
        return f"nothing is mounted at {unmounted}"
    if not seen.exists:
        if recorded:
            return f"{root} is not there, and {models} recorded in it"
        return f"{root} is not there any more" if remembered is not None else None  # one never used is made
    known_device = remembered.device if remembered is not None else verified_on
    if recorded and seen.empty and seen.device != known_device:
        return f"{root} is empty, and {models} recorded in it"
    return None


def _away(root: Path, standing: Standing, why: str) -> LocationState:
    return LocationState(root, standing, why, _remedy(root, standing))


def _remedy(root: Path, standing: Standing) -> str:
    if standing is Standing.UNREADABLE:
        return "mend or mount its drive again"
    forget = f"if what was there is gone for good, `imageworks-models locations forget '{root}'`"
    if standing is Standing.CHANGED:
        return f"mount the right one there, or name its path in registry.yaml; {forget}"
    return f"mount its drive, or name its new path in registry.yaml; {forget}"


def look_at_root(root: Path) -> RootSeen:
    """Return what stands at a root; never raises for a disk that does not answer.

    Args:
        root: The root, which may be a link.
    """
    try:
        found = root.stat()
        if not stat.S_ISDIR(found.st_mode):
            return RootSeen(device=str(found.st_dev))
        marker = read_marker(root)
        with os.scandir(root) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        if error.errno in NOT_THERE:
            return RootSeen()
        return RootSeen(error=os.strerror(error.errno or 0))
    mounted = is_mount(root)
    return RootSeen(exists=True, marker=marker, empty=empty, device=str(found.st_dev), mounted=mounted)


def read_marker(root: Path) -> Marker | None:
    """Return the marker of a root, or ``None`` where there is none that we wrote.

    Args:
        root: The root.

    Raises:
        OSError: The disk does not answer, or does not let us look.
    """
    try:
        folder = open_folder(root, (STAGING_NAME,))
    except (FileNotFoundError, StagingError):  # planted links are no marker of ours
        return None
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(MARKER_NAME, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in NOT_THERE:
            return None
        raise
    finally:
        os.close(folder)
    try:
        found = os.fstat(descriptor)
        data = os.read(descriptor, _LONGEST) if stat.S_ISREG(found.st_mode) else b""
    finally:
        os.close(descriptor)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    said = document.get("id") if isinstance(document, dict) else None
    if not isinstance(said, str) or not _ID.fullmatch(said):
        return None
    return Marker(said, str(found.st_dev), str(found.st_ino))


def write_marker(root: Path) -> Marker | None:
    """Put a marker at a root that has none, and return the one that is there; ``None`` where none can be written.

    Several hosts may share the root: what one of them wrote first is everybody's.

    Args:
        root: The root, which exists.
    """
    document = {
        "schema_version": 1,
        "id": secrets.token_hex(16),
        "about": "tells imageworks-models this disk from others",
    }
    draft = f"{MARKER_NAME}.{secrets.token_hex(4)}"
    try:
        folder = open_folder(root, (STAGING_NAME,), create=True)
    except (OSError, StagingError):
        return None
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(document) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, MARKER_NAME, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:  # another controller was first, or what is there is no marker any more
            if read_marker(root) is None:
                os.rename(draft, MARKER_NAME, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:  # no hard links here
            os.rename(draft, MARKER_NAME, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        return None
    finally:
        with suppress(OSError):
            os.unlink(draft, dir_fd=folder)
        with suppress(OSError):
            os.fsync(folder)
        os.close(folder)
    with suppress(OSError):
        return read_marker(root)
    return None


class Locations:
    """Knows of each root on this host whether it can be spoken of; looks at each once, when first asked.

    Args:
        remembered: What this host remembers.
        recorded: Where models with files are recorded.
        verified_on: Says on which device the files below a folder were verified, where that is known.
    """

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
        """Let a folder be the root of a location.

        Args:
            root: The folder.
            name: The location's name.
        """
        if root not in self._roots:
            self._above = {}
            self._moved = None
        self._roots[root] = name

    @property
    def roots(self) -> Mapping[Path, str]:
        """The names of all locations that are declared or remembered, by their roots."""
        return dict(sorted(self._roots.items()))

    def root_of(self, path: Path) -> Path | None:
        """Return the root that a path lies below; the innermost of several.

        Args:
            path: A model's folder or file.
        """
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
        """Return whether the place of a model can be spoken of, wherever that is.

        Args:
            path: A model's folder or file.
        """
        root = self.root_of(path)
        if root is not None:
            return self.state_at(root)
        if (state := self._states.get(path)) is None:
            state = self._states[path] = _outside(path)
        return state

    def state_below(self, folder: Path) -> LocationState:
        """Return whether what is in a folder can be spoken of; the folder may itself be the root of a location.

        Args:
            folder: The folder.
        """
        return self.state_of(folder / STAGING_NAME)

    def state_at(self, root: Path) -> LocationState:
        """Return whether a root holds what this host knows of it; what lies in another location shares its fate.

        Args:
            root: The root.
        """
        state = self._states.get(root)
        if state is None:  # models are applied side by side, and each has a root looked at again
            state = self._states[root] = self._judged(root, self.seen(root))
        return state

    def look_again(self, root: Path) -> LocationState:
        """Return how a root stands now, in case its drive went since it was looked at.

        Args:
            root: The root.
        """
        self._seen.pop(root, None)
        self._states.pop(root, None)
        return self.state_at(root)

    def seen(self, root: Path) -> RootSeen:
        """Return what a look at a root found.

        Args:
            root: The root.
        """
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
        """Return where a recorded model is now, when its drive stands at the root of another location.

        Args:
            path: The recorded folder or file.
        """
        root = self.root_of(path) if self._moves else None
        now = self._moves.get(root) if root is not None else None
        return None if root is None or now is None else now / path.relative_to(root)

    def former(self, path: Path) -> Path | None:
        """Return where a file was before its drive came to stand at the root of another location.

        Args:
            path: A file.
        """
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
        """Return which numbers of files mean something on the disk of a path; asked only where some differ.

        Args:
            path: A file.
        """
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
        """Leave a marker at a present root that has none, and remember which disk is there; best effort.

        Args:
            root: The root.
            state: What this host remembers.
        """
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

        Args:
            path: The model's folder or file.
            state: What this host remembers.
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
        for at, known in state.load_below(before).items():
            path = root / Path(at).relative_to(before)
            try:
                found = path.stat()
            except OSError:
                continue
            if not (before == root and known.matches(found)) and known.matches(found, self.numbers(path)):
                renewed.append((path, known, found))
        state.renew(renewed)

    def forget(self, root: Path, state: StateDatabase) -> None:
        """Take a person's word that what was at a root is gone, and that whatever is there from now on is new.

        Args:
            root: The root.
            state: What this host remembers.
        """
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
            return LocationState(path, Standing.UNREADABLE, why, _remedy(path, Standing.UNREADABLE))
        if (mount := unmounted_above(path)) is not None:
            why = f"nothing is mounted at {mount}, where {path} was"
            return LocationState(path, Standing.ABSENT, why, _remedy(path.parent, Standing.ABSENT))
    return LocationState(path, Standing.PRESENT)


def is_mount(path: Path) -> bool:
    """Return whether something is mounted at a path; a bind within one disk shows in the list of mounts only."""
    return os.path.ismount(path) or Path(os.path.realpath(path)) in mounts()


def unmounted_above(path: Path) -> Path | None:
    """Return the mount point at or above a path which this system knows and where nothing is mounted now.

    Args:
        path: Any path.
    """
    try:
        lines = FSTAB.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    points = {Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), one[1])) for one in fields if len(one) > 1}
    above = [point for point in points if point.is_absolute() and path.is_relative_to(point)]
    return next((point for point in sorted(above, reverse=True) if not is_mount(point)), None)
