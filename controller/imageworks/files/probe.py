"""Ask a filesystem, before the first byte comes, what no look tells: whether it takes the files and the rename."""

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from imageworks.files.artifact import RemoteFile
from imageworks.files.errors import PublishError, StagingError, disk_refusal
from imageworks.files.mounts import mount_of
from imageworks.files.safe_paths import check_below, nearest_existing
from imageworks.files.staging import StagingArea


def check_publishable(area: StagingArea, target: Path, files: Iterable[RemoteFile]) -> None:
    """Raise PublishError or StagingError where what is brought into an area could not be kept or published."""
    # No folder is made for the test: another model that comes at the same time may be using it when it is removed.
    real = check_below(area.root, target)
    _try_rename(area, real, nearest_existing(real.parent))
    if mount_of(area.root).is_remote_or_fuse:
        _try_size(area, files)


def _try_rename(area: StagingArea, target: Path, parent: Path) -> None:
    """Rename a folder with a file in it from the area to the folder that the model's will be in, and remove it."""
    here, there = area.path / "probe", parent / f".{area.key}.imageworks-probe"
    try:
        for left in (here, there):
            shutil.rmtree(left, ignore_errors=True)  # of a killed run
        here.mkdir()
        (here / "file").touch()
        here.rename(there)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return  # it is copied then
        if isinstance(error, PermissionError) and not os.access(parent, os.W_OK):
            raise disk_refusal(error, parent, PublishError, reason="publish-failed") from error
        raise PublishError(
            f"{target}: no folder can be renamed into {parent} ({error.strerror}), so it could not be published",
            remedy="choose a location on another filesystem; nothing was fetched",
            reason="rename-refused",
        ) from error
    finally:
        for left in (here, there):
            shutil.rmtree(left, ignore_errors=True)


def _try_size(area: StagingArea, files: Iterable[RemoteFile]) -> None:
    """Make an empty file as long as the largest one; a hole costs nothing there."""
    largest = max(area.missing(files), key=lambda file: file.size, default=None)
    if largest is None:
        return
    probe = area.path / "size"
    try:
        probe.touch()
        os.truncate(probe, largest.size)
    except OSError as error:
        if error.errno != errno.EFBIG:
            return  # it says nothing of the size: writing will show
        raise StagingError(
            f"{largest.path}: {largest.size} bytes, and files below {area.root} may not be that large",
            remedy="choose a location on another filesystem; nothing was fetched",
            reason="file-too-large",
        ) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
