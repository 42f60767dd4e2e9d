"""Read a registry's history out of its commits: what each changed of a model, and who set which field."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from imageworks.foundation.similar_words import did_you_mean
from imageworks.git.program import GitProgram
from imageworks.git.remote import Remote
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import CommitRecord, FileDifference
from imageworks.registry.documents.cache import ParsedDocuments
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import entry_file
from imageworks.registry.entries.merge import SNAPSHOT_FOLDER
from imageworks.registry.history.compare import compare, flatten, former_names, layer_of, name_of
from imageworks.registry.history.model import (
    Blamed,
    HistoryCommit,
    HistoryError,
    RecordKind,
    Version,
)
from imageworks.registry.history.states import HistoryFilter, StateReader
from imageworks.registry.load import records_branch, records_tip
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import SUFFIXES
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE
from imageworks.registry.settings.settings import read_settings


@dataclass(slots=True)
class _Trail:
    """The names that a model had, as they turn up on the way back through its commits.

    Args:
        names: The present name first.
        known: Names whose files are looked for; those that a manifest only announces are among them.
    """

    names: list[str]
    known: set[str] = field(default_factory=set)

    def learn(self, names: Iterable[str]) -> None:
        self.names += [name for name in dict.fromkeys(names) if name not in self.names]
        self.known.update(self.names)


class HistoryReader(StateReader):
    """Reads the history of one registry."""

    def __init__(
        self, repository: RegistryRepository, caches: Sequence[ParsedDocuments] = (), *, host: str | None = None
    ) -> None:
        super().__init__(repository, caches)
        self._host = host

    @cached_property
    def recorded(self) -> str | None:
        """The commit that the host's entries are of now: the checked-out one unless they have a branch of their own."""
        head = self.repository.head()
        settings = self.version(head, SETTINGS_FILE)
        if self._host is None or settings is None or settings.fields is None:
            return head
        branch = records_branch(self.repository, read_settings(settings.fields, self._host), self._host)
        return (records_tip(self.repository, branch) if branch else None) or head

    def fork_point(self, one: str, other: str) -> str | None:
        """Return the newest commit that two have in common; ``None`` when they have none."""
        return Remote(GitProgram(self.repository.layout.worktree, os.environ)).merge_base(one, other)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Return whether one commit is another, or one that it follows."""
        return Remote(GitProgram(self.repository.layout.worktree, os.environ)).is_ancestor(older, newer)

    # --- commits -----------------------------------------------------------------------------------------------------

    def registry_steps(self, *, host: str | None = None, revision: str | None = None) -> Iterator[HistoryCommit]:
        """Yield the commits that touched the registry, newest first, each with what it changed."""
        return (self.registry_step(record, host=host) for record in self.registry_records(revision=revision))

    def registry_records(self, *, revision: str | None = None) -> Iterator[CommitRecord]:
        """Yield the same without what they changed."""
        aside = self._aside(revision)
        every = (MODELS, ENTRIES, SNAPSHOT_FOLDER, SETTINGS_FILE)
        touching = self.repository.touching(every, also=aside) if aside else ()
        return map(self.repository.record, touching) if aside else self.repository.log(revision=revision)

    def registry_step(self, record: CommitRecord, *, host: str | None = None) -> HistoryCommit:
        """Return a commit with what it changed."""
        found, looked_at = self._changed_by(record)
        changes = compare(self.pairs(found, HistoryFilter(host=host)))
        return HistoryCommit(looked_at, changes, _layers(looked_at.changed))

    def steps(self, name: str, *, host: str | None = None, revision: str | None = None) -> Iterator[HistoryCommit]:
        """Yield the commits that touched a model, newest first, under whatever name it then had."""
        return (step for step, _names in self._walk(name, host, revision))

    def _walk(
        self, name: str, host: str | None, revision: str | None
    ) -> Iterator[tuple[HistoryCommit, tuple[str, ...]]]:
        """Yield each step with the names that the model had by then, the newest first."""
        start, aside = revision or self.repository.head(), self._aside(revision)
        trail = _Trail([name], {name, *self._announced(start, name)})
        seen: set[str] = set()
        while start is not None:
            known = set(trail.known)
            again: str | None = None
            for commit in self.repository.touching(_paths(known), revision=start, also=aside):
                if commit in seen:
                    continue
                seen.add(commit)
                step = self._step(commit, trail, host)
                if again is None and not trail.known <= known:
                    again = commit  # a former name turned up that was not looked for: look on from here
                if step is not None:
                    yield step, tuple(trail.names)
            start, aside = again, ()

    def _aside(self, revision: str | None) -> tuple[str, ...]:
        """Return where else to start looking back, when nobody says where: at the branch of the entries."""
        recorded = self.recorded if revision is None else None
        return () if recorded is None or recorded == self.repository.head() else (recorded,)

    def _step(self, commit: str, trail: _Trail, host: str | None) -> HistoryCommit | None:
        found, record = self._changed_by(self.repository.record(commit))
        self._learn(record.id, found, trail)
        wanted = HistoryFilter(names=frozenset(trail.names), host=host)
        pairs = self.pairs(found, wanted)
        if not pairs:
            return None
        changes = compare(pairs)
        if any(after is None for _before, after in pairs.values()):  # perhaps it goes on under another name
            appeared = self.pairs((one for one in found if one.before is None), HistoryFilter(host=host))
            changes = compare({**appeared, **pairs}).called(wanted.names)
        return HistoryCommit(record, changes, _layers((*pairs, *_snapshots(record.changed))))

    def _learn(self, commit: str, found: Sequence[FileDifference], trail: _Trail) -> None:
        """Add the former names that a commit tells of: in the model's manifest, or by what vanished as it appeared."""
        for name in tuple(trail.names):
            manifest = self._manifest(commit, name)
            if manifest is not None and manifest.fields is not None:
                trail.learn(former_names(manifest.fields))
        ours = HistoryFilter(names=frozenset(trail.names))
        if appeared := [one for one in found if one.before is None and one.path in ours]:
            vanished = (one for one in found if one.after is None)
            moved = compare(self.pairs((*appeared, *vanished), HistoryFilter()))
            trail.learn(former for name, former in moved.renames() if name in ours.names)

    def _changed_by(self, record: CommitRecord) -> tuple[tuple[FileDifference, ...], CommitRecord]:
        """Return what a commit changed against its first parent; of a merge, only what differs from every parent.

        Its record comes with the paths that it changed, so that they are not looked for again.
        """
        first, *others = [self.differences(parent, record.id) for parent in record.parents or (None,)]
        elsewhere = [{one.path for one in other} for other in others]
        changed = tuple(sorted(one.path for one in first))
        found = tuple(one for one in first if all(one.path in paths for paths in elsewhere))
        return found, replace(record, differences=lambda: changed)

    def _announced(self, revision: str | None, name: str) -> set[str]:
        """Return the former names that a model's manifest tells of now, so that one walk finds them all."""
        manifest = self._manifest(revision, name)
        return set(former_names((manifest.fields if manifest else None) or {}))

    def _manifest(self, revision: str | None, name: str) -> Version | None:
        found = (self.version(revision, f"{MODELS}/{name}{suffix}") for suffix in SUFFIXES)
        return next((version for version in found if version is not None), None)

    # --- one model at a commit ---------------------------------------------------------------------------------------

    def is_there(self, name: str, host: str) -> bool:
        """Return whether a model of just this name is there now, which no commit before the last ones is read for."""
        places = (self.repository.head(), self.recorded) if _paths([name]) else ()
        return any(self._has(one, name, host) for one in places)

    def name_at(self, name: str, revision: str, host: str, *, recorded: str | None = None) -> str:
        """Return what a model was called at a commit."""
        if self._has(revision, name, host) or self._has(recorded, name, host):
            return name
        # Each step has the names of the one before it, and those that it tells of.
        learned = [names for _, names in self._walk(name, host, None)]
        for former in learned[-1] if learned else ():
            if self._has(revision, former, host):
                return former
        known = sorted({name_of(path) for path in self.listed(revision) if path != SETTINGS_FILE})
        hint = did_you_mean(name, known) or "`imageworks-models history` shows what there was, and when."
        raise HistoryError(f"no model is called {name!r} at {revision[:10]}", remedy=hint)

    def _has(self, revision: str | None, name: str, host: str) -> bool:
        return revision is not None and (
            self._manifest(revision, name) is not None or self.version(revision, entry_file(host, name)) is not None
        )

    def blame(self, name: str, host: str) -> list[Blamed]:
        """Return which commit set each field of a model, of its manifest and of one host's entry, to what it is now."""
        head, recorded = self.repository.head(), self.recorded
        if head is None or recorded is None or not (self._has(head, name, host) or self._has(recorded, name, host)):
            if head is not None:
                self.name_at(name, head, host)
            raise HistoryError(f"no model is called {name!r} now")
        declared, found_here = self._values(head, [name], host), self._values(recorded, [name], host)
        pending = {key: value for key, value in declared.items() if key[0] is RecordKind.MANIFEST}
        pending |= {key: value for key, value in found_here.items() if key[0] is RecordKind.ENTRY}
        found: list[Blamed] = []
        for step, names in self._walk(name, host, None):
            record = step.record
            after = self._values(record.id, names, host)
            before = [self._values(parent, names, host) for parent in record.parents]
            called = next((one for one in names if self._has(record.id, one, host)), name)
            for key, value in list(pending.items()):
                if key in after and after[key] == value and all(old.get(key, _NOTHING) != value for old in before):
                    found.append(Blamed(key[0], key[1], value, called, record))
                    del pending[key]
        return sorted(found, key=lambda one: (one.layer is RecordKind.ENTRY, one.field))

    def _values(self, revision: str, names: Sequence[str], host: str) -> dict[tuple[RecordKind, str], object]:
        """Return each field of a model at a commit, under the first of its names that is there."""
        values: dict[tuple[RecordKind, str], object] = {}
        sides = {
            RecordKind.MANIFEST: (self._manifest(revision, name) for name in names),
            RecordKind.ENTRY: (self.version(revision, entry_file(host, name)) for name in names),
        }
        for layer, versions in sides.items():
            version = next((one for one in versions if one is not None), None)
            if version is not None:
                values |= {(layer, key): value for key, value in flatten(version.fields or {}).items()}
        return values


_NOTHING: Final = object()


def _paths(names: Iterable[str]) -> list[str]:
    chosen = [name for name in sorted(names) if not {"/", "|"} & set(name)]
    manifests = ["/".join((MODELS, "|".join(f"{name}{suffix}" for suffix in SUFFIXES))) for name in chosen]
    return [*manifests, *(entry_file("*", name) for name in chosen)]


def _layers(changed: Iterable[str]) -> tuple[RecordKind, ...]:
    return tuple(
        sorted({layer for path in changed if (layer := layer_of(path)) is not None}, key=list(RecordKind).index)
    )


def _snapshots(changed: Iterable[str]) -> Iterator[str]:
    return (path for path in changed if layer_of(path) is RecordKind.SNAPSHOT)
