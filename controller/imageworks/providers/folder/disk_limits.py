"""What a disk would refuse, found out before the first byte by looking alone: a dry run writes nothing either."""

import os
import stat
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from imageworks.files.artifact import RemoteFile
from imageworks.files.mounts import KEEPS_NO_FILES, Mount, largest_file, mount_of, mounts
from imageworks.files.safe_names import STAGING_NAME
from imageworks.files.safe_paths import is_folder, nearest_existing
from imageworks.plan.facts import Blocker, TargetFolder
from imageworks.plan.plan import Reason
from imageworks.registry.entries.entry import Entry


class DiskRefusals:
    """Says why models cannot come to a place or leave it; what is mounted is read once."""

    @cached_property
    def _mounts(self) -> dict[Path, Mount]:
        return mounts()

    def to_bring(self, place: TargetFolder, files: Iterable[RemoteFile]) -> Blocker | None:
        """Return why files cannot be brought to a place and published there."""
        return self._mounted(place) or self._unwritable(place) or self._too_large(place, files)

    def to_remove(self, entry: Entry) -> Blocker | None:
        """Return why a recorded model's files cannot be removed from where they are."""
        parents = {PurePosixPath(file.path).parent for file in entry.files}
        folders = (entry.base / parent for parent in sorted(parents))
        return next((why for folder in folders if is_folder(folder) and (why := not_writable(folder))), None)

    def _mounted(self, place: TargetFolder) -> Blocker | None:
        target = Path(os.path.realpath(place.path))
        inside = next((at for at in sorted(self._mounts) if at == target or target in at.parents), None)
        if inside is not None:
            what = "is a mount point" if inside == target else f"holds the mount point {inside}"
            message = f"{target} {what}, so it cannot be replaced as a whole"
            remedy = "declare what is mounted there as a location of its own, or choose another location"
            return Blocker(Reason.MOUNT_POINT, f"{message}; {remedy}")
        above, root = mount_of(target.parent, self._mounts), mount_of(place.root, self._mounts)
        if above.path == root.path:
            return None
        message = f"{target} is on {above.path}, another filesystem than its location {place.root}"
        return Blocker(Reason.OTHER_FILESYSTEM, f"{message}; declare a location of its own for that filesystem")

    def _unwritable(self, place: TargetFolder) -> Blocker | None:
        staging = nearest_existing(place.root / STAGING_NAME / "staging")
        above = nearest_existing(place.path.parent)
        if (kind := mount_of(above, self._mounts).kind) in KEEPS_NO_FILES:
            message = f"{above} is of the system ({kind}) and keeps no files"
            return Blocker(Reason.READ_ONLY, f"{message}; choose another location")
        for folder in (above, staging):
            if (why := not_writable(folder)) is not None:
                return why
        return _not_ours_to_rename(place.path, above)

    def _too_large(self, place: TargetFolder, files: Iterable[RemoteFile]) -> Blocker | None:
        folder = nearest_existing(place.root)
        limit = largest_file(folder)
        large = [] if limit is None else [file for file in files if file.size > limit]
        if limit is None or not large:
            return None
        names = large[0].path + (f" and {len(large) - 1} more" if len(large) > 1 else "")
        message = f"{names}: {large[0].size} bytes, and a file below {folder} may have {limit} at most"
        remedy = "choose a location on another filesystem, or raise the limit"
        return Blocker(Reason.FILE_TOO_LARGE, f"{message}; {remedy}")


def not_writable(folder: Path) -> Blocker | None:
    """Return why names cannot be made and removed in a folder, with its full path."""
    effective = os.access in os.supports_effective_ids
    if os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        return None
    try:
        read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
        found = folder.stat()
    except OSError as error:
        return Blocker(Reason.READ_ONLY, f"{folder}: {error.strerror}; make it accessible, or choose another location")
    if read_only:
        message = f"{folder} is on a filesystem that is mounted read-only"
        return Blocker(Reason.READ_ONLY, f"{message}; mount it writable, or choose another location")
    mode = stat.filemode(found.st_mode)
    message = f"{folder} is not writable for user {os.geteuid()}: it is {mode} of user {found.st_uid}"
    return Blocker(Reason.READ_ONLY, f"{message}; make it writable, or choose another location")


def _not_ours_to_rename(target: Path, above: Path) -> Blocker | None:
    """Return why a present folder cannot trade places: that needs the right to write to it, and its owner's in /tmp."""
    if not is_folder(target):
        return None
    if (why := not_writable(target)) is not None:
        return why
    user, parent = os.geteuid(), above.stat()
    if user and parent.st_mode & stat.S_ISVTX and user not in {parent.st_uid, target.stat().st_uid}:
        message = f"{target} belongs to user {target.stat().st_uid}, and {above} lets only owners rename (sticky bit)"
        return Blocker(Reason.READ_ONLY, f"{message}; change its owner, or choose another location")
    return None
