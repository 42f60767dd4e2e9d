"""Where no model ever goes and none comes from: git's folders, registries, and what this program itself keeps."""

import os
from functools import cached_property
from pathlib import Path
from typing import Final

from imageworks.config import REGISTRY_FILE, HostSettings, user_config_file

_NEVER_INSIDE: Final = frozenset({".git", ".imageworks"})


class ProtectedPlaces:
    """Says why paths are no places for models; what is the same for all of them is looked up once.

    Args:
        host: This host's settings.
    """

    def __init__(self, host: HostSettings) -> None:
        self._host = host
        self._registries: dict[str, str | None] = {}

    def why(self, path: Path) -> str | None:
        """Return why a path is no place for a model, once links are followed; ``None`` where it may be one.

        Args:
            path: A model's folder, or what it would be made of.
        """
        real = os.path.realpath(path)
        inside = next((part for part in Path(real).parts if part.lower() in _NEVER_INSIDE), None)
        if inside is not None:
            return f"it is in a folder {inside}"
        registry = self._registry_above(real)
        if registry is not None:
            return f"it is in the registry {registry}"
        own = next((own for own, kept in self._kept if _is_within(real, kept) or _is_within(kept, real)), None)
        return None if own is None else f"it is, or holds, {own}"

    @cached_property
    def _kept(self) -> tuple[tuple[Path, str], ...]:
        host = self._host
        named = [Path(one.value) for one in host.settings if one.name == "registry" and one.value]
        own = (host.state_dir, host.cache_dir, host.log_dir, user_config_file().parent, *named)
        return tuple((folder, os.path.realpath(folder)) for folder in own)

    def _registry_above(self, folder: str) -> str | None:
        if folder not in self._registries:
            above = os.path.dirname(folder)  # noqa: PTH120 # thousands of folders: a Path for each costs more
            if os.path.isfile(os.path.join(folder, REGISTRY_FILE)):  # noqa: PTH113, PTH118 # as above
                self._registries[folder] = folder
            else:
                self._registries[folder] = None if above == folder else self._registry_above(above)
        return self._registries[folder]


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
