"""One reconcile run: lock, gather, plan, apply, commit. The door through which every command reconciles."""

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from imageworks.files.progress import Progress
from imageworks.files.state import StateError
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import BranchMovedError, CommitResult, LockHeldError
from imageworks.host.predecessor_files import find_foreign
from imageworks.host.settings import HostSettings
from imageworks.plan.facts import DeclaredModel
from imageworks.plan.plan import Action, Change, Plan, Reason
from imageworks.plan.report import CANCELLED, ModelResult, OperationCancelledError, Report, still_planned
from imageworks.providers.folder.resumable import ResumableModels, names_by_root, resumable_models
from imageworks.providers.record import undeclared_entry
from imageworks.reconcile.commit import CommitDraft
from imageworks.reconcile.commit_message import commit_message, trailers
from imageworks.reconcile.observers import mark_roots, remember_disks
from imageworks.reconcile.open_registry import is_as_read, locked
from imageworks.reconcile.phases.clear_up import finish_publishes, settle_recorded, sweep
from imageworks.reconcile.phases.planning import Planning
from imageworks.reconcile.phases.record_space import check_room
from imageworks.reconcile.planner import waves
from imageworks.reconcile.remote_sync import Sent, publish
from imageworks.reconcile.run_options import RunOptions
from imageworks.reconcile.settled.watch import SettledWatch
from imageworks.reconcile.signature_policy import check_signing, refuse_unsigned
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.entries.entry import is_in_store
from imageworks.registry.entries.lookup import known_names
from imageworks.registry.load import NOTHING_DECLARED

LOCK_SECONDS: Final = 1.0
"""How long a run that can be called off waits for a lock before it looks whether it was."""


class Run(Planning):
    """A run on one registry and host; made by :meth:`open`, which locks unless the run is read-only."""

    def __init__(
        self, repository: RegistryRepository, host: HostSettings, options: RunOptions, progress: Progress
    ) -> None:
        super().__init__(repository, host, options, progress)
        self._open = ExitStack()
        self._turn = ExitStack()
        self._declared: Mapping[str, bytes | None] = NOTHING_DECLARED
        self._keeps_declared = True
        self._unsent = False
        self._can_sign = False
        self._watch: SettledWatch | None = None
        self._title = f"Reconcile {host.host}"

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
                run._open.callback(run.claims.release)
                run._take_turn(wait)
                if options.pull:
                    run.notes += run.synchronizer.pull(options.at).describe()
            elif files := find_foreign(repository.root, registry=True):
                run.notes.append(f"nothing can be written here: {', '.join(files)} is the predecessor's")
            run._look()
            run.options = replace(options, names=known_names(run.registry, options.names))
            yield run
            run._send_the_rest()
        repository.let_go()

    def _take_turn(self, wait: float) -> None:
        """Take the registry's lock, when asked to wait only once no other run brings anything."""
        until = time.monotonic() + wait
        while True:
            self.notes += self._lock(until)
            if not wait or not self.claims.elsewhere() or time.monotonic() >= until:
                return
            self._turn.close()
            while not self.claims.wait(min(until, time.monotonic() + LOCK_SECONDS)) and time.monotonic() < until:
                self._check_cancelled()

    def _lock(self, until: float) -> tuple[str, ...]:
        """Hold the registry and this host; somebody who may call the run off may do so while it waits."""
        cancel = self.options.cancel
        while True:
            left = max(until - time.monotonic(), 0.0)
            try:
                step = left if cancel is None else min(left, LOCK_SECONDS)
                return self._turn.enter_context(locked(self.repository, self.host, wait=step))
            except LockHeldError:
                self._check_cancelled()
                if cancel is None or left <= LOCK_SECONDS:
                    raise

    def declare(
        self, files: Mapping[str, bytes | None], names: tuple[str, ...], *, title: str, kept: bool = True
    ) -> None:
        """Plan from now on with manifests that are not committed yet; the run's one commit contains them."""
        if kept:
            refuse_unsigned(self.registry, self.host, files)
        self._keeps_declared, self._title = kept, title
        self.options = replace(self.options, names=names)
        if files != self._declared:  # ten thousand manifests are not to be parsed for other words
            self._declared, self._watch = dict(files), None
            self.forget()  # nor are those that they take the place of to stand beside them
            self.registry = replace(self.registry, manifests={}, documents={})
            self.registry = self.recorder.load(self._declared, revision=self.registry.revision)

    def check_signing(self) -> None:
        """Raise where a commit of this run is to be signed and cannot be, asked once a run: a key may want a touch."""
        if self.options.commit and not self.options.read_only and not self._can_sign:
            check_signing(self.repository, self.registry, self.host)
            self._can_sign = True

    def _look(self) -> None:
        """Look at the registry and this host, and finish what a killed run left half-way."""
        self.look(self._open)
        if not self.options.read_only:
            self.observers.disk.kept_in = self.state
            finish_publishes(self)
        if not (self.options.read_only or self.options.names):
            self._watch = SettledWatch(
                self.repository,
                self.host,
                self.registry,
                self.places,
                staging=self.staging_roots(),
                journal=self.intents.folder,
            )

    def apply(
        self, plan: Plan, *, skipped: Mapping[str, str] | None = None, also: Iterable[ModelResult] = ()
    ) -> Report:
        """Carry a plan out and commit what was done; removals come last, and only after everything else went well."""
        self._check_cancelled()
        skip = dict(skipped or {})
        for note in self.closed_window():
            skip |= {change.name: note for change in plan.effective if change.fetch}
        chosen = [change for change in plan.effective if change.name not in skip]
        if self.options.commit:
            self.repository.check_committable(self.registry.branch)
            if chosen:
                self.check_signing()
        commits = [self.repository.git_folder] if self.options.commit else []
        check_room(chosen, [self.host.state_dir, *commits])
        if any(change.fetch for change in chosen):
            self.state.check_writable()
        if any(change.fetch and not change.daemon for change in chosen):
            from imageworks.transfer.aria2.process import find_aria2c

            find_aria2c()
        self._announce(chosen)
        self._keep_learned()
        chosen, outcomes = self._bring_ahead(chosen)
        cases = {case.manifest.name: case for case in self.situation.cases}
        roots, resumable = names_by_root(self.situation), resumable_models(self.situation)
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
            used = [root for root, names in roots.items() if not done.isdisjoint(names)]
            mark_roots(self.places.locations, self.host, self.state, used)
        result = self._commit(outcomes) if self.options.commit else None
        with suppress(StateError):
            self._remember_disks()
        self.claims.release()
        if result is not None:
            self._settle(outcomes, roots, resumable)
        if self.options.commit:
            settle_recorded(self)
        return self._report(outcomes, result, skip)

    def _bring_ahead(self, chosen: list[Change]) -> tuple[list[Change], list[ModelResult]]:
        """Bring what is to be downloaded while others may plan and commit; return what is left to do, and outcomes.

        Where others did anything meanwhile, the registry is read and planned anew: nothing of theirs is overridden.
        """
        coming = [change for change in chosen if change.fetch and not change.daemon]
        if not coming or self.cancelled:
            return chosen, []
        taken = self.claims.claim(change.name for change in coming)
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
            cases = {case.manifest.name: case for case in self.situation.cases}
            self._turn.close()
            outcomes += [one for one in self._carry_out(coming, cases, ahead=True) if not one.done]
            del cases
            self.notes += self._lock(math.inf)
        ended = {one.change.name for one in outcomes}
        left = [change for change in chosen if change.name not in ended]
        if self._traces_of_others() == before and self._is_as_planned({change.name for change in left}):
            return left, outcomes
        left, lost = still_planned(left, self._look_again())
        return left, [*outcomes, *lost]

    def _traces_of_others(self) -> tuple[object, ...]:
        """Return what is not as it was once another run did anything on this host, or a person changed branches."""
        return self.state.writes_of_others(), self.intents.announced(), self.repository.branch()

    def _is_as_planned(self, names: Collection[str]) -> bool:
        """Return whether manifests, entries and these models' recorded files are as they were planned with."""
        seen = [(case.entry, case.observation) for case in self.situation.cases if case.manifest.name in names]
        seen += [(orphan.entry, orphan.observation) for orphan in self.situation.orphans if orphan.entry.name in names]
        on_disk = [(entry, found) for entry, found in seen if entry is not None and not is_in_store(entry)]
        return is_as_read(self.repository, self.registry) and all(
            self.observers.disk.observe(entry) == found for entry, found in on_disk
        )

    def _look_again(self) -> Plan:
        """Return what would change now; raise where people changed the manifests that this run declares."""
        before = RevisionReader(self.repository, self.registry.revision)
        self.read(mends_snapshot=True)
        now = RevisionReader(self.repository, self.registry.revision)
        for file, declared in self._declared.items():
            if before.file(file) != now.file(file) and now.file(file) != declared:
                raise BranchMovedError((file,), self.registry.revision or "")
        if self._declared:
            self.registry = self.recorder.load(self._declared, revision=self.registry.revision)
        self.forget()  # there is no room for what is known now beside it
        self.observers.disk.reload(self.state)
        self.observers.widen(self.registry, self.host)
        return self.plan()

    def _announce(self, chosen: Iterable[Change]) -> None:
        """Tell progress of all that is to come, so that its total does not grow; what came whole never begins."""
        for change in chosen:
            if change.fetch and change.size_known and change.bytes_staged < change.bytes_to_fetch:
                self.progress.expect(change.name, change.bytes_to_fetch, change.bytes_staged)

    def _keep_learned(self) -> None:
        """Remember what looking taught; where the state takes nothing now, it is only looked at again."""
        with suppress(StateError):
            self._remember_disks()
            self.observers.disk.keep(self.state)

    def _remember_disks(self) -> None:
        remember_disks(self.places.locations, self.host, self.state, self.registry.entries.values())

    def _send_the_rest(self) -> None:
        """Send what was committed, where the command did not see to it."""
        if self._unsent and (problem := self.publish().problem) is not None:
            raise problem

    def is_in_step(self, commit: str) -> bool:
        """Return whether the branch has a commit, and the remote, as it was last seen, all of the branch."""
        return self.registry.branch is None and self.synchronizer.is_in_step(commit)

    def publish(self) -> "Sent":
        """Send what was committed to the remote, where a person or registry.yaml asks for it."""
        self._unsent = False
        return publish(self.synchronizer, self.registry, asked=self.options.push)

    def record(self, outcomes: Iterable[ModelResult]) -> Report:
        """Commit entries that change while no file does, with the manifests that were declared."""
        self.repository.check_committable(self.registry.branch)
        recorded = sorted(outcomes, key=lambda outcome: outcome.change.name)
        self._let_cases_go()
        return self._report(recorded, self._commit(recorded), {})

    def _let_cases_go(self) -> None:
        """Keep of what was planned with what follows a commit: the rest would stand with 20 MB beside the snapshot."""
        self.situation, self._watch = replace(self.situation, cases=(), orphans=(), unmanaged=()), None

    def _report(
        self, outcomes: Iterable[ModelResult], result: CommitResult | None, skipped: Mapping[str, str]
    ) -> Report:
        return Report(
            host=self.host.host,
            outcomes=tuple(outcomes),
            skipped=skipped,
            commit=result.id if result is not None and result.created else None,
            notes=_notes_of(result),
        )

    def tidy(self) -> None:
        """Clear away what killed runs left, where the plan has nothing to do; writes nothing where nothing is left."""
        settle_recorded(self)
        self.recorder.records.write_compatible(self.registry)
        self._keep_learned()
        if not self.situation.records_stale:
            self.recorder.records.remember(self.registry)
        if not self.options.names:
            sweep(self, self.staging_roots(), resumable_models(self.situation))
        if self._watch is not None:
            self._watch.keep(self.registry, self.planned, self.situation)

    @property
    def cancelled(self) -> bool:
        """Whether somebody called the run off."""
        return self.options.cancel is not None and self.options.cancel.is_set()

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
        from imageworks.reconcile.phases.carry_out import carry_out

        return carry_out(self, changes, cases, ahead=ahead)

    def _commit(self, outcomes: Collection[ModelResult]) -> CommitResult | None:
        """Commit entries and snapshot, with what was declared."""
        if self._declared and not all(outcome.done or _has_arrived(outcome) for outcome in outcomes):
            return None  # what was declared for this run only is not declared when it failed
        recorded = [outcome for outcome in outcomes if outcome.recorded]  # also why one failed, where that holds
        written = {outcome.entry.name: outcome.entry for outcome in recorded if outcome.entry is not None}
        gone = {outcome.change.name for outcome in recorded if outcome.entry is None}
        gone |= {name for outcome in recorded if (name := outcome.change.previous_name) is not None}
        if not self._keeps_declared:
            written = {name: undeclared_entry(entry, self.registry) for name, entry in written.items()}
            self._declared = NOTHING_DECLARED
            self.registry = self.recorder.load(revision=self.registry.revision)
        otherwise = "change the manifest" if self._declared else "refresh the snapshot"
        recording = CommitDraft(
            message=commit_message(self._title, outcomes, otherwise=otherwise),
            trailers=lambda registry: trailers(registry.host, registry.revision),
            written=written,
            gone=frozenset(gone),
            manifests=self._declared,
        )
        self.registry = self.recorder.without(self.registry, written)
        committed = self.recorder.commit(self.registry, recording)
        if committed is None:
            return None
        self._declared, self._unsent = NOTHING_DECLARED, True
        result, self.registry = committed
        return result

    def _settle(self, outcomes: Collection[ModelResult], roots: Collection[Path], resumable: ResumableModels) -> None:
        for outcome in outcomes:
            if outcome.done:
                self.intents.settle(outcome.change.name)
        if self.options.names or any(not outcome.done for outcome in outcomes):
            return
        sweep(self, roots, resumable)


def _has_arrived(outcome: ModelResult) -> bool:
    """Return whether the files of a model came, though something that follows from them failed."""
    return outcome.recorded and outcome.entry is not None and bool(outcome.entry.files)


def _prunes(change: Change) -> bool:
    """Return whether a removal is our own conclusion; one that is declared stands whatever else fails (I9)."""
    return change.action is Action.REMOVE and change.reason is not Reason.DECLARED_ABSENT


def _notes_of(result: CommitResult | None) -> tuple[str, ...]:
    if result is None:
        return ()
    return (*result.notes, *(f"{left.path}: {left.reason}" for left in result.left_alone))
