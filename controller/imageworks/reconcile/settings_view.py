"""The effective settings of a host and its registry, each with where it came from, for the ``config`` command."""

from collections.abc import Mapping
from pathlib import Path

from imageworks.config import HostSettings, Setting
from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.settings import FILE, RegistrySettings, read_settings
from imageworks.registry.validate import check_settings_file


def effective_settings(root: Path | None, host: HostSettings) -> tuple[Setting, ...]:
    """Return all settings, the host's own first.

    Args:
        root: The registry folder, if there is one.
        host: This host's settings.
    """
    settings = [
        *host.settings,
        Setting("state_dir", str(host.state_dir), _origin(host, "state_dir")),
        Setting("cache_dir", str(host.cache_dir), _origin(host, "cache_dir")),
        Setting("log_dir", str(host.log_dir), _origin(host, "log_dir")),
        Setting("roots", ", ".join(map(str, host.roots)), "defaults, environment and user config"),
    ]
    unique = {setting.name: setting for setting in settings}
    return (*unique.values(), *(_registry_settings(root, host) if root else ()))


def _origin(host: HostSettings, name: str) -> str:
    return next((setting.origin for setting in host.settings if setting.name == name), "default")


def registry_settings(root: Path, host: HostSettings) -> RegistrySettings:
    """Return what a registry.yaml of the work tree gives this host; the defaults when it is not valid.

    Args:
        root: The registry folder.
        host: This host's settings.
    """
    return read_settings(_given(root), host.host)


def _given(root: Path) -> Mapping[str, object]:
    content = WorkTreeReader(root).file(FILE)
    document = check_settings_file(FILE, content).document if content is not None else None
    return document.value if document is not None and isinstance(document.value, dict) else {}


def _registry_settings(root: Path, host: HostSettings) -> list[Setting]:
    given = _given(root)
    settings = read_settings(given, host.host)
    file = str(root / FILE)

    def origin(*keys: str) -> str:
        value: object = given
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return "default" if value is None else file

    transfer = settings.transfer
    return [
        *(
            Setting(f"locations.{name}", f"{location.path} ({location.layout})", file)
            for name, location in sorted(settings.locations.items())
        ),
        *(Setting(f"routing.{kind}", name, file) for kind, name in sorted(settings.routing.items())),
        Setting("transfer.connections", str(transfer.connections), origin("transfer", "connections")),
        Setting("transfer.jobs", str(transfer.jobs), origin("transfer", "jobs")),
        Setting("transfer.limit", str(transfer.limit or "none"), origin("transfer", "limit")),
        Setting("prune", str(settings.prune).lower(), origin("prune")),
    ]
