"""Change what is recorded while no model's files change: one lock, one look, one commit with the snapshot."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.git.proposal_branch import Proposed
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import CommitResult
from imageworks.host.settings import HostSettings
from imageworks.providers.locations import HostLocations
from imageworks.reconcile.commit import CommitDraft, RegistryCommitter
from imageworks.reconcile.observers import known_locations, remember_disks
from imageworks.reconcile.open_registry import locked, read_registry
from imageworks.reconcile.remote_sync import Synchronizer, publish
from imageworks.reconcile.signature_policy import check_signing, refuse_unsigned
from imageworks.registry.commit_reader import MANY, RevisionReader
from imageworks.registry.entries.entry import Entry, is_in_store
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import FOLDER as MODELS


@dataclass(frozen=True, slots=True)
class Edits:
    """What one commit changes.

    Args:
        written: New or changed entries, by name.
        gone: Names whose entry is deleted.
        manifests: New bytes of manifests by registry path; ``None`` deletes one.
        title: The commit's subject.
        lines: What was changed, one line a model.
    """

    written: Mapping[str, Entry] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    manifests: Mapping[str, bytes | None] = field(default_factory=dict)
    title: str = ""
    lines: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """The commit's message, without trailers."""
        return "\n\n".join(filter(None, (self.title, "\n".join(self.lines))))

    def __bool__(self) -> bool:
        return bool(self.written or self.gone or self.manifests)


class RecordSession:
    """A registry's records, opened by :meth:`open` to be read or changed."""

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
        self._recorder = RegistryCommitter(repository, host)
        self.state = state
        self.registry = read_registry(repository, host, self._recorder, remember=not read_only)
        locations = known_locations(self.registry, state)
        self.places = HostLocations(
            self.registry.settings, host, invalid=self.registry.settings_problem, locations=locations
        )
        self.notes = (*notes, *state.notes)

    def away(self, entry: Entry) -> str | None:
        """Return why nothing can be said of an entry's files now; ``None`` where they can be looked at."""
        obstacle = self.places.obstacle_at(entry.path) if entry.path is not None and not is_in_store(entry) else None
        return None if obstacle is None else f"{obstacle.reason.value}: {obstacle.message}"

    @property
    def root(self) -> Path:
        """The registry folder."""
        return self._repository.root

    def allow(self, root: Path) -> None:
        """Let models be below a folder that this host's settings do not name, for this command."""
        self.host = self.host._replace(roots=(*self.host.roots, root))
        locations = self.places.locations
        problem = self.registry.settings_problem
        self.places = HostLocations(self.registry.settings, self.host, invalid=problem, locations=locations)

    def uncommitted(self, file: str) -> bool:
        """Return whether a manifest differs from the checked-out commit; git is asked once for all of them."""
        return file in self._edited

    @cached_property
    def _edited(self) -> frozenset[str]:
        return frozenset(self._repository.uncommitted(MODELS))

    def committed(self, file: str) -> bytes | None:
        """Return a file of the registry as the checked-out commit has it; ``None`` when it has none."""
        return RevisionReader(self._repository, self._repository.head()).plain(file)

    def declaring(self, manifests: Mapping[str, bytes | None]) -> RegistryState:
        """Return the registry as it would be with some manifests changed."""
        if len(manifests) > MANY:  # those that they take the place of are not to stand beside them
            self.registry = replace(self.registry, manifests={}, documents={})
        return self._recorder.load(manifests, revision=self.registry.revision)

    def other_hosts(self, name: str) -> tuple[str, ...]:
        """Return which other hosts record files of a model."""
        return self._recorder.other_hosts(name, self.registry)

    @classmethod
    @contextmanager
    def open(
        cls, root: Path, host: HostSettings, *, read_only: bool, wait: float = 0.0, aside: bool = False
    ) -> Iterator[Self]:
        """Open the records; unless they are only read, the registry's lock is held until the end (I10)."""
        repository = RegistryRepository.open(root, host=host.host)
        with StateDatabase.open(host.state_dir / STATE_FILE, read_only=read_only) as state:
            if read_only:
                yield cls(repository, host, state, read_only=True)
                return
            with locked(repository, host, wait=wait) as notes:
                ledger = cls(repository, host, state, read_only=False, notes=notes)
                if not aside:
                    repository.check_committable(ledger.registry.branch)
                check_signing(repository, ledger.registry, host)
                yield ledger

    def propose(self, edits: Edits, branch: str) -> Proposed | None:
        """Commit manifests to a branch that is not checked out; ``None`` when there is nothing to propose."""
        base = self.registry.revision
        if not edits or base is None:
            return None
        commits = self.registry.settings.commits
        return self._repository.branches.propose(
            branch,
            edits.manifests,
            base=base,
            message=commits.message(edits.message),
            trailers=commits.trailers,
            sign=commits.sign,
        )

    def commit(self, edits: Edits) -> CommitResult | None:
        """Commit edits with the snapshot that follows from them; ``None`` when there is nothing to commit."""
        if not edits:
            return None
        refuse_unsigned(self.registry, self.host, edits.manifests)
        recording = CommitDraft(
            message=edits.message,
            trailers=lambda registry: {"Host": registry.host},
            written=edits.written,
            gone=edits.gone,
            manifests=edits.manifests,
        )
        self._recorder.save()  # first: what is parsed is not to stand beside the snapshot
        # Of ten thousand that are renamed, the old ones are not to stand beside the new: they need only be known.
        kept = {name: Entry(name, {}) if name in edits.gone else one for name, one in self.registry.entries.items()}
        self.registry = base = self._recorder.without(replace(self.registry, entries=kept), edits.written)
        if edits.manifests:
            base = self._recorder.load(edits.manifests, revision=base.revision)
        committed = self._recorder.commit(base, recording)
        if committed is None:
            return None
        result, self.registry = committed
        remember_disks(self.places.locations, self.host, self.state, edits.written.values())
        sent = publish(Synchronizer(self._repository, self._recorder, os.environ), self.registry, asked=None)
        if sent.problem is not None:
            raise sent.problem
        return replace(result, notes=(*result.notes, *sent.notes))
