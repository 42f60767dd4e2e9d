"""Finish or remove what interrupted runs left: publishes half-way, notes of them, staging areas that none resumes."""

import os
from collections.abc import Iterable
from pathlib import Path

from imageworks.files.safe_paths import is_folder, is_there
from imageworks.files.staging import sweep_stale
from imageworks.files.unfinished import find_unfinished
from imageworks.providers.folder.resumable import ResumableModels
from imageworks.reconcile.phases.planning import Planning


def finish_publishes(planning: Planning) -> None:
    """Finish publishes that a killed run left half-way, wherever a location of ours exists."""
    from imageworks.files.publish import recover

    for root in planning.places.existing_roots(planning.registry.manifests.values()):
        try:
            for report in recover(root, on_error=lambda error: planning.notes.append(error.render())):
                planning.notes.append(f"{report.target}: finished a publish that was interrupted")
        except OSError as error:
            planning.notes.append(f"{_told(error, root)}; nothing was finished there")


def settle_recorded(planning: Planning) -> None:
    """Forget what was to be published where the last plan looked, and has nothing more to do with it.

    A repair that was killed before its commit leaves what is recorded already: no later change takes up its note.
    """
    planned, names = planning.planned, planning.options.names
    left = {change.name for change in planned.changes} | set(planning.situation.blocked)
    for name, path in planning.intents.announced().items():
        if name in left or (names and name not in names):
            continue
        entry = planning.registry.entries.get(name)
        if (entry is not None and entry.path == path) or not (planned.has_errors or is_there(path)):
            planning.intents.settle(name)


def sweep(planning: Planning, roots: Iterable[Path], resumable: ResumableModels) -> None:
    """Remove what interrupted runs left of declared models and none would resume, and what is old.

    Of a suspended or blocked model it is not known what it would resume, so all of its stays. Nor is what nobody
    declares thrown away: whoever broke a `download` off was told that it can be resumed.
    """
    owner, blocked = planning.owner, {*planning.registry.blocked, *planning.situation.blocked}
    unknown = {owner + name for name in {*blocked, *resumable.unknown, *planning.claims.elsewhere()}}
    declared = {owner + name for name in resumable.declared}
    for root in filter(is_folder, roots):
        try:
            young = {one.owner for one in find_unfinished([root]) if one.owner not in declared and not one.is_old()}
            sweep_stale(root, resumable.keys, owner=owner, spare=young | unknown)
        except OSError as error:
            planning.notes.append(f"{_told(error, root)}; nothing was swept there")


def _told(error: OSError, root: Path) -> str:
    return f"{error.filename or root}: {os.strerror(error.errno or 0)}"
