"""Where models belong on this host: locations as roots that exist or can be made, within what the host allows."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from imageworks.files.locations import Locations
from imageworks.files.safe_paths import filesystem_key, free_bytes, is_folder, nearest_existing
from imageworks.host.lmstudio_home import find_lmstudio
from imageworks.host.setting_layers import PROJECT_FILE
from imageworks.host.settings import DEFAULT_WEIGHTS, DEFAULT_WINDOWS_LMSTUDIO, HostSettings, how_to_allow
from imageworks.plan.facts import Blocker, TargetFolder
from imageworks.plan.plan import Reason
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import Manifest, PathSource, RepositorySource
from imageworks.registry.settings.model_places import ModelPlaces, Use
from imageworks.registry.settings.settings import Location, RegistrySettings
from imageworks.registry.settings.target_folder import target_folder

LINUX: Final = "linux_wsl"
WINDOWS: Final = "windows_lmstudio"
CUSTOM: Final = "custom"
LMSTUDIO: Final = "lmstudio"
GGUF: Final = "gguf"
# Below these, a folder that does not exist is a drive that is not mounted: nothing invents it.
MOUNT_PARENTS: Final = frozenset(map(Path, ("/", "/mnt", "/media", "/run/media", "/Volumes")))


BUILT_IN: Final = {
    LINUX: Location(LINUX, str(DEFAULT_WEIGHTS)),
    WINDOWS: Location(WINDOWS, str(DEFAULT_WINDOWS_LMSTUDIO), layout="publisher/repo", kind=LMSTUDIO),
}
"""The locations that every host has, whether registry.yaml names them or not."""


def on_host(settings: RegistrySettings, host: HostSettings) -> RegistrySettings:
    """Return a registry's settings with the roots that the host itself names.

    ``model_root`` is the location ``linux_wsl``. ``lmstudio_root`` is ``windows_lmstudio``, or the only location of LM
    Studio's kind under another name; and GGUF goes there where registry.yaml does not say where it goes.
    """
    locations, routing = dict(settings.locations), dict(settings.routing)
    for name, root in ((LINUX, host.model_root), (library_name(settings), host.lmstudio_root)):
        if root is not None:
            locations[name] = replace(locations.get(name) or BUILT_IN[name], path=str(root))
    if GGUF not in routing and host.lmstudio_root is not None and why_unused(host.lmstudio_root, host) is None:
        routing[GGUF] = library_name(settings)
    return replace(settings, locations=locations, routing=routing)


def own_roots(settings: RegistrySettings) -> Mapping[str, str]:
    """Return the locations whose folder a host's own settings may name, with the setting that does."""
    return {LINUX: "model_root", library_name(settings): "lmstudio_root"}


def library_name(settings: RegistrySettings) -> str:
    """Return the name of the location that is LM Studio's folder on this host."""
    studios = [name for name, location in settings.locations.items() if location.kind == LMSTUDIO]
    return studios[0] if len(studios) == 1 and WINDOWS not in settings.locations else WINDOWS


def why_unused(root: Path, host: HostSettings) -> str | None:
    """Return why nothing can be put below a root that a host names; ``None`` where it can."""
    if not host.allows(root):
        return "it is outside the folders that this host allows"
    existing = nearest_existing(root)
    return _not_mounted(root, existing) if existing != root else None


def unused_folders(settings: RegistrySettings, host: HostSettings) -> list[str]:
    """Return why GGUF does not go to LM Studio's folder where this host's owner named it; a project may name any."""
    return [] if PROJECT_FILE in host.origin_of("lmstudio_root") else _unused_studio(settings, host)


def _unused_studio(settings: RegistrySettings, host: HostSettings) -> list[str]:
    if host.lmstudio_root is None:
        return []
    goes = settings.route(GGUF) or LINUX
    why = why_unused(host.lmstudio_root, host)
    if why is None and GGUF in settings.routing and goes != library_name(settings):
        why = "registry.yaml routes GGUF elsewhere"
    said = f"lmstudio_root is {host.lmstudio_root} ({host.origin_of('lmstudio_root')})"
    return [f"{said}, and {why}: GGUF goes to {goes}"] if why is not None else []


def unused_roots(settings: RegistrySettings, host: HostSettings) -> list[str]:
    """Return which roots that a host names are not used as somebody would expect, each with the reason."""
    found = _unused_studio(settings, host)
    default = settings.route(None) or LINUX
    if host.model_root is not None and default != LINUX:
        said = f"model_root is {host.model_root} ({host.origin_of('model_root')})"
        found.append(f"{said}, and registry.yaml routes what is not named otherwise to {default}")
    return found


NOT_TO_BE_USED: Final = frozenset(
    {
        Reason.LOCATION_UNKNOWN,
        Reason.LOCATION_UNAVAILABLE,
        Reason.LOCATION_ABSENT,
        Reason.LOCATION_CHANGED_DISK,
        Reason.LOCATION_UNREADABLE,
    }
)
"""Why a location itself cannot be used; another one can."""


class HostLocations:
    """Resolves locations on one host, looking at each root once."""

    def __init__(
        self,
        settings: RegistrySettings,
        host: HostSettings,
        *,
        invalid: str | None = None,
        locations: Locations | None = None,
    ) -> None:
        self._settings = on_host(settings, host)
        self._invalid = invalid
        self._host = host
        self._roots: dict[str, tuple[Location, Path] | Blocker] = {}
        self._filesystems: dict[str, str] = {}
        self._model_places = ModelPlaces(host)
        self.free: dict[str, tuple[str, int]] = {}
        self.locations = locations if locations is not None else Locations()
        for name in (LINUX, WINDOWS, *self._settings.locations):
            if (location := self._named(name)) is not None:
                root = os.path.expanduser(location.path)  # noqa: PTH111 # one of no such user stays as it is
                self.locations.add(Path(root), name)

    def place(self, manifest: Manifest, *, container: str | None, repo: str | None) -> TargetFolder | Blocker:
        """Return where a model belongs."""
        source = manifest.source
        if self._invalid is not None:
            return Blocker(Reason.INVALID_SETTINGS, f"no location is known: {self._invalid}")
        if isinstance(source, PathSource):
            given = Path(source.path).expanduser()
            if (why := self._model_places.why_not(given, Use.SOURCE)) is not None:
                return no_place(given, why, manifest.file)
        if isinstance(source, PathSource) and manifest.location is None:
            path = Path(source.path).expanduser()
            if not self._host.allows(path):
                return self._forbidden(path, manifest.file)
            root = path.parent
            if (obstacle := self.obstacle_at(path)) is not None:
                return obstacle
            return TargetFolder(root=root, path=path, location=CUSTOM, filesystem=self._filesystem(root))
        wanted = manifest.location or self._settings.route(container) or LINUX
        if wanted not in self._roots:
            self._roots[wanted] = self._resolve(wanted, manifest.file)
        found = self._roots[wanted]
        if isinstance(found, Blocker):
            return found
        location, root = found
        ref = source.ref if isinstance(source, RepositorySource) else None
        path = target_folder(root, location.layout, manifest.name, repo, ref)
        if (why := self._model_places.why_not(path)) is not None:
            return no_place(path, why, manifest.file)
        return TargetFolder(root=root, path=path, location=location.name, filesystem=self._filesystem(root))

    def own_root(self, location: str) -> Path | None:
        """Return the root that this host itself names for one of the locations that every host has."""
        return {LINUX: self._host.model_root, WINDOWS: self._host.lmstudio_root}.get(location)

    def obstacle_at(self, path: Path) -> Blocker | None:
        """Return why nothing can be said of what is recorded at a path."""
        state = self.locations.state_of(path)
        return None if state.present else Blocker(Reason(state.reason), state.message)

    def current(self, entry: Entry) -> Entry:
        """Return an entry as it is true now: where its drive stands at the root of another location, it is there."""
        now = self.locations.relocated(entry.path) if entry.path is not None and entry.files else None
        if now is None or not self._host.allows(now):
            return entry
        return replace(entry, fields={**entry.fields, "download_path": str(now)})

    def existing_roots(self, manifests: Iterable[Manifest] = ()) -> list[Path]:
        """Return the roots of all locations that exist on this host and that it allows."""
        named = [self._settings.locations.get(LINUX, BUILT_IN[LINUX]), *self._settings.locations.values()]
        named += [Location(CUSTOM, m.location) for m in manifests if m.location and m.location.startswith(("/", "~"))]
        roots = dict.fromkeys(Path(location.path).expanduser() for location in named)
        return [
            root
            for root in roots
            if is_folder(root) and self._host.allows(root) and self.locations.state_at(root).present
        ]

    def measure(self, root: Path) -> str:
        """Return the key of a folder's filesystem, and know its free space from then on."""
        return self._filesystem(root)

    def shared_folders(self) -> list[Path]:
        """Return the folders in which LM Studio keeps models, as far as they exist and this host allows them."""
        named = [Path(place.path) for place in self._settings.locations.values() if place.kind == LMSTUDIO]
        named += [self._host.lmstudio_root] if self._host.lmstudio_root is not None else []
        named += [DEFAULT_WINDOWS_LMSTUDIO, *(found.models for found in find_lmstudio())]
        folders = dict.fromkeys(path.expanduser() for path in named)
        return [folder for folder in folders if is_folder(folder) and self._host.allows(folder)]

    def is_lmstudio(self, place: TargetFolder) -> bool:
        """Return whether a place is in LM Studio's folder."""
        location = self._named(place.location) if place.location != CUSTOM else None
        return location.kind == LMSTUDIO if location is not None else place.root in self.shared_folders()

    def is_elsewhere(self, path: Path, place: TargetFolder) -> bool:
        """Return whether a folder is on another filesystem than a place."""
        return str(filesystem_key(path)) != place.filesystem

    def allows(self, path: Path) -> bool:
        """Return whether this host lets the controller work at a path."""
        return self._host.allows(path)

    def why_not(self, path: Path, use: Use) -> str | None:
        """Return why nothing is put at a path or taken from it, whatever this host allows; ``None`` where it may be."""
        return self._model_places.why_not(path, use)

    def why_holding(self, path: Path) -> str | None:
        """Return why a model's folder is not replaced as a whole; ``None`` where it may be."""
        return self._model_places.why_holding(path)

    def root_of(self, path: Path) -> Path:
        """Return the root that a recorded folder lies below: a location's, else the host's own."""
        named = [Path(location.path).expanduser() for location in self._settings.locations.values()]
        above = [root for root in (*named, *self._host.roots) if path.is_relative_to(root) and path != root]
        return max(above, key=lambda root: len(root.parts), default=path.parent)

    def _resolve(self, wanted: str, file: str) -> tuple[Location, Path] | Blocker:
        location = self._named(wanted)
        if location is None:
            known = ", ".join(sorted(self._settings.locations)) or "none"
            return Blocker(
                Reason.LOCATION_UNKNOWN, f"{file}: location {wanted!r} is not defined; registry.yaml has {known}"
            )
        root = Path(location.path).expanduser()
        if not self._host.allows(root):
            return self._forbidden(root, file)
        if location.name == CUSTOM:
            self.locations.add(root, str(root))
        state = self.locations.state_at(root)
        if not state.present:
            return Blocker(Reason(state.reason), f"location {location.name}: {state.message}")
        existing = nearest_existing(root)
        if existing != root and (why := _not_mounted(root, existing)):
            message = f"location {location.name}: {root} is not there and is not made: {why}"
            return Blocker(Reason.LOCATION_UNAVAILABLE, message)
        if not is_folder(existing):
            return Blocker(Reason.LOCATION_UNAVAILABLE, f"location {location.name}: {existing} is not a folder")
        return location, root

    def _named(self, wanted: str) -> Location | None:
        if wanted.startswith(("/", "~")):
            return Location(name=CUSTOM, path=wanted)
        return self._settings.locations.get(wanted) or BUILT_IN.get(wanted)

    def _forbidden(self, path: Path, file: str) -> Blocker:
        allowed = ", ".join(str(root) for root in self._host.roots)
        return Blocker(
            Reason.ROOT_NOT_ALLOWED,
            f"{file}: {path} is outside the folders that this host allows ({allowed}); {how_to_allow(path)}",
        )

    def _filesystem(self, root: Path) -> str:
        if str(root) not in self._filesystems:
            existing = nearest_existing(root)
            key = str(filesystem_key(existing))
            self._filesystems[str(root)] = key
            free = free_bytes(existing)
            if free is not None:
                self.free.setdefault(key, (str(root), free))
        return self._filesystems[str(root)]


def no_place(path: Path, why: str, file: str) -> Blocker:
    """Return that a path is no place for a model."""
    message = f"{file}: {path} is no place for a model: {why}; choose another `location` or `source.path`"
    return Blocker(Reason.ROOT_NOT_ALLOWED, message)


def _not_mounted(root: Path, existing: Path) -> str | None:
    """Return why a root that does not exist looks like one on a drive that is away, or ``None`` when it may be made."""
    if existing in MOUNT_PARENTS:
        return f"nothing is mounted below {existing}"
    link = next((path for path in (root, *root.parents) if path.is_symlink() and not path.exists()), None)
    if link is not None:
        return f"{link} is a link to {link.readlink()}, which is not there; mount its drive, or correct the link"
    mount_point = existing.parent in MOUNT_PARENTS - {Path("/")} and not existing.is_mount()
    if mount_point and is_folder(existing) and not any(existing.iterdir()):
        return f"nothing is mounted at {existing}, which is empty; mount it, or make {root} yourself"
    return None
