"""The effective settings of a host and its registry, each with where it came from, for the ``config`` command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from imageworks.config import DEFAULT_WEIGHTS, DEFAULT_WINDOWS_LMSTUDIO, HostSettings
from imageworks.config_layers import Setting
from imageworks.reconcile import places
from imageworks.reconcile.places import GGUF, LINUX, on_host, studio_name
from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.settings import FILE, RegistrySettings, TransferSettings, read_settings
from imageworks.registry.validate import check_settings_file

_FALLBACKS: Final = {
    "model_root": str(DEFAULT_WEIGHTS),
    "lmstudio_root": str(DEFAULT_WINDOWS_LMSTUDIO),
    "preferred_formats": "any",
    "max_connections": str(TransferSettings().connections),
    "max_concurrent_downloads": str(TransferSettings().jobs),
}


def effective_settings(root: Path | None, host: HostSettings) -> tuple[Setting, ...]:
    """Return all settings, the host's own first; what nobody said is shown as it holds without.

    Args:
        root: The registry folder, if there is one.
        host: This host's settings.
    """
    own = {setting.name: setting for setting in host.settings}
    below = _Registry(root, own, host) if root else None
    unsaid = [
        (below.instead_of(name) if below else None) or Setting(name, default, "default")
        for name, default in _FALLBACKS.items()
        if name not in own
    ]
    return (*host.settings, *unsaid, *(below.rows() if below else ()))


def registry_settings(root: Path, host: HostSettings) -> RegistrySettings:
    """Return what a registry.yaml of the work tree gives this host; the defaults when it is not valid.

    Args:
        root: The registry folder.
        host: This host's settings.
    """
    return read_settings(_given(root), host.host)


def unused_roots(root: Path | None, host: HostSettings) -> list[str]:
    """Return which roots that this host names are not used as somebody would expect, each with the reason.

    Args:
        root: The registry folder, if there is one.
        host: This host's settings.
    """
    return places.unused_roots(registry_settings(root, host), host) if root is not None else []


def _given(root: Path) -> Mapping[str, object]:
    content = WorkTreeReader(root).file(FILE)
    document = check_settings_file(FILE, content).document if content is not None else None
    return document.value if document is not None and isinstance(document.value, dict) else {}


class _Registry:
    """What a registry.yaml says, as far as the host does not say otherwise.

    Args:
        root: The registry folder.
        own: What the host says, by name.
        host: The host's settings.
    """

    def __init__(self, root: Path, own: Mapping[str, Setting], host: HostSettings) -> None:
        self._given = _given(root)
        self._settings = read_settings(self._given, host.host)
        self._effective = on_host(self._settings, host)
        self._own_roots = {LINUX: "model_root", studio_name(self._settings): "lmstudio_root"}
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
        studio = self._own.get("lmstudio_root")
        routed = dict.fromkeys(settings.routing, self._file)
        routed |= {GGUF: studio.origin} if studio is not None and GGUF not in routed else {}
        return [
            *rows,
            *(Setting(f"routing.{kind}", name, routed[kind]) for kind, name in sorted(self._effective.routing.items())),
            self._transfer("connections", transfer.connections, "max_connections"),
            self._transfer("jobs", transfer.jobs, "max_concurrent_downloads"),
            Setting("transfer.limit", str(transfer.limit or "none"), self._origin("limit")),
            Setting("transfer.window", transfer.window or "any time", self._origin("window")),
            Setting("prune", str(settings.prune).lower(), "default" if "prune" not in self._given else self._file),
        ]

    def _transfer(self, key: str, value: int, own: str) -> Setting:
        told = self._own.get(own)
        if told is not None:
            return Setting(f"transfer.{key}", told.value, told.origin)
        return Setting(f"transfer.{key}", str(value), self._origin(key))

    def _origin(self, key: str) -> str:
        transfer = self._given.get("transfer")
        return self._file if isinstance(transfer, Mapping) and transfer.get(key) is not None else "default"
