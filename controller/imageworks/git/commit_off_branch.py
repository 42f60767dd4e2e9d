"""Commits that are made beside the checked-out branch: on another branch, or on none until one is moved to them.

Nothing here touches the work tree or the index. A branch moves only from where it was expected to be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.git import libgit2
from imageworks.git.blob_writer import BlobWriter
from imageworks.git.commit import Change, TreeEntries, empty_tree, entry_at, nest, tip_of, write_tree
from imageworks.git.libgit2 import pygit2
from imageworks.git.read import TREE_MODE, commit_at, subtree
from imageworks.git.values import BranchMovedError, CommitFailedError, RegistryGitError

if TYPE_CHECKING:
    from pygit2 import Repository, Signature, Tree

    from imageworks.git.trust.signing import CommitSigner


class BranchTakenError(RegistryGitError):
    """A branch cannot be written: it is checked out, holds somebody's work, or is no name of a branch."""


@dataclass(frozen=True, slots=True)
class AsideRequest:
    """One commit to make beside the checked-out branch.

    Args:
        base: The commit whose files it starts from.
        parents: The commits that it follows.
        changes: New bytes by repository path; ``None`` deletes.
        kept: Repository paths that are taken as another commit has them, as ``(commit, path)``.
        message: The whole message.
        author_of: A commit whose author and date it keeps; by default whoever commits.
        signer: Who signs it, where it is to be signed.
    """

    base: str
    parents: Sequence[str]
    changes: Mapping[str, Change]
    message: str
    kept: Sequence[tuple[str, str]] = ()
    author_of: str | None = None
    signer: "CommitSigner | None" = None


def write_aside(repository: "Repository", blobs: BlobWriter, host: str, request: AsideRequest) -> str:
    """Write a commit that no branch points to yet, and return its id."""
    committer = libgit2.signature(repository, host)
    author: Signature = committer
    if request.author_of is not None:
        author = commit_at(repository, request.author_of).author
    nested = nest(request.changes)
    try:
        tree: Tree | None = commit_at(repository, request.base).tree
        for commit, path in request.kept:
            tree = _with(repository, tree, path, *entry_at(commit_at(repository, commit).tree, path))
        written = write_tree(repository, TreeEntries(tree), nested, blobs) or empty_tree(repository)
        parents = [libgit2.object_id(parent) for parent in request.parents]
        if request.signer is not None:
            return str(request.signer.create(author, committer, request.message, written, parents))
        return str(repository.create_commit(None, author, committer, request.message, written, parents))
    except (OSError, libgit2.git_error()) as error:
        raise CommitFailedError(
            f"{repository.workdir}: git could not write the commit: {error}",
            remedy="Nothing was changed. Look for free space and the permissions of the .git folder.",
        ) from error


def check_movable(repository: "Repository", common_dir: Path, branch: str) -> None:
    """Raise where a branch cannot be moved beside the checked-out one."""
    full = f"refs/heads/{branch}"
    if branch.startswith("-") or branch == "HEAD" or not pygit2.reference_is_valid_name(full):
        raise BranchTakenError(
            f"{branch!r} (commit.branch in registry.yaml) cannot be the name of a branch",
            remedy="Name it like state/{host}.",
        )
    place = _checked_out_at(repository, common_dir, full)
    if place is not None:
        raise BranchTakenError(
            f"the branch {branch} is checked out in {place}, so it cannot be moved",
            remedy=f"Detach that work tree: cd '{place}' && git switch --detach",
        )


def _checked_out_at(repository: "Repository", common_dir: Path, full: str) -> Path | None:
    """Return the work tree that has a branch checked out; ``None`` when none has."""
    bare = "core.bare" in repository.config and repository.config.get_bool("core.bare")
    places = {} if bare else {common_dir / "HEAD": common_dir.parent}
    for marker in common_dir.glob("worktrees/*/gitdir"):
        places[marker.with_name("HEAD")] = Path(marker.read_text(encoding="utf-8").strip()).parent
    for head, place in places.items():
        if place.is_dir() and head.is_file() and head.read_text(encoding="utf-8").strip() == f"ref: {full}":
            return place
    return None


def _with(repository: "Repository", tree: "Tree | None", path: str, identifier: str, mode: int) -> "Tree | None":
    """Return a tree with one path as another tree has it; without it where that one has nothing there."""
    folders = path.split("/")[:-1]
    name = path.rsplit("/", maxsplit=1)[-1]
    found = subtree(tree, "/".join(folders)) if tree is not None else None
    builder = repository.TreeBuilder() if found is None else repository.TreeBuilder(found)
    if identifier:
        builder.insert(name, libgit2.object_id(identifier), mode)
    elif builder.get(name) is not None:
        builder.remove(name)
    inner = builder.write() if len(builder) else None
    if not folders:
        return None if inner is None else repository[inner]  # type: ignore[return-value] # a tree, just written
    parent = "/".join(folders)
    return _with(repository, tree, parent, "" if inner is None else str(inner), TREE_MODE)


def move_branch(repository: "Repository", branch: str, commit: str, *, expected: str | None, reason: str) -> None:
    """Move a branch to a commit if it is where it is expected to be."""
    signature = libgit2.signature(repository, "localhost")
    repository.set_ident(signature.name, signature.email)  # for the reflog: set_target cannot take a signature
    try:
        with repository.transaction() as transaction:
            transaction.lock_ref(branch)
            tip = tip_of(repository, branch)
            if expected != (None if tip is None else str(tip)):
                raise BranchMovedError((branch.removeprefix("refs/heads/"),), "" if tip is None else str(tip))
            transaction.set_target(branch, libgit2.object_id(commit), message=reason)
    except (OSError, ValueError, libgit2.git_error()) as error:
        after = tip_of(repository, branch)
        if after is not None and str(after) == commit:
            return  # an error after the rename: read back, never assumed
        raise CommitFailedError(
            f"{branch.removeprefix('refs/heads/')}: git could not move the branch: {error}",
            remedy="Nothing was changed. Another git may hold it; run again.",
        ) from error
