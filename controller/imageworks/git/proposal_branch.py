"""A branch of ours that proposes changes for a pull request: built on the checked-out commit, and renewed in place."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imageworks.git import libgit2
from imageworks.git.commit import tip_of
from imageworks.git.commit_off_branch import AsideRequest, BranchTakenError, move_branch, write_aside
from imageworks.git.libgit2 import pygit2
from imageworks.git.trailers import read_trailers

if TYPE_CHECKING:
    from pygit2 import Oid, Repository

    from imageworks.git.blob_writer import BlobWriter

PROPOSED_BY: Final = "Proposed-By"
"""The trailer that makes a commit on such a branch ours."""
US: Final = "imageworks-models"


@dataclass(frozen=True, slots=True)
class Proposed:
    """What a branch points to now.

    Args:
        commit: Its id.
        created: Whether it was moved; false when it proposed exactly this already.
    """

    commit: str
    created: bool


def propose(repository: "Repository", blobs: "BlobWriter", host: str, branch: str, request: AsideRequest) -> Proposed:
    """Make a branch propose one commit on top of another; the work tree, index and other branches stay as they are."""
    full = f"refs/heads/{branch}"
    _check(repository, branch, full)
    tip, base = tip_of(repository, full), libgit2.object_id(request.base)
    theirs = None if tip is None else _foreign(repository, tip, base)
    if theirs is not None:
        raise BranchTakenError(
            f"the branch {branch} has commits that are not ours ({theirs[:10]}), so it stays as it is",
            remedy="Name another branch, or delete that one.",
        )
    commit = write_aside(repository, blobs, host, request)
    if tip is not None and _same(repository, tip, libgit2.object_id(commit)):
        return Proposed(str(tip), created=False)
    subject = request.message.partition("\n")[0]
    expected = None if tip is None else str(tip)
    move_branch(repository, full, commit, expected=expected, reason=f"commit: {subject}")
    return Proposed(commit, created=True)


def _check(repository: "Repository", branch: str, full: str) -> None:
    if branch.startswith("-") or not pygit2.reference_is_valid_name(full):
        raise BranchTakenError(f"{branch!r} cannot be the name of a branch", remedy="Name it like update-models.")
    found = repository.branches.local.get(branch)
    if found is not None and found.is_checked_out():
        raise BranchTakenError(
            f"the branch {branch} is checked out, and a proposal never touches a work tree",
            remedy="Name another branch, or leave --pr-branch out to commit here.",
        )


def _foreign(repository: "Repository", tip: "Oid", base: "Oid") -> str | None:
    """Return a commit of a branch that is neither ours nor in the base; ``None`` without one."""
    walker = repository.walk(tip)
    walker.hide(base)
    return next((str(one.id) for one in walker if read_trailers(one.message).get(PROPOSED_BY) != US), None)


def _same(repository: "Repository", one: "Oid", other: "Oid") -> bool:
    """Return whether two commits hold the same files on top of the same parents, whenever they were made."""
    first, second = repository[one].peel(pygit2.Commit), repository[other].peel(pygit2.Commit)
    return (first.tree_id, first.parent_ids) == (second.tree_id, second.parent_ids)
