"""Which model a role means, for Python code: by priority, among those that can do what the role needs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from imageworks.foundation.texts import several
from imageworks.model_loader.registry import find_by_role, get_entry
from imageworks.model_loader.service import CapabilityError, missing_capabilities
from imageworks.registry.entries.completeness import known_incomplete
from imageworks.registry.entries.lookup import UnknownModelError

__all__ = ["DEFAULT_ROLE_CAPABILITIES", "CapabilityError", "list_models_for_role", "select_by_role"]

DEFAULT_ROLE_CAPABILITIES: Final[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
    ("caption", "keywords", "description", "narration"), ("vision",)
)
"""What the roles that describe pictures need."""


def list_models_for_role(role: str, *, registry: Path | None = None) -> list[str]:
    """Return the variant names of the models that have a role, sorted; deprecated ones are left out.

    Args:
        role: Such as ``caption``.
        registry: The registry; found as every command finds it when absent.
    """
    return sorted(model.name for model in find_by_role(role, registry=registry))


def select_by_role(
    role: str,
    *,
    require_capabilities: Iterable[str] | str | None = None,
    preferred: Iterable[str] | str | None = None,
    registry: Path | None = None,
) -> str:
    """Return the variant name of the model that a role means.

    Of those that can do what is needed: the first preferred one that has the role, else the installed and complete one
    of the highest priority, else the one that would be chosen if it were.

    Args:
        role: Such as ``caption``.
        require_capabilities: What it must be able to do, besides what the role needs.
        preferred: Names of models to take before any other.
        registry: The registry; found as every command finds it when absent.

    Raises:
        CapabilityError: No model that is not deprecated has the role and can do that.
    """
    required = list(dict.fromkeys((*DEFAULT_ROLE_CAPABILITIES.get(role, ()), *several(require_capabilities))))
    having = find_by_role(role, registry=registry)
    able = [model for model in having if not missing_capabilities(model, required)]
    names = {model.name for model in able}
    for asked in several(preferred):
        try:
            name = get_entry(asked, registry=registry).name
        except UnknownModelError:
            continue
        if name in names:
            return name
    if not able:
        needed = f" that can do {', '.join(required)}" if required else ""
        listed = ", ".join(model.name for model in having) or "none"
        raise CapabilityError(
            f"no model{needed} has the role {role!r}",
            remedy=f"Models that have the role: {listed}. Declare it: roles: [{role}] in a manifest.",
        )
    usable = (model.name for model in able if model.installed and known_incomplete(model.fields) is None)
    return next(usable, able[0].name)
