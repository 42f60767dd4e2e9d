"""Files of ours in the work tree that a power cut left empty, cut or full of zeros, so that git's copy comes back.

A file that somebody edited is never one of these: nobody makes an entry of nothing, or of bytes that are no text.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.registry.git_commit import entry_at
from imageworks.registry.git_journal import PathChange
from imageworks.registry.git_layout import Layout
from imageworks.registry.git_read import DEFAULT_BLOB_LIMIT, read_blob, subtree
from imageworks.registry.git_values import RegistryGitError
from imageworks.registry.git_worktree import is_torn

if TYPE_CHECKING:
    from pygit2 import Repository, Tree

GENERATED: Final = ("discovered/", "snapshot/", "migrated/")
_NEWLINE: Final = b"\n"


def is_generated(path: str) -> bool:
    """Return whether only controllers write a file of a registry.

    Args:
        path: Its path in the registry.
    """
    return path.startswith(GENERATED)


def torn_files(repository: "Repository", layout: Layout, host: str) -> dict[str, PathChange]:
    """Return what has to be put back of a host's own files, by repository path.

    Args:
        repository: The repository.
        layout: Where it is.
        host: The host's name.
    """
    if repository.head_is_unborn:
        return {}
    tree = repository[repository.head.target].tree
    torn = {}
    for path in _own_files(tree, layout, host):
        if not _may_be_torn(layout.worktree / path):
            continue
        identifier, _mode = entry_at(tree, path)
        try:
            wanted = read_blob(repository.odb, identifier, DEFAULT_BLOB_LIMIT)
            found = (layout.worktree / path).read_bytes()
        except (OSError, RegistryGitError):
            continue
        if is_torn(found, wanted):
            torn[path] = PathChange(frozenset(), identifier)
    return torn


def _own_files(tree: "Tree", layout: Layout, host: str) -> Iterator[str]:
    yield layout.repository_path(f"snapshot/{host}.json")
    folder = layout.repository_path(f"discovered/{host}")
    try:
        entries = subtree(tree, folder)
    except RegistryGitError:
        return
    for entry in entries or ():
        yield f"{folder}/{entry.name}"


def _may_be_torn(file: Path) -> bool:
    """Return whether a file is not a whole one of ours by its first and last byte; ten thousand are looked at."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, 1, 0) in {b"", b"\0"} or os.pread(descriptor, 1, size - 1) != _NEWLINE
    except OSError:
        return False
    finally:
        os.close(descriptor)
