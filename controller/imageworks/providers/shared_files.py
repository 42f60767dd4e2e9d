"""Models that stand in one folder: several quantizations of a repository may, and then they share its small files."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

from imageworks.plan.facts import NO_FILES
from imageworks.registry.entries.entry import Entry


class SharedFiles:
    """Knows which files of a folder several models own, and lets one change a folder at a time."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._standing: dict[Path, dict[str, Entry]] = defaultdict(dict)
        self._names_by_file: dict[str, set[str]] | None = None
        self._turns: dict[Path, Lock] = defaultdict(Lock)
        self._guard = Lock()
        for entry in entries:
            # In Ollama's store it is Ollama that knows what shares a blob.
            if entry.path is not None and entry.files and entry.fields.get("source_provider") != "ollama":
                self._standing[entry.base][entry.name] = entry

    def others(self, entry: Entry) -> frozenset[str]:
        """Return the files of an entry that another model owns too which is recorded in the same folder.

        Quick, for each model of a plan; before anything is deleted or moved away ask `owners`.
        """
        with self._guard:
            if len(standing := self._standing[entry.base]) == 1 and entry.name in standing:
                return NO_FILES
            beside = [other for name, other in standing.items() if name != entry.name]
        own = {file.path for file in entry.files}
        return frozenset(file.path for other in beside for file in other.files if file.path in own)

    def owners(self, entry: Entry) -> dict[str, frozenset[str]]:
        """Return the names of the other models that own each shared file of an entry, by relative path.

        A file is recognised wherever its record says that it starts from: a folder above, below, or behind a link.
        """
        with self._guard:
            if self._names_by_file is None:
                self._names_by_file = self._owned_files()
            place = _real(entry.base)
            owners = {file.path: self._names_by_file.get(_key(place, file.path), set()) for file in entry.files}
            return {path: frozenset(left) for path, names in owners.items() if (left := names - {entry.name})}

    def _owned_files(self) -> dict[str, set[str]]:
        owned: dict[str, set[str]] = defaultdict(set)
        for base, entries in self._standing.items():
            place = _real(base) if entries else ""
            for name, entry in entries.items():
                for file in entry.files:
                    owned[_key(place, file.path)].add(name)
        return owned

    def leave(self, entry: Entry) -> None:
        """Forget a model in its folder: its files were moved or removed."""
        with self._guard:
            self._standing[entry.base].pop(entry.name, None)
            self._names_by_file = None

    @contextmanager
    def turn(self, *folders: Path) -> Iterator[None]:
        """Wait until no other model changes these folders, and keep others waiting meanwhile."""
        with self._guard:
            locks = [self._turns[folder] for folder in sorted(set(folders))]
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            yield


def _real(folder: Path) -> str:
    return os.path.realpath(folder)


def _key(place: str, path: str) -> str:
    return f"{place}/{path}".casefold()  # two spellings may be one file: then it stays
