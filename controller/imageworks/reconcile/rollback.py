"""Go back to before the last thing that a host's controller did: which models it changed, and where they were."""

from dataclasses import dataclass
from typing import Final

from imageworks.reconcile.restore_values import RestoreError, Wish
from imageworks.registry.entry import FOLDER as ENTRIES
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_messages import HOST, RECONCILED_REVISION
from imageworks.registry.git_values import CommitRecord
from imageworks.registry.history import layer_of, name_of
from imageworks.registry.history_read import HistoryReader
from imageworks.registry.history_values import Layer
from imageworks.registry.manifest import FOLDER as MODELS
from imageworks.registry.manifest import manifest_name
from imageworks.registry.merge import snapshot_file

_ABOUT_MODELS: Final = frozenset({Layer.MANIFEST, Layer.ENTRY})


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback goes back behind.

    Args:
        undone: The controller's commit.
        wish: What is brought back.
        left: Models that people changed since, which stay.
    """

    undone: CommitRecord
    wish: Wish
    left: tuple[str, ...]


def find_rollback(reader: HistoryReader, host: str, *, here: str) -> Rollback:
    """Return what the last commit of a host's controller changed and where it was before.

    A reconcile records what people had declared before it, so the state before is that of the controller's commit
    before; a command that wrote manifests or records by itself is undone by what its own parent has.

    Args:
        reader: The registry's history, with that host's entries.
        host: The host whose controller's last commit is meant.
        here: This host: only its own entries can come back.

    Raises:
        RestoreError: There is no such commit, or none before it, or it changed no model.
    """
    repository = reader.repository
    undone = _last(repository, host, reader.recorded)
    if undone is None or not undone.parents:
        raise RestoreError(
            f"the controller of {host} has made no commit that could be rolled back",
            remedy="`imageworks-models history` shows all commits; `restore --from REV` goes back to any.",
        )
    own = {
        path for path in undone.changed if layer_of(path) is not Layer.ENTRY or path.startswith(f"{ENTRIES}/{host}/")
    }
    names = {name_of(path) for path in own if layer_of(path) in _ABOUT_MODELS}
    before = undone.parents[0]
    declares = any(layer_of(path) is Layer.MANIFEST for path in own)
    if RECONCILED_REVISION in undone.trailers and not declares:
        earlier = _last(repository, host, before)
        before = earlier.id if earlier is not None else before
    left = _changed_since(repository, undone.id, names)
    chosen = tuple(sorted(names - left))
    if not chosen:
        why = f"people changed {', '.join(sorted(left))} since" if left else "it changed no model"
        raise RestoreError(
            f"{undone.short_id} ({undone.subject}) cannot be rolled back: {why}",
            remedy="`restore NAME --from REV` brings a model back whatever changed since.",
        )
    wish = Wish(before, chosen, manifests=True, entries=host == here, title=f"Roll back {undone.short_id}")
    return Rollback(undone, wish, tuple(sorted(left)))


def _last(repository: RegistryRepository, host: str, revision: str | None) -> CommitRecord | None:
    paths = (f"{ENTRIES}/{host}", snapshot_file(host))
    records = repository.log(paths, revision=revision)
    return next((record for record in records if record.trailers.get(HOST) == host), None)


def _changed_since(repository: RegistryRepository, undone: str, names: set[str]) -> set[str]:
    """Return the models whose manifest is not what it was in the commit that is undone."""
    then, now = (repository.list_files(revision, MODELS) for revision in (undone, repository.head()))
    ids = [{manifest_name(file): reference.id for file, reference in files.items()} for files in (then, now)]
    return {name for name in names if ids[0].get(name) != ids[1].get(name)}
