"""Which bytes of this machine's disks several names share."""

import stat
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final

from imageworks.page.values import SharedBytes
from imageworks.registry.entries.entry import Entry

MOST_SHOWN: Final = 100
"""Groups of names that are shown."""
SMALLEST: Final = 1 << 20
"""Bytes of a file that are worth a line."""


def shared_bytes(
    entries: Iterable[Entry], stores: Iterable[tuple[str, Path, Iterable[Path]]]
) -> tuple[tuple[SharedBytes, ...], int]:
    """Return which files of models and stores are one on disk, largest first, and the bytes that this saves."""
    recorded = (
        (entry.base / file.path, f"{entry.name}: {file.path}")
        for entry in entries
        if entry.path is not None
        for file in entry.files
    )
    stored = ((path, f"{title}: {path.relative_to(folder)}") for title, folder, found in stores for path in found)
    names: dict[tuple[int, int], list[str]] = defaultdict(list)
    sizes: dict[tuple[int, int], int] = {}
    for path, name in chain(recorded, stored):
        with suppress(OSError, ValueError):
            seen = path.stat()
            if stat.S_ISREG(seen.st_mode) and seen.st_nlink > 1:
                key = (seen.st_dev, seen.st_ino)
                names[key].append(name)
                sizes[key] = seen.st_size
    several = [(key, ones) for key, ones in names.items() if len(ones) > 1]
    saved = sum(sizes[key] * (len(ones) - 1) for key, ones in several)
    rows = [SharedBytes(sizes[key], tuple(sorted(ones))) for key, ones in several if sizes[key] >= SMALLEST]
    rows.sort(key=lambda row: (-row.size, row.names))
    return tuple(rows[:MOST_SHOWN]), saved
