"""The commits that touched some files, found by comparing ids of trees: an unchanged folder is never looked into."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from imageworks.registry.git_messages import HOST, RECONCILED_REVISION, read_trailers
from imageworks.registry.git_read import TREE_MODE
from imageworks.registry.git_scan import TreeScanner
from imageworks.registry.git_values import BlobReference, CommitRecord, FileDifference

if TYPE_CHECKING:
    from pygit2 import Commit, DiffFile, Object, Oid, Repository, Tree

GLOB_CHARACTERS: Final = frozenset("*?[")
Matches = dict[str, str]


class PatternReader:
    """Says what some path patterns match in a tree, remembering the answer for each folder's id.

    Args:
        patterns: Repository paths; ``*`` and ``?`` match within one name, and a folder stands for all in it.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [tuple(filter(None, pattern.split("/"))) for pattern in patterns]
        self._known: dict[tuple[str, tuple[str, ...]], Matches] = {}

    def matches(self, tree: "Tree | None") -> Matches:
        """Return the object id of everything that the patterns match in a tree, by path."""
        found: Matches = {}
        if tree is not None:
            for pattern in self._patterns:
                found |= self._below(tree, pattern)
        return found

    def _below(self, tree: "Object", pattern: tuple[str, ...]) -> Matches:
        if not pattern:
            return {"": str(tree.id)}
        key = (str(tree.id), pattern)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._look(tree, pattern)
        return known

    def _look(self, tree: "Object", pattern: tuple[str, ...]) -> Matches:
        name, *rest = pattern
        if GLOB_CHARACTERS.isdisjoint(name):
            entries = [tree[name]] if name in tree else []  # type: ignore[index, operator] # a tree by its mode
        else:
            entries = [entry for entry in tree if fnmatchcase(entry.name or "", name)]  # type: ignore[attr-defined]
        found: Matches = {}
        for entry in entries:
            if not rest:
                found[entry.name] = str(entry.id)
            elif int(entry.filemode) == TREE_MODE:
                below = self._below(entry, tuple(rest))
                found |= {f"{entry.name}/{path}": identifier for path, identifier in below.items()}
        return found


def log(
    repository: "Repository", start: "Oid", patterns: Sequence[str], *, first_parent: bool
) -> Iterator[tuple["Commit", tuple[str, ...]]]:
    """Yield the commits that changed something that the patterns match, newest first, each with what it changed.

    A merge counts only where it differs from each of its parents, as in git's own simplified history: what it merely
    brought in is shown by the commits that it brought. Along first parents it counts like any other commit.

    Args:
        repository: Where to look.
        start: The newest commit.
        patterns: Repository paths, as :class:`PatternReader` reads them; none for everything.
        first_parent: Whether to follow only the first parent of each commit.
    """
    from pygit2.enums import SortMode

    reader = PatternReader(patterns)
    walker = repository.walk(start, SortMode.TOPOLOGICAL | SortMode.TIME)
    if first_parent:
        walker.simplify_first_parent()
    for commit in walker:
        parents = commit.parents[:1] if first_parent else commit.parents
        if any(parent.tree_id == commit.tree_id for parent in parents):
            continue
        if not patterns:
            yield commit, ()
            continue
        now = reader.matches(commit.tree)
        differences = [_difference(reader.matches(parent.tree), now) for parent in parents] or [tuple(sorted(now))]
        if all(differences):
            yield commit, differences[0]


def _difference(before: Matches, after: Matches) -> tuple[str, ...]:
    if before == after:
        return ()
    return tuple(sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path)))


def changed_paths(commit: "Commit") -> tuple[str, ...]:
    """Return the repository paths that a commit changed against its first parent, both names of a rename."""
    before = commit.parents[0].tree if commit.parent_ids else None
    return tuple(sorted(difference.path for difference in differences(before, commit.tree)))


def differences(before: "Tree | None", after: "Tree | None") -> Iterator[FileDifference]:
    """Yield the files that two folders have differently, by their paths in them; contents are not looked at.

    Sizes are left at 0: whoever reads one of the files looks them up.

    Args:
        before: The first folder; ``None`` for an empty one.
        after: The second.
    """
    if after is not None:
        found = after.diff_to_tree(swap=True) if before is None else before.diff_to_tree(after)
    elif before is not None:
        found = before.diff_to_tree()
    else:
        return
    for delta in found.deltas:
        path = (delta.new_file.raw_path or delta.old_file.raw_path).decode("utf-8", "backslashreplace")
        old, new = (_side(file) for file in (delta.old_file, delta.new_file))
        yield FileDifference(path, old, new)


def touching(repository: "Repository", starts: Sequence["Oid"], paths: Iterable[str]) -> list[str]:
    """Return the ids of the commits that touched some paths, newest first; of merges as :func:`log` does.

    Args:
        repository: Where to look.
        starts: The newest commits; at least one.
        paths: Repository paths, as :class:`TreeScanner` takes them.
    """
    from pygit2 import settings
    from pygit2.enums import SortMode

    scanner = TreeScanner(repository, paths)
    touched = []
    # Hashing each tree again is most of reading it. What is read of the commits that are found is hashed as ever.
    settings.enable_strict_hash_verification(False)  # noqa: FBT003 # libgit2's own signature
    try:
        trees = {}
        commits = []
        walker = repository.walk(starts[0], SortMode.TOPOLOGICAL | SortMode.TIME)
        for start in starts[1:]:
            walker.push(start)
        for commit in walker:
            trees[commit.id] = commit.tree_id
            commits.append((commit.id, commit.parent_ids))
        for identifier, parents in commits:
            now = scanner.find(trees[identifier])
            olds = [scanner.find(trees[parent]) for parent in parents if parent in trees]
            if all(before != now for before in olds) if olds else now:
                touched.append(str(identifier))
    finally:
        settings.enable_strict_hash_verification(True)  # noqa: FBT003 # as above
    return touched


def _side(file: "DiffFile") -> BlobReference | None:
    return BlobReference(str(file.id), 0, int(file.mode)) if int(file.mode) else None


def record(commit: "Commit", changed: tuple[str, ...]) -> CommitRecord:
    """Return a commit as a value.

    Args:
        commit: The commit.
        changed: The registry paths that it changed.
    """
    zone = timezone(timedelta(minutes=commit.author.offset))
    message = commit.message
    return CommitRecord(
        id=str(commit.id),
        parents=tuple(str(parent) for parent in commit.parent_ids),
        when=datetime.fromtimestamp(commit.author.time, zone),
        author=commit.author.name,
        email=commit.author.email,
        subject=message.strip().split("\n", 1)[0],
        trailers=read_trailers(message),
        changed=changed,
    )


def last_applied(repository: "Repository", start: "Oid", host: str, own: Sequence[str]) -> "Commit | None":
    """Return the newest commit that a host's controller made; ``None`` when there is none.

    The trailers alone prove nothing, since anyone can write them into a pull request: the commit must also have changed
    the host's own files, and have reconciled a commit that is one of its ancestors.

    Args:
        repository: Where to look.
        start: The newest commit.
        host: The host's name.
        own: Repository paths that only this host's controller writes.
    """
    mark = f"{RECONCILED_REVISION}: "
    for commit, _ in log(repository, start, own, first_parent=False):
        if mark not in commit.message:
            continue
        trailers = read_trailers(commit.message)
        if trailers.get(HOST) == host and _is_ancestor(repository, commit, trailers.get(RECONCILED_REVISION, "")):
            return commit
    return None


def _is_ancestor(repository: "Repository", commit: "Commit", revision: str) -> bool:
    if len(revision) != len(str(commit.id)):
        return False
    try:
        ancestor = repository[revision].id
    except (KeyError, ValueError):
        return False
    return repository.descendant_of(commit.id, ancestor)
