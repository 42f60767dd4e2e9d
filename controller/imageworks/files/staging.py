"""The staging area of one model: where its bytes gather, on the filesystem of their target, until all are verified.

It lies at ``<root>/.imageworks/staging/<key>/``. ``parts`` holds what is still coming, named by digest and so resumable
by any later run; ``tree`` holds verified and fsynced files under their final relative names, and becomes the model's
directory by one rename. What is in ``tree`` is therefore known to be right without a note of it anywhere else.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from imageworks.files.artifact import RemoteFile
from imageworks.files.best_effort import set_mode
from imageworks.files.digests import BUFFER_BYTES, Hasher, hash_descriptor
from imageworks.files.errors import DigestMismatchError, SizeMismatchError, StagingError
from imageworks.files.mounts import mount_of
from imageworks.files.renames import sync_file
from imageworks.files.safe_names import STAGING_NAME, check_relative_name
from imageworks.files.safe_paths import check_below, make_folder
from imageworks.files.stat_cache import look_of
from imageworks.files.writers import why_not_ours, why_shared
from imageworks.foundation.bounded_json import read_json_file
from imageworks.foundation.ending import go_on
from imageworks.foundation.plain_files import read_plain_file

JOURNAL_NAME = "publish.json"
OWNER_NAME = "owner"
ABOUT_NAME = "about.json"
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,120}")
MAKING_TRIES = 3
EXECUTABLE = 0o111
PUBLISHED = 0o664
"""Modes of files of models, of which the umask takes more."""
_LONGEST_OWNER = 4096  # bytes
NO_LINK = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
)
"""What filesystems without hard links answer."""


class Reuse(StrEnum):
    """How bytes already on this machine were taken over."""

    REFLINK = "reflink"
    HARD_LINK = "hard-link"
    COPY = "copy"


def staging_key(*identity: str) -> str:
    """Return the key of a staging area for what identifies its content, such as host, variant name and commit."""
    readable = re.sub(r"[^a-z0-9._-]+", "-", identity[0].lower()).strip("-.")[:60]
    exact = hashlib.sha256(b"\0".join(part.encode() for part in identity)).hexdigest()
    return f"{readable or 'model'}-{exact[:16]}"


@dataclass(frozen=True, slots=True)
class About:
    """What gathers in a staging area, for people who find it later.

    Args:
        source: Where it comes from, as people name it.
        revision: The commit; empty where the source has none.
        size: Bytes of all its files.
    """

    source: str
    revision: str
    size: int


class StagingArea:
    """One model's staging area; made by ``StagingArea.open``."""

    def __init__(self, root: Path, key: str) -> None:
        self.root = root
        self.key = key
        self.path = root / STAGING_NAME / "staging" / key
        self.parts = self.path / "parts"
        self.tree = self.path / "tree"
        self.old = self.path / "old"
        self.journal = self.path / JOURNAL_NAME
        self._owner = self.path / OWNER_NAME
        self._about = self.path / ABOUT_NAME
        self.reserves = sys.platform == "linux"
        """Whether room for a whole part can be reserved here, as far as is known."""
        self._folder: tuple[int, int] | None = None
        self._paths: dict[tuple[str, str], Path] = {}

    @classmethod
    def open(cls, root: Path, key: str, *, target: Path | None = None, owner: str = "") -> "StagingArea":
        """Make the area, or find again what an earlier run left in it."""
        if not _KEY.fullmatch(key):
            raise StagingError(f"{key!a} is not a staging key")
        area = cls(root.resolve(), key)
        if target is not None:
            real = check_below(root, target)
            if mount_of(real.parent) != mount_of(area.root):
                raise StagingError(
                    f"{target} is on another filesystem than its root {root}",
                    remedy="declare a location of its own for that filesystem",
                    reason="other-filesystem",
                )
        try:
            for _ in range(MAKING_TRIES):
                make_folder(area.root, (STAGING_NAME, "staging"))
                with suppress(FileExistsError, FileNotFoundError):  # another run sweeps empty folders
                    area.path.mkdir(0o700)  # no one else can plant a link among our parts
                    break
            area.check_ours()
            set_mode(area.path, 0o700 | area.path.stat().st_mode & stat.S_ISGID)  # a group keeps what gathers here
            make_folder(area.root, (STAGING_NAME, "staging", key, "parts"))
            if area.journal.exists():
                raise StagingError(
                    f"{area.path} holds a publish that was interrupted",
                    remedy="let recover() finish it first",
                    reason="publish-pending",
                )
            make_folder(area.root, (STAGING_NAME, "staging", key, "tree"))
            if owner and area.owner != owner:
                area._owner.write_text(owner, encoding="utf-8")
        except OSError as error:
            raise StagingError(
                f"{error.filename or area.path}: {error.strerror}",
                remedy="make the location writable, or choose another",
                reason="read-only" if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM} else "staging-unusable",
            ) from error
        return area

    def check_ours(self) -> None:
        """Raise where somebody else made the area, or put it in the place of the one that was opened."""
        why = why_not_ours(self.path)
        found = self.path.lstat()
        self._folder = self._folder or (found.st_dev, found.st_ino)
        if why is None and self._folder != (found.st_dev, found.st_ino):
            why = "another folder has taken its place"
        if why is not None:
            raise StagingError(
                f"{self.path} is not this user's alone: {why}",
                remedy="let whoever it belongs to remove it, or choose a location that only you write to",
                reason="staging-not-ours",
            )

    @property
    def owner(self) -> str:
        """Whose the area is, as ``open`` was told; empty when it does not say."""
        try:
            return read_plain_file(self._owner, _LONGEST_OWNER).decode("utf-8").partition("\n")[0]
        except (OSError, ValueError):
            return ""

    @property
    def about(self) -> About | None:
        """What gathers here; ``None`` when it does not say."""
        try:
            said = read_json_file(self._about)
            return About(str(said["source"]), str(said["revision"]), int(said["size"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def describe(self, about: About) -> None:
        """Say what gathers here; talk only, so that a kill may leave half of it."""
        if self.about != about:
            self._about.write_text(json.dumps(asdict(about)), encoding="utf-8")

    def contents(self) -> Iterator[os.stat_result]:
        """Yield what the area's files look like."""
        for folder, _folders, files in os.walk(self.path):
            for name in files:
                with suppress(FileNotFoundError):
                    yield Path(folder, name).lstat()

    def gathered(self) -> int:
        """Return how many bytes of the model are here, verified or not."""
        came = sum(_came(part) for part in self.parts.glob("*.part"))
        return came + sum(path.lstat().st_size for path in self.tree.rglob("*") if path.is_file())

    def part(self, file: RemoteFile) -> Path:
        """Return where a file's bytes gather."""
        return self._path(self.parts, f"{file.digest.short_name}.part")

    def control(self, file: RemoteFile) -> Path:
        """Return aria2's record of which pieces of the part are there."""
        return self._path(self.parts, f"{file.digest.short_name}.part.aria2")

    def place(self, file: RemoteFile) -> Path:
        """Return where the verified file stands."""
        return self._path(self.tree, check_relative_name(file.path))

    def _path(self, folder: Path, name: str) -> Path:
        """Return a path below a folder, made once: each file's are asked for a dozen times while it comes."""
        key = folder.name, name
        return self._paths.get(key) or self._paths.setdefault(key, folder / name)

    def has(self, file: RemoteFile) -> bool:
        """Whether the file is here, verified."""
        try:
            found = self.place(file).lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == file.size

    def missing(self, files: Iterable[RemoteFile]) -> list[RemoteFile]:
        """Return those files that are not here yet, in the order given."""
        return [file for file in files if not self.has(file)]

    def keep_only(self, names: Collection[str]) -> None:
        """Drop from the tree what an earlier run staged and no one wants any more; it would be published otherwise."""
        top = os.fspath(self.tree)
        for folder, _folders, files in os.walk(top, topdown=False):
            inside = folder[len(top) + 1 :]
            for name in files:
                if (f"{inside}/{name}" if inside else name) not in names:
                    Path(folder, name).unlink()
            if inside:
                _remove_if_empty(Path(folder))

    def bytes_to_write(self, files: Iterable[RemoteFile]) -> int:
        """Return how many bytes of disk these files still need beyond what the area already takes."""
        return sum(max(0, file.size - _allocated(self.part(file))) for file in self.missing(files))

    def create_part(self, file: RemoteFile) -> int:
        """Make an empty part for writing, in place of any other, and return its descriptor."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self.part(file), flags, PUBLISHED)
        except FileExistsError:
            self.discard_part(file)
            return os.open(self.part(file), flags, PUBLISHED)

    def open_part(self, file: RemoteFile) -> int:
        """Open a part for reading and return its descriptor; refuse a link or a file with a second name."""
        descriptor = os.open(self.part(file), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            os.close(descriptor)
            raise StagingError(f"{self.part(file)} is not a file of ours alone", remedy="remove it")
        return descriptor

    def discard_part(self, file: RemoteFile) -> None:
        """Throw away what came of a file, and aria2's record of it."""
        self.part(file).unlink(missing_ok=True)
        self.control(file).unlink(missing_ok=True)

    def verify_part(self, file: RemoteFile) -> None:
        """Hash a part as it is on the disk; raise DigestMismatchError or SizeMismatchError when it is not the file."""
        descriptor = self.open_part(file)
        try:
            size = os.fstat(descriptor).st_size
            if size != file.size:
                raise SizeMismatchError(file.path, file.size, size)
            found = hash_descriptor(descriptor, Hasher(file.digest.algorithm, size))
        finally:
            os.close(descriptor)
        if found != file.digest:
            raise DigestMismatchError(file.path, file.digest.value, found.value)

    def accept(self, file: RemoteFile) -> None:
        """Move a part that was just verified into the tree, durable before it gets its name."""
        descriptor = self.open_part(file)
        try:
            size = os.fstat(descriptor).st_size
            if size != file.size:
                raise SizeMismatchError(file.path, file.size, size)
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            if mode & ~PUBLISHED:  # aria2c makes files by the umask alone
                set_mode(descriptor, mode & PUBLISHED)
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        self._make_parents(file)
        self.part(file).replace(self.place(file))
        self.control(file).unlink(missing_ok=True)

    def link_or_copy(
        self,
        source: Path,
        file: RemoteFile,
        *,
        known: os.stat_result | None = None,
        trusted: Collection[int] = (),
    ) -> Reuse:
        """Take over bytes that are already on this machine; raise DigestMismatchError when they are not the file's.

        A reflink comes first: it costs as little as a hard link, and what happens to one file never reaches the other.
        What somebody else could write to is never linked, and always read.
        """
        real = source.resolve(strict=True)
        # A pipe that somebody put there would keep us waiting for ever.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
                raise SizeMismatchError(file.path, file.size, found.st_size)
            shared = why_shared(descriptor, found, trusted) is not None
            how = self._take(real, descriptor, found, file, linked=not shared)
        finally:
            os.close(descriptor)
        try:
            if how is not Reuse.COPY and (shared or known is None or look_of(known) != look_of(found)):
                self._verify_taken(file)
        except DigestMismatchError:
            self.discard_part(file)
            raise
        self._make_parents(file)
        self.part(file).replace(self.place(file))
        return how

    def discard(self) -> None:
        """Remove the whole area; a publish that was interrupted is left for recover()."""
        if os.path.lexists(self.path):
            self.check_ours()
        if self.journal.exists():
            raise StagingError(f"{self.path} holds a publish that was interrupted", reason="publish-pending")
        for folder in (self.tree, self.parts):
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
        self._owner.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)
        _remove_if_empty(self.path)

    def _make_parents(self, file: RemoteFile) -> None:
        parents = tuple(check_relative_name(file.path).split("/")[:-1])
        if parents:
            make_folder(self.tree, parents)

    def _take(self, real: Path, source: int, found: os.stat_result, file: RemoteFile, *, linked: bool) -> Reuse:
        """Bring the source's bytes under the part's name in the cheapest way that this filesystem knows."""
        part = self.create_part(file)
        try:
            if _reflink(source, part):
                sync_file(part)
                return Reuse.REFLINK
            # A link would keep what makes a file a program; where each file looks like one, that says nothing.
            runs, all_run = (bool(mode & EXECUTABLE) for mode in (found.st_mode, os.fstat(part).st_mode))
            self.discard_part(file)
            if (runs and not all_run) or not linked:
                self._copy(source, file)
                return Reuse.COPY
            try:
                os.link(real, self.part(file), follow_symlinks=False)
            except OSError as error:
                if error.errno not in NO_LINK:
                    raise
            else:
                if look_of(found)[:-1] == look_of(self.part(file).lstat())[:-1]:  # linking it changed the last
                    return Reuse.HARD_LINK
        finally:
            os.close(part)
        self._copy(source, file)
        return Reuse.COPY

    def _copy(self, source: int, file: RemoteFile) -> None:
        part = self.create_part(file)
        try:
            hasher = Hasher(file.digest.algorithm, file.size)
            buffer = bytearray(BUFFER_BYTES)
            view = memoryview(buffer)
            while count := os.readv(source, [buffer]):
                go_on()
                hasher.update(view[:count])
                write_all(part, view[:count])
            sync_file(part)
        finally:
            os.close(part)
        if hasher.digest() != file.digest:
            self.discard_part(file)
            raise DigestMismatchError(file.path, file.digest.value, hasher.hexdigest())

    def _verify_taken(self, file: RemoteFile) -> None:
        descriptor = os.open(self.part(file), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = hash_descriptor(descriptor, Hasher(file.digest.algorithm, file.size))
        finally:
            os.close(descriptor)
        if found != file.digest:
            raise DigestMismatchError(file.path, file.digest.value, found.value)


def staging_areas(root: Path) -> list[StagingArea]:
    """Return the areas that are at a root, finished or not."""
    folder = root.resolve() / STAGING_NAME / "staging"
    if not folder.is_dir():
        return []
    return [StagingArea(root.resolve(), entry.name) for entry in sorted(folder.iterdir()) if _KEY.fullmatch(entry.name)]


def sweep_stale(root: Path, keep: Collection[str], *, owner: str = "", spare: Collection[str] = ()) -> list[str]:
    """Remove the areas that no model wants any more, and return their keys; interrupted publishes stay.

    Not while a transfer of the same owner to this root runs: the folders above go as well when they are empty.
    """
    swept = []
    for area in staging_areas(root):
        ours = area.owner.startswith(owner) and area.owner not in spare
        if ours and area.key not in keep and not area.journal.exists():
            # A disk that lets nothing go now may do so later, and what others put there is theirs: it stops no model.
            with suppress(OSError, StagingError):
                area.discard()
                swept.append(area.key)
    remove_empty_staging(root.resolve())
    return swept


def remove_empty_staging(root: Path) -> None:
    """Remove the folders of ours at a root where nothing gathers in them."""
    _remove_if_empty(root / STAGING_NAME / "staging")
    _remove_if_empty(root / STAGING_NAME)


def write_all(descriptor: int, data: memoryview) -> None:
    """Write every byte, however many the system takes at a time."""
    while data:
        data = data[os.write(descriptor, data) :]


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds something, is gone, or stays because its disk says so
        folder.rmdir()


def _allocated(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def _came(path: Path) -> int:
    """Return how many bytes of a part are here; what is only reserved for it reads as a hole."""
    taken = _allocated(path)
    if sys.platform != "linux":
        return taken
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return taken
    came = end = 0
    try:
        while True:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            came += end - start
    except OSError as error:
        return min(came, taken) if error.errno == errno.ENXIO else taken  # no more, or this disk does not say
    finally:
        os.close(descriptor)


def _reflink(source: int, target: int) -> bool:
    """Let a new file share the source's blocks, copied on write; False where the filesystem cannot."""
    try:
        clone = 0x40049409  # FICLONE
        fcntl.ioctl(target, clone, source)
    except OSError:
        return False
    return True
