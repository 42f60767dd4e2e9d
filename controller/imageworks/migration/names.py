"""Names that the predecessor allowed and this registry does not: each gets a safe one, always the same."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from imageworks.naming.model_names import LONGEST_NAME
from imageworks.registry.cross_checks import fold
from imageworks.registry.manifests.manifest import FOLDER
from imageworks.registry.validate import name_problem

_FOREIGN: Final = re.compile(r"[^A-Za-z0-9._()-]+", re.ASCII)
_DIGITS: Final = 8


def safe_names(names: Iterable[str], taken: Collection[str], known: Mapping[str, str]) -> dict[str, str]:
    """Return the name here for each name there.

    A name that is fine stays. Of names that differ only in case, the first in sorted order stays.
    """
    holders = {fold(name): name for name in taken} | {fold(here): there for there, here in known.items()}
    chosen = dict(known)
    wanted = sorted(set(names) - set(known))
    for name in sorted(wanted, key=lambda name: (not _fine(name), name)):
        here = name if _fine(name) and holders.get(fold(name), name) == name else _safe(name)
        chosen[name] = here
        holders[fold(here)] = name
    return chosen


def _fine(name: str) -> bool:
    return name_problem(f"{FOLDER}/{name}.yaml") is None and "/" not in name


def _safe(name: str) -> str:
    """Return a name that is allowed, and that no other name gives: its own digest is in it."""
    plain = _FOREIGN.sub("-", name).strip("-._") or "model"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    plain = plain.lstrip("()") or "model"
    return f"{plain[: LONGEST_NAME - _DIGITS - 1].rstrip('-._(')}-{digest}"
