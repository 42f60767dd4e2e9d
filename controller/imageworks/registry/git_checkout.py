"""What follows a commit: the work tree and the user's index are brought up to it, path by path, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.failpoints import failpoint
from imageworks.registry import git_library
from imageworks.registry.git_commit import Change, entry_at
from imageworks.registry.git_healing import is_generated
from imageworks.registry.git_index import IndexBusyError, IndexChange, update_index
from imageworks.registry.git_journal import PathChange
from imageworks.registry.git_layout import Layout
from imageworks.registry.git_stale import holder_of
from imageworks.registry.git_values import LeftAlone
from imageworks.registry.git_worktree import Target, bring_up_to_date
from imageworks.transfer.renames import sync_filesystem

if TYPE_CHECKING:
    from pygit2 import Repository, Tree


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
    layout: Layout,
    changes: Mapping[str, PathChange],
    *,
    index_wait: float,
    unlock: Callable[[Path], bool],
    contents: Mapping[str, Change] | None = None,
) -> Checkout:
    """Bring the work tree and the index up to the checked-out commit at some paths.

    Args:
        repository: The repository.
        layout: Where it is.
        changes: What was committed, by repository path; a path at which the checked-out commit has something else by
            now is passed over.
        index_wait: Seconds to wait for a running git that holds the index.
        unlock: Removes a lock file if its holder is dead, and says whether it did.
        contents: The bytes of `changes`, where they are still at hand; read from the repository otherwise.
    """
    tree: Tree | None = None if repository.head_is_unborn else repository[repository.head.target].tree
    sparse = "core.sparsecheckout" in repository.config and repository.config.get_bool("core.sparsecheckout")
    reasons: dict[str, str] = {}
    pending: set[str] = set()
    many = len(changes) > ONE_BY_ONE
    index_changes: dict[str, IndexChange] = {}
    # What goes first: on a disk that ignores case, a file that is renamed by case alone is one file with its successor.
    for path, change in sorted(changes.items(), key=lambda item: bool(item[1].new)):
        identifier, mode = entry_at(tree, path)
        if identifier != change.new:
            continue
        data = (contents or {}).get(path)
        if data is None and change.new:
            data = repository.odb.read(git_library.object_id(change.new))[1]
        target = Target(
            change.olds, change.new, data, synced=not many, generated=is_generated(layout.registry_path(path))
        )
        outcome = bring_up_to_date(layout.worktree, path, target, sparse=sparse)
        if outcome.reason:
            reasons[path] = outcome.reason
        if outcome.pending:
            pending.add(path)
        index_changes[path] = IndexChange(change.olds, change.new, mode, outcome.status)
    if many:
        sync_filesystem(layout.worktree)
    failpoint("git.worktree-updated")
    notes: tuple[str, ...] = ()
    finished = True
    if index_changes:
        try:
            reasons |= update_index(layout.git_dir, index_changes, wait=index_wait, unlock=unlock)
        except IndexBusyError:
            finished = False
            lock = layout.git_dir / "index.lock"
            holder = holder_of(lock, {layout.worktree, layout.git_dir, layout.common_dir})
            notes = (f"{lock} is held by {holder}: git status shows our files as changed until the next run",)
        except (OSError, git_library.git_error()) as error:
            finished = False
            notes = (f"the git index could not be updated ({error}): git status shows our files as changed",)
    failpoint("git.index-updated")
    left = tuple(LeftAlone(layout.registry_path(path), reason) for path, reason in sorted(reasons.items()))
    return Checkout(left, notes, finished, frozenset(pending))
