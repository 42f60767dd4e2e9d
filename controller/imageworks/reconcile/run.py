"""One reconcile run: lock, gather, plan, apply, commit. The door through which every command reconciles."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from imageworks.config import HostSettings
from imageworks.config_layers import PROJECT_FILE
from imageworks.reconcile.applied import AppliedManifests
from imageworks.reconcile.decide import is_ollamas
from imageworks.reconcile.gather import Look, gather, known_names, staging_key_of, staging_owner
from imageworks.reconcile.intents import Intents
from imageworks.reconcile.messages import commit_message, trailers
from imageworks.reconcile.notes import (
    uncommitted_manifests,
    undeclared_downloads,
    unrecorded_models,
    unsupported_settings,
)
from imageworks.reconcile.places import Places, unused_studio
from imageworks.reconcile.plan import Action, Change, Plan, Reason
from imageworks.reconcile.planner import make_plan, waves
from imageworks.reconcile.reading import ReadingProgress
from imageworks.reconcile.recorder import Recorder, Recording
from imageworks.reconcile.refusals import DiskRefusals
from imageworks.reconcile.report import Outcome, Report
from imageworks.reconcile.room import check_room
from imageworks.reconcile.senses import Senses
from imageworks.reconcile.sharing import Sharing
from imageworks.reconcile.situation import Case, Observation, Obstacle, Place, PruneOptions, Situation, Upstream
from imageworks.reconcile.trust import Trust, refuse_unsigned
from imageworks.reconcile.unfinished import Unfinished, find_unfinished
from imageworks.registry.entry import Entry
from imageworks.registry.foreign import find_foreign
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_lock import hold
from imageworks.registry.git_oddities import filter_notes
from imageworks.registry.git_values import CommitResult
from imageworks.registry.load import NOTHING_DECLARED, RegistryState
from imageworks.registry.manifest import FOLDER as MODELS
from imageworks.registry.manifest import State
from imageworks.transfer.files import NullProgress, Progress
from imageworks.transfer.paths import is_folder, is_there
from imageworks.transfer.staging import sweep_stale
from imageworks.transfer.state import STATE_FILE, StateDatabase, StateError

if TYPE_CHECKING:
    from imageworks.providers.huggingface import HubClient
    from imageworks.reconcile.clean import Rest, Wanted
    from imageworks.reconcile.ollama_apply import OllamaHands
    from imageworks.reconcile.ollama_look import OllamaLook
    from imageworks.reconcile.ollama_sight import OllamaSight
    from imageworks.reconcile.proposal import HostPlan
    from imageworks.reconcile.sync import Sent, Synchronizer


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


class Run:
    """A run on one registry and host; made by :meth:`open`, which locks unless the run is read-only.

    Args:
        repository: The registry.
        host: This host's settings.
        options: What is asked.
        progress: Who is told.
    """

    def __init__(
        self, repository: RegistryRepository, host: HostSettings, options: RunOptions, progress: Progress
    ) -> None:
        self._repository = repository
        self._host = host
        self._options = options
        self._progress = progress
        self._open = ExitStack()
        self._recorder = Recorder(repository, host)
        self._intents = Intents(host.state_dir, repository.root)
        self._notes: list[str] = []
        self._declared: Mapping[str, bytes | None] = NOTHING_DECLARED
        self._keeps_declared = True
        self._unsent = False
        self._title = f"Reconcile {host.host}"
        self._state: StateDatabase
        self._registry: RegistryState
        self._senses: Senses
        self._situation: Situation
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
        """Open a run; a run that may write holds the registry's lock until it ends (I10).

        Args:
            root: The registry folder.
            host: This host's settings.
            options: What is asked.
            progress: Who is told; no one when absent.
            wait: Seconds to wait for another controller.
        """
        repository = RegistryRepository.open(root, host=host.host)
        with cls(repository, host, options, progress or NullProgress()) as run:
            if not options.read_only:
                recovery = run._open.enter_context(repository.lock(wait=wait))
                run._notes += recovery.notes
                run._notes += [f"{left.path}: {left.reason}" for left in recovery.left_alone]
                # Another registry's controller may have the same locations: its staging areas are not to be recovered
                # or swept while it is at work.
                run._open.enter_context(hold(host.state_dir, wait=wait, host=host.host, what="this host"))
                if options.pull:
                    run._notes += run._synchronizer.pull().describe()
            elif files := find_foreign(repository.root, registry=True):
                run._notes.append(f"nothing can be written here: {', '.join(files)} is the predecessor's")
            run._look()
            run._options = replace(options, names=known_names(run.registry, options.names))
            yield run
            run._send_the_rest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def registry(self) -> RegistryState:
        """The registry as it was read."""
        return self._registry

    @property
    def situation(self) -> Situation:
        """Everything that the last plan was made from."""
        return self._situation

    @property
    def places(self) -> Places:
        """The locations of this host."""
        return self._senses.places

    @property
    def hub(self) -> "HubClient":
        """The hub's client, opened on first use."""
        return self._senses.sources.open()

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

    def other_hosts(self, name: str) -> tuple[str, ...]:
        """Return which other hosts record files of a model.

        Args:
            name: The variant name.
        """
        return self._recorder.other_hosts(name, self._registry)

    def observe(self, entry: Entry) -> Observation | None:
        """Return how a recorded model's files stand; ``None`` when it records none.

        Args:
            entry: What is recorded.
        """
        return self._senses.observe(entry)

    def declare(
        self, files: Mapping[str, bytes | None], names: tuple[str, ...], *, title: str, kept: bool = True
    ) -> None:
        """Plan from now on with manifests that are not committed yet; the run's one commit contains them.

        Args:
            files: New bytes by registry path below ``models/``; ``None`` deletes a manifest.
            names: The only models that the run considers.
            title: What the commit's subject begins with.
            kept: Whether the manifests are committed; else only what they lead to is, as models never declared.
        """
        if kept:
            refuse_unsigned(self._registry, self._host, files)
        self._declared, self._keeps_declared = dict(files), kept
        self._options = replace(self._options, names=names)
        self._title = title
        self._registry = self._recorder.load(self._declared)

    def allow(self, root: Path) -> None:
        """Let models be below a folder that this host's settings do not name, for this run.

        Args:
            root: The folder.
        """
        if not self._host.allows(root):
            self._host = replace(self._host, roots=(*self._host.roots, root))
            self._senses.widen(self._registry, self._host)

    def distrust(self, entry: Entry) -> None:
        """Read a recorded model's files again instead of believing that those that look unchanged are.

        Args:
            entry: What is recorded.
        """
        self._senses.distrust(entry)

    def recheck(self, *, anew: bool = False) -> None:
        """Plan from now on with what repositories list, also of models that are as recorded.

        Args:
            anew: Whether they are asked for what is known of them too.
        """
        self._options = replace(self._options, recheck=True)
        if anew:
            self._senses.sources.ask_anew()

    def _look(self) -> None:
        """Load the registry and open what looking needs."""
        read_only = self._options.read_only
        self._registry = self._recorder.load()
        Trust(self._repository, self._host).check(self._registry, remember=not read_only)
        if not read_only:
            self._recorder.save()
        state_file = self._host.state_dir / STATE_FILE
        self._state = self._open.enter_context(StateDatabase.open(state_file, read_only=read_only))
        self._notes += self._state.notes
        self._senses = Senses(
            self._host,
            self._registry,
            self._state,
            told=self._notes.append,
            hub_told=lambda text: self._progress.note("hub", text),
            closing=self._open,
            offline=self._options.offline,
            read_only=read_only,
            hashing=ReadingProgress(self._progress, read_only=read_only),
        )
        if not read_only:
            self._recover()

    @property
    def ollama(self) -> "OllamaLook":
        """What looks at Ollama; the daemon is not contacted before somebody asks something of it."""
        return self._senses.ollama

    def ollama_sight(self, entry: Entry) -> "OllamaSight | None":
        """Return what Ollama has of a recorded model; ``None`` for one that it never had.

        Args:
            entry: What is recorded.
        """
        self.ollama.begin(self._registry.applied, self._registry.entries.values(), self._intents.announced())
        return self.ollama.sight_of(entry)

    @cached_property
    def _hands(self) -> "OllamaHands":
        from imageworks.providers.ollama_address import written_address
        from imageworks.reconcile.ollama_apply import OllamaHands

        return OllamaHands(
            self.ollama.provider,
            state=self._state,
            intents=self._intents,
            progress=self._progress,
            written=written_address(self._host.environment()),
        )

    def _ollama_hands(self) -> "OllamaHands":
        return self._hands

    def _recover(self) -> None:
        """Finish publishes that a killed run left half-way, wherever a location of ours exists."""
        from imageworks.transfer.publish import recover

        for root in self._senses.places.existing_roots(self._registry.manifests.values()):
            try:
                for report in recover(root, on_error=lambda error: self._notes.append(error.render())):
                    self._notes.append(f"{report.target}: finished a publish that was interrupted")
            except OSError as error:
                self._notes.append(f"{_told(error, root)}; nothing was finished there")

    def plan(self) -> Plan:
        """Return what would change."""
        look = Look(
            registry=self._registry,
            places=self._senses.places,
            disk=self._senses.disk,
            sources=self._senses.sources,
            content=self._senses.content,
            intents=self._intents,
            records=self._recorder.records,
            refusals=DiskRefusals(),
            prune_of=AppliedManifests(self._repository, self._host.host, self._registry.recorded),
            notes=(
                *self._notes,
                *uncommitted_manifests(self._repository.uncommitted(MODELS)),
                *unsupported_settings(self._registry.settings),
                *filter_notes(self._repository.at(self._registry.revision)),
                *self._unused_studio(),
                *self._closed_window(),
                *unrecorded_models(self._registry, self._intents.announced()),
                *([] if self._options.names else undeclared_downloads(self.unfinished(), self._registry)),
            ),
            restore_locked=self._options.restore_locked,
            recheck=self._options.recheck,
            open_ollama=lambda: self.ollama,
        )
        self._situation = gather(look, self._options.names)
        enabled = self._options.prune.enabled or self._registry.settings.prune
        self._planned = make_plan(self._situation, replace(self._options.prune, enabled=enabled))
        return self._planned

    def compared(self, base: str, *, labels: Collection[str] = ()) -> "HostPlan":
        """Return what would change, with what sets it apart from what another commit would lead to here.

        Args:
            base: The commit to compare with, as people write it.
            labels: The labels that the request has whose changes these are.

        Raises:
            UnknownRevisionError: It names no commit.
        """
        from imageworks.reconcile.proposal import compare
        from imageworks.registry.settings_changes import review_rules

        revision, now = self._repository.resolve(base), (self._registry, self._senses.places, self._options)
        old = self._recorder.load(revision=revision)
        # This host is what it is, on either side; and what is new has no name there.
        self._registry = replace(old, entries=now[0].entries, recorded=now[0].recorded)
        known = {*old.manifests, *now[0].entries, *old.blocked}
        names = tuple(name for name in self._options.names if name in known)
        self._senses.places = self._senses.places_for(old, self._host)
        self._options = replace(self._options, names=names)
        before = self.plan() if names or not now[2].names else Plan(self._host.host, revision)
        earlier = self._situation if names or not now[2].names else Situation(self._host.host, revision)
        self._registry, self._senses.places, self._options = now
        rules = review_rules(self._repository, revision, self._registry.revision, labels)
        return compare(self.plan(), self._situation, base=revision, before=before, earlier=earlier, rules=rules)

    def _unused_studio(self) -> list[str]:
        """Return that LM Studio's folder is not used, where this host's owner named it; a project may name any."""
        found = unused_studio(self._registry.settings, self._host)
        return [found] if found is not None and PROJECT_FILE not in self._host.origin_of("lmstudio_root") else []

    def _closed_window(self) -> list[str]:
        transfer = self._registry.settings.transfer
        if self._options.any_time or transfer.open_at(datetime.now().astimezone().time()):
            return []
        return [f"downloads wait for the transfer window {transfer.window} (--now fetches at once)"]

    def apply(self, plan: Plan, *, skipped: Mapping[str, str] | None = None, also: Iterable[Outcome] = ()) -> Report:
        """Carry a plan out and commit what was done; removals come last, and only after everything else went well.

        Args:
            plan: A plan of this run.
            skipped: Names of changes that are not to be made, with why.
            also: What else the commit records, of models that the plan does not change.
        """
        skip = dict(skipped or {})
        for note in self._closed_window():
            skip |= {change.name: note for change in plan.effective if change.fetch}
        chosen = [change for change in plan.effective if change.name not in skip]
        cases = {case.manifest.name: case for case in self._situation.cases}
        if self._options.commit:
            self._repository.check_committable(self._registry.branch)
        commits = [self._repository.git_folder] if self._options.commit else []
        check_room(chosen, [self._host.state_dir, *commits])
        if any(change.fetch for change in chosen):
            self._state.check_writable()
        if any(change.fetch and not change.by_ollama for change in chosen):
            from imageworks.transfer.aria2 import find_aria2c

            find_aria2c()
        self._keep_learned()
        last = [change for change in chosen if change.action is Action.REMOVE]
        outcomes: list[Outcome] = []
        for wave in waves((change for change in chosen if change.action is not Action.REMOVE), cases):
            outcomes += self._carry_out(wave, cases)
        if plan.has_errors or any(not outcome.done for outcome in outcomes):
            pruned = {change.name for change in last if _prunes(change)}
            skip |= dict.fromkeys(pruned, "nothing is pruned while another model is blocked or failed")
            last = [change for change in last if change.name not in pruned]
        outcomes += [*self._carry_out(last, cases), *also]
        outcomes.sort(key=lambda outcome: outcome.change.name)
        done = (cases[outcome.change.name] for outcome in outcomes if outcome.done and outcome.change.name in cases)
        with suppress(StateError):
            self._mark({case.place.root for case in done if isinstance(case.place, Place)})
        result = self._commit(outcomes) if self._options.commit else None
        with suppress(StateError):
            self._mark_known()
        if result is not None:
            self._settle(outcomes, cases)
        if self._options.commit:
            self._settle_recorded()
        return self._report(outcomes, result, skip)

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
        from imageworks.reconcile.sync import Synchronizer

        return Synchronizer(self._repository, self._recorder, os.environ)

    def publish(self) -> "Sent":
        """Send what was committed to the remote, where a person or registry.yaml asks for it."""
        from imageworks.reconcile.sync import publish

        self._unsent = False
        return publish(self._synchronizer, self._registry, asked=self._options.push)

    def record(self, outcomes: Iterable[Outcome]) -> Report:
        """Commit entries that change while no file does, with the manifests that were declared.

        Args:
            outcomes: What to record of each model.
        """
        self._repository.check_committable(self._registry.branch)
        recorded = sorted(outcomes, key=lambda outcome: outcome.change.name)
        return self._report(recorded, self._commit(recorded), {})

    def _report(self, outcomes: Iterable[Outcome], result: CommitResult | None, skipped: Mapping[str, str]) -> Report:
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
            self._sweep(self.staging_roots())

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
        owner = staging_owner(self._host.host, self._repository.root)
        return [one for one in find_unfinished(self.staging_roots()) if one.owner.startswith(owner)]

    def rests(self, wanted: "Wanted") -> "list[Rest]":
        """Return what killed and broken-off runs left on this host.

        Args:
            wanted: What is asked for.
        """
        from imageworks.reconcile.clean import find_rests

        return find_rests(
            self._registry,
            self._host,
            self._repository.root,
            self.staging_roots(),
            wanted,
            lambda path: self.places.obstacle_at(path) is None,
        )

    def staging_roots(self) -> list[Path]:
        """Return the roots at which something may gather: locations, and folders that `download` was once given."""
        places = self._senses.places
        located = places.existing_roots(self._registry.manifests.values())
        others = [root for root in self._host.roots if is_folder(root) and places.locations.state_at(root).present]
        return list(dict.fromkeys(map(Path.resolve, (*located, *others))))

    def _mark_known(self) -> None:
        """Remember the disks that recorded models are on."""
        locations = self._senses.places.locations
        entries = (entry for entry in self._registry.entries.values() if entry.files and not is_ollamas(entry))
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

    def _sweep(self, roots: Iterable[Path]) -> None:
        """Remove what interrupted runs left of declared models and none would resume, and what is old.

        Of a suspended or blocked model it is not known what it would resume, so all of its stays. Nor is what nobody
        declares thrown away: whoever broke a `download` off was told that it can be resumed.
        """
        keys, unknown = set(), {*self._registry.blocked, *self._situation.blocked}
        for case in self._situation.cases:
            if isinstance(case.upstream, Upstream):
                keys.add(staging_key_of(case.manifest.name, self._host.host, case.upstream))
            elif case.manifest.state is State.SUSPENDED or isinstance(case.upstream, Obstacle):
                unknown.add(case.manifest.name)
        owner = staging_owner(self._host.host, self._repository.root)
        declared = {owner + case.manifest.name for case in self._situation.cases}
        for root in filter(is_folder, roots):
            try:
                young = {one.owner for one in find_unfinished([root]) if one.owner not in declared and not one.is_old()}
                sweep_stale(root, keys, owner=owner, spare=young | {owner + name for name in unknown})
            except OSError as error:
                self._notes.append(f"{_told(error, root)}; nothing was swept there")

    def _carry_out(self, changes: list[Change], cases: Mapping[str, Case]) -> list[Outcome]:
        # Imported here: a run with nothing to do is not to load the engine and the detection, half of its start-up.
        from imageworks.reconcile.apply import Tools, apply_changes
        from imageworks.reconcile.describe import describe
        from imageworks.transfer.engine import TransferEngine
        from imageworks.transfer.jobs import TransferOptions

        host = self._host
        transfer = self._registry.settings.transfer.on_host(host.max_connections, host.max_concurrent_downloads)
        jobs = self._options.jobs or transfer.jobs
        options = TransferOptions(
            connections=transfer.connections,
            jobs=jobs,
            limit_bytes_per_second=transfer.limit,
            allow_http=host.hub_endpoint.startswith("http://"),
        )
        with TransferEngine(options) as engine:
            tools = Tools(
                engine=engine,
                state=self._state,
                intents=self._intents,
                places=self._senses.places,
                host=self._host,
                progress=self._progress,
                owner=staging_owner(self._host.host, self._repository.root),
                describe=describe,
                sharing=Sharing(self._registry.entries.values()),
                registry=self._repository.root,
                ollama=self._ollama_hands,
                policies=self._registry.settings.policies.on(datetime.now(UTC).date()),
            )
            places, registry = self._senses.places, self._registry
            entries = {name: places.current(entry) for name, entry in registry.entries.items()}
            return apply_changes(changes, cases, entries, tools, jobs=jobs)

    def _commit(self, outcomes: Collection[Outcome]) -> CommitResult | None:
        """Commit entries and snapshot, with what was declared."""
        if self._declared and not all(outcome.done or _has_arrived(outcome) for outcome in outcomes):
            return None  # what was declared for this run only is not declared when it failed
        recorded = [outcome for outcome in outcomes if outcome.recorded]  # also why one failed, where that holds
        written = {outcome.entry.name: outcome.entry for outcome in recorded if outcome.entry is not None}
        gone = {outcome.change.name for outcome in recorded if outcome.entry is None}
        gone |= {name for outcome in recorded if (name := outcome.change.previous_name) is not None}
        if not self._keeps_declared:
            from imageworks.reconcile.compose import undeclared_entry

            written = {name: undeclared_entry(entry, self._registry) for name, entry in written.items()}
            self._declared, self._registry = NOTHING_DECLARED, self._recorder.load()
        otherwise = "change the manifest" if self._declared else "refresh the snapshot"
        recording = Recording(
            message=commit_message(self._title, outcomes, otherwise=otherwise),
            trailers=lambda registry: trailers(registry.host, registry.revision),
            written=written,
            gone=frozenset(gone),
            manifests=self._declared,
        )
        committed = self._recorder.commit(self._registry, recording)
        if committed is None:
            return None
        self._declared, self._unsent = NOTHING_DECLARED, True
        result, self._registry = committed
        return result

    def _settle(self, outcomes: Collection[Outcome], cases: Mapping[str, Case]) -> None:
        for outcome in outcomes:
            if outcome.done:
                self._intents.settle(outcome.change.name)
        if self._options.names or any(not outcome.done for outcome in outcomes):
            return
        self._sweep({case.place.root for case in cases.values() if isinstance(case.place, Place)})


def _has_arrived(outcome: Outcome) -> bool:
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
