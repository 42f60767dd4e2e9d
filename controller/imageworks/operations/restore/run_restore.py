"""A whole way back, as commands ask for it: what is opened, and what is prepared of which state."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from imageworks.files.progress import Progress
from imageworks.git.libgit2 import damage_told
from imageworks.git.repository import RegistryRepository
from imageworks.operations.restore.model import Restoration, RestoreRequest
from imageworks.operations.restore.restore import prepare
from imageworks.operations.restore.rollback import Rollback, find_rollback
from imageworks.operations.session import Session
from imageworks.reconcile.run import Run
from imageworks.reconcile.run_options import RunOptions
from imageworks.registry.history.reader import HistoryReader


@contextmanager
def open_restore(
    session: Session, progress: Progress, *, read_only: bool, offline: bool, any_time: bool, wait: float
) -> Iterator[tuple[Run, HistoryReader]]:
    """Open a run, and the history that it goes back in."""
    root, host = session.root, session.host
    options = RunOptions(offline=offline, read_only=read_only, any_time=any_time)
    reader = HistoryReader(RegistryRepository.open(root, host=host.host), host=host.host)
    with damage_told(), Run.open(root, host, options, progress=progress, wait=wait) as run:
        yield run, reader


def prepare_restore(
    run: Run,
    reader: HistoryReader,
    revision: str,
    names: Iterable[str],
    *,
    layers: tuple[bool, bool],
    reconciled: bool,
) -> Restoration:
    """Return what going back to a revision would do."""
    manifests, entries = layers
    commit = reader.repository.resolve(revision)
    wish = RestoreRequest(commit, tuple(dict.fromkeys(names)), manifests=manifests, entries=entries)
    return prepare(run, reader, wish, reconciled=reconciled)


def prepare_rollback(
    run: Run, reader: HistoryReader, host: str | None, *, reconciled: bool
) -> tuple[Rollback, Restoration]:
    """Return which commit is undone, and what that would do."""
    here = run.registry.host
    found = find_rollback(HistoryReader(reader.repository, host=host or here), host or here, here=here)
    return found, prepare(run, reader, found.wish, reconciled=reconciled)
