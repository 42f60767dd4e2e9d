"""The commits that touched some files, found by comparing ids of trees: an unchanged folder is never looked into."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from imageworks.git.commit import TreeEntries
from imageworks.git.libgit2 import pygit2
from imageworks.git.read import TREE_MODE, subtree
from imageworks.git.trailers import HOST, RECONCILED_REVISION, read_trailers
from imageworks.git.trees.compare import TreeComparer
from imageworks.git.trees.scan import TreeScanner
from imageworks.git.values import CommitRecord, UnsafePathError

if TYPE_CHECKING:
    from pygit2 import Commit, Object, Oid, Repository, Tree

GLOB_CHARACTERS: Final = frozenset("*?[")
Matches = dict[str, str]


class PatternReader:
    """Says what some path patterns match in a tree, remembering the answer for each folder's id."""

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
    """
    reader = PatternReader(patterns)
    walker = repository.walk(start, pygit2.enums.SortMode.TOPOLOGICAL | pygit2.enums.SortMode.TIME)
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


def changed_paths(repository: "Repository", commit: "Commit") -> tuple[str, ...]:
    """Return the repository paths that a commit changed against its first parent, both names of a rename."""
    before = commit.parents[0].tree if commit.parent_ids else None
    found = TreeComparer(repository).differences(before, commit.tree)
    return tuple(sorted(difference.path for difference in found))


def touching(repository: "Repository", starts: Sequence["Oid"], paths: Iterable[str]) -> list[str]:
    """Return the ids of the commits that touched some paths, newest first; of merges as :func:`log` does."""
    scanner = TreeScanner(repository, paths)
    touched = []
    # Hashing each tree again is most of reading it. What is read of the commits that are found is hashed as ever.
    pygit2.settings.enable_strict_hash_verification(False)  # noqa: FBT003 # libgit2's own signature
    try:
        trees = {}
        commits = []
        walker = repository.walk(starts[0], pygit2.enums.SortMode.TOPOLOGICAL | pygit2.enums.SortMode.TIME)
        for start in starts[1:]:
            walker.push(start)
        for commit in walker:
            trees[commit.id] = commit.tree_id.raw
            commits.append((commit.id, commit.parent_ids))
        found = scanner.find(reversed(trees.values()))  # the oldest first takes half the time
        for identifier, parents in commits:
            now = found[trees[identifier]]
            olds = [found[trees[parent]] for parent in parents if parent in trees]
            if all(before != now for before in olds) if olds else now:
                touched.append(str(identifier))
    finally:
        pygit2.settings.enable_strict_hash_verification(True)  # noqa: FBT003 # as above
    return touched


def count_changes(
    repository: "Repository", olders: Sequence["Oid"], newer: "Oid", paths: Sequence[str]
) -> dict["Oid", int]:
    """Count for each of some commits the commits that another has and it has not, and that changed some paths.

    One walk serves all. A merge counts where it differs from each of its parents.
    """
    starts = {identifier: 1 << place for place, identifier in enumerate(dict.fromkeys(olders))}
    here = 1 << len(starts)  # what the newer one has
    everywhere = 2 * here - 1
    walker = repository.walk(newer, pygit2.enums.SortMode.TOPOLOGICAL)
    for identifier in starts:
        walker.push(identifier)
    had_by = {newer: here}  # of commits that are still to come: who has them
    counts: dict[int, int] = {}
    at = _reader_of(repository, paths)
    for commit in walker:
        has = had_by.pop(commit.id, 0) | starts.get(commit.id, 0)
        for parent in commit.parent_ids:
            had_by[parent] = had_by.get(parent, 0) | has
        if has == everywhere:
            if all(one == everywhere for one in had_by.values()):
                break
        elif has & here and _differs(commit, at):
            counts[has] = counts.get(has, 0) + 1
    return {
        identifier: sum(count for has, count in counts.items() if not has & bit) for identifier, bit in starts.items()
    }


def _reader_of(repository: "Repository", paths: Sequence[str]) -> "Callable[[Oid], tuple[tuple[str, int], ...]]":
    """Return what says what stands at some paths of a tree; a commit's is asked for again as its child's parent's."""

    @lru_cache(maxsize=_MOST_LISTED)
    def at(tree: "Oid") -> tuple[tuple[str, int], ...]:
        entries = TreeEntries(repository[tree])  # type: ignore[arg-type] # by its kind
        return tuple(map(entries.at, paths))

    return at


def _differs(commit: "Commit", at: "Callable[[Oid], object]") -> bool:
    """Return whether a commit has something else than each of its parents."""
    now = at(commit.tree_id)
    return all(parent.tree_id != commit.tree_id and at(parent.tree_id) != now for parent in commit.parents)


def record(commit: "Commit", differences: Callable[[], tuple[str, ...]]) -> CommitRecord:
    """Return a commit as a value."""
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
        differences=cache(differences),
    )


class AppliedCommits:
    """Finds the newest commit that a host's controller made, from any commit on; what was walked is remembered."""

    def __init__(self, repository: "Repository", host: str, own: Sequence[str]) -> None:
        self._repository = repository
        self._host = host
        self._at = _reader_of(repository, own)
        self._known: dict[Oid, Oid | None] = {}

    def newest(self, start: "Oid") -> "Oid | None":
        """Return the id of the newest such commit that a commit is or follows; ``None`` when there is none."""
        waiting: list[tuple[Oid, Sequence[Oid] | None]] = [(start, None)]  # with the parents that one waits for
        while waiting:
            here, parents = waiting.pop()
            if here in self._known:
                continue
            if parents is None:
                commit: Commit = self._repository[here]  # type: ignore[assignment] # by its kind
                if _claimant(commit.message) == self._host and _is_applied(self._repository, here, self._at):
                    self._known[here] = here
                    continue
                parents = commit.parent_ids
            if unknown := [(parent, None) for parent in parents if parent not in self._known]:
                waiting += [(here, parents), *unknown]
            else:
                found = {self._known[parent] for parent in parents} - {None}
                self._known[here] = max(found, key=self._age, default=None)  # type: ignore[arg-type] # none is None
        return self._known[start]

    def _age(self, commit: "Oid") -> int:
        found: Commit = self._repository[commit]  # type: ignore[assignment] # by its kind
        return found.commit_time


def newest_applied(repository: "Repository", start: "Oid", own: Mapping[str, Sequence[str]]) -> "dict[str, Oid]":
    """Return the newest commit of each host's controller that a commit is or follows; one walk serves all hosts.

    Args:
        repository: Where.
        start: The commit.
        own: The paths of each host's own files, by its name.
    """
    bits = {host: 1 << place for place, host in enumerate(own)}
    readers = {host: _reader_of(repository, paths) for host, paths in own.items()}
    found: dict[str, Commit] = {}
    wanted_by = {start: (1 << len(own)) - 1}  # of commits that are still to come: whose newest one may be among them
    for commit in repository.walk(start, pygit2.enums.SortMode.TOPOLOGICAL):
        wanted = wanted_by.pop(commit.id, 0)
        host = _claimant(commit.message)
        if host is not None and wanted & bits.get(host, 0) and _is_applied(repository, commit.id, readers[host]):
            wanted ^= bits[host]
            found[host] = max(found.get(host, commit), commit, key=lambda one: one.commit_time)
        for parent in commit.parent_ids:
            wanted_by[parent] = wanted_by.get(parent, 0) | wanted
        if not any(wanted_by.values()):
            break
    return {host: commit.id for host, commit in found.items()}


def _claimant(message: str) -> str | None:
    """Return which host's controller a commit says that it is of."""
    return read_trailers(message).get(HOST) if f"{RECONCILED_REVISION}: " in message else None


def _is_applied(repository: "Repository", identifier: "Oid", at: "Callable[[Oid], object]") -> bool:
    """Return whether a commit that names a host is of its controller.

    The trailers alone prove nothing, since anyone can write them into a pull request: the commit must also have changed
    the host's own files, and have reconciled a commit that is one of its ancestors.
    """
    commit: Commit = repository[identifier]  # type: ignore[assignment] # by its kind
    if not _differs(commit, at):
        return False
    return _is_ancestor(repository, commit, read_trailers(commit.message).get(RECONCILED_REVISION, ""))


class LastTouched:
    """Finds which commit along first parents last touched a file of a folder; walked once, as far as was asked."""

    def __init__(self, repository: "Repository", start: "Oid", folder: str) -> None:
        self._folder = folder
        self._steps = self._walk(repository, start)
        self._found: dict[str, str | None] = {}

    def before(self, paths: Sequence[str]) -> str | None:
        """Return the parent of the newest commit that touched any of some paths in it; ``None`` where there is none."""
        while not any(path in self._found for path in paths):
            step = next(self._steps, None)
            if step is None:
                return None
            touched, parent = step
            for path in touched:
                self._found.setdefault(path, parent)
        return next(self._found[path] for path in paths if path in self._found)

    def _walk(self, repository: "Repository", start: "Oid") -> Iterator[tuple[list[str], str | None]]:
        walker = repository.walk(start, pygit2.enums.SortMode.TOPOLOGICAL)
        walker.simplify_first_parent()
        comparer = TreeComparer(repository)
        for commit in walker:
            parent = commit.parents[0] if commit.parent_ids else None
            if parent is not None and parent.tree_id == commit.tree_id:
                continue
            before, after = (None if one is None else _folder(one.tree, self._folder) for one in (parent, commit))
            if before is None or after is None or before.id != after.id:
                changed = [one.path for one in comparer.differences(before, after)]
                yield changed, None if parent is None else str(parent.id)


@dataclass(frozen=True, slots=True)
class ChangeWithin:
    """One commit that made something what it was from then on.

    Args:
        commit: The commit's id.
        object: The id of the file or folder; empty where it was removed.
        host: Which host's controller the commit says that it is of; ``None`` where it says none.
        place: How many commits were looked at before it.
    """

    commit: str
    object: str
    host: str | None
    place: int


class ChangesWithin:
    """Finds the newest commits that changed what stands directly in some folders; walked once, as far as was asked.

    A merge counts only where it differs from each of its parents, as in :func:`log`.
    """

    def __init__(self, repository: "Repository", start: "Oid", folders: Mapping[str, str]) -> None:
        self._found: dict[str, list[ChangeWithin]] = {}
        self._steps = _changes_of(repository, start, _Children(folders))

    def newest(self, path: str, accepts: "Callable[[ChangeWithin], bool]" = lambda _: True) -> ChangeWithin | None:
        """Return the newest change of a path that is accepted; ``None`` where there is none."""
        known = self._found.setdefault(path, [])
        tried = 0
        while True:
            for change in known[tried:]:
                if accepts(change):
                    return change
            tried = len(known)
            step = next(self._steps, None)
            if step is None:
                return None
            for changed, change in step:
                self._found.setdefault(changed, []).append(change)


def _changes_of(
    repository: "Repository", start: "Oid", children: "_Children"
) -> Iterator[list[tuple[str, ChangeWithin]]]:
    """Yield what each commit changed, by path.

    It knows nothing of who asks, so that a walk, with all that libgit2 keeps for it, ends with whoever holds it.
    """
    order = pygit2.enums.SortMode.TOPOLOGICAL | pygit2.enums.SortMode.TIME
    for place, commit in enumerate(repository.walk(start, order)):
        parents = commit.parents
        if any(parent.tree_id == commit.tree_id for parent in parents):
            continue
        now = children.of(commit.tree)
        olds = [children.of(parent.tree) for parent in parents] or [{}]
        if any(before == now for before in olds):
            continue
        host = read_trailers(commit.message).get(HOST)
        changed = []
        for path in now.keys() | olds[0].keys():
            identifier = now.get(path, "")
            if all(before.get(path, "") != identifier for before in olds):
                changed.append((path, ChangeWithin(str(commit.id), identifier, host, place)))
        yield changed


class _Children:
    """The ids of what stands directly in some folders of a tree."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders
        self._listed: dict[Oid, dict[str, str]] = {}

    def of(self, tree: "Tree") -> dict[str, str]:
        found: dict[str, str] = {}
        for place, name in self._folders.items():
            folder = _folder(tree, place)
            if folder is not None:
                found |= self._in(folder, name)
        return found

    def _in(self, folder: "Tree", name: str) -> dict[str, str]:
        if folder.id not in self._listed:
            if len(self._listed) > _MOST_LISTED:
                self._listed.clear()
            self._listed[folder.id] = {f"{name}/{entry.name}": str(entry.id) for entry in folder}
        return self._listed[folder.id]


_MOST_LISTED: Final = 16


def _folder(tree: "Tree", path: str) -> "Tree | None":
    try:
        return subtree(tree, path)
    except UnsafePathError:  # no folder then
        return None


def _is_ancestor(repository: "Repository", commit: "Commit", revision: str) -> bool:
    if len(revision) != len(str(commit.id)):
        return False
    try:
        ancestor = repository[revision].id
    except (KeyError, ValueError):
        return False
    return repository.descendant_of(commit.id, ancestor)
