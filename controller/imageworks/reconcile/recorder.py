"""The one way in which a command's work becomes a commit: entries, manifests, the snapshot that follows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from imageworks.config import HostSettings
from imageworks.reconcile.records import Records
from imageworks.registry.entry import Entry
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_values import BranchMovedError, CommitResult
from imageworks.registry.load import NOTHING_DECLARED, RegistryState, load_registry
from imageworks.registry.manifest import FOLDER as MODELS
from imageworks.registry.parsed import ParsedManifests, cache_file
from imageworks.registry.settings import FILE as SETTINGS_FILE

COMMIT_ATTEMPTS: Final = 5
"""How often a commit is tried anew while people move the branch."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What one commit records.

    Args:
        written: New or changed entries, by name.
        gone: Names whose entry is deleted, unless it is written too.
        manifests: New bytes of manifests by registry path; ``None`` deletes one.
        message: The commit's message without its trailers.
        trailers: Its trailers, from the registry that it is computed from.
    """

    message: str
    trailers: Callable[[RegistryState], Mapping[str, str]]
    written: Mapping[str, Entry] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    manifests: Mapping[str, bytes | None] = field(default_factory=dict)


class Recorder:
    """Reads a host's part of a registry, and commits to it.

    Args:
        repository: The registry.
        host: This host's settings.
    """

    def __init__(self, repository: RegistryRepository, host: HostSettings) -> None:
        self._repository = repository
        self._host = host
        self._parsed = ParsedManifests(cache_file(host.cache_dir, repository.root))
        self.records = Records(repository, cache_file(host.cache_dir / "snapshots", repository.root))

    def load(
        self, manifests: Mapping[str, bytes | None] = NOTHING_DECLARED, *, since: RegistryState | None = None
    ) -> RegistryState:
        """Return the registry as the checked-out commit has it.

        Args:
            manifests: Manifests that are about to be committed and stand in for those of the commit, by registry path.
            since: A registry whose commit is read instead of the checked-out one.
        """
        revision = self._repository.head() if since is None else since.revision
        return load_registry(
            self._repository, self._host.host, revision=revision, cache=self._parsed, declared=manifests
        )

    def save(self) -> None:
        """Keep what was parsed for the next run; a cache only."""
        self._parsed.save()

    def commit(self, registry: RegistryState, recording: Recording) -> tuple[CommitResult, RegistryState] | None:
        """Commit a recording and return the registry as it stands then; ``None`` when there is nothing to commit.

        Where people moved the branch meanwhile, the snapshot is computed anew from what they declared.

        Args:
            registry: The registry that the recording was made from, loaded with its manifests.
            recording: What to record.

        Raises:
            BranchMovedError: People changed the same manifests, or kept moving the branch.
        """
        planned = registry.revision
        for attempt in range(COMMIT_ATTEMPTS):
            if not (recording.written or recording.gone or recording.manifests or self.records.stale(registry)):
                self.records.remember(registry)
                return None
            try:
                result = self._try(registry, recording)
            except BranchMovedError:
                if attempt + 1 == COMMIT_ATTEMPTS or self._theirs(recording, planned):
                    raise
                registry = self.load(recording.manifests)
                continue
            # What the commit holds is known without reading it: nothing else that counts differs at its parent.
            left = {name: entry for name, entry in registry.entries.items() if name not in recording.gone}
            after = replace(registry, revision=result.id, entries=left | dict(recording.written))
            self.records.remember(after)
            self.records.write_compatible(after)
            return result, after
        raise AssertionError  # the last attempt returns or raises

    def _theirs(self, recording: Recording, planned: str | None) -> bool:
        """Return whether people committed to the very manifests that are to be written: theirs stay."""
        before, now = self._repository.at(planned), self._repository.at(self._repository.head())
        return any(before.file(file) != now.file(file) for file in recording.manifests)

    def _try(self, registry: RegistryState, recording: Recording) -> CommitResult:
        gone = recording.gone - set(recording.written)
        return self._repository.commit(
            {**recording.manifests, **self.records.changes(registry, recording.written, gone=gone)},
            message=recording.message,
            expected=registry.revision,
            depends_on=(MODELS, SETTINGS_FILE),
            trailers=recording.trailers(registry),
        )
