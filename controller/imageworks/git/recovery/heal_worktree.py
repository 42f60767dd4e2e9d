"""Files of ours in the work tree that a power cut left empty, cut or full of zeros, so that git's copy comes back.

A file that somebody edited is never one of these: nobody makes an entry of nothing, or of bytes that are no text.
"""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from imageworks.git.commit import TreeEntries
from imageworks.git.locate import RepositoryLocation
from imageworks.git.read import DEFAULT_BLOB_LIMIT, read_blob
from imageworks.git.recovery.journal import PathChange
from imageworks.git.values import PLAIN_MODES, RegistryGitError
from imageworks.git.worktree import is_torn

if TYPE_CHECKING:
    from pygit2 import Repository

GENERATED: Final = ("discovered/", "snapshot/", "migrated/")
_NEWLINE: Final = b"\n"
_BEGINNING_BYTES: Final = 1 << 14


def is_generated(path: str) -> bool:
    """Return whether only controllers write a file of a registry."""
    return path.startswith(GENERATED)


def torn_files(repository: "Repository", layout: RepositoryLocation, host: str) -> dict[str, PathChange]:
    """Return what has to be put back of a host's own files, by repository path."""
    if repository.head_is_unborn:
        return {}
    tree = repository[repository.head.target].tree
    torn, entries = {}, TreeEntries(tree)
    for path in _suspects(layout, host):
        identifier, mode = entries.at(path)
        if mode not in PLAIN_MODES:  # what is on the disk came by a link that stands above it
            continue
        try:
            wanted = read_blob(repository.odb, identifier, DEFAULT_BLOB_LIMIT)
            with (layout.worktree / path).open("rb") as found:
                if is_torn(found, (wanted,)):
                    torn[path] = PathChange(frozenset(), identifier)
        except (OSError, RegistryGitError):
            continue
    return torn


def _suspects(layout: RepositoryLocation, host: str) -> Iterator[str]:
    """Yield the host's own files that may be torn; ten thousand are looked at, so their folder is opened once."""
    snapshot, folder = layout.repository_path("snapshot"), layout.repository_path(f"discovered/{host}")
    for below, name in ((snapshot, f"{host}.json"), (folder, None)):
        try:
            opened = os.open(layout.worktree / below, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            names = os.listdir(opened) if name is None else [name]  # noqa: PTH208 # of an open folder
            yield from [f"{below}/{one}" for one in _maybe_torn(names, opened)]
        finally:
            os.close(opened)


def _maybe_torn(names: Iterable[str], folder: int) -> Iterator[str]:
    """Yield the names of files that are not whole ones of ours by their beginning and their last byte."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for name in names:
        try:
            descriptor = os.open(name, flags, dir_fd=folder)
        except OSError:
            continue
        try:
            beginning = last = os.read(descriptor, _BEGINNING_BYTES)  # of most entries this is all
            if len(beginning) == _BEGINNING_BYTES:
                last = os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1)
            if not last.endswith(_NEWLINE) or b"\0" in beginning:
                yield name
        except OSError:
            continue
        finally:
            os.close(descriptor)
