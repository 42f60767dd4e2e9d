"""What a host's snapshot has to be. Nothing reads one back: it is checked and never obeyed."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from imageworks.foundation.errors import ImageworksError
from imageworks.registry.entries.merge import (
    MergedModels,
    in_snapshot,
    json_lines,
    load_owners,
    merge_each,
    render_snapshot,
)

if TYPE_CHECKING:
    from imageworks.git.repository import RegistryRepository
    from imageworks.registry.documents.diagnostic import Diagnostic
    from imageworks.registry.load import RegistryState


class SnapshotError(ImageworksError):
    """A snapshot is not what manifests and entries give, so nothing is done by this registry."""

    def __init__(self, problem: "Diagnostic") -> None:
        super().__init__(problem.render(), remedy=problem.remedy)


def whole_models(registry: "RegistryState") -> list[dict[str, object]]:
    """Return what a registry state's manifests and entries give, verified files included."""
    return list(each_whole(registry))


def merged_models(registry: "RegistryState") -> MergedModels:
    """Return the same as a sequence that holds one of them at a time."""
    return MergedModels(registry.applied, registry.entries.values(), load_owners())


def each_whole(registry: "RegistryState") -> Iterator[dict[str, object]]:
    """Yield the same one by one, for what shows them: ten thousand at a time would fill the memory."""
    return merge_each(registry.applied, registry.entries.values(), load_owners())


def expected_snapshot(registry: "RegistryState") -> bytes:
    """Return the snapshot that a registry state's manifests and entries give."""
    return render_snapshot(each_whole(registry))


def snapshot_lines(registry: "RegistryState") -> Iterator[bytes]:
    """Yield the same line by line."""
    return json_lines(map(in_snapshot, each_whole(registry)))


def gives(registry: "RegistryState", data: bytes) -> bool:
    """Return whether a registry state's manifests and entries give a snapshot."""
    return holds(data, each_whole(registry))


def gives_blob(repository: "RegistryRepository", registry: "RegistryState", blob: str) -> bool:
    """Return the same of a snapshot in git, which is told by its id: reading one takes 32 MB of ten thousand models.

    Said once of a registry state: merging ten thousand models takes a second.
    """
    if blob not in registry.compared:
        registry.compared[blob] = repository.is_made_of(blob, snapshot_lines(registry))
    return registry.compared[blob]


def holds(data: bytes, models: Iterable[Mapping[str, object]]) -> bool:
    """Return whether a snapshot is of just these models; ends at the first that differs."""
    view, place = memoryview(data), 0
    for piece in json_lines(map(in_snapshot, models)):
        if view[place : place + len(piece)] != piece:
            return False
        place += len(piece)
    return place == len(view)
