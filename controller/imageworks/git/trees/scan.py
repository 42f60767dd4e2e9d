"""What stands at some paths in thousands of trees, found by looking where it stood in the tree before."""

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pygit2 import Repository

ANY_FOLDER: Final = "*"
TREE_MODE: Final = b"40000"
MODES: Final = frozenset({b"100644", b"100755", b"100664", b"120000", b"160000", TREE_MODE})
ID_BYTES: Final = 20
ITEM: Final = re.compile(rb"([0-7]+) ([^\0]+)\0(.{%d})" % ID_BYTES, re.DOTALL)
"""Mode, name and id of what a tree's bytes have one after the other."""
LONGEST_MODE: Final = 6  # digits

Found = tuple[tuple[bytes, bytes, object], ...]
Wanted = dict[tuple[bytes, ...], "Wanted"]
_Standing = tuple[tuple[bytes, ...], bytes, bytes, bytes]
"""Which names were looked for, and the mode, name and id of what stands there."""


@dataclass(frozen=True, slots=True)
class _Item:
    """An entry of a tree's bytes: mode, space, name, zero byte, id.

    Args:
        start: Where it starts.
        mode: Git's mode, octal.
        name: The name.
        id: The id of what it is.
    """

    start: int
    mode: bytes
    name: bytes
    id: bytes

    @property
    def head(self) -> bytes:
        """All but the id."""
        return b"%b %b\0" % (self.mode, self.name)


@dataclass(frozen=True, slots=True)
class _Gap:
    """Two neighbours in a tree between which some names would stand.

    Args:
        start: Where the first starts.
        before: All but its id; empty at the tree's start.
        after: The second, likewise; empty at the tree's end.
    """

    start: int
    before: bytes
    after: bytes

    def is_in(self, data: bytes) -> bool:
        """Return whether a tree has the two neighbours at the same place, and so nothing between them."""
        end = self.start + len(self.before) + ID_BYTES if self.before else 0
        if not data.startswith(self.before, self.start):
            return False
        return data.startswith(self.after, end) if self.after else end == len(data)


class TreeScanner:
    """Says what stands at some paths of trees.

    A history has thousands of trees of thousands of entries, and neighbours differ in one: parsing each costs a hundred
    times as much as looking where an entry, or the gap for it, was in the one before. And the trees of one folder are
    read one after the other, since git packs them as differences, of whose bases libgit2 keeps few.
    """

    def __init__(self, repository: "Repository", paths: Iterable[str]) -> None:
        self._odb = repository.odb
        self._places: dict[tuple[bytes, bytes], int] = {}
        self._gaps: dict[tuple[bytes, tuple[bytes, ...]], _Gap] = {}
        self._wanted: Wanted = {}
        self._shared: dict[bytes, bytes] = {}
        for path in paths:
            node = self._wanted
            for part in filter(None, path.split("/")):
                node = node.setdefault(tuple(os.fsencode(name) for name in part.split("|")), {})

    def find(self, trees: Iterable[bytes]) -> dict[bytes, Found]:
        """Return everything that stands at the paths in each of some trees, comparable; all by their raw ids."""
        return self._below(dict.fromkeys(trees), self._wanted, b"")

    def _below(self, trees: Iterable[bytes], wanted: Wanted, folder: bytes) -> dict[bytes, Found]:
        looked_at = {tree: tuple(self._look(tree, wanted, folder)) for tree in trees}
        folders: dict[tuple[bytes, ...], dict[bytes, None]] = {}
        for names, mode, name, identifier in itertools.chain.from_iterable(looked_at.values()):
            if wanted[names] and mode == TREE_MODE:
                folders.setdefault((name, *names), {})[identifier] = None
        below = {
            key: self._below(within, wanted[key[1:]], b"%b/%b" % (folder, key[0])) for key, within in folders.items()
        }

        def found(items: tuple[_Standing, ...]) -> Iterator[tuple[bytes, bytes, object]]:
            for names, mode, name, identifier in items:
                if not wanted[names]:
                    yield mode, name, identifier
                elif mode == TREE_MODE and (inner := below[name, *names][identifier]):
                    yield mode, name, inner

        return {tree: tuple(found(items)) for tree, items in looked_at.items()}

    def _look(self, tree: bytes, wanted: Wanted, folder: bytes) -> Iterator[_Standing]:
        from pygit2 import Oid

        try:
            data = self._odb.read(Oid(raw=tree))[1]
        except KeyError:  # a damaged repository: whoever reads what is found says so
            return
        for names in wanted:
            every = names == (ANY_FOLDER.encode(),)
            for item in _items(data) if every else self._first(data, names, folder):
                mode, name = (self._shared.setdefault(one, one) for one in (item.mode, item.name))
                yield names, mode, name, item.id

    def _first(self, data: bytes, names: tuple[bytes, ...], folder: bytes) -> list[_Item]:
        """Return the first of some names that a tree has, if any."""
        for name in names:
            item = _item_at(data, self._places.get((folder, name), 0))
            if item is not None and item.name == name:
                return [item]
        gap = self._gaps.get((folder, names))
        if gap is not None and gap.is_in(data):
            return []
        items = list(_items(data))
        found = next((item for name in names for item in items if item.name == name), None)
        if found is None:
            self._note_gap(items, names, folder)
            return []
        self._places[folder, found.name] = found.start
        return [found]

    def _note_gap(self, items: list[_Item], names: tuple[bytes, ...], folder: bytes) -> None:
        """Remember between which neighbours the names would stand; git sorts folders as if they ended in a slash."""
        before = [item for item in items if item.name < min(names)]
        after = [item for item in items if item.name > max(names) + b"/"]
        if len(before) + len(after) == len(items):
            last = before[-1] if before else None
            following = after[0].head if after else b""
            self._gaps[folder, names] = _Gap(last.start if last else 0, last.head if last else b"", following)


def _item_at(data: bytes, start: int) -> _Item | None:
    """Return the entry at a place of a tree's bytes; ``None`` when none starts there."""
    space = data.find(b" ", start, start + LONGEST_MODE + 1)
    end = data.find(b"\0", space)
    mode = data[start:space]
    if space < 0 or end < 0 or mode not in MODES:
        return None
    return _Item(start, mode, data[space + 1 : end], data[end + 1 : end + 1 + ID_BYTES])


def _items(data: bytes) -> Iterator[_Item]:
    place = 0
    while (item := _item_at(data, place)) is not None:
        yield item
        place += len(item.head) + ID_BYTES
