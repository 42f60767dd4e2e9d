"""What follows a commit: the work tree and the user's index are brought up to it, path by path, and nothing else."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.files.renames import sync_filesystem
from imageworks.foundation.failpoints import failpoint
from imageworks.git import libgit2
from imageworks.git.commit import Change, TreeEntries
from imageworks.git.index import IndexBusyError, update_index
from imageworks.git.index_in_place import Folders, IndexChange, look_of
from imageworks.git.locate import RepositoryLocation
from imageworks.git.recovery.heal_worktree import is_generated
from imageworks.git.recovery.journal import PathChange
from imageworks.git.recovery.stale_locks import holder_of
from imageworks.git.values import LeftAlone, RegistryGitError, StoredBlob
from imageworks.git.worktree import WantedFile, bring_up_to_date

if TYPE_CHECKING:
    from pygit2 import Repository


ONE_BY_ONE: Final = 32
"""How many files are synced each for itself; more of them are quicker at once."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """What became of the work tree and the index.

    Args:
        left_alone: Paths that the user changed, with the reason.
        notes: Lines for the user.
        finished: Whether the index is as it is to be.
        pending: Paths whose file could not be written; the next run tries again.
    """

    left_alone: tuple[LeftAlone, ...]
    notes: tuple[str, ...]
    finished: bool
    pending: frozenset[str] = frozenset()


def complete(
    repository: "Repository",
    layout: RepositoryLocation,
    changes: Mapping[str, PathChange],
    *,
    index_wait: float,
    unlock: Callable[[Path], bool],
    contents: Mapping[str, Change] | None = None,
    base: TreeEntries | None = None,
) -> Checkout:
    """Bring the work tree and the index up to the checked-out commit at some paths.

    ``base`` is the tree that the commit was made from, where it has just been made.
    """
    entries = TreeEntries(None if repository.head_is_unborn else repository[repository.head.target].tree)
    sparse = "core.sparsecheckout" in repository.config and repository.config.get_bool("core.sparsecheckout")
    reasons: dict[str, str] = {}
    pending: set[str] = set()
    many = len(changes) > ONE_BY_ONE
    index_changes: dict[str, IndexChange] = {}
    # What goes first: on a disk that ignores case, a file that is renamed by case alone is one file with its successor.
    for path, change in sorted(changes.items(), key=lambda item: bool(item[1].new)):
        identifier, mode = entries.at(path)
        if identifier != change.new:
            continue
        pieces = _pieces(repository, change.new, (contents or {}).get(path)) if change.new else None
        target = WantedFile(
            change.olds, change.new, pieces, synced=not many, generated=is_generated(layout.registry_path(path))
        )
        outcome = bring_up_to_date(layout.worktree, path, target, layout.stat_cache, sparse=sparse)
        if outcome.reason:
            reasons[path] = outcome.reason
        if outcome.pending:
            pending.add(path)
        look = look_of(outcome.status, mode) if outcome.status is not None and change.new and not many else b""
        index_changes[path] = IndexChange(change.olds, change.new, mode, look)
    if many:
        sync_filesystem(layout.worktree)
    failpoint("git.worktree-updated")
    notes: tuple[str, ...] = ()
    finished = True
    if index_changes:
        try:
            folders = None if base is None else _folders_above(index_changes, base, entries)
            reasons |= update_index(layout, index_changes, folders, wait=index_wait, unlock=unlock)
        except IndexBusyError:
            finished = False
            lock = layout.git_dir / "index.lock"
            holder = holder_of(lock, {layout.worktree, layout.git_dir, layout.common_dir})
            notes = (f"{lock} is held by {holder}: git status shows our files as changed until the next run",)
        except (OSError, RegistryGitError) as error:
            finished = False
            notes = (f"the git index could not be updated ({error}): git status shows our files as changed",)
    failpoint("git.index-updated")
    left = tuple(LeftAlone(layout.registry_path(path), reason) for path, reason in sorted(reasons.items()))
    return Checkout(left, notes, finished, frozenset(pending))


def _pieces(repository: "Repository", new: str, content: Change) -> Callable[[], Iterable[bytes]]:
    """Return what yields a committed file's bytes, from git where they are not at hand."""
    if isinstance(content, StoredBlob) and content.spool is not None:
        return content.spool.pieces
    data = content if isinstance(content, bytes) else repository.odb.read(libgit2.object_id(new))[1]
    return lambda: (data,)


def _folders_above(paths: Iterable[str], before: TreeEntries, now: TreeEntries) -> Folders:
    """Return the ids that all folders above some paths have in two trees."""
    folders = {""}
    for path in paths:
        parts = path.split("/")[:-1]
        folders |= {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return {folder: (before.at(folder)[0], now.at(folder)[0]) for folder in folders}
