"""Look at the disk: how recorded files stand, and what lies where a model is to go. Reads only."""

import errno
import os
import stat as modes
from collections.abc import Collection, Iterable
from pathlib import Path

from imageworks.reconcile.situation import FileState, Observation, Occupant
from imageworks.registry.entry import Entry
from imageworks.transfer.digests import Algorithm, Digest, hash_file
from imageworks.transfer.files import RemoteFile
from imageworks.transfer.state import Fingerprint, StateDatabase


class DiskObserver:
    """Compares files with what is recorded or wanted; a file that looks as it did when it was hashed is not read again.

    Args:
        state: The host's verified files.
    """

    def __init__(self, state: StateDatabase) -> None:
        self._known: dict[str, Fingerprint] = state.load_below(Path("/"))
        self.learned: list[tuple[Path, os.stat_result, Digest]] = []
        """Digests computed while looking, for whoever may write the state."""

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
        base = str(entry.base)
        damaged: dict[str, FileState] = {}
        names: dict[tuple[int, int], list[str]] = {}
        links: dict[tuple[int, int], int] = {}
        for file in entry.files:
            path = f"{base}/{file.path}"
            try:
                found = os.stat(path)  # noqa: PTH116 # ten thousand models: a Path for each file costs more than the call
            except OSError:
                damaged[file.path] = FileState.MISSING
                continue
            if found.st_nlink > 1:
                inode = (found.st_dev, found.st_ino)
                names.setdefault(inode, []).append(file.path)
                links[inode] = found.st_nlink
            if found.st_size != file.size:
                damaged[file.path] = FileState.SIZE
            elif not modes.S_ISREG(found.st_mode):
                damaged[file.path] = FileState.DIGEST  # a pipe or a device would be read for ever
            elif self._sha256(path, found) != file.sha256:
                damaged[file.path] = FileState.DIGEST
        exists = len(damaged) < len(entry.files) or os.path.exists(entry.path)  # noqa: PTH110 # Path's raises for a name that is too long
        linked = frozenset(path for inode, own in names.items() if len(own) < links[inode] for path in own)
        return Observation(path=entry.path, exists=exists, damaged=damaged, linked=linked)

    def device_of(self, entry: Entry) -> str | None:
        """Return which disk a recorded model's files were verified on; ``None`` when that is not known.

        Args:
            entry: What is recorded, with files.
        """
        known = (self._known.get(f"{entry.base}/{file.path}") for file in entry.files)
        return next((fingerprint.device for fingerprint in known if fingerprint is not None), None)

    def occupant(self, target: Path, wanted: Collection[RemoteFile]) -> Occupant:
        """Return what lies at a target folder, compared with the wanted files.

        Args:
            target: The model's folder.
            wanted: The files that are to be there.
        """
        if not target.exists():
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
        known = self._known.get(str(path))
        if known is not None and known.matches(found):
            value = known.sha256 if algorithm is Algorithm.SHA256 else known.git_blob
            if value is not None:
                return Digest(algorithm, value)
        try:
            digest = hash_file(path, algorithm)
        except OSError:
            return None
        self.learned.append((path, found, digest))
        return digest

    def _sha256(self, path: str, found: os.stat_result) -> str | None:
        known = self._known.get(path)
        if known is not None and known.sha256 is not None and known.matches(found):
            return known.sha256
        digest = self.digest(Path(path), found, Algorithm.SHA256)
        return None if digest is None else digest.value


def _linked_folder(target: Path, relative: str) -> str | None:
    """Return the first folder on the way to a file that is a link, relative to the target; ``None`` for no such."""
    parts = relative.split("/")[:-1]
    ways = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return next((way for way in ways if (target / way).is_symlink()), None)
