"""Change what is recorded while no model's files change: one lock, one look, one commit with the snapshot."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from imageworks.config import HostSettings
from imageworks.reconcile.places import Places
from imageworks.reconcile.records import COMMIT_ATTEMPTS, Records
from imageworks.registry.entry import Entry
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_values import BranchMovedError, CommitResult
from imageworks.registry.load import RegistryState, load_registry
from imageworks.registry.manifest import FOLDER as MODELS
from imageworks.registry.manifest import Manifest
from imageworks.registry.parsed import ParsedManifests, cache_file
from imageworks.transfer.state import STATE_FILE, StateDatabase

SETTINGS_FILE: Final = "registry.yaml"


@dataclass(frozen=True, slots=True)
class Edits:
    """What one commit changes.

    Args:
        written: New or changed entries, by name.
        gone: Names whose entry is deleted.
        manifests: New manifests with their bytes.
        title: The commit's subject.
        lines: What was changed, one line a model.
    """

    written: Mapping[str, Entry] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    manifests: tuple[tuple[Manifest, bytes], ...] = ()
    title: str = ""
    lines: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.written or self.gone or self.manifests)


class Ledger:
    """A registry's records, opened by :meth:`open` to be read or changed.

    Args:
        repository: The registry.
        host: This host's settings.
        state: The host's verified files.
        read_only: Whether nothing may be written, anywhere.
        notes: What a person should know.
    """

    def __init__(
        self,
        repository: RegistryRepository,
        host: HostSettings,
        state: StateDatabase,
        *,
        read_only: bool,
        notes: Iterable[str] = (),
    ) -> None:
        self._repository = repository
        self.read_only = read_only
        self.host = host
        self._parsed = ParsedManifests(cache_file(host.cache_dir, repository.root))
        self._records = Records(repository, cache_file(host.cache_dir / "snapshots", repository.root))
        self.state = state
        self.registry = self._load()
        invalid = next((item.render() for item in self.registry.settings_invalid), None)
        self.places = Places(self.registry.settings, host, invalid=invalid)
        self.notes = (*notes, *state.notes)

    @property
    def root(self) -> Path:
        """The registry folder."""
        return self._repository.root

    @classmethod
    @contextmanager
    def open(cls, root: Path, host: HostSettings, *, read_only: bool, wait: float = 0.0) -> Iterator[Self]:
        """Open the records; unless they are only read, the registry's lock is held until the end (I10).

        Args:
            root: The registry folder.
            host: This host's settings.
            read_only: Whether nothing may be written, anywhere.
            wait: Seconds to wait for another controller.

        Raises:
            LockHeldError: Another controller holds the registry.
        """
        repository = RegistryRepository.open(root, host=host.host)
        with StateDatabase.open(host.state_dir / STATE_FILE, read_only=read_only) as state:
            if read_only:
                yield cls(repository, host, state, read_only=True)
                return
            with repository.lock(wait=wait) as recovery:
                repository.check_committable()
                left = [f"{item.path}: {item.reason}" for item in recovery.left_alone]
                yield cls(repository, host, state, read_only=False, notes=(*recovery.notes, *left))

    def commit(self, edits: Edits) -> CommitResult | None:
        """Commit edits with the snapshot that follows from them; ``None`` when there is nothing to commit.

        Args:
            edits: What changes.

        Raises:
            BranchMovedError: People kept moving the branch, or moved it while manifests were to be written.
        """
        if not edits:
            return None
        result = self._commit(edits)
        self.registry = self._load()
        self._records.remember(self.registry)
        self._parsed.save()
        self._records.write_compatible(self.registry)
        return result

    def _commit(self, edits: Edits) -> CommitResult:
        registry = self.registry
        for _ in range(COMMIT_ATTEMPTS - 1):
            try:
                return self._try_commit(registry, edits)
            except BranchMovedError:
                if edits.manifests:
                    raise  # what people committed meanwhile may be the very manifest: theirs is never overwritten
                registry = self._load()
        return self._try_commit(registry, edits)

    def _try_commit(self, registry: RegistryState, edits: Edits) -> CommitResult:
        added = {manifest.name: manifest for manifest, _ in edits.manifests}
        declared = replace(registry, manifests={**registry.manifests, **added})
        files = self._records.changes(declared, edits.written, gone=edits.gone - set(edits.written))
        return self._repository.commit(
            {**files, **{manifest.file: data for manifest, data in edits.manifests}},
            message="\n\n".join(filter(None, (edits.title, "\n".join(edits.lines)))),
            expected=registry.revision,
            depends_on=(MODELS, SETTINGS_FILE),
            trailers={"Host": self.host.host},
        )

    def _load(self) -> RegistryState:
        return load_registry(self._repository, self.host.host, revision=self._repository.head(), cache=self._parsed)
