"""Change what is recorded while no model's files change: one lock, one look, one commit with the snapshot."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from imageworks.config import HostSettings
from imageworks.reconcile.decide import is_ollamas
from imageworks.reconcile.places import Places
from imageworks.reconcile.recorder import Recorder, Recording
from imageworks.reconcile.senses import known_locations
from imageworks.reconcile.sync import Synchronizer, publish
from imageworks.reconcile.trust import refuse_unsigned
from imageworks.registry.entry import Entry
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_lock import hold
from imageworks.registry.git_propose import Proposed
from imageworks.registry.git_values import CommitResult
from imageworks.registry.load import RegistryState
from imageworks.transfer.paths import is_there
from imageworks.transfer.state import STATE_FILE, StateDatabase


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
        self._recorder = Recorder(repository, host)
        self.state = state
        self.registry = self._recorder.load()
        locations = known_locations(self.registry, state)
        self.places = Places(self.registry.settings, host, invalid=self.registry.settings_problem, locations=locations)
        self.notes = (*notes, *state.notes)

    def away(self, entry: Entry) -> str | None:
        """Return why nothing can be said of an entry's files now; ``None`` where they can be looked at.

        Args:
            entry: What is recorded.
        """
        obstacle = self.places.obstacle_at(entry.path) if entry.path is not None and not is_ollamas(entry) else None
        return None if obstacle is None else f"{obstacle.reason.value}: {obstacle.message}"

    @property
    def root(self) -> Path:
        """The registry folder."""
        return self._repository.root

    def allow(self, root: Path) -> None:
        """Let models be below a folder that this host's settings do not name, for this command.

        Args:
            root: The folder.
        """
        self.host = replace(self.host, roots=(*self.host.roots, root))
        locations = self.places.locations
        problem = self.registry.settings_problem
        self.places = Places(self.registry.settings, self.host, invalid=problem, locations=locations)

    def uncommitted(self, file: str) -> bool:
        """Return whether a file of the registry differs from the checked-out commit.

        Args:
            file: The registry path.
        """
        return file in self._repository.uncommitted(file)

    def committed(self, file: str) -> bytes | None:
        """Return a file of the registry as the checked-out commit has it; ``None`` when it has none.

        Args:
            file: The registry path.
        """
        return self._repository.at(self._repository.head()).plain(file)

    def declaring(self, manifests: Mapping[str, bytes | None]) -> RegistryState:
        """Return the registry as it would be with some manifests changed.

        Args:
            manifests: New bytes by registry path; ``None`` deletes one.
        """
        return self._recorder.load(manifests, revision=self.registry.revision)

    def other_hosts(self, name: str) -> tuple[str, ...]:
        """Return which other hosts record files of a model.

        Args:
            name: The variant name.
        """
        return self._recorder.other_hosts(name, self.registry)

    @classmethod
    @contextmanager
    def open(
        cls, root: Path, host: HostSettings, *, read_only: bool, wait: float = 0.0, aside: bool = False
    ) -> Iterator[Self]:
        """Open the records; unless they are only read, the registry's lock is held until the end (I10).

        Args:
            root: The registry folder.
            host: This host's settings.
            read_only: Whether nothing may be written, anywhere.
            wait: Seconds to wait for another controller.
            aside: Whether nothing will be committed on the checked-out branch, so that it need not be possible.

        Raises:
            LockHeldError: Another controller holds the registry.
        """
        repository = RegistryRepository.open(root, host=host.host)
        with StateDatabase.open(host.state_dir / STATE_FILE, read_only=read_only) as state:
            if read_only:
                yield cls(repository, host, state, read_only=True)
                return
            with (
                repository.lock(wait=wait) as recovery,
                hold(host.state_dir, wait=wait, host=host.host, what="this host"),
            ):
                left = [f"{item.path}: {item.reason}" for item in recovery.left_alone]
                ledger = cls(repository, host, state, read_only=False, notes=(*recovery.notes, *left))
                if not aside:
                    repository.check_committable(ledger.registry.branch)
                yield ledger

    def propose(self, edits: Edits, branch: str) -> Proposed | None:
        """Commit manifests to a branch that is not checked out; ``None`` when there is nothing to propose.

        Args:
            edits: What changes; manifests only.
            branch: The branch's name.

        Raises:
            BranchTakenError: The branch is checked out, holds somebody's work, or cannot be one.
        """
        base = self.registry.revision
        if not edits or base is None:
            return None
        return self._repository.branches.propose(branch, edits.manifests, base=base, message=edits.message)

    def _mark(self, entries: Iterable[Entry]) -> None:
        """Remember which disks the models are on that were recorded."""
        locations = self.places.locations
        paths = [entry.path for entry in entries if entry.path is not None and entry.files and not is_ollamas(entry)]
        for path in paths:
            if locations.root_of(path) is None and is_there(path):
                locations.remember_mount(path, self.state)
        roots = {root for path in paths if (root := locations.root_of(path)) is not None}
        for root in sorted(roots):
            if self.host.allows(root):
                locations.mark(root, self.state)

    def commit(self, edits: Edits) -> CommitResult | None:
        """Commit edits with the snapshot that follows from them; ``None`` when there is nothing to commit.

        Args:
            edits: What changes.

        Raises:
            BranchMovedError: People kept moving the branch, or changed the manifests that were to be written.
            RemoteError: It was committed, and could not be sent to the remote as registry.yaml asks.
        """
        if not edits:
            return None
        refuse_unsigned(self.registry, self.host, edits.manifests)
        recording = Recording(
            message=edits.message,
            trailers=lambda registry: {"Host": registry.host},
            written=edits.written,
            gone=edits.gone,
            manifests=edits.manifests,
        )
        base = (
            self._recorder.load(edits.manifests, revision=self.registry.revision) if edits.manifests else self.registry
        )
        committed = self._recorder.commit(base, recording)
        if committed is None:
            return None
        result, self.registry = committed
        self._recorder.save()
        self._mark(edits.written.values())
        sent = publish(Synchronizer(self._repository, self._recorder, os.environ), self.registry, asked=None)
        if sent.problem is not None:
            raise sent.problem
        return replace(result, notes=(*result.notes, *sent.notes))
