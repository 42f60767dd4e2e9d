"""The one way in which a command's work becomes a commit: entries, manifests, the snapshot that follows."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from imageworks.foundation.failpoints import failpoint
from imageworks.git.commit import Change
from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import with_trailers
from imageworks.git.values import BranchMovedError, CommitResult
from imageworks.host.settings import HostSettings
from imageworks.reconcile.expected_files import ExpectedFiles
from imageworks.reconcile.signature_policy import NO_ENTRIES, SignatureMemory
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.cache import ParsedDocuments, cache_file
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import Entry, entry_file, has_recorded_files
from imageworks.registry.entries.merge import snapshot_file
from imageworks.registry.load import NOTHING_DECLARED, RegistryState, keep_declared, load_registry, records_tip
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE

COMMIT_ATTEMPTS: Final = 5
"""How often a commit is tried anew while people move the branch."""


@dataclass(frozen=True, slots=True)
class CommitDraft:
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


class RegistryCommitter:
    """Reads a host's part of a registry, and commits to it."""

    def __init__(self, repository: RegistryRepository, host: HostSettings) -> None:
        self._repository = repository
        self._host = host
        self.signatures = SignatureMemory(host, repository.root)
        self.parsed = ParsedDocuments(cache_file(host.cache_dir, repository.root), host=host.host)
        self.records = ExpectedFiles(repository, host)

    @property
    def host(self) -> str:
        """The host that is recorded."""
        return self._host.host

    def load(
        self,
        manifests: Mapping[str, bytes | Refusal | None] = NOTHING_DECLARED,
        *,
        revision: str | None = None,
        with_entries: bool = True,
    ) -> RegistryState:
        """Return the registry as a commit has it, with some of its files otherwise."""
        return load_registry(
            self._repository,
            self._host.host,
            revision=revision or self._repository.head(),
            cache=self.parsed,
            declared=manifests,
            with_entries=with_entries,
        )

    def other_hosts(self, name: str, registry: RegistryState) -> tuple[str, ...]:
        """Return which other hosts record files of a model, here or on branches of their own."""
        head = self._repository.head()
        hosts = self._repository.folders(head, ENTRIES)
        files = ((host, entry_file(host, name)) for host in hosts)
        recorded = [(host, head, file) for host, file in files if self._repository.find_file(head, file) is not None]
        for host, tip in self._repository.branches.of_hosts(registry.settings.branch or ""):
            recorded.append((host, tip, entry_file(host, name)))
        others = (one for one in recorded if one[0] != self._host.host)
        found = {host for host, at, file in others if has_recorded_files(host, self._repository.stored_file(at, file))}
        return tuple(sorted(found))

    def save(self) -> None:
        """Keep what was parsed for the next run, and no longer in the memory; a cache only."""
        self.parsed.save()
        self.parsed.let_go()

    def without(self, registry: RegistryState, names: Container[str]) -> RegistryState:
        """Return a registry without entries that a commit writes anew: ten thousand are not to stand beside new ones.

        Until then, who reads the registry at a commit that has the same entries gets it without them too.
        """
        kept = {name: entry for name, entry in registry.entries.items() if name not in names}
        self.parsed.keep_entries(kept)
        # What one without a change is known to give stays known.
        return replace(registry, entries=kept) if len(kept) < len(registry.entries) else registry

    def commit(self, registry: RegistryState, recording: CommitDraft) -> tuple[CommitResult, RegistryState] | None:
        """Commit a recording and return the registry as it stands then; ``None`` when there is nothing to commit.

        Where people moved the branch meanwhile, the snapshot is computed anew from what they declared.
        """
        planned = registry.revision
        # Beside the snapshot are not to stand another commit's manifests, and what git read for a plan.
        self.parsed.in_memory.clear()
        self._repository.let_go()
        for attempt in range(COMMIT_ATTEMPTS):
            if not (recording.written or recording.gone or recording.manifests or self.records.stale(registry)):
                self.records.remember(registry)
                return None
            gone = recording.gone - set(recording.written)
            with self.records.changes(registry, recording.written, gone=gone) as records:
                try:
                    result = self._try(registry, recording, records)
                except BranchMovedError:
                    if attempt + 1 == COMMIT_ATTEMPTS or self._theirs(recording, planned):
                        raise
                    registry = self.load(recording.manifests)
                    continue
                after = self._after(registry, recording, result)
                self.records.remember(after, records[snapshot_file(after.host)])
            self.records.write_compatible(after)
            keep_declared(after, recording.manifests, self.parsed)
            return result, after
        raise AssertionError  # the last attempt returns or raises

    def _after(self, registry: RegistryState, recording: CommitDraft, result: CommitResult) -> RegistryState:
        """Return what a commit holds without reading it: nothing else that counts differs at its parent."""
        if not registry.unreadable.isdisjoint(recording.gone):
            return self.load()  # what was wrong with them is wrong no more
        left = {name: entry for name, entry in registry.entries.items() if name not in recording.gone}
        head = self._repository.head() if registry.branch else result.id
        return replace(registry, revision=head, recorded=result.id, entries=left | dict(recording.written))

    def _theirs(self, recording: CommitDraft, planned: str | None) -> bool:
        """Return whether people committed to the very manifests that are to be written: theirs stay."""
        before, now = (
            RevisionReader(self._repository, planned),
            RevisionReader(self._repository, self._repository.head()),
        )
        return any(before.file(file) != now.file(file) for file in recording.manifests)

    def _try(self, registry: RegistryState, recording: CommitDraft, records: Mapping[str, Change]) -> CommitResult:
        self._announce(registry, records)
        if registry.branch is not None:
            return self._try_aside(registry, registry.branch, recording, records)
        commits = registry.settings.commits
        return self._repository.commit(
            {**recording.manifests, **records},
            message=commits.message(recording.message),
            expected=registry.revision,
            depends_on=(MODELS, SETTINGS_FILE),
            trailers={**commits.trailers, **recording.trailers(registry)},
            sign=commits.sign,
        )

    def _announce(self, registry: RegistryState, records: Mapping[str, Change]) -> None:
        """Note what entries will be, where only those that this host knows as its own count."""
        if registry.recorded is not None and self.signatures.read().entries:
            folder = f"{ENTRIES}/{registry.host}"
            tried = self._repository.branches.write(records, base=registry.recorded, message="Never pointed to")
            self.signatures.announce(self._repository.tree_id(tried, folder) or NO_ENTRIES)

    def _try_aside(
        self, registry: RegistryState, branch: str, recording: CommitDraft, records: Mapping[str, Change]
    ) -> CommitResult:
        """Commit manifests on the checked-out branch, and what they led to on the branch of this host's entries.

        That branch holds the whole registry as it was reconciled, and follows the commit that it was reconciled from:
        each of its commits validates, and shows what the host had when.
        """
        commits = registry.settings.commits
        message = commits.message(recording.message)
        made = CommitResult(registry.revision or "", created=False)
        if recording.manifests:
            made = self._repository.commit(
                recording.manifests,
                message=message,
                expected=registry.revision,
                depends_on=(MODELS, SETTINGS_FILE),
                trailers={**commits.trailers, "Host": registry.host},
                sign=commits.sign,
            )
        head, tip = made.id, self._repository.tip(branch)
        before = records_tip(self._repository, branch)
        own = (f"{ENTRIES}/{registry.host}", snapshot_file(registry.host))
        commit = self._repository.branches.write(
            records,
            base=head,
            parents=tuple(dict.fromkeys(parent for parent in (before, head) if parent)),
            kept=[(before, path) for path in own] if before else (),
            message=with_trailers(
                message, {**commits.trailers, **recording.trailers(replace(registry, revision=head))}
            ),
            sign=commits.sign,
        )
        failpoint("aside.written")
        self._repository.branches.move(branch, commit, expected=tip, reason=recording.message.split("\n", 1)[0])
        failpoint("aside.moved")
        notes = (*made.notes, *self._repository.pack_when_due())
        return CommitResult(commit, created=True, left_alone=made.left_alone, notes=notes)
