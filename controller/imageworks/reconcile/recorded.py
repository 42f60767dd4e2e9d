"""The models of this host as manifests and entries give them: for what acts, which never obeys a snapshot.

A snapshot is a file that whoever may push can write. Here is the one gate: the registry at its newest commit, held
against signatures where they are demanded.
"""

import json
from pathlib import Path
from threading import Lock

from imageworks.config import HostSettings
from imageworks.reconcile.trust import Trust
from imageworks.registry.git import RegistryRepository
from imageworks.registry.load import load_registry, records_tip
from imageworks.registry.parsed import ParsedDocuments, cache_file
from imageworks.registry.snapshot import expected_snapshot
from imageworks.serving.session import Recorded


def recorded_models(root: Path, host: HostSettings) -> Recorded:
    """Return this host's models as its registry has them now.

    Args:
        root: The registry folder.
        host: This host's settings.

    Raises:
        UntrustedRegistryError: The registry must be signed and is not.
    """
    return RecordedModels(root, host).now()


class RecordedModels:
    """Reads a host's models, again only when a commit has moved; several threads may ask.

    Args:
        root: The registry folder.
        host: This host's settings.
    """

    def __init__(self, root: Path, host: HostSettings) -> None:
        self._repository = RegistryRepository.open(root, host=host.host)
        self._host = host
        self._lock = Lock()
        self._branch: str | None = None
        self._seen: tuple[str | None, str | None] | None = None
        self._recorded = Recorded()

    def now(self) -> Recorded:
        """Return the models at the newest commit.

        Raises:
            UntrustedRegistryError: The registry must be signed and is not.
        """
        with self._lock:
            if self._seen is None or self._tips() != self._seen:
                self._seen = None
                self._recorded = self._read()
                self._seen = self._tips()
            return self._recorded

    def _tips(self) -> tuple[str | None, str | None]:
        return self._repository.head(), records_tip(self._repository, self._branch) if self._branch else None

    def _read(self) -> Recorded:
        cache = ParsedDocuments(cache_file(self._host.cache_dir, self._repository.root))
        registry = load_registry(self._repository, self._host.host, revision=self._repository.head(), cache=cache)
        Trust(self._repository, self._host).check(registry, remember=False)
        self._branch = registry.branch
        return Recorded(json.loads(expected_snapshot(registry)), registry.entries)
