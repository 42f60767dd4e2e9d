"""Folders and files of this program's own, which nobody else may read, write or lock, whatever the umask says."""

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from imageworks.foundation.errors import ImageworksError

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_OTHERS: Final = 0o077
_LOGGER: Final = logging.getLogger("imageworks")
_OURS: Final = ("state.sqlite3", "model_downloader.log", "lost+found")
_OUR_FOLDERS: Final = frozenset(
    {"imageworks", "intents", "logs", "manifests", "new-registry", "signed", "snapshots", "hub"}
)
"""What this program keeps in its folders; one with anything else in it may be another program's too."""


class ForeignFolderError(ImageworksError):
    """A folder that would be this program's own belongs to somebody else."""


def make_private_folder(folder: Path, *, top: Path | None = None) -> None:
    """Make a folder that is this user's alone; one that others may look into is closed to them."""
    top = top or folder
    make_folders(folder, FOLDER_MODE)
    if _is_ours_alone(top):
        _close(top, FOLDER_MODE)
    for each in _between(top, folder):
        _close(each, FOLDER_MODE)


def make_folders(folder: Path, mode: int) -> None:
    """Make a folder and the missing ones above it, none with more rights than told."""
    missing = []
    for above in (folder, *folder.parents):
        if above.exists():
            break
        missing.append(above)
    for each in reversed(missing):
        with suppress(FileExistsError):  # another process was quicker
            each.mkdir(mode)
            with suppress(OSError):  # a filesystem without modes
                if mode == FOLDER_MODE:  # a umask may have taken the owner's too
                    each.chmod(mode | each.stat().st_mode & stat.S_ISGID)


def open_private_file(file: Path | str, flags: int, mode: int = FILE_MODE) -> int:
    """Open a file of this program's own, made for this user alone; one that is open to others is closed to them."""
    descriptor = os.open(file, flags | os.O_CLOEXEC, mode)
    _close_file(descriptor, str(file), mode)
    return descriptor


def close_file(file: Path, mode: int = FILE_MODE) -> None:
    """Take from others what rights they have to a file of this program's own, where it is there."""
    with suppress(OSError):
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _close_file(descriptor, str(file), mode)
        finally:
            os.close(descriptor)


def close_shared_folder(folder: Path, *, shared: bool) -> int:
    """Close a folder to all others, or to all but its group, and return the mode of files in it."""
    _close(folder, 0o2770 if shared else FOLDER_MODE, exactly=shared)
    return file_mode_in(folder)


def file_mode_in(folder: Path) -> int:
    """Return the mode of files in a folder of this program's own: its group's too where that may write there."""
    return 0o660 if folder.stat().st_mode & 0o070 == 0o070 else FILE_MODE  # noqa: PLR2004 # rwx of the group


def _close_file(descriptor: int, name: str, mode: int) -> None:
    found = os.fstat(descriptor)
    before = stat.S_IMODE(found.st_mode)
    now = before & FILE_MODE if mode == FILE_MODE else mode  # what its owner may not, is not given back
    if stat.S_ISREG(found.st_mode) and before != now and found.st_uid == os.geteuid():
        with suppress(OSError):  # a filesystem without modes
            os.fchmod(descriptor, now)
            _tell(name, before, now)


def _close(folder: Path, mode: int, *, exactly: bool = False) -> None:
    found, user = folder.stat(), os.geteuid()
    if found.st_uid not in {user, 0} and user != 0 and not exactly:
        raise ForeignFolderError(
            f"{folder} belongs to user {found.st_uid}, who could change what this program keeps there",
            remedy="Name a folder of your own in the configuration, or change its owner.",
        )
    before = stat.S_IMODE(found.st_mode)
    wide = before != mode if exactly else before & _OTHERS
    if wide and found.st_uid == user:
        now = mode if exactly else before & ~_OTHERS
        with suppress(OSError):
            folder.chmod(now)
            _tell(str(folder), before, now)
            for above, _folders, names in () if exactly else os.walk(folder):
                _close_all(Path(above), names, user)


def _close_all(folder: Path, names: Iterable[str], user: int) -> None:
    """Close what was made in a folder while it was open to others, as far as it is this user's."""
    for path in (folder, *(folder / name for name in names)):
        found = path.lstat()
        if found.st_uid == user and stat.S_ISREG(found.st_mode) | stat.S_ISDIR(found.st_mode):
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def _between(top: Path, folder: Path) -> Iterator[Path]:
    """Yield the folders below one down to another."""
    if folder != top and top in folder.parents:
        yield from (*(above for above in reversed(folder.parents) if top in above.parents), folder)


def _is_ours_alone(folder: Path) -> bool:
    """Return whether a folder is this program's alone: settings may name one such as /tmp, which others need."""
    if folder.stat().st_mode & stat.S_ISVTX:
        return False
    if folder.name == "imageworks":
        return True
    with os.scandir(folder) as entries:
        return all(entry.name in _OUR_FOLDERS or entry.name.startswith(_OURS) for entry in entries)


def _tell(name: str, before: int, now: int) -> None:
    modes = {"before": f"{stat.S_IMODE(before):04o}", "now": f"{now:04o}"}
    _LOGGER.info("closed-to-others", extra={"fields": {"path": name, **modes}})
