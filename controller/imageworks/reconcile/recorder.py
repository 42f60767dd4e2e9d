"""The one way in which a command's work becomes a commit: entries, manifests, the snapshot that follows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from imageworks.config import HostSettings
from imageworks.failpoints import failpoint
from imageworks.reconcile.records import Records
from imageworks.reconcile.trust import NO_ENTRIES, Notes
from imageworks.registry.entry import FOLDER as ENTRIES
from imageworks.registry.entry import Entry, entry_file, has_recorded_files
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_messages import with_trailers
from imageworks.registry.git_values import BranchMovedError, CommitResult
from imageworks.registry.load import NOTHING_DECLARED, RegistryState, load_registry, records_tip
from imageworks.registry.manifest import FOLDER as MODELS
from imageworks.registry.merge import snapshot_file
from imageworks.registry.parsed import ParsedDocuments, cache_file
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
        self._notes = Notes(host, repository.root)
        self._parsed = ParsedDocuments(cache_file(host.cache_dir, repository.root))
        self.records = Records(repository, cache_file(host.cache_dir / "snapshots", repository.root), host.allows)

    @property
    def host(self) -> str:
        """The host that is recorded."""
        return self._host.host

    def load(
        self, manifests: Mapping[str, bytes | None] = NOTHING_DECLARED, *, revision: str | None = None
    ) -> RegistryState:
        """Return the registry as a commit has it.

        Args:
            manifests: Manifests that are about to be committed and stand in for those of the commit, by registry path.
            revision: The commit; by default the checked-out one.
        """
        return load_registry(
            self._repository,
            self._host.host,
            revision=revision or self._repository.head(),
            cache=self._parsed,
            declared=manifests,
        )

    def other_hosts(self, name: str, registry: RegistryState) -> tuple[str, ...]:
        """Return which other hosts record files of a model, here or on branches of their own.

        Args:
            name: The variant name.
            registry: The registry as it was read.
        """
        head = self._repository.head()
        files = [file for file in self._repository.list_files(head, ENTRIES) if file.endswith(f"/{name}.json")]
        recorded = [(file.split("/")[1], head, file) for file in files]
        for host, tip in self._repository.branches.of_hosts(registry.settings.branch or ""):
            recorded.append((host, tip, entry_file(host, name)))
        found = set()
        for host, revision, file in recorded:
            data = self._repository.at(revision).file(file)
            if host != self._host.host and has_recorded_files(host, data if isinstance(data, bytes) else None):
                found.add(host)
        return tuple(sorted(found))

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
            head = self._repository.head() if registry.branch else result.id
            after = replace(registry, revision=head, recorded=result.id, entries=left | dict(recording.written))
            self.records.remember(after)
            self.records.write_compatible(after)
            return result, after
        raise AssertionError  # the last attempt returns or raises

    def _theirs(self, recording: Recording, planned: str | None) -> bool:
        """Return whether people committed to the very manifests that are to be written: theirs stay."""
        before, now = self._repository.at(planned), self._repository.at(self._repository.head())
        return any(before.file(file) != now.file(file) for file in recording.manifests)

    def _try(self, registry: RegistryState, recording: Recording) -> CommitResult:
        records = self.records.changes(registry, recording.written, gone=recording.gone - set(recording.written))
        self._announce(registry, records)
        if registry.branch is not None:
            return self._try_aside(registry, registry.branch, recording, records)
        return self._repository.commit(
            {**recording.manifests, **records},
            message=recording.message,
            expected=registry.revision,
            depends_on=(MODELS, SETTINGS_FILE),
            trailers=recording.trailers(registry),
        )

    def _announce(self, registry: RegistryState, records: Mapping[str, bytes | None]) -> None:
        """Note what entries will be, where only those that this host knows as its own count."""
        if registry.recorded is not None and self._notes.read().entries:
            folder = f"{ENTRIES}/{registry.host}"
            tried = self._repository.branches.write(records, base=registry.recorded, message="Never pointed to")
            self._notes.announce(self._repository.tree_id(tried, folder) or NO_ENTRIES)

    def _try_aside(
        self, registry: RegistryState, branch: str, recording: Recording, records: Mapping[str, bytes | None]
    ) -> CommitResult:
        """Commit manifests on the checked-out branch, and what they led to on the branch of this host's entries.

        That branch holds the whole registry as it was reconciled, and follows the commit that it was reconciled from:
        each of its commits validates, and shows what the host had when.
        """
        made = CommitResult(registry.revision or "", created=False)
        if recording.manifests:
            made = self._repository.commit(
                recording.manifests,
                message=recording.message,
                expected=registry.revision,
                depends_on=(MODELS, SETTINGS_FILE),
                trailers={"Host": registry.host},
            )
        head, tip = made.id, self._repository.tip(branch)
        before = records_tip(self._repository, branch)
        own = (f"{ENTRIES}/{registry.host}", snapshot_file(registry.host))
        commit = self._repository.branches.write(
            records,
            base=head,
            parents=tuple(dict.fromkeys(parent for parent in (before, head) if parent)),
            kept=[(before, path) for path in own] if before else (),
            message=with_trailers(recording.message, recording.trailers(replace(registry, revision=head))),
        )
        failpoint("aside.written")
        self._repository.branches.move(branch, commit, expected=tip, reason=recording.message.split("\n", 1)[0])
        failpoint("aside.moved")
        return CommitResult(commit, created=True, left_alone=made.left_alone, notes=made.notes)
