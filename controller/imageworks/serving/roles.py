"""Which model a role means: the highest priority among those that are installed and not deprecated.

The order is total: priority first, then the name, so that every consumer gets the same answer.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.similar_words import did_you_mean
from imageworks.registry.entries.completeness import known_incomplete
from imageworks.registry.entries.queries import (
    Model,
    ModelFilter,
    abilities,
    is_installed,
    part,
    role_rows,
    text,
    texts,
)

OLLAMA_PORT: Final = 11434
_PORT: Final = re.compile(r"^(?:\[[^\]]*\]|[^:]*):\d+$")


class RoleError(ImageworksError):
    """No model can take a role."""


@dataclass(frozen=True, slots=True)
class RoleCandidate:
    """One model that has a role.

    Args:
        model: The merged model.
        priority: The number by which the role chooses; the highest wins.
        installed: Whether its files are there.
        incomplete: Why they are not all that it needs, where that is known.
    """

    model: Model
    priority: int
    installed: bool
    incomplete: str | None = None

    @property
    def usable(self) -> bool:
        """Whether the role may choose it."""
        return self.installed and self.incomplete is None and self.model.get("deprecated") is not True

    @property
    def rank(self) -> tuple[bool, int, str]:
        """What the role chooses by, the least first."""
        return not self.usable, -self.priority, text(self.model, "name")

    def document(self) -> dict[str, object]:
        """Return what a consumer needs, as JSON values."""
        model = self.model
        return {
            "name": text(model, "name"),
            "display_name": text(model, "display_name") or None,
            "priority": self.priority,
            "backend": text(model, "backend") or None,
            "served_model_id": text(model, "served_model_id") or text(model, "name"),
            "base_url": base_url(model),
            "model_path": text(model, "download_path") or None,
            "installed": self.installed,
            **({"incomplete": self.incomplete} if self.incomplete else {}),
            "deprecated": model.get("deprecated") is True,
            "capabilities": abilities(model),
        }


def candidates(models: Iterable[Model], role: str, *, patterns: str | None = None) -> list[RoleCandidate]:
    """Return every model that has a role, as the role would choose them."""
    found = []
    for model in ModelFilter(logical=True, deprecated=True, patterns=patterns).each(models):
        for row in role_rows((model,)):  # all is asked of a model at once, as it may be its text
            if row.role == role:
                one = RoleCandidate(model, row.priority, is_installed(model), known_incomplete(model))
                found.append((one.rank, one))
    return [one for _, one in sorted(found, key=itemgetter(0))]


def choose(models: Sequence[Model], role: str, *, patterns: str | None = None) -> RoleCandidate:
    """Return the model that a role means."""
    found = candidates(models, role, patterns=patterns)
    if found and found[0].usable:
        return found[0]
    if not found:
        known = sorted({name for model in models for name in texts(model, "roles")})
        near = did_you_mean(role, known)
        hint = f"{near} " if near else ""
        listed = f"Known roles: {', '.join(known)}." if known else "No model has any role yet."
        raise RoleError(
            f"no model has the role {role!r}", remedy=f"{hint}{listed} Declare it: roles: [{role}] in a manifest."
        )
    why = ", ".join(f"{text(one.model, 'name')} ({_why_not(one)})" for one in found)
    raise RoleError(
        f"no installed model has the role {role!r}: {why}",
        remedy="Bring one back with `imageworks-models reconcile`, or give the role to a model that is here.",
    )


def _why_not(one: RoleCandidate) -> str:
    if one.model.get("deprecated") is True:
        return "deprecated"
    return f"incomplete: {one.incomplete}" if one.installed and one.incomplete else "not installed"


def base_url(model: Model) -> str | None:
    """Return where a model's server answers, as far as its record says; Ollama has a port of its own by default."""
    config = part(model, "backend_config")
    if isinstance(config.get("base_url"), str):
        return str(config["base_url"])
    host = str(config.get("host") or "localhost")
    port = config.get("port")
    if text(model, "backend") == "ollama":
        if "://" in host:
            return f"{host.rstrip('/')}/v1"
        port = port if isinstance(port, int) else None if _PORT.search(host) else OLLAMA_PORT
        return f"http://{_bracketed(host)}{f':{port}' if port else ''}/v1"
    return f"http://{host}:{port}/v1" if isinstance(port, int) else None


def _bracketed(host: str) -> str:
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
