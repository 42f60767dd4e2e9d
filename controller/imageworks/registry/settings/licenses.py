"""Licences as people and hubs write them: which texts name several, which mean the same, which differ. Pure."""

import re
from typing import Final

from imageworks.registry.manifests.manifest import Manifest

_BETWEEN: Final = re.compile(r"[,;/|&()]|\s+(?:and|or)\s+", re.IGNORECASE)
_EXCEPTION: Final = re.compile(r"\s+with\s+[^\s()]+", re.IGNORECASE)
_SUFFIXES: Final = re.compile(r"(?<=\d)\+|[\s_-]+(?:only|or[\s_-]+later)\b", re.IGNORECASE)
_EMPTY_WORDS: Final = re.compile(r"\b(?:the|licen[cs]e|version)\b|v(?=\d)")
_SAYS_NOTHING: Final = frozenset({"other", "unknown", ""})


def contradicts(said: str | None, found: str | None) -> bool:
    """Return whether a manifest names another licence than its source; a source that says `other` names none."""
    if said is None or found is None or found.lower() in _SAYS_NOTHING:
        return False
    return _keys(said) != _keys(found)


def licenses_in(found: str) -> tuple[str, ...]:
    """Return each licence of a text that may name several: a card's list, or an expression of SPDX."""
    text = _EXCEPTION.sub(
        "", _SUFFIXES.sub("", re.sub(r",(?=\s*version\b)", "", found, flags=re.IGNORECASE))
    )  # what is added to a licence takes nothing from it
    return tuple(one.strip() for one in _BETWEEN.split(text) if one.strip())


def license_key(text: str) -> str:
    """Return what is equal for two spellings of one licence, such as ``GPL-3.0-or-later`` and ``gpl 3``."""
    text = _EMPTY_WORDS.sub(" ", _SUFFIXES.sub("", text.lower()).replace("_", "-"))
    words = re.findall(r"[^\W\d_]+|\d+(?:\.\d+)*|[^\w\s,-]+", text)
    return "-".join(re.sub(r"(?:\.0)+$", "", word) for word in words)


def _keys(said: str) -> frozenset[str]:
    return frozenset(map(license_key, licenses_in(said)))


def contradiction(manifest: Manifest, found: str | None) -> str | None:
    """Return what to tell of a manifest that names another licence than its source, ``None`` where it does not."""
    said = manifest.text("license")
    if not contradicts(said, found):
        return None
    return f"{manifest.file}: the licence is {said} in the manifest and {found} at the source; policies judge both"
