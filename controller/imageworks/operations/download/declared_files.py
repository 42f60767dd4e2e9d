"""Which files a manifest names, beside those that somebody asks for now."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from imageworks.files.artifact import RemoteFile
from imageworks.files.safe_names import UnsafeNameError
from imageworks.providers.selection.model import Selection, SelectionError, SelectionRequest
from imageworks.providers.selection.requested_files import request_of
from imageworks.providers.selection.select import select
from imageworks.registry.manifests.manifest import Manifest

if TYPE_CHECKING:
    from imageworks.registry.documents.document import JsonValue

NAMED: Final[Mapping[str, str]] = {
    "include": "of weights and data only these",
    "exclude": "not these",
    "weights": "only these weights, with what is not weights",
    "subfolder": "the folder that files are taken from",
}
"""What a manifest's source names of a repository's files, and the comment behind it."""


def named_files(request: SelectionRequest) -> "dict[str, JsonValue]":
    """Return what a request names of a repository's files, by its key in a manifest's source."""
    globs = {"include": request.include, "exclude": request.exclude, "weights": request.weights}
    named: dict[str, JsonValue] = {key: [*value] for key, value in globs.items() if value}
    return {**named, "subfolder": request.subfolder} if request.subfolder else named


def same_files(manifest: Manifest, asked: SelectionRequest, files: Sequence[RemoteFile], selection: Selection) -> bool:
    """Return whether what a manifest declares are the files that were chosen."""
    declared = request_of(manifest)
    try:
        held = select(files, replace(declared, optional=declared.optional or asked.optional))
    except (SelectionError, UnsafeNameError):
        return False
    return {file.path for file in held.files} == {file.path for file in selection.files}


def shown(request: SelectionRequest) -> str:
    """Return what a request names, for a message."""
    said = [f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in named_files(request).items()]
    said += [f"quantization {request.quantization}"] if request.quantization else []
    return "; ".join(said) or "everything that a loader may need"
