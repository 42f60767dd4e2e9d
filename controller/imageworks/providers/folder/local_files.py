"""Models that are on this machine already: a folder or a file, observed and offered like any other source.

The observation never follows a link out of the folder, with one exception: a snapshot of the Hugging Face cache is made
of links to ``blobs`` beside it, and those are followed as long as they stay within that repository's cache folder.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.files.digests import BUFFER_BYTES, Algorithm, Digest, hash_file
from imageworks.files.safe_names import STAGING_NAME, check_names
from imageworks.naming.hub_cache import cached_repository

_NOT_THE_MODEL: Final = frozenset({".git", ".hg", ".svn", STAGING_NAME, ".DS_Store", "Thumbs.db", "desktop.ini"})
_UNFINISHED: Final = (".aria2", ".incomplete", ".part", ".crdownload")
_MOST_FILES: Final = 200_000

HashPath = Callable[[Path, Algorithm], Digest]


class LocalSourceError(LinkError):
    """A local folder or file cannot serve as a source."""

    def __init__(self, message: str, *, reason: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy, reason=reason)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file as it was when it was observed.

    Args:
        path: Below the model's folder, with ``/``.
        real: Where its bytes are, with all links resolved; a text, as a path of each of 100,000 files takes 40 MiB.
        size: In bytes.
        modified: In nanoseconds since the epoch.
    """

    path: str
    real: str
    size: int
    modified: int

    @property
    def place(self) -> Path:
        """Where its bytes are, as a path."""
        return Path(self.real)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A folder or file that a manifest's ``source.path`` names.

    Args:
        root: The folder that paths are relative to.
        files: Sorted by path.
    """

    root: Path
    files: tuple[LocalFile, ...]

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size for file in self.files)


def observe(path: Path) -> LocalModel:
    """Return the files of a folder, or a single file as a model of one; reads no content and writes nothing."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise LocalSourceError(
            f"{path}: {error.strerror}", remedy="Correct `source.path`, or mount the disk.", reason="source-missing"
        ) from None
    if stat.S_ISREG(mode):
        root, files = path.parent, [_observed(path, path.name, os.path.realpath(path))]
    elif stat.S_ISDIR(mode):
        root, files = path, list(_walk(path))
    else:
        raise LocalSourceError(f"{path}: is neither a folder nor a file", reason="source-unusable")
    if not files:
        raise LocalSourceError(f"{path}: has no files", remedy="Correct `source.path`.", reason="source-missing")
    check_names(file.path for file in files)
    return LocalModel(root, tuple(sorted(files, key=lambda file: file.path)))


def remote_files(model: LocalModel, hash_path: HashPath = hash_file) -> tuple[RemoteFile, ...]:
    """Return the files as a transfer takes them, each with its sha256."""
    return tuple(
        RemoteFile(file.path, file.size, hash_path(file.place, Algorithm.SHA256), large=False) for file in model.files
    )


class LocalSource:
    """Gives the bytes of files on this machine; used from several threads at once."""

    def __init__(self, model: LocalModel) -> None:
        self._files = {file.path: file for file in model.files}

    def place(self, file: RemoteFile) -> Path:
        """Return where a file's bytes are, for linking or copying them on this machine."""
        return self._files[file.path].place

    def link(self, file: RemoteFile) -> str:
        """Refuse: there is no URL of a local file."""
        raise LocalSourceError(f"{self.place(file)}: a local file has no link", reason="local-file")

    @contextmanager
    def stream(self, file: RemoteFile, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """Open a file's bytes from an offset."""
        observed = self._files[file.path]
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(observed.place, flags)
        except OSError as error:
            raise LocalSourceError(
                f"{observed.place}: {error.strerror}", remedy="Run again.", reason="source-missing"
            ) from None
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            now = os.fstat(stream.fileno())
            if (now.st_size, now.st_mtime_ns) != (observed.size, observed.modified):
                raise LocalSourceError(
                    f"{observed.place}: was changed since it was looked at",
                    remedy="Run again when nothing writes to it.",
                    reason="source-changed",
                )
            stream.seek(offset)
            yield iter(lambda: stream.read(BUFFER_BYTES), b"")


def _walk(root: Path) -> Iterator[LocalFile]:
    within = _allowed_root(root)
    folders = [root]
    seen = 0
    while folders:
        folder = folders.pop()
        for path in _children(folder):
            relative = path.relative_to(root).as_posix()
            if path.name in _NOT_THE_MODEL or relative == ".cache/huggingface":
                continue
            seen += 1
            if seen > _MOST_FILES:
                raise LocalSourceError(f"{root}: has more than {_MOST_FILES} files", reason="source-unusable")
            if path.is_dir() and not path.is_symlink():
                folders.append(path)
            else:
                yield _observed(path, relative, _resolved(path, within))


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise LocalSourceError(f"{folder}: {error.strerror}", reason="source-unusable") from None


def _allowed_root(root: Path) -> Path:
    """Return the folder that links may not leave: the cache folder of the repository for a cache's snapshot."""
    real = Path(os.path.realpath(root))
    for folder in (real, *real.parents):
        if folder.parent.name == "snapshots" and cached_repository(folder.parent.parent.name) is not None:
            return folder.parent.parent
    return real


def _resolved(path: Path, within: Path) -> str:
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(within):
        raise LocalSourceError(
            f"{path}: is a link that leads out of {within}",
            remedy="Replace the link by the file itself.",
            reason="unsafe-link",
        )
    return real


def _observed(path: Path, relative: str, real: str) -> LocalFile:
    if relative.endswith(_UNFINISHED):
        raise LocalSourceError(
            f"{path}: is what an unfinished download leaves behind",
            remedy="Finish the download, or remove the file.",
            reason="source-incomplete",
        )
    try:
        found = os.lstat(real)
    except OSError as error:
        raise LocalSourceError(f"{path}: {error.strerror}", reason="source-missing") from None
    if not stat.S_ISREG(found.st_mode):
        raise LocalSourceError(f"{path}: is not a plain file", remedy="Remove it.", reason="source-unusable")
    return LocalFile(sys.intern(relative), real, found.st_size, found.st_mtime_ns)
