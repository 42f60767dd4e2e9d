"""Choosing files as a manifest's source asks for them."""

from collections.abc import Iterable, Sequence

from imageworks.files.artifact import RemoteFile
from imageworks.providers.selection.model import Selection, SelectionRequest
from imageworks.providers.selection.select import select


def select_files(
    files: Iterable[RemoteFile],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    weights: Sequence[str] = (),
    include_optional: bool = False,
    **asked: str | None,
) -> Selection:
    request = SelectionRequest(
        include=tuple(include), exclude=tuple(exclude), weights=tuple(weights), optional=include_optional, **asked
    )
    return select(files, request)
