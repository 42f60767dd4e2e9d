"""Go back to before the last thing that a host's controller did: which models it changed, and where they were."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import HOST, RECONCILED_REVISION
from imageworks.git.values import CommitRecord
from imageworks.operations.restore.model import RestoreError, RestoreRequest
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.merge import snapshot_file
from imageworks.registry.history.compare import layer_of, name_of
from imageworks.registry.history.model import RecordKind
from imageworks.registry.history.reader import HistoryReader
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import manifest_name

_ABOUT_MODELS: Final = frozenset({RecordKind.MANIFEST, RecordKind.ENTRY})


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback goes back behind.

    Args:
        undone: The controller's commit.
        wish: What is brought back.
        left: Models that people changed since, which stay.
    """

    undone: CommitRecord
    wish: RestoreRequest
    left: tuple[str, ...]


def find_rollback(reader: HistoryReader, host: str, *, here: str) -> Rollback:
    """Return what the last commit of a host's controller changed and where it was before.

    A commit that changed no model, like one that only wrote the snapshot anew, is passed over.
    A reconcile records what people had declared before it, so the state before is that of the controller's commit
    before, or of that one's parent where it only declared what the reconcile then brought; a command that wrote
    manifests or records by itself is undone by what its own parent has.
    """
    repository = reader.repository
    undone = next((record for record in _commits(repository, host, reader.recorded) if _models(record, host)), None)
    if undone is None or not undone.parents:
        raise RestoreError(
            f"the controller of {host} has made no commit that could be rolled back",
            remedy="`imageworks-models history` shows all commits; `restore --from REV` goes back to any.",
        )
    own = _models(undone, host)
    names = {name_of(path) for path in own}
    before = undone.parents[0]
    declares = any(layer_of(path) is RecordKind.MANIFEST for path in own)
    if RECONCILED_REVISION in undone.trailers and not declares:
        earlier = next(_commits(repository, host, before), None)
        if earlier is not None:
            before = earlier.parents[0] if _only_declares(earlier, host, names) else earlier.id
    left = _changed_since(repository, undone.id, names)
    chosen = tuple(sorted(names - left))
    if not chosen:
        names_left = ", ".join(sorted(left))
        raise RestoreError(
            f"{undone.short_id} ({undone.subject}) cannot be rolled back: people changed {names_left} since",
            remedy="`restore NAME --from REV` brings a model back whatever changed since.",
        )
    wish = RestoreRequest(before, chosen, manifests=True, entries=host == here, title=f"Roll back {undone.short_id}")
    return Rollback(undone, wish, tuple(sorted(left)))


def _commits(repository: RegistryRepository, host: str, revision: str | None) -> Iterator[CommitRecord]:
    """Yield the commits of a host's controller, newest first."""
    paths = (f"{ENTRIES}/{host}", snapshot_file(host))
    return (record for record in repository.log(paths, revision=revision) if record.trailers.get(HOST) == host)


def _models(record: CommitRecord, host: str) -> set[str]:
    """Return the manifests that a commit changed, and the entries of its host."""
    about = (path for path in record.changed if layer_of(path) in _ABOUT_MODELS)
    return {path for path in about if layer_of(path) is RecordKind.MANIFEST or path.startswith(f"{ENTRIES}/{host}/")}


def _only_declares(record: CommitRecord, host: str, names: set[str]) -> bool:
    """Say whether a commit, like that of `update`, changed manifests of models and none of their entries."""
    layers = {layer_of(path) for path in _models(record, host) if name_of(path) in names}
    return layers == {RecordKind.MANIFEST} and bool(record.parents)


def _changed_since(repository: RegistryRepository, undone: str, names: set[str]) -> set[str]:
    """Return the models whose manifest is not what it was in the commit that is undone."""
    then, now = (repository.list_files(revision, MODELS) for revision in (undone, repository.head()))
    ids = [{manifest_name(file): reference.id for file, reference in files.items()} for files in (then, now)]
    return {name for name in names if ids[0].get(name) != ids[1].get(name)}
