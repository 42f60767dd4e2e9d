"""What large files are, kept while they look as they did, so that not every command reads them again.

A file looks the same while its size, times, inode and device are the same, as for git's index. As there, an edit within
one tick of the filesystem's clock after a look that leaves the size as it was is not seen.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.plain_files import read_plain_file

SMALLEST: Final = 1 << 20
"""Bytes of a file that is worth it."""
SETTLED_SECONDS: Final = 3.0
"""How old a change of others must be, for the coarsest of filesystems count in twos."""
_MOST_BYTES: Final = 1 << 16


class StatCache:
    """What a few large files are, by how they look.

    Args:
        note: The file that keeps it; where it cannot be read or written, files are read.
    """

    def __init__(self, note: Path) -> None:
        self._note = note

    def get(self, path: Path, status: os.stat_result) -> str:
        """Return what was kept of a file that looks like this; empty where nothing was."""
        kept = self._read().get(str(path)) if status.st_size >= SMALLEST else None
        look = _prefix(status)
        return kept.removeprefix(look) if isinstance(kept, str) and kept.startswith(look) else ""

    def keep(self, path: Path, status: os.stat_result, meaning: str) -> None:
        """Keep what a file is that looked like this when it was known to be so."""
        if status.st_size < SMALLEST:
            return
        text = json.dumps({**self._read(), str(path): f"{_prefix(status)}{meaning}"})
        draft = self._note.with_suffix(".new")
        with suppress(OSError):  # nothing is lost but time; so it is not synced either
            draft.unlink(missing_ok=True)  # of a killed run: whoever writes holds the registry's lock
            with draft.open("x", encoding="utf-8") as stream:
                stream.write(text)
            draft.replace(self._note)

    def _read(self) -> dict[str, object]:
        try:
            kept = read_json(read_plain_file(self._note, _MOST_BYTES))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}


def is_settled(status: os.stat_result) -> bool:
    """Return whether whoever changed a file last has long been done."""
    return time.time() - max(status.st_mtime, status.st_ctime) > SETTLED_SECONDS


def look_of(status: os.stat_result) -> tuple[int, ...]:
    """Return how a file looks: device, inode, size, and in ns when its bytes and when anything of it changed last."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _prefix(status: os.stat_result) -> str:
    return " ".join(map(str, look_of(status))) + " "
