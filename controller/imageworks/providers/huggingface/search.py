"""What a search of the hub answers, as values: nothing of it is believed to be of its kind."""

from collections.abc import Iterable
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Final

from imageworks.detection.file_names import Role, classify
from imageworks.naming.quantization_labels import find_quantizations, quantization_label
from imageworks.providers.repository import FoundRepository

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

ASKED: Final = ("downloads", "likes", "gated", "tags", "siblings", "lastModified", "pipeline_tag")
_LICENSE: Final = "license:"


def found_repository(said: "ModelInfo") -> FoundRepository | None:
    """Return one repository of an answer, ``None`` where it has no name."""
    name: object = said.id
    if not isinstance(name, str) or not name:
        return None
    listed: object = said.tags
    tags = [tag for tag in listed if isinstance(tag, str)] if isinstance(listed, list) else []
    siblings = said.siblings or []
    modified = said.last_modified
    return FoundRepository(
        name=name,
        downloads=said.downloads if isinstance(said.downloads, int) else None,
        likes=said.likes if isinstance(said.likes, int) else None,
        license=next((tag[len(_LICENSE) :] for tag in tags if tag.startswith(_LICENSE)), None),
        task=said.pipeline_tag if isinstance(said.pipeline_tag, str) else None,
        gated=bool(said.gated),
        modified=modified.isoformat() if isinstance(modified, datetime) else None,
        quantizations=_quantizations(name, tags, [one.rfilename for one in siblings]),
    )


def _quantizations(name: str, tags: Iterable[str], paths: Iterable[object]) -> tuple[str, ...]:
    named = [classify(path) for path in paths if isinstance(path, str)]
    labels = {one.quantization for one in named if one.role is Role.WEIGHTS and one.quantization}
    if not labels:
        told = chain((found.label for found in find_quantizations(name.lower())), map(quantization_label, tags))
        labels = {label for label in told if label}
    return tuple(sorted(labels))
