"""Where no model ever goes and none comes from: git's folders, registries, and what this program itself keeps."""

import os
from pathlib import Path
from typing import Final

from imageworks.config import REGISTRY_FILE, HostSettings, user_config_file

_NEVER_INSIDE: Final = frozenset({".git", ".imageworks"})


def why_protected(path: Path, host: HostSettings) -> str | None:
    """Return why a path is no place for a model, once links are followed; ``None`` where it may be one.

    Args:
        path: A model's folder, or what it would be made of.
        host: This host's settings.
    """
    real = Path(os.path.realpath(path))
    inside = next((part for part in real.parts if part.lower() in _NEVER_INSIDE), None)
    if inside is not None:
        return f"it is in a folder {inside}"
    registry = next((folder for folder in (real, *real.parents) if (folder / REGISTRY_FILE).is_file()), None)
    if registry is not None:
        return f"it is in the registry {registry}"
    named = [Path(one.value) for one in host.settings if one.name == "registry" and one.value]
    for own in (host.state_dir, host.cache_dir, host.log_dir, user_config_file().parent, *named):
        kept = Path(os.path.realpath(own))
        if real.is_relative_to(kept) or kept.is_relative_to(real):
            return f"it is, or holds, {own}"
    return None
