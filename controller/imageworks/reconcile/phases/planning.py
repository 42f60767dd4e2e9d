"""What a run knows of the registry and of this host, and the plan that follows from it."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from shutil import which

from imageworks.files.progress import Progress
from imageworks.files.safe_paths import is_folder
from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.files.unfinished import Unfinished, find_unfinished
from imageworks.git.repository import RegistryRepository
from imageworks.host.settings import HostSettings
from imageworks.plan.facts import HostState, Observation, UndeclaredModel
from imageworks.plan.plan import Plan
from imageworks.providers.base import Store
from imageworks.providers.dispatch import stores_spoken_of
from imageworks.providers.failures import Failures
from imageworks.providers.folder.disk_limits import DiskRefusals
from imageworks.providers.folder.observe import Folders
from imageworks.providers.folder.reading_notice import ReadingProgress
from imageworks.providers.folder.staging_keys import staging_owner
from imageworks.providers.locations import HostLocations, unused_folders
from imageworks.providers.model_claims import Arriving, ModelClaims
from imageworks.providers.publish_intents import PublishJournal
from imageworks.providers.upstream import SourceResolver
from imageworks.reconcile.commit import RegistryCommitter
from imageworks.reconcile.last_applied import AppliedManifests
from imageworks.reconcile.observe import ObservationContext, gather
from imageworks.reconcile.observers import HostObservers
from imageworks.reconcile.open_registry import read_registry
from imageworks.reconcile.plan_notes import (
    operation_in_progress,
    uncommitted_files,
    undeclared_downloads,
    unrecorded_models,
    unsupported_settings,
)
from imageworks.reconcile.planner import make_plan
from imageworks.reconcile.remote_sync import Synchronizer
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.entries.entry import Entry
from imageworks.registry.load import RegistryState, let_others_go
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE
from imageworks.registry.special_files import filter_notes
from imageworks.registry.validate import is_manifest_path


class Planning:
    """A registry and this host as they are looked at, and the plan that follows: neither is changed.

    Args:
        repository: The registry's repository.
        host: This host's settings.
        options: What is asked for.
        progress: Told of what takes time.
    """

    registry: RegistryState
    """The registry as it was read."""
    situation: HostState
    """Everything that the last plan was made from; without its cases once that is applied."""
    planned: Plan
    """What would change, as it was said last."""
    observers: HostObservers
    """What this host and sources of models are looked at with."""
    state: StateDatabase
    """What this host remembers."""

    def __init__(
        self, repository: RegistryRepository, host: HostSettings, options: RunOptions, progress: Progress
    ) -> None:
        self.repository = repository
        self.host = host
        self.options = options
        self.progress = progress
        self.claims = ModelClaims(host.state_dir, repository.root, host.host)
        self.recorder = RegistryCommitter(repository, host)
        self.intents = PublishJournal(host.state_dir, repository.root)
        self.notes: list[str] = []
        self.forget()

    def forget(self) -> None:
        """Let what the last plan was made from go: there is no room for it beside what takes its place."""
        self.situation = HostState(self.host.host, None)

    @property
    def places(self) -> HostLocations:
        """The locations of this host."""
        return self.observers.places

    @property
    def sources(self) -> SourceResolver:
        """What sources of models are asked through."""
        return self.observers.sources

    @cached_property
    def synchronizer(self) -> Synchronizer:
        """What brings the branch and its remote together."""
        return Synchronizer(self.repository, self.recorder, os.environ)

    def uncommitted(self, file: str) -> bool:
        """Return whether a file of the registry differs from the checked-out commit."""
        return file in self.repository.uncommitted(file)

    def committed(self, file: str) -> bytes | None:
        """Return a file of the registry as the checked-out commit has it; ``None`` when it has none."""
        return RevisionReader(self.repository, self.repository.head()).plain(file)

    def other_hosts(self, name: str) -> tuple[str, ...]:
        """Return which other hosts record files of a model."""
        return self.recorder.other_hosts(name, self.registry)

    def observe(self, entry: Entry) -> Observation | None:
        """Return how a recorded model's files stand; ``None`` when it records none."""
        return self.observers.observe(entry)

    def allow(self, root: Path) -> None:
        """Let models be below a folder that this host's settings do not name, for this run."""
        if not self.host.allows(root):
            self.host = self.host._replace(roots=(*self.host.roots, root))
            self.observers.widen(self.registry, self.host)

    def distrust(self, entry: Entry) -> None:
        """Read a recorded model's files again instead of believing that those that look unchanged are."""
        self.observers.distrust(entry)

    def recheck(self, *, anew: bool = False) -> None:
        """Plan from now on with what repositories list, also of models that are as recorded."""
        self.options = replace(self.options, recheck=True)
        if anew:
            self.sources.ask_anew()

    def read(self, *, mends_snapshot: bool) -> None:
        """Read the registry at its newest commit."""
        self.registry = read_registry(
            self.repository,
            self.host,
            self.recorder,
            remember=not self.options.read_only,
            mends=self.notes.append if mends_snapshot else None,
        )

    def look(self, closing: ExitStack) -> None:
        """Read the registry and open what looking needs, which ``closing`` closes."""
        read_only = self.options.read_only
        self.read(mends_snapshot=self.options.mends_snapshot)
        if not read_only:
            self.recorder.save()
        if self.options.uncommitted:
            self.registry = self._with_edits()
        elif read_only and self.options.at:
            self.registry = self._declared_at(self.synchronizer.look_at(self.options.at))
        state_file = self.host.state_dir / STATE_FILE
        self.state = closing.enter_context(StateDatabase.open(state_file, read_only=read_only))
        self.notes += self.state.notes
        self.observers = HostObservers(
            self.host,
            self.registry,
            self.state,
            told=self.notes.append,
            progress=self.progress,
            intents=self.intents,
            closing=closing,
            offline=self.options.offline,
            read_only=read_only,
            hashing=ReadingProgress(self.progress, read_only=read_only),
            mirrors=self.options.mirrors,
        )

    def _with_edits(self) -> RegistryState:
        """Return the registry as it would be with the manifests and the registry.yaml of the work tree."""
        edited = self.repository.uncommitted(MODELS, SETTINGS_FILE)
        disk = WorkTreeReader(self.repository.root)
        files = {file: disk.file(file) for file in edited if file == SETTINGS_FILE or is_manifest_path(file)}
        named = ", ".join(sorted(files)) or "no file"
        self.notes.append(f"planned with what is not committed: {named}; what is applied is what is committed")
        return self.recorder.load(files, revision=self.registry.revision)

    def _declared_at(self, revision: str) -> RegistryState:
        """Return the registry as another commit declares it, with what this host has recorded by now."""
        now = self.registry
        then = self.recorder.load(revision=revision, with_entries=False)
        return replace(then, entries=now.entries, recorded=now.recorded)

    @contextmanager
    def declared_at(self, revision: str) -> Iterator[bool]:
        """Plan meanwhile with what another commit declares; yields whether it knows of what is asked for.

        This host is what it is, on either side; and what is new has no name there.
        """
        now = (self.registry, self.places, self.options)
        self.registry = self._declared_at(revision)
        known = {*self.registry.manifests, *self.registry.entries, *self.registry.blocked}
        names = tuple(name for name in self.options.names if name in known)
        self.observers.places = self.observers.places_for(self.registry, self.host)
        self.options = replace(self.options, names=names)
        try:
            yield bool(names) or not now[2].names
        finally:
            self.registry, self.observers.places, self.options = now
            self.forget()
            self.let_go()

    def let_go(self) -> None:
        """Keep nothing of what another commit has, nor what git read for it."""
        let_others_go(self.repository, self.registry, self.recorder.parsed)
        self.recorder.parsed.let_go()
        self.repository.let_go()

    def store(self, name: str) -> Store:
        """Return a store of this host; its program is not contacted before somebody asks something of it."""
        return self.observers.store(name)

    def orphan(self, entry: Entry) -> UndeclaredModel:
        """Return a recorded model with what its stores have of it, as if nobody declared it."""
        found = UndeclaredModel(entry, observation=None, prune=None)
        for name in stores_spoken_of(None, entry):
            self.store(name).observe([], (), self.registry, self.intents.announced(), Failures())
            found = self.store(name).orphan(found)
        return found

    def plan(self) -> Plan:
        """Return what would change."""
        look = ObservationContext(
            folders=Folders(
                registry=self.registry,
                places=self.places,
                disk=self.observers.disk,
                sources=self.sources,
                find_content=self.observers.content.find,
                refusals=DiskRefusals(),
                recheck=self.options.recheck,
            ),
            announced=self.intents.announced(),
            records_stale=self.recorder.records.stale,
            prune_of=AppliedManifests(self.repository, self.host.host, self.registry.recorded),
            restore_locked=self.options.restore_locked,
            open_store=self.store,
        )
        with ThreadPoolExecutor(1, "uncommitted") as aside:  # git is asked while others are: a hundredth of a second
            uncommitted = aside.submit(self._uncommitted_files)
            if which("git") is None:
                wait([uncommitted])  # libgit2 answers for it, and is not asked by two at once
            situation = gather(look, self.options.names)
            self.situation = replace(situation, notes=(*self._plan_notes(uncommitted.result()), *situation.notes))
        enabled = self.options.prune.enabled or self.registry.settings.prune
        self.planned = make_plan(self.situation, replace(self.options.prune, enabled=enabled))
        return self.planned

    def _plan_notes(self, uncommitted: Iterable[str]) -> Iterator[str]:
        """Yield what a person should know of the whole."""
        yield from self.notes
        yield from operation_in_progress(self.repository.in_progress())
        yield from uncommitted
        yield from unsupported_settings(self.registry.settings)
        yield from filter_notes(RevisionReader(self.repository, self.registry.revision))
        yield from unused_folders(self.registry.settings, self.host)
        yield from self.closed_window()
        yield from unrecorded_models(self.registry, self.intents.announced())
        if not self.options.names:
            yield from undeclared_downloads(self.unfinished(), self.registry)

    def _uncommitted_files(self) -> list[str]:
        if self.options.uncommitted:
            return []
        return uncommitted_files(self.repository.root, self.repository.uncommitted(MODELS, SETTINGS_FILE))

    def closed_window(self) -> list[str]:
        """Say that downloads wait, where the registry's transfer window is not open now."""
        transfer = self.registry.settings.transfer
        if self.options.any_time or transfer.open_at(datetime.now().astimezone().time()):
            return []
        return [f"downloads wait for the transfer window {transfer.window} (--now fetches at once)"]

    def unfinished(self) -> list[Unfinished]:
        """Return what interrupted runs of this registry left at the roots of this host, which later ones resume."""
        coming = self.claims.elsewhere()
        return [one for one in self._staged() if one.name not in coming]

    def arriving(self) -> list[Arriving]:
        """Return the models that other runs of this registry bring now."""
        staged = {one.name: one for one in self._staged()}
        return [Arriving(name, holder, staged.get(name)) for name, holder in self.claims.elsewhere().items()]

    @property
    def owner(self) -> str:
        """What staging areas of this registry on this host begin with."""
        return staging_owner(self.host.host, self.repository.root)

    def _staged(self) -> list[Unfinished]:
        owner = self.owner
        return [one for one in find_unfinished(self.staging_roots()) if one.owner.startswith(owner)]

    def staging_roots(self) -> list[Path]:
        """Return the roots at which something may gather: locations, and folders that `download` was once given."""
        places = self.places
        located = places.existing_roots(self.registry.manifests.values())
        others = [root for root in self.host.roots if is_folder(root) and places.locations.state_at(root).present]
        return list(dict.fromkeys(map(Path.resolve, (*located, *others))))
