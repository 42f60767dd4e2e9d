"""What two folders in git have differently, found without cutting up the thousands of names that are the same."""

import re
import stat
from bisect import bisect_right
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from imageworks.git.libgit2 import pygit2
from imageworks.git.read import TREE_KIND, TREE_MODE
from imageworks.git.trees.scan import ITEM
from imageworks.git.values import BlobReference, DamagedRepositoryError, FileDifference

if TYPE_CHECKING:
    from pygit2 import Oid, Repository, Tree

_STRIDE: Final = 32  # items from one known start to the next
_SPARSE_BYTES: Final = 16 << 10
_MOST_KEPT_BYTES: Final = 8 << 20  # of 10,000 models the manifests' folder and those of five hosts, old and new

_Item = tuple[int, bytes]
_Differing = tuple[bytes, BlobReference | None, BlobReference | None]


@dataclass(slots=True)
class _Folder:
    """A folder's items as git has them, with no mark between them: where one starts is known only from those before.

    Args:
        data: The bytes.
        starts: Places where items start, rising; some of all.
    """

    data: bytes
    starts: list[int] = field(default_factory=lambda: [0])

    def learn(self) -> None:
        """Find starts all over it, unless they are known."""
        if len(self.starts) * _SPARSE_BYTES < len(self.data):
            self.starts = [item.start() for item in ITEM.finditer(self.data)][::_STRIDE]

    def item_at(self, place: int) -> re.Match[bytes]:
        """Return the mode, the name and the id of the item that starts at a place."""
        found = ITEM.match(self.data, place)
        if found is None:
            raise DamagedRepositoryError(
                "git has a folder in the registry's history that is damaged", remedy="Look with `git fsck --full`."
            )
        return found


class TreeComparer:
    """Compares folders of one repository.

    A history has thousands of folders of thousands of names, and neighbours differ in one. Only between the first and
    the last byte that differ are they cut into items. What is known of one folder's items goes for the other too, but
    there; and folders are kept a while, for a commit's are asked for again as its child's parent's.
    """

    def __init__(self, repository: "Repository") -> None:
        self._repository = repository  # not its store of objects: as long as that is held, its packs stay mapped
        self._kept: dict[Oid | None, _Folder] = {}
        self._kept_bytes = 0

    def differences(
        self, before: "Tree | None", after: "Tree | None", *, named: Container[str] | None = None
    ) -> Iterator[FileDifference]:
        """Yield the files that two folders have differently, by their paths in them; contents are not looked at.

        Sizes are left at 0: whoever reads one of the files looks them up. What became another kind of thing, such as a
        link, is told as removed and then as added. Who asks for files of a few names gets those alone.
        """
        sides = (None if one is None else one.id for one in (before, after))
        found = self._below(*sides)
        if named is not None:
            found = (one for one in found if one[0].rpartition(b"/")[2].decode("utf-8", "backslashreplace") in named)
        for path, old, new in sorted(found, key=lambda one: one[0]):
            yield FileDifference(path.decode("utf-8", "backslashreplace"), old, new)

    def _below(self, before: "Oid | None", after: "Oid | None") -> Iterator[_Differing]:
        waiting = [(b"", before, after)]
        while waiting:
            base, before, after = waiting.pop()
            olds, news = self._cut(self._read(before), self._read(after))
            for name in olds.keys() | news.keys():
                old, new = olds.get(name), news.get(name)
                if old == new:
                    continue
                folders = _folder(old), _folder(new)
                if any(folders):
                    waiting.append((b"%b%b/" % (base, name), *folders))
                yield from _told(base + name, _file(old), _file(new))

    def _cut(self, old: _Folder, new: _Folder) -> tuple[dict[bytes, _Item], dict[bytes, _Item]]:
        """Return by their names the items of two folders where these differ, and some neighbours that are the same."""
        known, other = (old, new) if len(old.starts) >= len(new.starts) else (new, old)
        known.learn()
        same, rest = same_start(known.data, other.data), same_end(known.data, other.data)
        shared = known.starts[: bisect_right(known.starts, same)]
        here = there = shared[-1]
        found: tuple[dict[bytes, _Item], dict[bytes, _Item]] = {}, {}
        # Where as many bytes follow on both sides, and the same, the same items follow.
        while (left := len(known.data) - here) != (beyond := len(other.data) - there) or left > rest:
            if left >= beyond:
                item, items = known.item_at(here), found[known is new]
                here = item.end()
            else:
                item, items = other.item_at(there), found[other is new]
                there = item.end()
            items[item[2]] = (_mode(item[1]), item[3])
        other.starts = shared + [start + there - here for start in known.starts[bisect_right(known.starts, here) :]]
        return found

    def _read(self, tree: "Oid | None") -> _Folder:
        if (found := self._kept.pop(tree, None)) is None:
            found = _Folder(b"" if tree is None else self._bytes_of(tree))
            self._kept_bytes += len(found.data)
        self._kept[tree] = found
        while self._kept_bytes > _MOST_KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))).data)
        return found

    def _bytes_of(self, tree: "Oid") -> bytes:
        kind, data = self._repository.odb.read(tree)
        if int(kind) != TREE_KIND:
            raise DamagedRepositoryError(f"git object {tree} is no folder", remedy="Look with `git fsck --full`.")
        return data


@cache  # one number for all of a kind
def _mode(digits: bytes) -> int:
    return int(digits, 8)


def same_start(one: bytes, other: bytes) -> int:
    """Return how many bytes two texts have in common at their start."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one.startswith(other[low:middle], low) else (low, middle - 1)
    return low


def same_end(one: bytes, other: bytes) -> int:
    """Return how many bytes two texts have in common at their end."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        piece = other[len(other) - middle : len(other) - low]
        low, high = (middle, high) if one.endswith(piece, 0, len(one) - low) else (low, middle - 1)
    return low


def _folder(item: _Item | None) -> "Oid | None":
    return None if item is None or item[0] != TREE_MODE else pygit2.Oid(raw=item[1])


def _file(item: _Item | None) -> BlobReference | None:
    return None if item is None or item[0] == TREE_MODE else BlobReference(item[1].hex(), 0, item[0])


def _told(path: bytes, old: BlobReference | None, new: BlobReference | None) -> Iterator[_Differing]:
    if old is not None and new is not None and stat.S_IFMT(old.mode) != stat.S_IFMT(new.mode):
        yield path, old, None
        yield path, None, new
    elif old is not None or new is not None:
        yield path, old, new
