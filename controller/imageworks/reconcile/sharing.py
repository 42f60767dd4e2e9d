"""Models that stand in one folder: several quantizations of a repository may, and then they share its small files."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

from imageworks.registry.entry import Entry


class Sharing:
    """Knows which files of a folder several models own, and lets one change a folder at a time.

    Args:
        entries: What is recorded when the run begins.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._standing: dict[Path, dict[str, Entry]] = defaultdict(dict)
        self._turns: dict[Path, Lock] = defaultdict(Lock)
        self._guard = Lock()
        for entry in entries:
            if entry.path is not None and entry.files:
                self._standing[entry.base][entry.name] = entry

    def others(self, entry: Entry) -> frozenset[str]:
        """Return the files of an entry that another model in the same folder owns too.

        Args:
            entry: What is recorded; it has files.
        """
        return frozenset(self.owners(entry))

    def owners(self, entry: Entry) -> dict[str, frozenset[str]]:
        """Return the names of the other models that own each shared file of an entry, by relative path.

        Args:
            entry: What is recorded; it has files.
        """
        with self._guard:
            beside = [other for name, other in self._standing[entry.base].items() if name != entry.name]
        own = {file.path for file in entry.files}
        owners: dict[str, set[str]] = defaultdict(set)
        for other in beside:
            for file in other.files:
                if file.path in own:
                    owners[file.path].add(other.name)
        return {path: frozenset(names) for path, names in owners.items()}

    def leave(self, entry: Entry) -> None:
        """Forget a model in its folder: its files were moved or removed.

        Args:
            entry: What was recorded of it.
        """
        with self._guard:
            self._standing[entry.base].pop(entry.name, None)

    @contextmanager
    def turn(self, *folders: Path) -> Iterator[None]:
        """Wait until no other model changes these folders, and keep others waiting meanwhile.

        Args:
            folders: Models' folders; always taken in the same order, so that nobody waits in a circle.
        """
        with self._guard:
            locks = [self._turns[folder] for folder in sorted(set(folders))]
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            yield
