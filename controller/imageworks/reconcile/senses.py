"""What a run looks with: this host's disks and locations, sources of models, Ollama; opened when first used."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.config import HostSettings
from imageworks.reconcile.decide import is_ollamas
from imageworks.reconcile.observe import DiskObserver, Hashing
from imageworks.reconcile.places import Places
from imageworks.reconcile.situation import Observation, Upstream
from imageworks.reconcile.upstream import Sources
from imageworks.registry.entry import Entry
from imageworks.registry.load import RegistryState
from imageworks.transfer.content import ContentIndex, ollama_stores
from imageworks.transfer.digests import Algorithm, Digest
from imageworks.transfer.folders import FolderIndex
from imageworks.transfer.locations import Locations
from imageworks.transfer.state import StateDatabase

if TYPE_CHECKING:
    from imageworks.providers.huggingface import HubClient
    from imageworks.reconcile.ollama_look import OllamaLook


def known_locations(registry: RegistryState, state: StateDatabase) -> Locations:
    """Return what this host knows of the disks that its locations are on.

    Args:
        registry: The registry as it was read.
        state: What was verified on this host.
    """

    def verified_on(path: Path) -> str | None:
        return next((known.device for known in state.load_below(path).values()), None)

    entries = [entry for entry in registry.entries.values() if entry.files and not is_ollamas(entry)]
    recorded = [path for entry in entries if (path := entry.path) is not None]
    return Locations(state.locations(), recorded=recorded, verified_on=verified_on)


class Senses:
    """Looks at this host and at where its models come from.

    Args:
        host: This host's settings.
        registry: The registry as it was read.
        state: What was verified on this host.
        told: Told of what a person should know of the plan.
        hub_told: Told at once of what the hub makes a person wait for.
        closing: Closes what was opened, when the run ends.
        offline: Whether the network may not be used.
        read_only: Whether nothing may be written, anywhere.
        hashing: Told of each file that has to be read.
    """

    def __init__(  # noqa: PLR0913 # what a run looks with
        self,
        host: HostSettings,
        registry: RegistryState,
        state: StateDatabase,
        *,
        told: Callable[[str], None],
        hub_told: Callable[[str], None],
        closing: ExitStack,
        offline: bool,
        read_only: bool,
        hashing: Hashing | None = None,
    ) -> None:
        self._host = host
        self._told = told
        self._hub_told = hub_told
        self._closing = closing
        self._offline = offline
        self._read_only = read_only
        self._state = state
        locations = known_locations(registry, state)
        self.places = Places(registry.settings, host, invalid=registry.settings_problem, locations=locations)
        self.disk = DiskObserver(state, locations, hashing)
        policies = registry.settings.policies
        self.sources = Sources(
            self._open_hub,
            self._look_local,
            reads_configs=policies.forbid_remote_code,
            reads_heads=policies.forbid_pickle,
        )
        closing.callback(self.sources.close)

    def widen(self, registry: RegistryState, host: HostSettings) -> None:
        """Look with other settings of this host from now on, which allow more.

        Args:
            registry: The registry as it was read.
            host: The settings.
        """
        self._host = host
        self.places = self.places_for(registry, host)

    def places_for(self, registry: RegistryState, host: HostSettings) -> Places:
        """Return the locations of this host by other settings, over the same look at its disks.

        Args:
            registry: The registry as it was read.
            host: The settings.
        """
        locations = self.places.locations
        return Places(registry.settings, host, invalid=registry.settings_problem, locations=locations)

    def observe(self, entry: Entry) -> Observation | None:
        """Return how a recorded model's files stand; ``None`` when it records none.

        Args:
            entry: What is recorded.
        """
        return self.ollama.observe(entry) if is_ollamas(entry) else self.disk.observe(entry)

    def distrust(self, entry: Entry) -> None:
        """Read a recorded model's files again instead of believing that those that look unchanged are.

        Args:
            entry: What is recorded.
        """
        if is_ollamas(entry):
            self.ollama.distrust(entry)
        elif entry.path is not None and entry.files:
            self.disk.distrust(entry.base / file.path for file in entry.files)

    @cached_property
    def content(self) -> ContentIndex:
        """What finds bytes on this machine by their digest."""
        return ContentIndex(self._state, os.environ, FolderIndex(self._lmstudio_folders, self.disk.digest))

    def _lmstudio_folders(self) -> list[Path]:
        return self.places.lmstudio_folders()

    @cached_property
    def ollama(self) -> "OllamaLook":
        """What looks at Ollama; the daemon is not contacted before somebody asks something of it."""
        from imageworks.providers.ollama import OllamaProvider
        from imageworks.reconcile.ollama_look import OllamaLook

        environment = self._host.environment()

        def open_provider() -> OllamaProvider:
            provider = OllamaProvider.from_environment(environment, offline=self._offline)
            self._closing.callback(provider.close)
            return provider

        return OllamaLook(
            open_provider,
            state=self._state,
            disk=self.disk,
            places=self.places,
            content=self.content,
            stores=ollama_stores(environment),
            offline=self._offline,
            writable=not self._read_only,
            told=self._told,
        )

    def _open_hub(self) -> "HubClient":
        from imageworks.providers.huggingface import HubClient

        return HubClient.from_environment(
            self._host.environment(),
            cache_dir=self._host.cache_dir,
            write_cache=not self._read_only,
            offline=self._offline,
            told=self._hub_told,
        )

    def _look_local(self, path: Path) -> Upstream:
        from imageworks.providers.local import LocalSource, LocalSourceError, remote_files
        from imageworks.providers.local import observe as observe_local

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

        return Upstream(files=remote_files(model, digest), source=LocalSource(model))
