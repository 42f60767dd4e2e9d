"""Remove and move what is ours, and nothing else (invariant I5)."""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imageworks.files.artifact import RemoteFile
from imageworks.files.best_effort import set_mode, set_times
from imageworks.files.digests import Algorithm, hash_file
from imageworks.files.errors import PublishError, StagingError
from imageworks.files.mounts import mount_of
from imageworks.files.publish import PublishReport, publish
from imageworks.files.renames import rename_new, sync_directory
from imageworks.files.safe_names import check_relative_name
from imageworks.files.safe_paths import check_below, open_folder
from imageworks.files.staging import EXECUTABLE, NO_LINK, StagingArea


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What a move did.

    Args:
        target: Where the model is now.
        bytes_copied: How many bytes were read and written; none within one filesystem.
    """

    target: Path
    bytes_copied: int


def remove_owned(target: Path, owned: Iterable[str], root: Path) -> int:
    """Remove our files from a directory, then every folder that is left empty, up to but not including the root."""
    real = check_below(root, target)
    below = real.relative_to(root.resolve()).parts
    links: dict[tuple[int, int], int] = {}
    freed = 0
    folders = {below[:depth] for depth in range(1, len(below) + 1)}
    refused: list[tuple[Path, OSError]] = []
    for name in sorted(owned):
        inner = PurePosixPath(check_relative_name(name)).parts
        folders.update(below + inner[:depth] for depth in range(1, len(inner)))
        try:
            found = _unlink(root.resolve(), below + inner)
        except OSError as error:
            refused.append((target / name, error))  # the others go all the same
            continue
        if found is None or not stat.S_ISREG(found.st_mode):
            continue
        inode = (found.st_dev, found.st_ino)
        links[inode] = links.get(inode, found.st_nlink) - 1
        if links[inode] == 0:
            freed += found.st_size
    _tidy(root.resolve(), folders)
    if refused:
        path, first = refused[0]
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise PublishError(
            f"{path}: {first.strerror}{more}",
            remedy="make the location writable and run again; what could be removed is gone",
            reason="read-only" if first.errno in {errno.EROFS, errno.EACCES, errno.EPERM} else "remove-failed",
        ) from first
    return freed


def move_directory(
    old: Path,
    new: Path,
    *,
    owned: frozenset[str],
    old_root: Path,
    new_root: Path,
    key: str,
    owner: str = "",
    shared: frozenset[str] = frozenset(),
) -> MoveReport:
    """Move a model's files to another directory; a kill leaves them complete in the old place, the new one, or both."""
    source = check_below(old_root, old)
    destination = check_below(new_root, new)
    here = set(_regular_files(source))
    if missing := sorted(owned - here):
        raise PublishError(f"{old / missing[0]} is not there to be moved", reason="file-missing")
    alone = here == owned and not shared
    if alone and not os.path.lexists(destination) and mount_of(destination) == mount_of(source):
        try:
            return _rename(source, destination, old_root.resolve(), new_root.resolve())
        except OSError as error:
            # Two mounts of one disk, or a folder of an overlay's lower layer: the files are copied.
            if error.errno != errno.EXDEV:
                raise
    area = StagingArea.open(new_root, key, target=new, owner=owner)
    copied = _stage(area, source, owned)
    report: PublishReport = publish(area, new, owned=frozenset())
    remove_owned(old, owned - shared, old_root)
    return MoveReport(report.target, copied)


def _stage(area: StagingArea, source: Path, owned: frozenset[str]) -> int:
    """Bring the files into the area, as links within a filesystem, else as checked copies; return the bytes copied."""
    copied = 0
    area.keep_only(owned)
    for name in sorted(owned):
        path = source / name
        before = path.lstat()
        same_filesystem = before.st_dev == area.tree.stat().st_dev
        digest = hash_file(path, Algorithm.SHA256) if not same_filesystem else None
        if digest is None:
            destination = area.tree / check_relative_name(name)
            destination.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                destination.unlink()
            try:
                os.link(path, destination, follow_symlinks=False)
                continue
            except OSError as error:
                if error.errno not in NO_LINK:
                    raise
            digest = hash_file(path, Algorithm.SHA256)
        file = RemoteFile(name, before.st_size, digest, large=True)
        area.link_or_copy(path, file)
        set_mode(area.place(file), stat.S_IMODE(before.st_mode) & ~EXECUTABLE)
        set_times(area.place(file), before)
        copied += before.st_size
    return copied


def _rename(source: Path, destination: Path, old_root: Path, new_root: Path) -> MoveReport:
    below = destination.relative_to(new_root).parts[:-1]
    os.close(open_folder(new_root, below, create=True))
    rename_new(source, destination)
    sync_directory(destination.parent)
    sync_directory(source.parent)
    parts = source.relative_to(old_root).parts
    _tidy(old_root, {parts[:depth] for depth in range(1, len(parts))})
    return MoveReport(destination, 0)


def _regular_files(folder: Path) -> Iterable[str]:
    for parent, _folders, names in os.walk(folder):
        for name in names:
            yield Path(parent, name).relative_to(folder).as_posix()


def _unlink(root: Path, parts: tuple[str, ...]) -> os.stat_result | None:
    """Remove one file, reached without following a link; return what it was, or None when it is not there."""
    try:
        folder = open_folder(root, parts[:-1])
    except FileNotFoundError:
        return None
    try:
        found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            raise StagingError(f"{root.joinpath(*parts)} is a folder where a file of ours should be")
        os.unlink(parts[-1], dir_fd=folder)
    except FileNotFoundError:
        return None
    else:
        return found
    finally:
        os.close(folder)


def _tidy(root: Path, folders: set[tuple[str, ...]]) -> None:
    """Remove those of the folders that are empty and let themselves be removed, the deepest first."""
    for parts in sorted(folders, key=len, reverse=True):
        try:
            above = open_folder(root, parts[:-1])
        except OSError:
            continue  # gone already, or out of reach
        try:
            os.rmdir(parts[-1], dir_fd=above)
            sync_directory(above)
        except OSError:
            pass  # not empty; or a mount point, or its parent is not ours to write: what is empty does no harm
        finally:
            os.close(above)
