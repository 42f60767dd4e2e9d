"""One reconcile run: lock, gather, plan, apply, commit. The door through which every command reconciles."""

import math
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from shutil import which
from threading import Event
from typing import TYPE_CHECKING, Final, Self

from imageworks.files.progress import Progress
from imageworks.files.safe_paths import is_folder, is_there
from imageworks.files.staging import sweep_stale
from imageworks.files.state import STATE_FILE, StateDatabase, StateError
from imageworks.files.unfinished import Unfinished, find_unfinished
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import BranchMovedError, CommitResult, LockHeldError
from imageworks.host.predecessor_files import find_foreign
from imageworks.host.settings import HostSettings
from imageworks.plan.facts import (
    DeclaredModel,
    HostState,
    Observation,
    PruneOptions,
    UndeclaredModel,
)
from imageworks.plan.plan import Action, Change, Plan, Reason
from imageworks.plan.report import CANCELLED, ModelResult, OperationCancelledError, Report, still_planned
from imageworks.providers.dispatch import stores_spoken_of
from imageworks.providers.failures import Failures
from imageworks.providers.folder.disk_limits import DiskRefusals
from imageworks.providers.folder.observe import Folders
from imageworks.providers.folder.reading_notice import ReadingProgress
from imageworks.providers.folder.resumable import ResumableModels, names_by_root, resumable_models
from imageworks.providers.folder.staging_keys import staging_owner
from imageworks.providers.locations import HostLocations, unused_folders
from imageworks.providers.model_claims import Arriving, ModelClaims
from imageworks.providers.publish_intents import PublishJournal
from imageworks.providers.record import undeclared_entry
from imageworks.providers.shared_files import SharedFiles
from imageworks.providers.upstream import SourceResolver
from imageworks.reconcile.commit import CommitDraft, RegistryCommitter
from imageworks.reconcile.commit_message import commit_message, trailers
from imageworks.reconcile.last_applied import AppliedManifests
from imageworks.reconcile.observe import ObservationContext, gather
from imageworks.reconcile.observers import HostObservers
from imageworks.reconcile.open_registry import is_as_read, locked, read_registry
from imageworks.reconcile.plan_notes import (
    operation_in_progress,
    uncommitted_files,
    undeclared_downloads,
    unrecorded_models,
    unsupported_settings,
)
from imageworks.reconcile.planner import make_plan, waves
from imageworks.reconcile.record_space import check_room
from imageworks.reconcile.remote_sync import Sent, Synchronizer, publish
from imageworks.reconcile.settled.watch import SettledWatch
from imageworks.reconcile.signature_policy import check_signing, refuse_unsigned
from imageworks.registry.commit_reader import MANY, RevisionReader
from imageworks.registry.entries.entry import STORE_PROVIDERS, Entry, is_in_store
from imageworks.registry.entries.lookup import known_names
from imageworks.registry.load import NOTHING_DECLARED, RegistryState, let_others_go
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE
from imageworks.registry.special_files import filter_notes
from imageworks.registry.validate import is_manifest_path

if TYPE_CHECKING:
    from imageworks.plan.compare import HostPlan
    from imageworks.providers.base import Store


LOCK_SECONDS: Final = 1.0
"""How long a run that can be called off waits for a lock before it looks whether it was."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What one run is asked to do.

    Args:
        names: The models to consider; all when empty.
        prune: What may be removed; ``enabled`` adds to what registry.yaml says.
        offline: Whether the network may not be used.
        jobs: Models and large files at once; registry.yaml's when absent.
        commit: Whether what was done is committed.
        read_only: Whether nothing may be written, anywhere.
        any_time: Whether downloads may run outside the registry's transfer window.
        pull: Whether the branch is brought up to date with its remote first.
        push: Whether commits are sent to the remote; by default as registry.yaml says.
        restore_locked: Whether a locked model whose files have other bytes now gets the locked ones back.
        recheck: Whether installed models are held against what their repositories list, which asks the network.
        mends_snapshot: Whether a snapshot that is not what manifests and entries give is written anew.
        cancel: Set by another thread to call the run off.
        uncommitted: Whether edits of manifests and registry.yaml count that are not committed; for a read-only run.
        mirrors: Where bytes come from before the hub, as addresses or names of hosts; else as the settings say.
        at: The commit whose declarations count: what is pulled, and what a read-only run plans with.
    """

    names: tuple[str, ...] = ()
    prune: PruneOptions = field(default_factory=PruneOptions)
    offline: bool = False
    jobs: int | None = None
    commit: bool = True
    read_only: bool = False
    any_time: bool = False
    pull: bool = False
    push: bool | None = None
    restore_locked: bool = False
    recheck: bool = False
    mends_snapshot: bool = False
    cancel: Event | None = None
    uncommitted: bool = False
    mirrors: tuple[str, ...] = ()
    at: str = ""


class Run:
    """A run on one registry and host; made by :meth:`open`, which locks unless the run is read-only."""

    def __init__(
        self, repository: RegistryRepository, host: HostSettings, options: RunOptions, progress: Progress
    ) -> None:
        self._repository = repository
        self._host = host
        self._options = options
        self._progress = progress
        self._open = ExitStack()
        self._turn = ExitStack()
        self._claims = ModelClaims(host.state_dir, repository.root, host.host)
        self._recorder = RegistryCommitter(repository, host)
        self._intents = PublishJournal(host.state_dir, repository.root)
        self._notes: list[str] = []
        self._declared: Mapping[str, bytes | None] = NOTHING_DECLARED
        self._keeps_declared = True
        self._unsent = False
        self._can_sign = False
        self._watch: SettledWatch | None = None
        self._title = f"Reconcile {host.host}"
        self._state: StateDatabase
        self._registry: RegistryState
        self._senses: HostObservers
        self._situation = HostState(host.host, None)
        self._planned: Plan

    @classmethod
    @contextmanager
    def open(
        cls,
        root: Path,
        host: HostSettings,
        options: RunOptions,
        *,
        progress: Progress | None = None,
        wait: float = 0.0,
    ) -> Iterator[Self]:
        """Open a run; a run that may write holds the registry's lock but while bytes come (I10)."""
        repository = RegistryRepository.open(root, host=host.host)
        run = cls(repository, host, options, progress or Progress())
        with run._open:
            if not options.read_only:
                run._open.callback(run._turn.close)
                run._open.callback(run._claims.release)
                run._take_turn(wait)
                if options.pull:
                    run._notes += run._synchronizer.pull(options.at).describe()
            elif files := find_foreign(repository.root, registry=True):
                run._notes.append(f"nothing can be written here: {', '.join(files)} is the predecessor's")
            run._look()
            run._options = replace(options, names=known_names(run.registry, options.names))
            yield run
            run._send_the_rest()
        repository.let_go()

    def _take_turn(self, wait: float) -> None:
        """Take the registry's lock, when asked to wait only once no other run brings anything."""
        until = time.monotonic() + wait
        while True:
            self._notes += self._lock(until)
            if not wait or not self._claims.elsewhere() or time.monotonic() >= until:
                return
            self._turn.close()
            while not self._claims.wait(min(until, time.monotonic() + LOCK_SECONDS)) and time.monotonic() < until:
                self._check_cancelled()

    def _lock(self, until: float) -> tuple[str, ...]:
        """Hold the registry and this host; somebody who may call the run off may do so while it waits."""
        cancel = self._options.cancel
        while True:
            left = max(until - time.monotonic(), 0.0)
            try:
                step = left if cancel is None else min(left, LOCK_SECONDS)
                return self._turn.enter_context(locked(self._repository, self._host, wait=step))
            except LockHeldError:
                self._check_cancelled()
                if cancel is None or left <= LOCK_SECONDS:
                    raise

    @property
    def registry(self) -> RegistryState:
        """The registry as it was read."""
        return self._registry

    @property
    def situation(self) -> HostState:
        """Everything that the last plan was made from; without its cases once that is applied."""
        return self._situation

    @property
    def places(self) -> HostLocations:
        """The locations of this host."""
        return self._senses.places

    @property
    def sources(self) -> SourceResolver:
        """What sources of models are asked through."""
        return self._senses.sources

    def uncommitted(self, file: str) -> bool:
        """Return whether a file of the registry differs from the checked-out commit."""
        return file in self._repository.uncommitted(file)

    def committed(self, file: str) -> bytes | None:
        """Return a file of the registry as the checked-out commit has it; ``None`` when it has none."""
        return RevisionReader(self._repository, self._repository.head()).plain(file)

    def other_hosts(self, name: str) -> tuple[str, ...]:
        """Return which other hosts record files of a model."""
        return self._recorder.other_hosts(name, self._registry)

    def observe(self, entry: Entry) -> Observation | None:
        """Return how a recorded model's files stand; ``None`` when it records none."""
        return self._senses.observe(entry)

    def declare(
        self, files: Mapping[str, bytes | None], names: tuple[str, ...], *, title: str, kept: bool = True
    ) -> None:
        """Plan from now on with manifests that are not committed yet; the run's one commit contains them."""
        if kept:
            refuse_unsigned(self._registry, self._host, files)
        self._keeps_declared, self._title = kept, title
        self._options = replace(self._options, names=names)
        if files != self._declared:  # ten thousand manifests are not to be parsed for other words
            self._declared, self._watch = dict(files), None
            if len(files) > MANY:  # nor are those that they take the place of to stand beside them
                self._situation = HostState(self._host.host, None)
                self._registry = replace(self._registry, manifests={}, documents={})
            self._registry = self._recorder.load(self._declared, revision=self._registry.revision)

    def check_signing(self) -> None:
        """Raise where a commit of this run is to be signed and cannot be, asked once a run: a key may want a touch."""
        if self._options.commit and not self._options.read_only and not self._can_sign:
            check_signing(self._repository, self._registry, self._host)
            self._can_sign = True

    def allow(self, root: Path) -> None:
        """Let models be below a folder that this host's settings do not name, for this run."""
        if not self._host.allows(root):
            self._host = self._host._replace(roots=(*self._host.roots, root))
            self._senses.widen(self._registry, self._host)

    def distrust(self, entry: Entry) -> None:
        """Read a recorded model's files again instead of believing that those that look unchanged are."""
        self._senses.distrust(entry)

    def recheck(self, *, anew: bool = False) -> None:
        """Plan from now on with what repositories list, also of models that are as recorded."""
        self._options = replace(self._options, recheck=True)
        if anew:
            self._senses.sources.ask_anew()

    def _look(self) -> None:
        """Load the registry and open what looking needs."""
        read_only = self._options.read_only
        mends = self._notes.append if self._options.mends_snapshot else None
        self._registry = read_registry(
            self._repository, self._host, self._recorder, remember=not read_only, mends=mends
        )
        if not read_only:
            self._recorder.save()
        if self._options.uncommitted:
            self._registry = self._with_edits()
        elif read_only and self._options.at:
            self._registry = self._declared_at(self._synchronizer.look_at(self._options.at))
        state_file = self._host.state_dir / STATE_FILE
        self._state = self._open.enter_context(StateDatabase.open(state_file, read_only=read_only))
        self._notes += self._state.notes
        self._senses = HostObservers(
            self._host,
            self._registry,
            self._state,
            told=self._notes.append,
            progress=self._progress,
            intents=self._intents,
            closing=self._open,
            offline=self._options.offline,
            read_only=read_only,
            hashing=ReadingProgress(self._progress, read_only=read_only),
            mirrors=self._options.mirrors,
        )
        if not read_only:
            self._senses.disk.kept_in = self._state
            self._recover()
        if not (read_only or self._options.names):
            self._watch = SettledWatch(
                self._repository,
                self._host,
                self._registry,
                self._senses.places,
                staging=self.staging_roots(),
                journal=self._intents.folder,
            )

    def _with_edits(self) -> RegistryState:
        """Return the registry as it would be with the manifests and the registry.yaml of the work tree."""
        edited = self._repository.uncommitted(MODELS, SETTINGS_FILE)
        disk = WorkTreeReader(self._repository.root)
        files = {file: disk.file(file) for file in edited if file == SETTINGS_FILE or is_manifest_path(file)}
        named = ", ".join(sorted(files)) or "no file"
        self._notes.append(f"planned with what is not committed: {named}; what is applied is what is committed")
        return self._recorder.load(files, revision=self._registry.revision)

    def _declared_at(self, revision: str) -> RegistryState:
        """Return the registry as another commit declares it, with what this host has recorded by now."""
        now = self._registry
        then = self._recorder.load(revision=revision, with_entries=False)
        return replace(then, entries=now.entries, recorded=now.recorded)

    def store(self, name: str) -> "Store":
        """Return a store of this host; its program is not contacted before somebody asks something of it."""
        return self._senses.store(name)

    def orphan(self, entry: Entry) -> UndeclaredModel:
        """Return a recorded model with what its stores have of it, as if nobody declared it."""
        found = UndeclaredModel(entry, observation=None, prune=None)
        for name in stores_spoken_of(None, entry):
            self.store(name).observe([], (), self._registry, self._intents.announced(), Failures())
            found = self.store(name).orphan(found)
        return found

    def _recover(self) -> None:
        """Finish publishes that a killed run left half-way, wherever a location of ours exists."""
        from imageworks.files.publish import recover

        for root in self._senses.places.existing_roots(self._registry.manifests.values()):
            try:
                for report in recover(root, on_error=lambda error: self._notes.append(error.render())):
                    self._notes.append(f"{report.target}: finished a publish that was interrupted")
            except OSError as error:
                self._notes.append(f"{_told(error, root)}; nothing was finished there")

    def plan(self) -> Plan:
        """Return what would change."""
        look = ObservationContext(
            folders=Folders(
                registry=self._registry,
                places=self._senses.places,
                disk=self._senses.disk,
                sources=self._senses.sources,
                find_content=self._senses.content.find,
                refusals=DiskRefusals(),
                recheck=self._options.recheck,
            ),
            announced=self._intents.announced(),
            records_stale=self._recorder.records.stale,
            prune_of=AppliedManifests(self._repository, self._host.host, self._registry.recorded),
            restore_locked=self._options.restore_locked,
            open_store=self.store,
        )
        with ThreadPoolExecutor(1, "uncommitted") as aside:  # git is asked while others are: a hundredth of a second
            uncommitted = aside.submit(self._uncommitted_files)
            if which("git") is None:
                wait([uncommitted])  # libgit2 answers for it, and is not asked by two at once
            situation = gather(look, self._options.names)
            self._situation = replace(situation, notes=(*self._plan_notes(uncommitted.result()), *situation.notes))
        enabled = self._options.prune.enabled or self._registry.settings.prune
        self._planned = make_plan(self._situation, replace(self._options.prune, enabled=enabled))
        return self._planned

    def _plan_notes(self, uncommitted: Iterable[str]) -> Iterator[str]:
        """Yield what a person should know of the whole."""
        yield from self._notes
        yield from operation_in_progress(self._repository.in_progress())
        yield from uncommitted
        yield from unsupported_settings(self._registry.settings)
        yield from filter_notes(RevisionReader(self._repository, self._registry.revision))
        yield from unused_folders(self._registry.settings, self._host)
        yield from self._closed_window()
        yield from unrecorded_models(self._registry, self._intents.announced())
        if not self._options.names:
            yield from undeclared_downloads(self.unfinished(), self._registry)

    def _uncommitted_files(self) -> list[str]:
        if self._options.uncommitted:
            return []
        return uncommitted_files(self._repository.root, self._repository.uncommitted(MODELS, SETTINGS_FILE))

    def compared(self, base: str, *, labels: Collection[str] = ()) -> "HostPlan":
        """Return what would change, with what sets it apart from what another commit would lead to here."""
        from imageworks.plan.compare import as_declared, compare
        from imageworks.registry.settings.changes import review_rules

        revision, now = self._repository.resolve(base), (self._registry, self._senses.places, self._options)
        # There is no room for what is known of ten thousand models on either side, and the plan of now is made again.
        self._situation = HostState(self._host.host, None)
        rules = review_rules(self._repository, revision, self._registry.revision, labels)
        self._let_go()
        # This host is what it is, on either side; and what is new has no name there.
        old = self._registry = self._declared_at(revision)
        known = {*old.manifests, *now[0].entries, *old.blocked}
        names = tuple(name for name in self._options.names if name in known)
        self._senses.places = self._senses.places_for(old, self._host)
        self._options = replace(self._options, names=names)
        del old
        before, earlier = Plan(self._host.host, revision), HostState(self._host.host, revision)
        if names or not now[2].names:
            before, earlier = self.plan(), as_declared(self._situation, now[0].manifests)
        self._registry, self._senses.places, self._options = now
        self._situation = HostState(self._host.host, None)
        self._let_go()
        return compare(self.plan(), self._situation, base=revision, before=before, earlier=earlier, rules=rules)

    def _let_go(self) -> None:
        """Keep nothing of what another commit has, nor what git read for it."""
        let_others_go(self._repository, self._registry, self._recorder.parsed)
        self._recorder.parsed.let_go()
        self._repository.let_go()

    def _closed_window(self) -> list[str]:
        transfer = self._registry.settings.transfer
        if self._options.any_time or transfer.open_at(datetime.now().astimezone().time()):
            return []
        return [f"downloads wait for the transfer window {transfer.window} (--now fetches at once)"]

    def apply(
        self, plan: Plan, *, skipped: Mapping[str, str] | None = None, also: Iterable[ModelResult] = ()
    ) -> Report:
        """Carry a plan out and commit what was done; removals come last, and only after everything else went well."""
        self._check_cancelled()
        skip = dict(skipped or {})
        for note in self._closed_window():
            skip |= {change.name: note for change in plan.effective if change.fetch}
        chosen = [change for change in plan.effective if change.name not in skip]
        if self._options.commit:
            self._repository.check_committable(self._registry.branch)
            if chosen:
                self.check_signing()
        commits = [self._repository.git_folder] if self._options.commit else []
        check_room(chosen, [self._host.state_dir, *commits])
        if any(change.fetch for change in chosen):
            self._state.check_writable()
        if any(change.fetch and not change.daemon for change in chosen):
            from imageworks.transfer.aria2.process import find_aria2c

            find_aria2c()
        self._announce(chosen)
        self._keep_learned()
        chosen, outcomes = self._bring_ahead(chosen)
        cases = {case.manifest.name: case for case in self._situation.cases}
        roots, resumable = names_by_root(self._situation), resumable_models(self._situation)
        self._let_cases_go()  # each with its change
        last = [change for change in chosen if change.action is Action.REMOVE]
        for wave in waves((change for change in chosen if change.action is not Action.REMOVE), cases):
            outcomes += self._carry_out(wave, cases)
        if plan.has_errors or any(not outcome.done for outcome in outcomes):
            pruned = {change.name for change in last if _prunes(change)}
            skip |= dict.fromkeys(pruned, "nothing is pruned while another model is blocked or failed")
            last = [change for change in last if change.name not in pruned]
        outcomes += [*self._carry_out(last, cases), *also]
        outcomes.sort(key=lambda outcome: outcome.change.name)
        del cases
        with suppress(StateError):
            done = {one.change.name for one in outcomes if one.done}
            self._mark(root for root, names in roots.items() if not done.isdisjoint(names))
        result = self._commit(outcomes) if self._options.commit else None
        with suppress(StateError):
            self._mark_known()
        self._claims.release()
        if result is not None:
            self._settle(outcomes, roots, resumable)
        if self._options.commit:
            self._settle_recorded()
        return self._report(outcomes, result, skip)

    def _bring_ahead(self, chosen: list[Change]) -> tuple[list[Change], list[ModelResult]]:
        """Bring what is to be downloaded while others may plan and commit; return what is left to do, and outcomes.

        Where others did anything meanwhile, the registry is read and planned anew: nothing of theirs is overridden.
        """
        coming = [change for change in chosen if change.fetch and not change.daemon]
        if not coming or self.cancelled:
            return chosen, []
        taken = {change.name: error for change in coming if (error := self._claims.claim(change.name)) is not None}
        if len(taken) == len(chosen):
            raise next(iter(taken.values()))
        outcomes = [
            ModelResult(change, error=taken[change.name].render(), reason=Reason.LOCKED)
            for change in coming
            if change.name in taken
        ]
        coming = [change for change in coming if change.name not in taken]
        before = self._traces_of_others()
        if coming:
            cases = {case.manifest.name: case for case in self._situation.cases}
            self._turn.close()
            outcomes += [one for one in self._carry_out(coming, cases, ahead=True) if not one.done]
            del cases
            self._notes += self._lock(math.inf)
        ended = {one.change.name for one in outcomes}
        left = [change for change in chosen if change.name not in ended]
        if self._traces_of_others() == before and self._is_as_planned({change.name for change in left}):
            return left, outcomes
        left, lost = still_planned(left, self._look_again())
        return left, [*outcomes, *lost]

    def _traces_of_others(self) -> tuple[object, ...]:
        """Return what is not as it was once another run did anything on this host, or a person changed branches."""
        return self._state.writes_of_others(), self._intents.announced(), self._repository.branch()

    def _is_as_planned(self, names: Collection[str]) -> bool:
        """Return whether manifests, entries and these models' recorded files are as they were planned with."""
        seen = [(case.entry, case.observation) for case in self._situation.cases if case.manifest.name in names]
        seen += [(orphan.entry, orphan.observation) for orphan in self._situation.orphans if orphan.entry.name in names]
        on_disk = [(entry, found) for entry, found in seen if entry is not None and not is_in_store(entry)]
        return is_as_read(self._repository, self._registry) and all(
            self._senses.disk.observe(entry) == found for entry, found in on_disk
        )

    def _look_again(self) -> Plan:
        """Return what would change now; raise where people changed the manifests that this run declares."""
        before = RevisionReader(self._repository, self._registry.revision)
        self._registry = read_registry(
            self._repository, self._host, self._recorder, remember=True, mends=self._notes.append
        )
        now = RevisionReader(self._repository, self._registry.revision)
        for file, declared in self._declared.items():
            if before.file(file) != now.file(file) and now.file(file) != declared:
                raise BranchMovedError((file,), self._registry.revision or "")
        if self._declared:
            self._registry = self._recorder.load(self._declared, revision=self._registry.revision)
        self._situation = HostState(self._host.host, None)  # there is no room for what is known now beside it
        self._senses.disk.reload(self._state)
        self._senses.widen(self._registry, self._host)
        return self.plan()

    def _announce(self, chosen: Iterable[Change]) -> None:
        """Tell progress of all that is to come, so that its total does not grow; what came whole never begins."""
        for change in chosen:
            if change.fetch and change.size_known and change.bytes_staged < change.bytes_to_fetch:
                self._progress.expect(change.name, change.bytes_to_fetch, change.bytes_staged)

    def _keep_learned(self) -> None:
        """Remember what looking taught; where the state takes nothing now, it is only looked at again."""
        with suppress(StateError):
            self._mark_known()
            self._senses.disk.keep(self._state)

    def _send_the_rest(self) -> None:
        """Send what was committed, where the command did not see to it."""
        if self._unsent and (problem := self.publish().problem) is not None:
            raise problem

    @cached_property
    def _synchronizer(self) -> "Synchronizer":
        return Synchronizer(self._repository, self._recorder, os.environ)

    def is_in_step(self, commit: str) -> bool:
        """Return whether the branch has a commit, and the remote, as it was last seen, all of the branch."""
        return self._registry.branch is None and self._synchronizer.is_in_step(commit)

    def publish(self) -> "Sent":
        """Send what was committed to the remote, where a person or registry.yaml asks for it."""
        self._unsent = False
        return publish(self._synchronizer, self._registry, asked=self._options.push)

    def record(self, outcomes: Iterable[ModelResult]) -> Report:
        """Commit entries that change while no file does, with the manifests that were declared."""
        self._repository.check_committable(self._registry.branch)
        recorded = sorted(outcomes, key=lambda outcome: outcome.change.name)
        self._let_cases_go()
        return self._report(recorded, self._commit(recorded), {})

    def _let_cases_go(self) -> None:
        """Keep of what was planned with what follows a commit: the rest would stand with 20 MB beside the snapshot."""
        self._situation, self._watch = replace(self._situation, cases=(), orphans=(), unmanaged=()), None

    def _report(
        self, outcomes: Iterable[ModelResult], result: CommitResult | None, skipped: Mapping[str, str]
    ) -> Report:
        return Report(
            host=self._host.host,
            outcomes=tuple(outcomes),
            skipped=skipped,
            commit=result.id if result is not None and result.created else None,
            notes=_notes_of(result),
        )

    def tidy(self) -> None:
        """Clear away what killed runs left, where the plan has nothing to do; writes nothing where nothing is left."""
        self._settle_recorded()
        self._recorder.records.write_compatible(self._registry)
        self._keep_learned()
        if not self._situation.records_stale:
            self._recorder.records.remember(self._registry)
        if not self._options.names:
            self._sweep(self.staging_roots(), resumable_models(self._situation))
        if self._watch is not None:
            self._watch.keep(self._registry, self._planned, self._situation)

    def _settle_recorded(self) -> None:
        """Forget what was to be published where the last plan looked, and has nothing more to do with it.

        A repair that was killed before its commit leaves what is recorded already: no later change takes up its note.
        """
        planned = self._planned
        left = {change.name for change in planned.changes} | set(self._situation.blocked)
        for name, path in self._intents.announced().items():
            if name in left or (self._options.names and name not in self._options.names):
                continue
            entry = self._registry.entries.get(name)
            if (entry is not None and entry.path == path) or not (planned.has_errors or is_there(path)):
                self._intents.settle(name)

    def unfinished(self) -> list[Unfinished]:
        """Return what interrupted runs of this registry left at the roots of this host, which later ones resume."""
        coming = self._claims.elsewhere()
        return [one for one in self._staged() if one.name not in coming]

    def arriving(self) -> list[Arriving]:
        """Return the models that other runs of this registry bring now."""
        staged = {one.name: one for one in self._staged()}
        return [Arriving(name, holder, staged.get(name)) for name, holder in self._claims.elsewhere().items()]

    def _staged(self) -> list[Unfinished]:
        owner = staging_owner(self._host.host, self._repository.root)
        return [one for one in find_unfinished(self.staging_roots()) if one.owner.startswith(owner)]

    def staging_roots(self) -> list[Path]:
        """Return the roots at which something may gather: locations, and folders that `download` was once given."""
        places = self._senses.places
        located = places.existing_roots(self._registry.manifests.values())
        others = [root for root in self._host.roots if is_folder(root) and places.locations.state_at(root).present]
        return list(dict.fromkeys(map(Path.resolve, (*located, *others))))

    def _mark_known(self) -> None:
        """Remember the disks that recorded models are on."""
        locations = self._senses.places.locations
        entries = (entry for entry in self._registry.entries.values() if entry.files and not is_in_store(entry))
        roots = set()
        for path in {entry.path for entry in entries if entry.path is not None}:
            root = locations.root_of(path)
            if root is not None:
                roots.add(root)
            elif is_there(path):
                locations.remember_mount(path, self._state)
        self._mark(roots)

    def _mark(self, roots: Iterable[Path]) -> None:
        """Leave markers at the roots of locations that have none, and remember which disk is there."""
        locations = self._senses.places.locations
        for root in sorted(roots):
            if root in locations.roots and self._host.allows(root):
                locations.mark(root, self._state)

    def _sweep(self, roots: Iterable[Path], resumable: ResumableModels) -> None:
        """Remove what interrupted runs left of declared models and none would resume, and what is old.

        Of a suspended or blocked model it is not known what it would resume, so all of its stays. Nor is what nobody
        declares thrown away: whoever broke a `download` off was told that it can be resumed.
        """
        owner = staging_owner(self._host.host, self._repository.root)
        unknown = {*self._registry.blocked, *self._situation.blocked, *resumable.unknown, *self._claims.elsewhere()}
        declared = {owner + name for name in resumable.declared}
        for root in filter(is_folder, roots):
            try:
                young = {one.owner for one in find_unfinished([root]) if one.owner not in declared and not one.is_old()}
                sweep_stale(root, resumable.keys, owner=owner, spare=young | {owner + name for name in unknown})
            except OSError as error:
                self._notes.append(f"{_told(error, root)}; nothing was swept there")

    @property
    def cancelled(self) -> bool:
        """Whether somebody called the run off."""
        return self._options.cancel is not None and self._options.cancel.is_set()

    def _check_cancelled(self) -> None:
        if self.cancelled:
            raise OperationCancelledError

    def _carry_out(
        self, changes: list[Change], cases: dict[str, DeclaredModel], *, ahead: bool = False
    ) -> list[ModelResult]:
        if self.cancelled:
            return [ModelResult(change, error="called off", reason=CANCELLED) for change in changes]
        if not changes:
            return []
        # Imported here: a run with nothing to do is not to load the engine and the detection, half of its start-up.
        from imageworks.providers.folder.apply import ApplyContext
        from imageworks.providers.folder.describe import describe
        from imageworks.reconcile.apply_plan import Hands, apply_changes
        from imageworks.transfer.engine import TransferEngine
        from imageworks.transfer.job import TransferOptions

        host = self._host
        transfer = self._registry.settings.transfer.on_host(host.max_connections, host.max_concurrent_downloads)
        jobs = self._options.jobs or transfer.jobs
        options = TransferOptions(
            connections=transfer.connections,
            jobs=jobs,
            limit_bytes_per_second=transfer.limit,
            allow_http=self.sources.allow_http,
            guard=self.sources.guard(),
        )
        with TransferEngine(options) as engine:
            tools = ApplyContext(
                engine=engine,
                state=self._state,
                intents=self._intents,
                places=self._senses.places,
                host=self._host,
                progress=self._progress,
                owner=staging_owner(self._host.host, self._repository.root),
                describe=describe,
                sharing=SharedFiles(self._registry.entries.values()),
                registry=self._repository.root,
                withdraw=self._withdraw,
                policies=self._registry.settings.policies.on(datetime.now(UTC).date()),
            )
            places, registry = self._senses.places, self._registry
            entries = {name: places.current(entry) for name, entry in registry.entries.items()}
            hands = Hands(tools, self.store, self._options.cancel)
            return apply_changes(changes, cases, entries, hands, jobs=jobs, ahead=ahead)

    def _withdraw(self, entry: Entry) -> None:
        for name in STORE_PROVIDERS & entry.part("metadata").keys():
            self.store(name).withdraw(entry)

    def _commit(self, outcomes: Collection[ModelResult]) -> CommitResult | None:
        """Commit entries and snapshot, with what was declared."""
        if self._declared and not all(outcome.done or _has_arrived(outcome) for outcome in outcomes):
            return None  # what was declared for this run only is not declared when it failed
        recorded = [outcome for outcome in outcomes if outcome.recorded]  # also why one failed, where that holds
        written = {outcome.entry.name: outcome.entry for outcome in recorded if outcome.entry is not None}
        gone = {outcome.change.name for outcome in recorded if outcome.entry is None}
        gone |= {name for outcome in recorded if (name := outcome.change.previous_name) is not None}
        if not self._keeps_declared:
            written = {name: undeclared_entry(entry, self._registry) for name, entry in written.items()}
            self._declared = NOTHING_DECLARED
            self._registry = self._recorder.load(revision=self._registry.revision)
        otherwise = "change the manifest" if self._declared else "refresh the snapshot"
        recording = CommitDraft(
            message=commit_message(self._title, outcomes, otherwise=otherwise),
            trailers=lambda registry: trailers(registry.host, registry.revision),
            written=written,
            gone=frozenset(gone),
            manifests=self._declared,
        )
        self._registry = self._recorder.without(self._registry, written)
        committed = self._recorder.commit(self._registry, recording)
        if committed is None:
            return None
        self._declared, self._unsent = NOTHING_DECLARED, True
        result, self._registry = committed
        return result

    def _settle(self, outcomes: Collection[ModelResult], roots: Collection[Path], resumable: ResumableModels) -> None:
        for outcome in outcomes:
            if outcome.done:
                self._intents.settle(outcome.change.name)
        if self._options.names or any(not outcome.done for outcome in outcomes):
            return
        self._sweep(roots, resumable)


def _has_arrived(outcome: ModelResult) -> bool:
    """Return whether the files of a model came, though something that follows from them failed."""
    return outcome.recorded and outcome.entry is not None and bool(outcome.entry.files)


def _told(error: OSError, root: Path) -> str:
    return f"{error.filename or root}: {os.strerror(error.errno or 0)}"


def _prunes(change: Change) -> bool:
    """Return whether a removal is our own conclusion; one that is declared stands whatever else fails (I9)."""
    return change.action is Action.REMOVE and change.reason is not Reason.DECLARED_ABSENT


def _notes_of(result: CommitResult | None) -> tuple[str, ...]:
    if result is None:
        return ()
    return (*result.notes, *(f"{left.path}: {left.reason}" for left in result.left_alone))
