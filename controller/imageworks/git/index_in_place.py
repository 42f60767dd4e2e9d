"""Replacing what a plain index says of files that it has, byte for byte where they stand. Pure.

The git program knows a changed file by taking its digest, searching for collisions: of a snapshot of 18 MB a quarter of
what a whole commit by git takes. Whoever wrote the file knows what it is. No byte moves, so that what else is in an
index stays true; where anything is not as expected, nothing is done, and the git program is asked.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct, error, unpack_from
from typing import Final

HEADER_BYTES: Final = 12
DIGEST_BYTES: Final = 20
LONGEST_PATH: Final = 255  # of a longer one the flags do not begin with a zero byte, as no name does
_PLAIN_VERSIONS: Final = frozenset({2, 3})
_STAT: Final = Struct(">10I")
_BEFORE_NAME: Final = _STAT.size + DIGEST_BYTES + 2
_STEPS: Final = tuple((_BEFORE_NAME + length + 8) & ~7 for length in range(256))
"""How long an entry without flags is, by its path's bytes."""
_WORD: Final = 0xFFFFFFFF
_BILLION: Final = 1_000_000_000

Folders = Mapping[str, tuple[str, str]]
"""The ids that folders have in a commit's parent and in the commit, by repository path; ``""`` is the root."""


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What one index entry becomes.

    Args:
        olds: Blob ids that the entry may have now and that are not the user's doing; ``""`` for no entry.
        new: The blob id it gets; ``""`` removes it.
        mode: File mode of the new entry.
        look: How the file looks that holds the new blob, by :func:`look_of`; empty where that is not known.
    """

    olds: frozenset[str]
    new: str
    mode: int
    look: bytes = b""


def look_of(status: os.stat_result, mode: int) -> bytes:
    """Return how a file looks as git writes it, each number cut to 32 bits."""
    times = (*divmod(status.st_ctime_ns, _BILLION), *divmod(status.st_mtime_ns, _BILLION))
    numbers = (*times, status.st_dev, status.st_ino, mode, status.st_uid, status.st_gid, status.st_size)
    return _STAT.pack(*(number & _WORD for number in numbers))


def replace_entries(index: bytearray, changes: Mapping[str, IndexChange], folders: Folders) -> bool:
    """Give an index other entries at some paths; returns false where that is for the git program to do.

    Args:
        index: The bytes of the index file, which are worth nothing where this returns false.
        changes: What entries become, by repository path.
        folders: All folders above them of which the index may know what they were; none where git has replaced them.
    """
    try:
        count, end = _count(index), len(index) - DIGEST_BYTES
        said = bytes(index[end:])
        trailer = _digest(index, end) if any(said) else b""
        if not count or trailer not in {b"", said}:
            return False
        for path, entry in changes.items():
            place = _find(index, path, entry)
            if place is None or not entry.look:
                return False
            index[place : place + _STAT.size + DIGEST_BYTES] = entry.look + bytes.fromhex(entry.new)
        if not _bring_trees_up(index, _extensions(index, count), folders):
            return False
    except (IndexError, ValueError, error):  # torn, or of a kind that is not known here
        return False
    if trailer:
        index[end:] = _digest(index, end)
    return True


def _digest(index: bytearray, end: int) -> bytes:
    with memoryview(index) as view:
        return hashlib.sha1(view[:end], usedforsecurity=False).digest()


def _count(index: bytearray) -> int:
    """Return how many entries a plain index has; 0 for any other."""
    signature, version, count = unpack_from(">4sII", index)
    return count if signature == b"DIRC" and version in _PLAIN_VERSIONS else 0


def _find(index: bytearray, path: str, entry: IndexChange) -> int | None:
    """Return where the one entry starts that has a path, one of the old ids, no conflict and no flags."""
    name = os.fsencode(path)
    if len(name) > LONGEST_PATH:
        return None
    found = []
    for old in {*entry.olds, entry.new} - {""} if entry.new else ():
        wanted = b"%b\0%c%b\0" % (bytes.fromhex(old), len(name), name)
        place = index.find(wanted)
        if place >= 0:
            found.append(place - _STAT.size)
            found += [-1] if index.find(wanted, place + 1) >= 0 else []
    return found[0] if len(found) == 1 and unpack_from(">I", index, found[0] + 24)[0] == entry.mode else None


def _extensions(index: bytearray, count: int) -> dict[bytes, tuple[int, int]]:
    """Return where an index keeps what beside entries, by signature."""
    place = HEADER_BYTES
    with memoryview(index) as view, view[_BEFORE_NAME - 2 :] as flags, view[_BEFORE_NAME - 1 :] as lengths:
        for _ in range(count):
            place += _entry_bytes(view, place) if flags[place] else _STEPS[lengths[place]]
    found = {}
    while place < len(index) - DIGEST_BYTES:
        signature, size = unpack_from(">4sI", index, place)
        found[signature] = (place + 8, place + 8 + size)
        place += 8 + size
    if place != len(index) - DIGEST_BYTES:
        raise ValueError("extensions that do not fit")
    return found


def _entry_bytes(index: memoryview, place: int) -> int:
    """Return how long an entry is that has flags, or a path of more than 255 bytes."""
    flags: int = unpack_from(">H", index, place + _BEFORE_NAME - 2)[0]
    length, extended = flags & 0xFFF, 2 if flags & 0x4000 else 0
    if length == 0xFFF:  # noqa: PLR2004 # it does not say how long
        raise ValueError("a path of unknown length")
    return (_BEFORE_NAME + extended + length + 8) & ~7


def _bring_trees_up(index: bytearray, extensions: Mapping[bytes, tuple[int, int]], folders: Folders) -> bool:
    """Let folders be known by their new trees which the index knew by their old ones; returns whether all could be."""
    if b"link" in extensions or b"sdir" in extensions:
        return False
    trees = dict(_trees(index, *extensions.get(b"TREE", (0, 0))))
    for folder, (old, new) in folders.items():
        place = trees.get(folder)
        if place is None:
            continue  # git does not know it, and does not believe it either
        if index[place : place + DIGEST_BYTES].hex() != old:
            return False
        index[place : place + DIGEST_BYTES] = bytes.fromhex(new)
    return True


def _trees(index: bytearray, start: int, end: int) -> Iterator[tuple[str, int]]:
    """Yield the folders whose trees an index knows, with where their ids stand."""
    above: list[tuple[str, int]] = []  # folders with how many below them are still to come
    while start < end:
        zero, line = index.index(b"\0", start), index.index(b"\n", start)
        name = os.fsdecode(bytes(index[start:zero]))
        count, below = map(int, index[zero + 1 : line].split(b" "))
        while above and not above[-1][1]:
            above.pop()
        path = f"{above[-1][0]}/{name}".lstrip("/") if above else ""
        if above:
            above[-1] = (above[-1][0], above[-1][1] - 1)
        above.append((path, below))
        start = line + 1
        if count >= 0:
            yield path, start
            start += DIGEST_BYTES
