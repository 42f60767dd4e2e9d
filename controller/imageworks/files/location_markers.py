"""Which disk stands at the root of a location: a marker of ours lies there, and this host remembers which.

Absent is not missing. A drive that is not mounted, another in its place, or one that does not answer, says nothing of
the models that are recorded on it: they are unknown, and nothing is installed, repaired, pruned or removed there.
"""

import json
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from imageworks.files.best_effort import set_mode
from imageworks.files.errors import StagingError
from imageworks.files.mounts import is_mount
from imageworks.files.safe_names import STAGING_NAME
from imageworks.files.safe_paths import NOT_THERE, open_folder
from imageworks.files.state import Remembered

MARKER_NAME: Final = "location.json"

_ID: Final = re.compile(r"[0-9a-f]{32}")
_LONGEST: Final = 4096  # bytes; a marker has about 150


class LocationStanding(StrEnum):
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
    standing: LocationStanding
    why: str = ""
    remedy: str = ""

    @property
    def present(self) -> bool:
        """Whether what is or is not there means something."""
        return self.standing is LocationStanding.PRESENT

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
    """Return whether a root holds what this host knows of it. Pure: the one place where that is decided."""
    expected = remembered.marker if remembered is not None else None
    if seen.error is not None:
        return _away(root, LocationStanding.UNREADABLE, f"{root} cannot be looked at: {seen.error}")
    if seen.marker is not None:
        if expected in {None, seen.marker.id}:
            return LocationState(root, LocationStanding.PRESENT)
        return _away(root, LocationStanding.CHANGED, f"{root} is on another disk than this host remembers")
    why = _why_absent(root, seen, remembered, recorded=recorded, verified_on=verified_on, unmounted=unmounted)
    return LocationState(root, LocationStanding.PRESENT) if why is None else _away(root, LocationStanding.ABSENT, why)


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


def _away(root: Path, standing: LocationStanding, why: str) -> LocationState:
    return LocationState(root, standing, why, remedy_of(root, standing))


def remedy_of(root: Path, standing: LocationStanding) -> str:
    """Return what brings a location back."""
    if standing is LocationStanding.UNREADABLE:
        return "mend or mount its drive again"
    forget = f"if what was there is gone for good, `imageworks-models locations forget '{root}'`"
    if standing is LocationStanding.CHANGED:
        return f"mount the right one there, or name its path in registry.yaml; {forget}"
    return f"mount its drive, or name its new path in registry.yaml; {forget}"


def look_at_root(root: Path) -> RootSeen:
    """Return what stands at a root; never raises for a disk that does not answer."""
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
    """Return the marker of a root, or ``None`` where there is none that we wrote."""
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
    """
    document = {
        "schema_version": 1,
        "id": os.urandom(16).hex(),
        "about": "tells imageworks-models this disk from others",
    }
    draft = f"{MARKER_NAME}.{os.urandom(4).hex()}"
    try:
        folder = open_folder(root, (STAGING_NAME,), create=True)
    except (OSError, StagingError):
        return None
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            set_mode(descriptor, 0o644)  # whoever uses the disk looks at it, whatever the umask of who was first
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
