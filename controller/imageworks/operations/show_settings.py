"""The effective settings of a host and its registry, each with where it came from, for the ``config`` command."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.foundation.errors import UsageError
from imageworks.foundation.home import expanded
from imageworks.foundation.log import redact
from imageworks.foundation.texts import commit_command
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import RegistryGitError
from imageworks.host.setting_layers import Setting
from imageworks.host.settings import (
    DEFAULT_ROOTS,
    HostSettings,
    RegistryNotFoundError,
    allow_root,
    find_registry,
    load_host_settings,
    user_config_file,
)
from imageworks.providers import locations
from imageworks.providers.locations import GGUF, library_name, on_host, own_roots
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.reader import RegistryReader, WorkTreeReader
from imageworks.registry.settings.model_places import ModelPlaces, Use
from imageworks.registry.settings.settings import FILE, TransferSettings, read_settings
from imageworks.registry.validate import check_settings_file

_FALLBACKS: Final = {
    **{name: str(folder) for name, folder in DEFAULT_ROOTS.items()},
    "preferred_formats": "any",
    "max_connections": str(TransferSettings().connections),
    "max_concurrent_downloads": str(TransferSettings().jobs),
}


@dataclass(frozen=True, slots=True)
class ShownSettings:
    """What ``config`` shows.

    Args:
        settings: Every setting, secrets left out.
        missing: Why there is no registry, where there is none.
        notes: What was given and has no effect, or another than one expects.
        user_config: The user's own file.
    """

    settings: tuple[Setting, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    user_config: Path


def settings_here(registry: Path | None) -> ShownSettings:
    """Return every effective setting, with or without a registry."""
    missing: tuple[str, ...] = ()
    root = None
    try:
        root = find_registry(registry)
    except RegistryNotFoundError as error:
        missing = (error.render(),)
    host = load_host_settings(registry=root)
    settings = tuple(Setting(one.name, redact(one.value), one.origin) for one in effective_settings(root, host))
    notes = [*host.former]
    if root is not None:
        notes += locations.unused_roots(read_settings(_given(_committed(root)), host.host), host)
        notes += _uncommitted(root, host)
    return ShownSettings(settings, missing, tuple(notes), user_config_file())


def allow_folder(given: Path, *, dry_run: bool = False) -> str:
    """Let models stand below a folder from now on; return what is to be said of that."""
    folder = Path(os.path.normpath(expanded(given).absolute()))
    if folder.parent == folder:
        raise UsageError(f"--allow {given}: that is every folder of this machine")
    if (why := ModelPlaces(load_host_settings()).why_not(folder, Use.ROOT)) is not None:
        raise UsageError(f"--allow {given}: it is no place for a model: {why}")
    if dry_run:
        return f"{folder} would be added to roots in {user_config_file()}; nothing was written"
    return f"models may be below {folder} on this host from now on: added to roots in {allow_root(folder)}"


def effective_settings(
    root: Path | None, host: HostSettings, reader: RegistryReader | None = None
) -> tuple[Setting, ...]:
    """Return all settings, the host's own first; what nobody said is shown as it holds without."""
    own = {setting.name: setting for setting in host.settings}
    below = _Registry(root, own, host, reader or _committed(root)) if root else None
    unsaid = [
        (below.instead_of(name) if below else None) or Setting(name, default, "default")
        for name, default in _FALLBACKS.items()
        if name not in own
    ]
    return (*host.settings, *unsaid, *(below.rows() if below else ()))


def _committed(root: Path) -> RegistryReader:
    """Return what commands obey: the checked-out commit, or the files where git keeps none."""
    try:
        repository = RegistryRepository.open(root)
    except RegistryGitError:
        return WorkTreeReader(root)
    return RevisionReader(repository, repository.head())


def _given(reader: RegistryReader) -> Mapping[str, object]:
    """Return what a registry.yaml says; nothing where it is not valid."""
    content = reader.file(FILE)
    document = check_settings_file(FILE, content).document if content is not None else None
    return document.value if document is not None and isinstance(document.value, dict) else {}


def _uncommitted(root: Path, host: HostSettings) -> tuple[str, ...]:
    """Return what the registry.yaml of the work tree says and no commit does."""
    counting, edited = (
        {one.name: one.value for one in effective_settings(root, host, reader)}
        for reader in (_committed(root), WorkTreeReader(root))
    )
    changed = [
        f"{name} {edited.get(name, 'unsaid')}"
        for name in dict.fromkeys((*counting, *edited))
        if counting.get(name) != edited.get(name)
    ]
    if not changed:
        return ()
    told = f"{root / FILE} is not as committed, and counts once it is: {', '.join(changed)}"
    return (f"{told}; `{commit_command(root, FILE)}`",)


class _Registry:
    """What a registry.yaml says, as far as the host does not say otherwise."""

    def __init__(self, root: Path, own: Mapping[str, Setting], host: HostSettings, reader: RegistryReader) -> None:
        self._given = _given(reader)
        self._settings = read_settings(self._given, host.host)
        self._effective = on_host(self._settings, host)
        self._own_roots = own_roots(self._settings)
        self._file = str(root / FILE)
        self._own = own

    def instead_of(self, name: str) -> Setting | None:
        """Return what the registry says where the host says nothing."""
        transfer = self._settings.transfer
        if name == "max_connections" and self._origin("connections") != "default":
            return Setting(name, str(transfer.connections), self._file)
        if name == "max_concurrent_downloads" and self._origin("jobs") != "default":
            return Setting(name, str(transfer.jobs), self._file)
        for location, key in self._own_roots.items():
            if key == name and location in self._settings.locations:
                return Setting(name, self._settings.locations[location].path, self._file)
        return None

    def rows(self) -> list[Setting]:
        """Return the registry's settings as they hold on this host."""
        settings = self._settings
        transfer = settings.transfer
        rows = []
        for name, location in sorted(self._effective.locations.items()):
            told = self._own.get(self._own_roots.get(name, ""))
            path, origin = (told.value, told.origin) if told else (location.path, self._file)
            rows.append(Setting(f"locations.{name}", f"{path} ({location.layout})", origin))
        library = self._own.get(self._own_roots[library_name(settings)])
        routed = dict.fromkeys(settings.routing, self._file)
        routed |= {GGUF: library.origin} if library is not None and GGUF not in routed else {}
        return [
            *rows,
            *(Setting(f"routing.{kind}", name, routed[kind]) for kind, name in sorted(self._effective.routing.items())),
            self._transfer("connections", transfer.connections, "max_connections"),
            self._transfer("jobs", transfer.jobs, "max_concurrent_downloads"),
            Setting("transfer.limit", str(transfer.limit or "none"), self._origin("limit")),
            Setting("transfer.window", transfer.window or "any time", self._origin("window")),
            *self._mirrors(),
            Setting("prune", str(settings.prune).lower(), "default" if "prune" not in self._given else self._file),
        ]

    def _mirrors(self) -> list[Setting]:
        """Return what the registry says where this host says nothing of mirrors."""
        settings = self._settings
        shown = [one if "://" in one else f"{one} ({settings.hubs.get(one, 'unknown')})" for one in settings.mirrors]
        return [Setting("mirror", ", ".join(shown), self._file)] if shown and "mirror" not in self._own else []

    def _transfer(self, key: str, value: int, own: str) -> Setting:
        told = self._own.get(own)
        if told is not None:
            return Setting(f"transfer.{key}", told.value, told.origin)
        return Setting(f"transfer.{key}", str(value), self._origin(key))

    def _origin(self, key: str) -> str:
        transfer = self._given.get("transfer")
        return self._file if isinstance(transfer, Mapping) and transfer.get(key) is not None else "default"
