"""What a run looks with: this host's disks and locations, sources of models, stores; opened when first used."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from imageworks.files.content_index import ContentIndex
from imageworks.files.digests import Algorithm, Digest
from imageworks.files.locations import Locations
from imageworks.files.progress import Progress
from imageworks.files.safe_paths import is_there
from imageworks.files.size_index import FolderIndex
from imageworks.files.state import StateDatabase
from imageworks.host.settings import HostSettings
from imageworks.plan.facts import Observation, ResolvedSource
from imageworks.providers.base import Store, StoreContext
from imageworks.providers.disk import DiskObserver, Hashing
from imageworks.providers.dispatch import provider_of, store_provider
from imageworks.providers.folder.local_files import LocalSource, LocalSourceError, remote_files
from imageworks.providers.folder.local_files import observe as observe_local
from imageworks.providers.locations import HostLocations
from imageworks.providers.publish_intents import PublishJournal
from imageworks.providers.upstream import SourceResolver
from imageworks.registry.entries.entry import Entry, is_in_store
from imageworks.registry.load import RegistryState
from imageworks.registry.settings.mirrors import mirrors_of


def known_locations(registry: RegistryState, state: StateDatabase) -> Locations:
    """Return what this host knows of the disks that its locations are on."""

    def verified_on(path: Path) -> str | None:
        return next((known.device for known in state.load_below(path).values()), None)

    entries = [entry for entry in registry.entries.values() if entry.files and not is_in_store(entry)]
    recorded = [path for entry in entries if (path := entry.path) is not None]
    return Locations(state.locations(), recorded=recorded, verified_on=verified_on)


def remember_disks(locations: Locations, host: HostSettings, state: StateDatabase, entries: Iterable[Entry]) -> None:
    """Remember the disks that recorded models are on."""
    roots = set()
    for path in {entry.path for entry in entries if entry.path is not None and entry.files and not is_in_store(entry)}:
        root = locations.root_of(path)
        if root is not None:
            roots.add(root)
        elif is_there(path):
            locations.remember_mount(path, state)
    mark_roots(locations, host, state, roots)


def mark_roots(locations: Locations, host: HostSettings, state: StateDatabase, roots: Iterable[Path]) -> None:
    """Leave markers at the roots of locations that have none, and remember which disk is there."""
    for root in sorted(roots):
        if root in locations.roots and host.allows(root):
            locations.mark(root, state)


class HostObservers:
    """Looks at this host and at where its models come from."""

    def __init__(  # noqa: PLR0913 # what a run looks with
        self,
        host: HostSettings,
        registry: RegistryState,
        state: StateDatabase,
        *,
        told: Callable[[str], None],
        progress: Progress,
        intents: PublishJournal,
        closing: ExitStack,
        offline: bool,
        read_only: bool,
        hashing: Hashing | None = None,
        mirrors: Sequence[str] = (),
    ) -> None:
        self._host = host
        self._told = told
        self._progress = progress
        self._intents = intents
        self._stores: dict[str, Store] = {}
        self._closing = closing
        self._offline = offline
        self._read_only = read_only
        self._state = state
        locations = known_locations(registry, state)
        self.places = HostLocations(registry.settings, host, invalid=registry.settings_problem, locations=locations)
        self.disk = DiskObserver(state, locations, hashing, host.trusted_users)
        policies = registry.settings.policies
        self.sources = SourceResolver(
            self._look_local,
            host=host,
            offline=offline,
            write_cache=not read_only,
            told=lambda text: progress.note("hub", text),
            reads_configs=policies.forbid_remote_code,
            reads_heads=policies.forbid_pickle,
            mirrors=mirrors_of(registry.settings, host, mirrors),
        )
        closing.callback(self.sources.close)

    def widen(self, registry: RegistryState, host: HostSettings) -> None:
        """Look with other settings of this host from now on, which allow more."""
        self._host = host
        self.places = self.places_for(registry, host)

    def places_for(self, registry: RegistryState, host: HostSettings) -> HostLocations:
        """Return the locations of this host by other settings, over the same look at its disks."""
        locations = self.places.locations
        return HostLocations(registry.settings, host, invalid=registry.settings_problem, locations=locations)

    def observe(self, entry: Entry) -> Observation | None:
        """Return how a recorded model's files stand; ``None`` when it records none."""
        return (
            self.store(provider_of(None, entry).name).observe_entry(entry)
            if is_in_store(entry)
            else self.disk.observe(entry)
        )

    def distrust(self, entry: Entry) -> None:
        """Read a recorded model's files again instead of believing that those that look unchanged are."""
        if is_in_store(entry):
            self.store(provider_of(None, entry).name).distrust(entry)
        elif entry.path is not None and entry.files:
            self.disk.distrust(entry.base / file.path for file in entry.files)

    @cached_property
    def content(self) -> ContentIndex:
        """What finds bytes on this machine by their digest."""
        return ContentIndex(self._state, os.environ, FolderIndex(self._shared_folders, self.disk.digest))

    def _shared_folders(self) -> list[Path]:
        return self.places.shared_folders()

    def store(self, name: str) -> Store:
        """Return a store of this host; its program is not contacted before somebody asks something of it."""
        if name not in self._stores:
            self._stores[name] = store_provider(name).open_store(
                StoreContext(
                    host=self._host,
                    state=self._state,
                    disk=self.disk,
                    places=self.places,
                    content=self.content,
                    intents=self._intents,
                    progress=self._progress,
                    told=self._told,
                    closing=self._closing,
                    offline=self._offline,
                    read_only=self._read_only,
                )
            )
        return self._stores[name]

    def _look_local(self, path: Path) -> ResolvedSource:
        if not self._host.allows(path):
            allowed = ", ".join(str(root) for root in self._host.roots)
            raise LocalSourceError(
                f"{path} is outside the folders that this host allows ({allowed})",
                remedy="add it to roots in the user's config.toml if that is meant",
                reason="root-not-allowed",
            )
        model = observe_local(path)

        def digest(file: Path, algorithm: Algorithm) -> Digest:
            found = self.disk.digest(file, file.stat(), algorithm)
            if found is None:
                raise LocalSourceError(f"{file}: cannot be read", reason="source-missing")
            return found

        return ResolvedSource(files=remote_files(model, digest), source=LocalSource(model))
