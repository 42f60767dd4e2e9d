"""Look at the disk: how recorded files stand, and what lies where a model is to go. Reads only."""

import errno
import os
import stat as modes
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Final

from imageworks.files.artifact import RemoteFile
from imageworks.files.digests import Algorithm, Digest, hash_file
from imageworks.files.locations import Locations
from imageworks.files.mounts import mount_of
from imageworks.files.safe_paths import NOT_THERE, is_there
from imageworks.files.staging import EXECUTABLE
from imageworks.files.state import Fingerprint, StateDatabase, StateError, fingerprint_of
from imageworks.files.writers import why_shared
from imageworks.plan.facts import NO_FILES, NOTHING, Blocker, FileState, Observation, TargetContents
from imageworks.plan.plan import Reason
from imageworks.registry.entries.entry import Entry

Hashing = Callable[[Path, int], AbstractContextManager[Callable[[int], None]]]
"""Entered with a file that is read and its size; what it yields gets the bytes read, as they are read."""

REMEMBERED_AT_LEAST_FILES: Final = 2_500
"""Files that are looked at closely before they are remembered: an interrupted run reads little twice."""
Near = tuple[str, Mapping[str, Fingerprint]]
NOWHERE: Final[Near] = ("\0", {})


class KnownFiles:
    """What the state says of files, asked for a folder at a time: that of ten thousand models takes 40 MB.

    Args:
        state: The state.
    """

    def __init__(self, state: StateDatabase) -> None:
        self._state = state
        self.near = NOWHERE
        """The folder that was asked for last, and what is known below it."""
        self.learned: dict[str, Fingerprint | None] = {}
        """What looking has taught and nobody remembers yet; ``None`` where nothing is believed."""

    def get(self, path: str) -> Fingerprint | None:
        """Return what is known of a file."""
        if path in self.learned:
            return self.learned[path]
        folder, known = self.near
        if not path.startswith(folder):
            folder = path[: path.rfind("/") + 1]
            known = self._state.load_below(Path(folder))
            self.near = (folder, known)
        return known.get(path)


class DiskObserver:
    """Compares files with what is recorded or wanted."""

    def __init__(
        self,
        state: StateDatabase,
        locations: Locations | None = None,
        hashing: Hashing | None = None,
        trusted: Collection[int] = (),
    ) -> None:
        self._trusted = trusted
        self._known = KnownFiles(state)
        self._locations = locations if locations is not None else Locations()
        self._hashing = hashing
        self.kept_in: StateDatabase | None = None
        """Where what is learned is kept as it comes, where looking may write."""
        self._learned = 0
        self._names: dict[frozenset[str], frozenset[str]] = {}  # most models have files of the same names

    def keep(self, state: StateDatabase) -> None:
        """Remember what looking has taught, so that nobody has to look so closely again."""
        self._learned = 0
        if any(self._known.learned.values()):
            state.keep(filter(None, self._known.learned.values()))
        self._known.near = NOWHERE
        self._known.learned = {path: known for path, known in self._known.learned.items() if known is None}

    def reload(self, state: StateDatabase) -> None:
        """Know what other runs have remembered meanwhile, after this one's own is kept."""
        self._known = KnownFiles(state)

    def distrust(self, paths: Iterable[Path]) -> None:
        """Forget what is known of files, so that looking at them reads them."""
        for path in paths:
            self._known.learned[str(path)] = None

    def observe(self, entry: Entry) -> Observation | None:
        """Return how an entry's files stand, or ``None`` when it records no bytes on disk."""
        if entry.path is None or not entry.files:
            return None
        where = self._locations.state_of(entry.path)
        if not where.present:
            return Observation(entry.path, exists=False, unknown=Blocker(Reason(where.reason), where.message))
        base = str(entry.base)
        damaged: dict[str, FileState] = {}
        names: dict[tuple[int, int], list[str]] = {}
        links: dict[tuple[int, int], int] = {}
        for name, size, recorded in entry.files:  # ten thousand models have 50,000 of them
            path = f"{base}/{name}"
            try:
                found = os.stat(path)  # noqa: PTH116 # a Path for each file costs more than the call
            except OSError as error:
                damaged[name] = FileState.MISSING if error.errno in NOT_THERE else FileState.UNREADABLE
                continue
            if found.st_nlink > 1:
                inode = (found.st_dev, found.st_ino)
                names.setdefault(inode, []).append(name)
                links[inode] = found.st_nlink
            if found.st_size != size:
                damaged[name] = FileState.SIZE
            elif not modes.S_ISREG(found.st_mode):
                damaged[name] = FileState.DIGEST  # a pipe or a device would be read for ever
            elif (sha256 := self._sha256(path, found)) != recorded:
                damaged[name] = FileState.UNREADABLE if sha256 is None else FileState.DIGEST
        exists = len(damaged) < len(entry.files) or is_there(entry.path)
        linked = frozenset(path for inode, own in names.items() if len(own) < links[inode] for path in own) or NO_FILES
        return Observation(entry.path, exists, damaged or NOTHING, linked, unknown=_unreadable(entry, damaged))

    def occupant(self, target: Path, wanted: Collection[RemoteFile]) -> TargetContents:
        """Return what lies at a target folder, compared with the wanted files."""
        if not is_there(target):
            return TargetContents(exists=os.path.lexists(target))
        matching, differing, linked = set(), set(), {}
        base = Path(os.path.realpath(target.parent), target.name)
        folders = {folder for file in wanted if (folder := _linked_folder(target, file.path)) is not None}
        for file in wanted:
            path = target / file.path
            try:
                found = path.stat()  # right bytes are right through a link too
            except (FileNotFoundError, NotADirectoryError):
                continue  # also a link that leads nowhere
            except OSError as error:
                if error.errno != errno.ELOOP and os.path.lexists(path):
                    differing.add(file.path)
                continue
            right = modes.S_ISREG(found.st_mode) and found.st_size == file.size
            if not right or self.digest(path, found, file.digest.algorithm) != file.digest:
                differing.add(file.path)
                continue
            matching.add(file.path)
            if (real := os.path.realpath(path)) != str(base / file.path):
                linked[file.path] = real
        names = frozenset(matching) or NO_FILES
        return TargetContents(
            exists=True,
            matching=self._names.setdefault(names, names),
            differing=frozenset(differing) or NO_FILES,
            linked=linked or NOTHING,
            linked_folders=frozenset(folders) or NO_FILES,
        )

    def copied(self, sources: Collection[Path]) -> tuple[str, ...]:
        """Return which files of this machine are copied rather than linked when their bytes are reused, and why."""
        whys = {str(path): why for path in sorted(sources) if (why := self._why_shared(path)) is not None}
        return (f"{_listed(whys)} copied and not linked: {next(iter(whys.values()))}",) if whys else ()

    def doubts(self, files: Mapping[str, Path]) -> tuple[str, ...]:
        """Return what is to be known of files that are taken over as they are."""
        whys = {name: why for name, path in sorted(files.items()) if (why := self._why_shared(path)) is not None}
        runs = [name for name, path in sorted(files.items()) if _is_program(path)]
        told = [f"{_listed(whys)} as found: {next(iter(whys.values()))}; `verify` reads it each time"] if whys else []
        return (*told, *([f"{_listed(runs)} executable and left so, as found"] if runs else ()))

    def _why_shared(self, path: Path) -> str | None:
        try:
            return why_shared(path, path.stat(), self._trusted)
        except OSError:
            return None  # who reads it will say what is wrong with it

    def digest(self, path: Path, found: os.stat_result, algorithm: Algorithm) -> Digest | None:
        """Return a file's digest, read from the file only when it is not known; ``None`` when it cannot be read."""
        known = self._known_of(str(path), found)
        if known is not None:
            value = known.sha256 if algorithm is Algorithm.SHA256 else known.git_blob
            if value is not None:
                return Digest(algorithm, value)
        try:
            with self._hashing(path, found.st_size) if self._hashing is not None else nullcontext() as told:
                digest = hash_file(path, algorithm, progress=told)
        except OSError:
            return None
        self._learn(str(path), _as_read(self._known_of(str(path), found), path, found, digest))
        return digest

    def _learn(self, path: str, known: Fingerprint) -> None:
        self._known.learned[path] = known
        self._learned += 1
        if self.kept_in is not None and self._learned >= REMEMBERED_AT_LEAST_FILES:
            with suppress(StateError):  # which is tried again, the last time at the end
                self.keep(self.kept_in)

    def _sha256(self, path: str, found: os.stat_result) -> str | None:
        known = self._known.get(path)
        if known is None or known.ctime_ns is None or not known.matches(found):
            known = self._known_of(path, found)
        if known is not None and known.sha256 is not None:
            return known.sha256
        digest = self.digest(Path(path), found, Algorithm.SHA256)
        return None if digest is None else digest.value

    def _known_of(self, path: str, found: os.stat_result) -> Fingerprint | None:
        """Return what is known of a file that looks as it did, as far as its disk's numbers mean anything."""
        known = self._known.get(path)
        if known is None:
            former = self._locations.former(Path(path))
            known = self._known.get(str(former)) if former is not None else None
            if known is None:
                return None
        elif known.ctime_ns is not None and known.matches(found):
            return known
        if not known.matches(found, self._locations.numbers(Path(path))):
            return None
        # Looked at closely once is enough: whoever may write remembers it as it looks now.
        looks = known.renewed(path, found)
        self._learn(path, looks)
        return looks


def _listed(names: Collection[str]) -> str:
    first, more = next(iter(names)), len(names) - 1
    return f"{first} and {more} more are" if more else f"{first} is"


def _is_program(path: Path) -> bool:
    """Return whether a file is executable on a disk where not every file is."""
    try:
        return bool(path.stat().st_mode & EXECUTABLE) and not mount_of(path).shows_all_executable
    except OSError:
        return False


def _as_read(known: Fingerprint | None, path: Path, found: os.stat_result, digest: Digest) -> Fingerprint:
    """Return what is known of a file that was just read."""
    read = fingerprint_of(path, found, digest)
    if known is None:
        return read
    return read._replace(sha256=read.sha256 or known.sha256, git_blob=read.git_blob or known.git_blob)


def _unreadable(entry: Entry, damaged: Mapping[str, FileState]) -> Blocker | None:
    """Return why nothing can be said of a model of which some file cannot be read: unreadable is not damaged."""
    unread = sorted(path for path, state in damaged.items() if state is FileState.UNREADABLE)
    if not unread:
        return None
    others = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
    message = f"{entry.base / unread[0]}{others}: cannot be read; see to its disk or its permissions"
    return Blocker(Reason.UNREADABLE, message)


def _linked_folder(target: Path, relative: str) -> str | None:
    """Return the first folder on the way to a file that is a link, relative to the target; ``None`` for no such."""
    parts = relative.split("/")[:-1]
    ways = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return next((way for way in ways if (target / way).is_symlink()), None)
