"""Read a host's snapshot for display, and check that the committed one is what manifests and entries give."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.errors import ImageworksError
from imageworks.foundation.json_reading import read_json_file
from imageworks.registry.foreign import COMPATIBILITY_FILE, is_copy
from imageworks.registry.merge import (
    SNAPSHOT_FOLDER,
    load_owners,
    merge,
    render_snapshot,
    snapshot_file,
)

if TYPE_CHECKING:
    from imageworks.registry.git import RegistryRepository
    from imageworks.registry.load import RegistryState
    from imageworks.registry.parsed import ParsedDocuments


class SnapshotError(ImageworksError):
    """A snapshot cannot be shown."""


def read_snapshot(root: Path, host: str, *, own: bool = True) -> list[Mapping[str, object]]:
    """Return a host's merged models as last recorded; display only, never an input of anything that is written.

    Args:
        root: The registry folder.
        host: The host's name.
        own: Whether that is this host, of whose snapshot a copy lies beside registry.yaml.

    Raises:
        SnapshotError: The file is no snapshot.
    """
    path, copy = root / snapshot_file(host), root / COMPATIBILITY_FILE
    if own and _newest(path, copy) == copy and (copied := _models_in(copy)) is not None:
        return copied
    try:
        models = read_json_file(path)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise SnapshotError(
            f"{path}: cannot be read: {error}", remedy="Bring it back with `git checkout -- snapshot` or reconcile."
        ) from error
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        raise SnapshotError(f"{path}: not a snapshot", remedy="Bring it back with `git checkout -- snapshot`.")
    return models


def _models_in(copy: Path) -> list[Mapping[str, object]] | None:
    """Return the models of a copy; ``None`` where it is none, but what the predecessor's program wrote in its place."""
    try:
        models: list[Mapping[str, object]] | None = read_json_file(copy) if copy.is_file() else None
    except (OSError, ValueError):
        return None
    return models if is_copy(models) else None


def _newest(snapshot: Path, copy: Path) -> Path:
    """Return the snapshot's file, or its copy where the snapshot itself goes to a branch that is not checked out."""
    try:
        written = copy.stat().st_mtime_ns
    except OSError:
        return snapshot
    try:
        return copy if written > snapshot.stat().st_mtime_ns else snapshot
    except OSError:
        return copy


def expected_snapshot(registry: "RegistryState") -> bytes:
    """Return the snapshot that a registry state's manifests and entries give.

    Args:
        registry: The registry at some commit, as one host sees it.
    """
    return render_snapshot(merge(registry.applied, registry.entries.values(), load_owners()))


def check_snapshots(repository: "RegistryRepository", cache: "ParsedDocuments") -> list[str]:
    """Return what is wrong with the committed snapshots, one line each.

    A snapshot must be what its own commit's manifests and entries give. Manifests that people commit later do not make
    it wrong: it waits for the next reconcile. So each is compared at the commit that last touched it.

    Args:
        repository: The registry.
        cache: Parsed documents by blob id.
    """
    # Imported here: `list` only reads a file, and validation and git were a quarter of its start-up.
    from imageworks.registry.load import load_registry

    problems = []
    for file in repository.list_files(repository.head(), SNAPSHOT_FOLDER):
        host = Path(file).stem
        written = next(iter(repository.log(file, limit=1)), None)
        reference = repository.find_file(written.id, file) if written else None
        if written is None or reference is None:
            continue
        state = load_registry(repository, host, revision=written.id, cache=cache, recorded=written.id)
        if repository.read_blob(reference.id) != expected_snapshot(state):
            problems.append(
                f"{file}:1:1: not what manifests and entries give at {written.short_id}; "
                "it is generated, so take the edit back or run `imageworks-models reconcile`"
            )
        edited = repository.root / file
        if edited.is_file() and edited.read_bytes() != repository.read_blob(reference.id):
            problems.append(f"{file}:1:1: edited by hand; take it back with `git checkout -- {file}`")
    return problems
