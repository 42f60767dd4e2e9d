"""Look at the disk: how recorded files stand, and what lies where a model is to go. Reads only."""

import errno
import os
import stat as modes
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from imageworks.reconcile.plan import Reason
from imageworks.reconcile.situation import FileState, Observation, Obstacle, Occupant
from imageworks.registry.entry import Entry
from imageworks.transfer.digests import Algorithm, Digest, hash_file
from imageworks.transfer.files import RemoteFile
from imageworks.transfer.locations import Locations
from imageworks.transfer.paths import NOT_THERE, is_there
from imageworks.transfer.state import Fingerprint, StateDatabase

Hashing = Callable[[Path, int], Callable[[int], None]]
"""Called with a file that is about to be read and its size; what it returns gets the bytes read, as they are read."""


class DiskObserver:
    """Compares files with what is recorded or wanted; a file that looks as it did when it was hashed is not read again.

    Args:
        state: The host's verified files.
        locations: Knows which disks the files are on, and what their numbers are worth.
        hashing: Told of each file that has to be read.
    """

    def __init__(
        self, state: StateDatabase, locations: Locations | None = None, hashing: Hashing | None = None
    ) -> None:
        self._known: dict[str, Fingerprint] = state.load_below(Path("/"))
        self._locations = locations if locations is not None else Locations()
        self._hashing = hashing
        self.learned: list[tuple[Path, os.stat_result, Digest]] = []
        """Digests computed while looking, for whoever may write the state."""
        self.renewed: list[tuple[Path, Fingerprint, os.stat_result]] = []
        """Files that were not read because their digests still hold, and that look otherwise than when they were."""

    def keep(self, state: StateDatabase) -> None:
        """Remember what looking has taught, so that nobody has to look so closely again.

        Args:
            state: The host's verified files.
        """
        if self.renewed:
            state.renew(self.renewed)
        if self.learned:
            state.remember_all(self.learned)
        self.renewed.clear()
        self.learned.clear()

    def distrust(self, paths: Iterable[Path]) -> None:
        """Forget what is known of files, so that looking at them reads them.

        Args:
            paths: The files.
        """
        for path in paths:
            self._known.pop(str(path), None)

    def observe(self, entry: Entry) -> Observation | None:
        """Return how an entry's files stand, or ``None`` when it records no bytes on disk.

        Args:
            entry: What is recorded.
        """
        if entry.path is None or not entry.files:
            return None
        where = self._locations.state_of(entry.path)
        if not where.present:
            return Observation(entry.path, exists=False, unknown=Obstacle(Reason(where.reason), where.message))
        base = str(entry.base)
        damaged: dict[str, FileState] = {}
        names: dict[tuple[int, int], list[str]] = {}
        links: dict[tuple[int, int], int] = {}
        for file in entry.files:
            path = f"{base}/{file.path}"
            try:
                found = os.stat(path)  # noqa: PTH116 # ten thousand models: a Path for each file costs more than the call
            except OSError as error:
                damaged[file.path] = FileState.MISSING if error.errno in NOT_THERE else FileState.UNREADABLE
                continue
            if found.st_nlink > 1:
                inode = (found.st_dev, found.st_ino)
                names.setdefault(inode, []).append(file.path)
                links[inode] = found.st_nlink
            if found.st_size != file.size:
                damaged[file.path] = FileState.SIZE
            elif not modes.S_ISREG(found.st_mode):
                damaged[file.path] = FileState.DIGEST  # a pipe or a device would be read for ever
            elif (sha256 := self._sha256(path, found)) != file.sha256:
                damaged[file.path] = FileState.UNREADABLE if sha256 is None else FileState.DIGEST
        exists = len(damaged) < len(entry.files) or is_there(entry.path)
        linked = frozenset(path for inode, own in names.items() if len(own) < links[inode] for path in own)
        return Observation(entry.path, exists, damaged, linked, unknown=_unreadable(entry, damaged))

    def occupant(self, target: Path, wanted: Collection[RemoteFile]) -> Occupant:
        """Return what lies at a target folder, compared with the wanted files.

        Args:
            target: The model's folder.
            wanted: The files that are to be there.
        """
        if not is_there(target):
            return Occupant(exists=os.path.lexists(target))
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
        return Occupant(
            exists=True,
            matching=frozenset(matching),
            differing=frozenset(differing),
            linked=linked,
            linked_folders=frozenset(folders),
        )

    def digest(self, path: Path, found: os.stat_result, algorithm: Algorithm) -> Digest | None:
        """Return a file's digest, read from the file only when it is not known; ``None`` when it cannot be read.

        Args:
            path: The file.
            found: What it looks like now.
            algorithm: Which digest is wanted.
        """
        known = self._known_of(str(path), found)
        if known is not None:
            value = known.sha256 if algorithm is Algorithm.SHA256 else known.git_blob
            if value is not None:
                return Digest(algorithm, value)
        try:
            told = self._hashing(path, found.st_size) if self._hashing is not None else None
            digest = hash_file(path, algorithm, progress=told)
        except OSError:
            return None
        self.learned.append((path, found, digest))
        self._known[str(path)] = _as_read(self._known_of(str(path), found), path, found, digest)
        return digest

    def _sha256(self, path: str, found: os.stat_result) -> str | None:
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
        self.renewed.append((Path(path), known, found))
        self._known[path] = _as_it_looks(known, path, found)
        return self._known[path]


def _as_read(known: Fingerprint | None, path: Path, found: os.stat_result, digest: Digest) -> Fingerprint:
    """Return what is known of a file that was just read."""
    large = digest.algorithm is Algorithm.SHA256
    return Fingerprint(
        str(path),
        found.st_size,
        found.st_mtime_ns,
        str(found.st_ino),
        str(found.st_dev),
        digest.value if large else known.sha256 if known is not None else None,
        digest.value if not large else known.git_blob if known is not None else None,
        found.st_ctime_ns,
    )


def _as_it_looks(known: Fingerprint, path: str, found: os.stat_result) -> Fingerprint:
    return known._replace(path=path, inode=str(found.st_ino), device=str(found.st_dev), ctime_ns=found.st_ctime_ns)


def _unreadable(entry: Entry, damaged: Mapping[str, FileState]) -> Obstacle | None:
    """Return why nothing can be said of a model of which some file cannot be read: unreadable is not damaged."""
    unread = sorted(path for path, state in damaged.items() if state is FileState.UNREADABLE)
    if not unread:
        return None
    others = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
    message = f"{entry.base / unread[0]}{others}: cannot be read; see to its disk or its permissions"
    return Obstacle(Reason.UNREADABLE, message)


def _linked_folder(target: Path, relative: str) -> str | None:
    """Return the first folder on the way to a file that is a link, relative to the target; ``None`` for no such."""
    parts = relative.split("/")[:-1]
    ways = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return next((way for way in ways if (target / way).is_symlink()), None)
