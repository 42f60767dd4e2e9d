"""Changes that Ollama carries out, in the forms that its decisions share. Pure."""

from dataclasses import replace
from typing import Final

from imageworks.reconcile.ollama_sight import DIGEST_PREFIX
from imageworks.reconcile.plan import Action, Change, Reason
from imageworks.reconcile.situation import Case, Obstacle

SHOWN: Final = 12
"""Digits of a digest that people are shown."""


def blocked_case(case: Case, obstacle: Obstacle) -> Change:
    """Return that a case cannot go on.

    Args:
        case: What is known of the model.
        obstacle: Why not.
    """
    path = case.entry.text("download_path") if case.entry else None
    return replace(change_of(case, Action.BLOCKED, obstacle.reason, obstacle.message), path=(path, path))


def change_of(case: Case, action: Action, reason: Reason, message: str) -> Change:
    """Return a change that Ollama carries out, without what it costs.

    Args:
        case: What is known of the model.
        action: What is done.
        reason: Why, as a word.
        message: Why, as a sentence.
    """
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
        by_ollama=True,
    )


def bare(revision: str | None) -> str | None:
    """Return a recorded revision without what says which digest it is."""
    return revision.removeprefix(DIGEST_PREFIX) if revision else None


def stays(change: Change, obstacle: Obstacle) -> Change:
    """Return that a removal cannot be made now.

    Args:
        change: The removal.
        obstacle: Why not.
    """
    return replace(
        change, action=Action.BLOCKED, reason=obstacle.reason, message=obstacle.message, path=(change.path[0],) * 2
    )
