"""Licences that a manifest and its source name differently. Pure."""

import re
from typing import Final

from imageworks.registry.manifest import Manifest

_SAYS_NOTHING: Final = frozenset({"other", "unknown", ""})


def contradicts(said: str | None, found: str | None) -> bool:
    """Return whether a manifest names another licence than its source; a source that says `other` names none.

    Args:
        said: What the manifest says.
        found: What the source says.
    """
    if said is None or found is None or found.lower() in _SAYS_NOTHING:
        return False
    return re.sub(r"[\s_]+", "-", said.strip().lower()) != re.sub(r"[\s_]+", "-", found.strip().lower())


def contradiction(manifest: Manifest, found: str | None) -> str | None:
    """Return what to tell of a manifest that names another licence than its source, ``None`` where it does not.

    Args:
        manifest: What is declared.
        found: What the source says, or said when the model came.
    """
    said = manifest.text("license")
    if not contradicts(said, found):
        return None
    return f"{manifest.file}: the licence is {said} in the manifest and {found} at the source; policies judge both"
