"""Whether a recorded model has all that loading it needs: as recorded, else by a look at its files."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from imageworks.detection.problems import complete_condition, condition_of
from imageworks.registry.entries.queries import OLLAMA, file_paths, part, text

Fields = Mapping[str, object]
_NO_WEIGHTS: Final = 1024
"""Bytes of the largest file that is looked into because it cannot hold weights."""


def completeness(fields: Fields, *, anew: bool = False) -> Fields | None:
    """Return the condition that says whether a model is complete; ``None`` where nobody can say."""
    recorded = condition_of(fields)
    if (recorded is not None and not anew) or not _stands_here(fields):
        return recorded
    return _by_looking(fields)


def why_incomplete(fields: Fields, *, anew: bool = False) -> str | None:
    """Return the reason for which a model is incomplete, and the sentence; ``None`` for one that is not known to be."""
    try:
        condition = completeness(fields, anew=anew)
    except OSError:
        return None
    return shown(condition) if condition is not None and condition.get("status") == "False" else None


def known_incomplete(fields: Fields) -> str | None:
    """Return the same for many models at once."""
    recorded = condition_of(fields)
    if recorded is not None:
        return shown(recorded) if recorded.get("status") == "False" else None
    return why_incomplete(fields) if _suspicious(fields) else None


def shown(condition: Fields) -> str:
    """Return a condition's reason and sentence."""
    return f"{condition.get('reason')}: {condition.get('message')}"


def _stands_here(fields: Fields) -> bool:
    return bool(file_paths(fields)) and text(fields, "source_provider") != OLLAMA


def _suspicious(fields: Fields) -> bool:
    """Return whether a file of weights is too small for any."""
    if not _stands_here(fields):
        return False
    from imageworks.detection.file_names import Role, classify  # as below; `list` does without its patterns

    for path in file_paths(fields):
        if classify(path).role is not Role.WEIGHTS:
            continue
        try:
            if os.stat(path).st_size <= _NO_WEIGHTS:  # noqa: PTH116 # thousands of files: a Path for each costs more
                return True
        except OSError:
            continue
    return False


def _by_looking(fields: Fields) -> Fields | None:
    from imageworks.detection.local_files import describe_recorded
    from imageworks.detection.model_facts import Subject  # few registries have entries that an older version wrote

    folder, names = recorded_files(fields)
    resolved, metadata = part(fields, "resolved"), part(fields, "metadata")
    subject = Subject(
        repo=text(resolved, "repo") or folder.name,
        task=text(metadata, "pipeline_tag") or text(metadata, "model_type") or None,
        library=text(metadata, "library") or None,
    )
    if not folder.exists():
        return None
    facts = describe_recorded(folder, names, subject)
    return complete_condition(facts.problems, facts.doubts)


def recorded_files(fields: Fields) -> tuple[Path, Iterable[str]]:
    """Return the folder and the relative paths of a model's recorded files."""
    path = Path(text(fields, "download_path"))
    if part(fields, "metadata").get("single_file") is True:
        return path.parent, [path.name]
    names = fields.get("download_files")
    return path, [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
