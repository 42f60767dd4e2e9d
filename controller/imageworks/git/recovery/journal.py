"""The note that a commit is under way, written before the branch moves, so that a kill after it can be made good.

It lies in the work tree's own git folder as ``imageworks/pending.json``. Whether the branch did move needs no record:
where the checked-out commit has the new file, the work tree and the index may be brought up to it; where not, nothing
happened. So reading the journal twice, or after the user did other things, is harmless.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from imageworks.files.renames import write_durably
from imageworks.foundation.bounded_json import read_json_file
from imageworks.foundation.private_files import FOLDER_MODE, file_mode_in
from imageworks.git.controller_lock import FOLDER

JOURNAL_FILE: Final = "pending.json"
PULL_FILE: Final = "pull.json"
VERSION: Final = 1
PATHS_A_PIECE: Final = 256
NO_FILE: Final = frozenset({""})
"""What a path had before where nothing was there: one for all of ten thousand new files, which are 200 bytes each."""


@dataclass(frozen=True, slots=True)
class PathChange:
    """What a commit makes of one path.

    Args:
        olds: Blob ids that the path may have had before; ``""`` for no file.
        new: The blob id it gets; ``""`` when it is deleted.
    """

    olds: frozenset[str]
    new: str


def pull_note(git_dir: Path) -> Path:
    """Return the file that says of a work tree that its branch is being moved to a commit from elsewhere."""
    return git_dir / FOLDER / PULL_FILE


class Journal:
    """The pending changes of one work tree."""

    def __init__(self, git_dir: Path) -> None:
        self._folder = git_dir / FOLDER
        self._file = self._folder / JOURNAL_FILE

    def exists(self) -> bool:
        """Return whether an earlier commit did not finish."""
        return self._file.exists()

    def read(self) -> dict[str, PathChange]:
        """Return the pending changes by repository path; empty when there are none."""
        try:
            document = read_json_file(self._file)
            return {
                path: PathChange(frozenset(change["old"]), change["new"]) for path, change in document["paths"].items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}  # only a power cut can tear it, and then before the branch moved: it is synced first

    def write(self, changes: Mapping[str, PathChange]) -> None:
        """Store pending changes durably, on top of those of an earlier commit that are still open."""
        merged = self.read()
        for path, change in changes.items():
            before = merged.get(path)
            olds = change.olds if before is None else change.olds | before.olds | {before.new}
            merged[path] = PathChange(olds - {change.new}, change.new) if change.new in olds or before else change
        self._folder.mkdir(FOLDER_MODE, exist_ok=True)
        mode = file_mode_in(self._folder)
        write_durably(self._file, _document(merged), draft=self._file.with_suffix(".draft"), mode=mode)

    def keep(self, paths: Collection[str]) -> None:
        """Forget what is done: only some paths are still pending."""
        left = {path: change for path, change in self.read().items() if path in paths} if paths else {}
        self.clear()
        if left:
            self.write(left)

    def clear(self) -> None:
        """Forget everything: nothing is pending any more."""
        self._file.unlink(missing_ok=True)


def _document(changes: Mapping[str, PathChange]) -> Iterator[bytes]:
    """Yield the note in pieces: of ten thousand changes, all at once would be 8 MB beside what is committed."""
    paths = ((path, {"old": sorted(change.olds), "new": change.new}) for path, change in changes.items())
    before = f'{{"version": {VERSION}, "paths": {{'
    while some := dict(islice(paths, PATHS_A_PIECE)):
        yield (before + json.dumps(some)[1:-1]).encode()
        before = ", "
    yield f"{before if not changes else ''}}}}}".encode()
