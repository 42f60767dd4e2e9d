"""Making one commit: new trees only along the changed paths, and the branch moved by compare-and-swap."""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from imageworks.git import libgit2
from imageworks.git.read import TREE_MODE, subtree
from imageworks.git.values import PLAIN_MODES, BlobReference, DetachedHeadError, StoredBlob, UnsafePathError

if TYPE_CHECKING:
    from pygit2 import Object, Oid, Repository, Signature, Tree

    from imageworks.git.blob_writer import BlobWriter
    from imageworks.git.trust.signing import CommitSigner

PLAIN_MODE: Final = 0o100644
Change = bytes | StoredBlob | None
Nested = dict[str, "Change | Nested"]


def nest(changes: Mapping[str, Change]) -> Nested:
    """Return changes by path as changes by folder."""
    root: Nested = {}
    for path, change in changes.items():
        *folders, name = path.split("/")
        for part in (*folders, name):
            _check_part(path, part)
        folder = root
        for part in folders:
            inner = folder.setdefault(part, {})
            if not isinstance(inner, dict):
                raise UnsafePathError(f"{path}: {part} would be a file and a folder at once")
            folder = inner
        if name in folder:
            raise UnsafePathError(f"{path}: would be a file and a folder at once")
        folder[name] = change
    return root


def _check_part(path: str, part: str) -> None:
    bad = part in {"", ".", ".."} or part.lower() == ".git" or any(c in "\\:" for c in part)
    if bad or part.lower().startswith("git~") or not part.isprintable():
        raise UnsafePathError(f"{path!r}: {part!r} cannot be a name in the registry")


def write_tree(
    repository: "Repository", base: "TreeEntries", changes: Nested, blobs: "BlobWriter", where: str = ""
) -> "Oid | None":
    """Write the tree that some changes make of a tree; only folders on the changed paths are written anew."""
    tree = base.folder(where)
    builder = repository.TreeBuilder() if tree is None else repository.TreeBuilder(tree)
    for name, change in changes.items():
        existing: Object | None = builder.get(name)  # pygit2's types forget that it may be missing
        mode = 0 if existing is None else int(existing.filemode)
        path = f"{where}/{name}" if where else name
        if isinstance(change, dict):
            if mode not in {0, TREE_MODE}:
                raise _in_the_way(path, mode)
            inner = write_tree(repository, base, change, blobs, path)
            if inner is not None:
                builder.insert(name, inner, TREE_MODE)
            elif mode:
                builder.remove(name)
            continue
        if mode and mode not in PLAIN_MODES:
            raise _in_the_way(path, mode)
        if change is not None:
            builder.insert(name, blobs.write(path, change), mode or PLAIN_MODE)
        elif mode:
            builder.remove(name)
    return builder.write() if len(builder) else None


def _in_the_way(path: str, mode: int) -> UnsafePathError:
    what = "a folder" if mode == TREE_MODE else BlobReference("", 0, mode).refusal or "a file"
    return UnsafePathError(
        f"{path}: cannot be written, because {what} stands there in git",
        remedy=f"Remove it from the repository: git rm -r --cached -- {shlex.quote(path)}, and commit.",
    )


def empty_tree(repository: "Repository") -> "Oid":
    """Return the id of a tree without files, writing it when it is missing."""
    return repository.TreeBuilder().write()


def branch_of(repository: "Repository") -> str:
    """Return the full name of the checked-out branch, which may be unborn."""
    head = repository.references["HEAD"]
    target = head.target
    if not isinstance(target, str):
        raise DetachedHeadError(
            f"{repository.workdir}: no branch is checked out (HEAD is detached at {str(target)[:10]})",
            remedy="Check one out, for example with: git switch main (or git switch -c NAME to keep these commits).",
        )
    return target


def full_name(branch: str) -> str:
    """Return the full name of a branch that may be given by its short one."""
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def tip_of(repository: "Repository", branch: str) -> "Oid | None":
    """Return the commit that a branch points to; ``None`` while it is unborn."""
    try:
        return repository.references[branch].target  # type: ignore[return-value] # a branch is no symbolic ref
    except (KeyError, ValueError):  # there is none, or none can have that name
        return None


class TreeEntries:
    """What stands at paths of one tree; each folder is read once, however many of its files are asked for."""

    def __init__(self, tree: "Tree | None") -> None:
        self._folders: dict[str, Tree | None] = {"": tree}

    def at(self, path: str) -> tuple[str, int]:
        """Return the id and mode of what stands at a path, ``""`` being the root; ``("", 0)`` when nothing does."""
        root = self._folders[""]
        if not path and root is not None:
            return str(root.id), TREE_MODE
        folder, _, name = path.rpartition("/")
        parent = self.folder(folder)
        if parent is None or name not in parent:
            return "", 0
        entry = parent[name]
        return str(entry.id), int(entry.filemode)

    def folder(self, path: str) -> "Tree | None":
        """Return the folder at a path; ``None`` when there is none, or a link above it."""
        if path not in self._folders:
            above, _, name = path.rpartition("/")
            tree = self.folder(above)
            try:
                self._folders[path] = None if tree is None else subtree(tree, name)
            except UnsafePathError:
                self._folders[path] = None
        return self._folders[path]


def entry_at(tree: "Tree | None", path: str) -> tuple[str, int]:
    """Return the id and mode of what stands at one path in a tree; ``("", 0)`` when nothing does."""
    return TreeEntries(tree).at(path)


class BranchWriter:
    """Writes one commit object and moves a branch to it."""

    def __init__(
        self,
        repository: "Repository",
        *,
        branch: str,
        parent: "Oid | None",
        tree: "Oid",
        message: str,
        committer: "Signature",
        author: "Signature | None" = None,
        signer: "CommitSigner | None" = None,
    ) -> None:
        self._repository = repository
        self._signer = signer
        self._signed: Oid | None = None
        self._branch = branch
        self._parent = parent
        parents = [] if parent is None else [parent]
        self._arguments = (author or committer, committer, message, tree, parents)

    def write(self) -> "Oid":
        """Write the commit object and leave the branch where it is; returns its id."""
        if self._signer is None:
            return self._repository.create_commit(None, *self._arguments)
        self._signed = self._signed or self._signer.create(*self._arguments)  # each signature is another one
        return self._signed

    def move(self) -> "Oid":
        """Move the branch, if it still points to the parent; the commit is the one that ``write`` made."""
        if self._parent is None or self._signer is not None:
            return self._set_branch()
        return self._repository.create_commit(self._branch, *self._arguments)

    def _set_branch(self) -> "Oid":
        # Without a parent, libgit2's create_commit overwrites a branch that somebody made a moment ago (measured: the
        # first of eight writers' commits was lost), so the comparison is made here, under git's own lock on the ref.
        commit = self.write()
        _, committer, message, *_ = self._arguments
        self._repository.set_ident(
            committer.name, committer.email
        )  # for the reflog: set_target cannot take a signature
        with self._repository.transaction() as transaction:
            transaction.lock_ref(self._branch)
            if tip_of(self._repository, self._branch) != self._parent:
                raise FileExistsError(f"{self._branch} has moved by now")
            what, subject = "commit" if self._parent else "commit (initial)", message.split("\n", 1)[0]
            transaction.set_target(self._branch, commit, message=f"{what}: {subject}")
        return commit


def has_moved(repository: "Repository", branch: str, commit: "Oid") -> bool:
    """Return whether a branch contains a commit, read again from disk."""
    tip = tip_of(repository, branch)
    if tip is None:
        return False
    try:
        return tip == commit or repository.descendant_of(tip, commit)
    except libgit2.git_error():
        return False
