"""Changes that Ollama carries out, in the forms that its decisions share. Pure."""

from dataclasses import replace
from enum import StrEnum
from typing import Final

from imageworks.plan.facts import Blocker, DeclaredModel
from imageworks.plan.plan import Action, Change
from imageworks.providers.ollama.facts import DIGEST_PREFIX, PROVIDER, BuildInputs, OllamaFacts, sight_in
from imageworks.providers.ollama.model import UpstreamOllama

SHOWN: Final = 12
"""Digits of a digest that people are shown."""


def blocked_case(case: DeclaredModel, obstacle: Blocker) -> Change:
    """Return that a case cannot go on."""
    path = case.entry.text("download_path") if case.entry else None
    return replace(change_of(case, Action.BLOCKED, obstacle.reason, obstacle.message), path=(path, path))


def change_of(case: DeclaredModel, action: Action, reason: StrEnum, message: str) -> Change:
    """Return a change that Ollama carries out, without what it costs."""
    entry = case.entry
    revision = bare(entry.revision) if entry else None
    return Change(
        name=case.manifest.name,
        action=action,
        reason=reason,
        message=message,
        source=case.manifest.source.label if case.manifest.source else "",
        backend=case.manifest.text("backend") or "",
        revision=(revision, revision),
        previous_name=case.previous_name,
        daemon=PROVIDER,
        total_bytes=_size_of(sight_in(case)),
    )


def _size_of(sight: OllamaFacts | None) -> int:
    """Return the size of a whole model: as its registry says it, else as it stands, else that of what it is made of."""
    if sight is None:
        return 0
    if isinstance(sight.upstream, UpstreamOllama):
        return sight.upstream.size
    base = sight.made.base if isinstance(sight.made, BuildInputs) else None
    return max((model.size for model in (sight.installed, base) if model is not None), default=0)


def bare(revision: str | None) -> str | None:
    """Return a recorded revision without what says which digest it is."""
    return revision.removeprefix(DIGEST_PREFIX) if revision else None


def stays(change: Change, obstacle: Blocker) -> Change:
    """Return that a removal cannot be made now."""
    return replace(
        change, action=Action.BLOCKED, reason=obstacle.reason, message=obstacle.message, path=(change.path[0],) * 2
    )
