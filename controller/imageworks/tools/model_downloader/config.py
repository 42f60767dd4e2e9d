"""Where models are on this host, for code of earlier tools that asks for folders."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from imageworks.host.settings import (
    DEFAULT_WEIGHTS,
    DEFAULT_WINDOWS_LMSTUDIO,
    RegistryNotFoundError,
    find_registry,
    load_host_settings,
    registry_to_make,
)
from imageworks.registry.settings.settings import TransferSettings

__all__ = ["DirectoryConfig", "DownloaderConfig", "get_config"]

USUAL_CONNECTIONS: Final = TransferSettings().connections
USUAL_DOWNLOADS: Final = TransferSettings().jobs


@dataclass(frozen=True, slots=True)
class DirectoryConfig:
    """One folder of models.

    Args:
        root: The folder; of the weights, the one that holds ``weights``.
        publisher_structure: Whether models stand in ``publisher/repo`` below it.
    """

    root: Path
    publisher_structure: bool = False


@dataclass(frozen=True, slots=True)
class DownloaderConfig:
    """This host's settings under the names that earlier tools have for them.

    Args:
        linux_wsl: Where weights go.
        windows_lmstudio: LM Studio's folder.
        registry_path: The registry.
        cache_path: What can be made again.
        max_connections_per_server: Connections for each large file.
        max_concurrent_downloads: Large files at once.
        preferred_formats: Which format a download takes of several, the preferred one first.
    """

    linux_wsl: DirectoryConfig
    windows_lmstudio: DirectoryConfig
    registry_path: Path
    cache_path: Path
    max_connections_per_server: int = USUAL_CONNECTIONS
    max_concurrent_downloads: int = USUAL_DOWNLOADS
    preferred_formats: list[str] = field(default_factory=list)


def get_config() -> DownloaderConfig:
    """Return this host's settings as variables, the user's config and the project say them now."""
    host = load_host_settings()
    weights = host.model_root or DEFAULT_WEIGHTS.expanduser()
    try:
        registry = find_registry()
    except RegistryNotFoundError:
        registry = registry_to_make()
    return DownloaderConfig(
        linux_wsl=DirectoryConfig(weights.parent if weights.name == DEFAULT_WEIGHTS.name else weights),
        windows_lmstudio=DirectoryConfig(host.lmstudio_root or DEFAULT_WINDOWS_LMSTUDIO, publisher_structure=True),
        registry_path=registry,
        cache_path=host.cache_dir,
        max_connections_per_server=host.max_connections or USUAL_CONNECTIONS,
        max_concurrent_downloads=host.max_concurrent_downloads or USUAL_DOWNLOADS,
        preferred_formats=list(host.preferred_formats),
    )
