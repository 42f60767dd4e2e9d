"""Put a verified tree in its place in one step, keeping every file there that is not ours (invariants I1 and I5).

A reader of the target sees the old directory or the new one, never a mixture: an absent target gets its directory by
one rename, a present one trades places with the new directory (RENAME_EXCHANGE). Filesystems that cannot exchange get
two renames. Where the old directory cannot be renamed at all (one of an overlay's lower layer), it is emptied before
the new one gets its name. A journal in the staging area says what is under way, so that ``recover`` can finish it after
a kill.
"""

import errno
import filecmp
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from imageworks.files import renames
from imageworks.files.best_effort import copy_mode_and_times, set_mode, set_times
from imageworks.files.errors import PublishError, TransferError, disk_refusal
from imageworks.files.safe_paths import check_below, make_folder
from imageworks.files.staging import NO_LINK, StagingArea, staging_areas
from imageworks.files.writers import why_not_ours
from imageworks.foundation.bounded_json import read_json_file
from imageworks.foundation.failpoints import failpoint

MOST_SWEEPS = 3
"""How often the old directory is looked through again when someone keeps adding files to it."""


class PublishMethod(StrEnum):
    """How the new directory got its name."""

    RENAME = "rename"
    EXCHANGE = "exchange"
    TWO_RENAMES = "two-renames"
    EMPTIED = "emptied"


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What a publish did.

    Args:
        target: The model's directory, real.
        method: How it got its name.
        carried: Files that are not ours and were there before; they still are.
        kept_aside: Files that are not ours and appeared in the way meanwhile, under the names they have now.
    """

    target: Path
    method: PublishMethod
    carried: tuple[str, ...] = ()
    kept_aside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Journal:
    target: Path
    method: PublishMethod
    inode: int
    owned: frozenset[str]
    carried: tuple[str, ...]
    looks: Mapping[str, list[int]] = field(default_factory=dict)
    """Size and time of the new directory's files: inode numbers may be others once the filesystem is mounted again."""

    def write(self, area: StagingArea) -> None:
        """Make the journal durable; half of one never bears its name."""
        text = json.dumps(
            {
                "target": str(self.target.relative_to(area.root)),
                "method": self.method,
                "inode": self.inode,
                "owned": sorted(self.owned),
                "carried": self.carried,
                "looks": dict(self.looks),
            }
        )
        renames.write_durably(area.journal, text.encode("ascii"), draft=area.journal.with_suffix(".new"))

    @classmethod
    def read(cls, area: StagingArea) -> "_Journal":
        """Read a journal back; PublishError when it is not one."""
        try:
            fields = read_json_file(area.journal)
            return cls(
                target=check_below(area.root, area.root / fields["target"]),
                method=PublishMethod(fields["method"]),
                inode=fields["inode"],
                owned=frozenset(fields["owned"]),
                carried=tuple(fields["carried"]),
                looks=dict(fields.get("looks", {})),
            )
        except (ValueError, LookupError, TypeError) as error:
            raise PublishError(
                f"{area.journal} cannot be read: {error}",
                remedy=f"look at what is in {area.path}, keep what is yours, and remove it",
                reason="journal-unreadable",
            ) from None


def publish(
    area: StagingArea, target: Path, *, owned: frozenset[str], method: PublishMethod | None = None
) -> PublishReport:
    """Let the area's tree become the target directory, atomically, and remove the area."""
    with _told_of(target):
        area.check_ours()
        real = check_below(area.root, target)
        make_folder(area.root, real.relative_to(area.root).parts[:-1])
        try:
            found = real.lstat()
        except FileNotFoundError:
            return _publish_new(area, real)
        if not stat.S_ISDIR(found.st_mode):
            raise PublishError(f"{target} is not a directory", remedy="move it away", reason="target-in-the-way")
        return _replace(area, real, owned, method or PublishMethod.EXCHANGE)


def recover(root: Path, *, on_error: Callable[[TransferError], None] | None = None) -> tuple[PublishReport, ...]:
    """Finish or undo every publish below a root that was interrupted; nothing else may be publishing there."""
    reports: list[PublishReport] = []
    errors: list[TransferError] = []
    for area in staging_areas(root):
        try:
            if not area.journal.exists() or not _is_ours(area):
                continue  # a journal that somebody else wrote could say of any file here that it is to go
        except PermissionError:
            continue  # another user's, on a disk that several share: theirs to finish
        try:
            with _told_of(area.journal):
                report = _recover_one(area)
        except TransferError as error:
            errors.append(error)
            continue
        if report is not None:
            reports.append(report)
    for each in errors:
        if on_error is None:
            raise each
        on_error(each)
    return tuple(reports)


def _is_ours(area: StagingArea) -> bool:
    return why_not_ours(area.path) is None and area.journal.lstat().st_uid == area.path.lstat().st_uid


def _publish_new(area: StagingArea, target: Path) -> PublishReport:
    journal = _Journal(target, PublishMethod.RENAME, area.tree.stat().st_ino, frozenset(), ())
    _sync_tree(area.tree)
    journal.write(area)
    failpoint("publish.before-rename")
    area.check_ours()
    try:
        _give_name(area, target)
    except FileExistsError:
        _undo(area, journal)
        raise PublishError(f"{target} appeared meanwhile", remedy="run again", reason="target-in-the-way") from None
    except OSError:
        _undo(area, journal)
        raise
    failpoint("publish.after-rename")
    return _finish(area, journal)


def _replace(area: StagingArea, target: Path, owned: frozenset[str], method: PublishMethod) -> PublishReport:
    foreign = [name for name in _files(target) if name not in owned]
    # A link that leads nowhere holds nothing; it is kept aside under another name.
    in_the_way = [name for name in foreign if _is_taken(area.tree, name) and not _leads_nowhere(target / name)]
    for name in in_the_way:
        if not _equal(area.tree / name, target / name) and not _links_to_equal(target / name, area.tree / name):
            raise PublishError(
                f"{target / name} is not ours, and the model has another file of that name",
                remedy="move it away, or adopt it",
                reason="foreign-file-in-the-way",
            )
    carried = tuple(name for name in foreign if name not in in_the_way and not _is_taken(area.tree, name))
    looks = {name: _look(area.tree / name) for name in _files(area.tree) if name not in in_the_way}
    journal = _Journal(target, method, area.tree.stat().st_ino, owned, carried, looks)
    journal.write(area)
    try:
        for name in carried:
            _carry(target, area.tree, name)
        for name in in_the_way:
            _keep_inode(target / name, area.tree / name, area.path / "same")
        _carry_folders(target, area.tree, owned)
        _sync_tree(area.tree)
        failpoint("publish.before-rename")
        area.check_ours()
        journal = _swap(area, journal)
    except OSError:
        if _Journal.read(area).method is not PublishMethod.EMPTIED:  # which recover() goes on with
            _undo(area, journal)
        raise
    failpoint("publish.after-rename")
    return _finish(area, journal)


def _swap(area: StagingArea, journal: _Journal) -> _Journal:
    """Give the new directory the name; the old one is then in the area. Returns the journal as it holds now."""
    if journal.method is PublishMethod.EXCHANGE:
        try:
            renames.exchange(area.tree, journal.target)
        except renames.RenameUnsupportedError:
            journal = replace(journal, method=PublishMethod.TWO_RENAMES)
            journal.write(area)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return _swap_emptied(area, journal)
        else:
            return journal
    if journal.method is PublishMethod.EMPTIED:
        return _swap_emptied(area, journal)
    try:
        journal.target.rename(area.old)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return _swap_emptied(area, journal)
    failpoint("publish.between-renames")
    try:
        area.tree.rename(journal.target)
    except OSError:
        area.old.rename(journal.target)
        raise
    return journal


def _swap_emptied(area: StagingArea, journal: _Journal) -> _Journal:
    """Bring what is not ours into the new directory, then empty the old one and give its name to the new one."""
    for name in journal.carried:
        if not os.path.lexists(area.tree / name):  # there are no links here
            with suppress(FileNotFoundError):
                _copy(journal.target / name, area.tree / name)
    _sync_tree(area.tree)
    journal = replace(journal, method=PublishMethod.EMPTIED)
    journal.write(area)
    failpoint("publish.before-emptying")
    _empty_and_rename(area, journal)
    return journal


def _empty_and_rename(area: StagingArea, journal: _Journal) -> None:
    """Finish a publish whose new directory holds everything already; may be begun again after a kill."""
    target = journal.target
    for name in list(_files(target)) if os.path.lexists(target) else []:
        if name in journal.owned or _equal(target / name, area.tree / name):
            (target / name).unlink()
            continue
        if name in journal.carried and not (area.tree / name).is_dir():
            (area.tree / name).unlink(missing_ok=True)  # written anew meanwhile
        landed = _free_name(area.tree, name)
        _make_folders(area.tree, landed)
        _copy(target / name, area.tree / landed)
        (target / name).unlink()
    _remove_empty_folders(target)
    failpoint("publish.emptied")
    _give_name(area, target)


def _give_name(area: StagingArea, target: Path) -> None:
    """Rename the tree to the target; where a folder cannot leave its parent, a copy beside the target is renamed."""
    try:
        renames.rename_new(area.tree, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    beside = _beside(area, target)
    if beside.is_dir():
        shutil.rmtree(beside)  # of a killed run
    for name in _files(area.tree):
        _make_folders(beside, name)
        try:
            os.link(area.tree / name, beside / name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            _copy(area.tree / name, beside / name)
    _sync_tree(beside)
    renames.rename_new(beside, target)
    shutil.rmtree(area.tree)


def _beside(area: StagingArea, target: Path) -> Path:
    return target.with_name(f".{area.key}.imageworks-new")


def _undo(area: StagingArea, journal: _Journal) -> None:
    """Take back what a publish that did not happen left in the tree: its links to files that are not ours."""
    for name in journal.carried:
        if os.path.lexists(journal.target / name):
            (area.tree / name).unlink(missing_ok=True)
    shutil.rmtree(_beside(area, journal.target), ignore_errors=True)
    area.journal.unlink()


def _recover_one(area: StagingArea) -> PublishReport | None:
    journal = _Journal.read(area)
    if journal.method is PublishMethod.EMPTIED:
        if area.tree.is_dir():
            _empty_and_rename(area, journal)
        return _finish(area, journal)
    if not os.path.lexists(journal.target) and area.old.is_dir() and area.tree.is_dir():
        area.tree.rename(journal.target)  # killed between the two renames
    if _is_in_place(area, journal):
        shutil.rmtree(_beside(area, journal.target), ignore_errors=True)
        return _finish(area, journal)
    _undo(area, journal)
    return None


def _is_in_place(area: StagingArea, journal: _Journal) -> bool:
    """Whether the new directory has its name already."""
    if not os.path.lexists(journal.target):
        return False
    if journal.method is not PublishMethod.EXCHANGE or area.old.is_dir() or not area.tree.is_dir():
        return area.old.is_dir() or not area.tree.is_dir()
    there, here = (
        bool(journal.looks) and all(_look(folder / name) == look for name, look in journal.looks.items())
        for folder in (journal.target, area.tree)
    )
    return there if there != here else journal.target.lstat().st_ino == journal.inode


def _look(path: Path) -> list[int]:
    try:
        found = path.lstat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _finish(area: StagingArea, journal: _Journal) -> PublishReport:
    """With the new directory in place, empty the old one: what is not ours goes over, what is ours goes away."""
    if not area.old.is_dir() and area.tree.is_dir():
        area.tree.rename(area.old)
    _sync_parents(area.root, journal.target)
    aside: list[str] = []
    late: list[str] = []
    for _ in range(MOST_SWEEPS):
        if not area.old.is_dir():
            break
        for name in list(_files(area.old)):
            if name in journal.owned or _same_inode(area.old / name, journal.target / name):
                continue
            landed = _carry_late(area, journal, name)
            (late if landed == name else aside).append(landed)
        if late or aside:
            _sync_tree(journal.target)
        failpoint("publish.foreign-carried")
        _empty(area.old, journal)
    failpoint("publish.old-removed")
    if area.old.is_dir():
        raise PublishError(
            f"{area.old} still receives files from another program",
            remedy=f"stop what writes to {journal.target} and run again",
            reason="target-busy",
        )
    area.journal.unlink()
    area.discard()
    return PublishReport(journal.target, journal.method, tuple(sorted({*journal.carried, *late})), tuple(aside))


def _carry_late(area: StagingArea, journal: _Journal, name: str) -> str:
    """Move a file that is not ours and came, or changed, after the links were made; return its name in the target."""
    source = area.old / name
    target = journal.target
    if name in journal.carried and not (target / name).is_dir():
        if _equal(source, target / name):
            # One file whose two names show two inode numbers, as over sshfs: a rename would do nothing.
            set_times(target / name, source.lstat())
            source.unlink()
        else:
            source.replace(target / name)  # written anew meanwhile: what was linked is its former content
        return name
    landed = _free_name(target, name, like=source)
    if os.path.lexists(target / landed):
        _keep_inode(source, target / landed, area.path / "same")
        source.unlink()
        return landed
    _make_folders(target, landed)
    renames.rename_new(source, target / landed)
    return landed


def _free_name(folder: Path, name: str, *, like: Path | None = None) -> str:
    """Return a name that is free in a directory: this one or one made of it; or one whose file has the same bytes."""
    landed = name
    number = 0
    while _is_taken(folder, landed) and not (like is not None and _equal(like, folder / landed)):
        number += 1
        landed = f"{name.replace('/', '-')}.kept-{number}"
    return landed


def _empty(old: Path, journal: _Journal) -> None:
    """Remove from the old directory what is ours or has its second name in the new one, then empty folders."""
    for name in list(_files(old)):
        if name in journal.owned or _same_inode(old / name, journal.target / name):
            (old / name).unlink()
    _remove_empty_folders(old)


def _remove_empty_folders(top: Path) -> None:
    for folder, _folders, _names in os.walk(top, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise


def _carry(source: Path, destination: Path, name: str) -> None:
    """Give a file of the old directory its name in the new one too; a filesystem without links moves it later."""
    _make_folders(destination, name)
    try:
        os.link(source / name, destination / name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINK | {errno.ENOENT}:
            raise


def _copy(source: Path, target: Path) -> None:
    """Copy a file that is not ours, with its mode and times, and look whether the copy is like it."""
    shutil.copyfile(source, target, follow_symlinks=False)
    if not source.is_symlink():
        copy_mode_and_times(source, target)
        with target.open("rb") as stream:
            renames.sync_file(stream.fileno())
    if not _equal(source, target):
        raise PublishError(f"{source} changed while it was copied", remedy="run again", reason="target-busy")


def _make_folders(destination: Path, name: str) -> None:
    (destination / name).parent.mkdir(parents=True, exist_ok=True)


def _carry_folders(target: Path, tree: Path, owned: frozenset[str]) -> None:
    """Keep folders that hold nothing of ours, empty ones included, and the modes and times of folders."""
    ours = {"/".join(parts[:depth]) for name in owned for parts in [name.split("/")] for depth in range(1, len(parts))}
    for folder, folders, _names in os.walk(target, topdown=False):
        for name in folders:
            path = Path(folder, name)
            relative = path.relative_to(target)
            if path.is_symlink() or relative.as_posix() in ours:
                continue
            (tree / relative).mkdir(parents=True, exist_ok=True)
            copy_mode_and_times(path, tree / relative)
    with suppress(OSError):
        set_mode(tree, stat.S_IMODE(target.stat().st_mode))


def _keep_inode(kept: Path, replaced: Path, draft: Path) -> None:
    """Let a file that is not ours stand for its equal, so that its times, mode and other names stay."""
    if _same_inode(kept, replaced):
        return
    draft.unlink(missing_ok=True)
    try:
        os.link(kept, draft, follow_symlinks=False)
    except OSError:
        return  # no links here: an equal file stands in its place
    draft.replace(replaced)
    draft.unlink(missing_ok=True)  # a rename between two names of one file does nothing


def _files(folder: Path) -> Iterator[str]:
    """Yield the relative names of everything in a directory that is not a directory; links are not followed."""
    for parent, folders, names in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*names, *links):
            yield (relative / name).as_posix()


def _is_taken(folder: Path, name: str) -> bool:
    """Whether a name exists in a directory, or one of its parents there is a file."""
    path = folder / name
    return os.path.lexists(path) or any(
        os.path.lexists(parent) and not parent.is_dir() for parent in path.parents if folder in parent.parents
    )


def _equal(one: Path, other: Path) -> bool:
    """Whether two paths are one file, two regular files of the same content, or two links to the same."""
    if _same_inode(one, other):
        return True
    try:
        if one.is_symlink() and other.is_symlink():
            return one.readlink() == other.readlink()
        if not (stat.S_ISREG(one.lstat().st_mode) and stat.S_ISREG(other.lstat().st_mode)):
            return False
    except OSError:
        return False
    return filecmp.cmp(one, other, shallow=False)


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not os.path.exists(path)  # noqa: PTH110 # Path's raises for a circle of links


def _links_to_equal(link: Path, other: Path) -> bool:
    """Whether a link leads to a regular file with the content of another."""
    try:
        if not (link.is_symlink() and stat.S_ISREG(link.stat().st_mode) and stat.S_ISREG(other.lstat().st_mode)):
            return False
        return filecmp.cmp(link, other, shallow=False)
    except OSError:
        return False


def _same_inode(one: Path, other: Path) -> bool:
    try:
        first, second = one.lstat(), other.lstat()
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _sync_tree(tree: Path) -> None:
    for folder, _folders, _names in os.walk(tree, topdown=False):
        renames.sync_directory(Path(folder))


def _sync_parents(root: Path, target: Path) -> None:
    """Make the new name durable, and the folders that were made for it."""
    for parent in target.parents:
        renames.sync_directory(parent)
        if parent == root:
            return


@contextmanager
def _told_of(place: Path) -> Iterator[None]:
    """Say what the system refused in our words."""
    try:
        yield
    except OSError as error:
        raise disk_refusal(error, place, PublishError, reason="publish-failed") from error
