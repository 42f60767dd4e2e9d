"""The history of a registry, opened to be looked at, and which model of it a name means."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imageworks.foundation.errors import UsageError
from imageworks.git.libgit2 import damage_told
from imageworks.git.repository import RegistryRepository
from imageworks.git.revision import WHOLE
from imageworks.host.settings import find_registry, load_host_settings
from imageworks.reconcile.open_registry import open_registry
from imageworks.registry.documents.cache import ParsedDocuments, cache_file
from imageworks.registry.entries.lookup import UnknownModelError, find_in, uncommitted_manifest
from imageworks.registry.history.model import HistoryCommit, ModelChange, RecordKind
from imageworks.registry.history.model_at import ModelAt, model_at
from imageworks.registry.history.reader import HistoryReader
from imageworks.registry.history.states import HistoryFilter
from imageworks.registry.load import load_registry


@contextmanager
def open_history(root: Path, *, host: str | None = None, cached: bool = False) -> Iterator[HistoryReader]:
    """Yield a registry's history; with what was parsed before where many manifests are to be read."""
    repository = RegistryRepository.open(root)
    settings = load_host_settings(registry=repository.root)
    folder = settings.cache_dir
    places = (folder / "history", folder) if cached else ()
    caches = [ParsedDocuments(cache_file(place, repository.root)) for place in places]
    with damage_told():
        yield HistoryReader(repository, caches, host=host or settings.host)


def called(reader: HistoryReader, asked: str, host: str) -> str:
    """Return the variant name of the model that somebody means: one that is there, else one that once was."""
    if reader.is_there(asked, host) or next(reader.steps(asked, host=host), None) is not None:
        return asked
    return present(reader, asked, host)


def present(reader: HistoryReader, asked: str, host: str) -> str:
    """Return the variant name of the model that somebody means, of those that are there."""
    repository = reader.repository
    cache = ParsedDocuments(cache_file(load_host_settings(registry=repository.root).cache_dir, repository.root))
    return find_in(load_registry(repository, host, revision=repository.head(), cache=cache), asked)


@dataclass(frozen=True, slots=True)
class LookBack:
    """A registry's history, as a command looks at it.

    Args:
        reader: Its commits.
        host: Whose entries count: the named host's, else this one's.
        named: The host that was named, if any.
    """

    reader: HistoryReader
    host: str
    named: str | None

    @property
    def lacks(self) -> tuple[str, ...]:
        """What to say where the oldest commit here is not where things began."""
        return (f"{WHOLE[0].lower()}{WHOLE[1:]}",) if self.reader.repository.is_shallow else ()


@contextmanager
def look_back(registry: Path | None, *, host: str | None, cached: bool = False) -> Iterator[LookBack]:
    """Open the history of the registry that is meant."""
    root = find_registry(registry)
    with open_history(root, host=host, cached=cached) as reader:
        yield LookBack(reader, host or load_host_settings(registry=root).host, host)


def steps_of(
    past: LookBack, name: str | None, *, limit: int, revision: str | None
) -> tuple[str | None, Iterator[HistoryCommit]]:
    """Return a model's variant name, and one by one the newest commits that touched it, or the registry."""
    reader = past.reader
    start = None if revision is None else reader.repository.resolve(revision)
    if name is None:
        found = reader.registry_steps(host=past.named, revision=start)
    else:
        name = called(reader, name, past.host)
        found = reader.steps(name, host=past.named, revision=start)
    return name, _kept(reader, itertools.islice(found, limit))


def _kept(reader: HistoryReader, steps: Iterator[HistoryCommit]) -> Iterator[HistoryCommit]:
    yield from steps
    reader.save()


def differences(
    past: LookBack, revisions: str | None, names: Sequence[str], *, manifests: bool, entries: bool
) -> tuple[str | None, str | None, Sequence[ModelChange]]:
    """Return the two commits that are compared (``None`` after for the files here), and how they differ."""
    reader = past.reader
    layers = {RecordKind.MANIFEST, RecordKind.ENTRY, RecordKind.SETTINGS}
    if manifests != entries:
        layers = {RecordKind.MANIFEST, RecordKind.SETTINGS} if manifests else {RecordKind.ENTRY}
    known = frozenset(_compared_name(past, name) for name in names)
    compared = _compared(reader, revisions or "", HistoryFilter(frozenset(layers), known, past.named))
    reader.save()
    return compared


def _compared_name(past: LookBack, asked: str) -> str:
    """Return the variant name of the model that somebody means, also of one that is not committed yet."""
    if uncommitted_manifest(past.reader.repository.root, asked) is not None:
        return asked
    return called(past.reader, asked, past.host)


def _compared(
    reader: HistoryReader, text: str, wanted: HistoryFilter
) -> tuple[str | None, str | None, Sequence[ModelChange]]:
    repository = reader.repository
    head = repository.head()
    if ".." not in text:
        before = repository.resolve(text) if text else head
        return before, None, reader.uncommitted(before, wanted)
    dots = "..." if "..." in text else ".."
    first, _, second = text.partition(dots)
    if ".." in second:
        raise UsageError(f"{text}: names more than two revisions", remedy="Give REV, REV..REV or REV...REV.")
    before, after = (repository.resolve(side) if side else head for side in (first, second))
    if dots == "..." and before is not None and after is not None:
        before = reader.fork_point(before, after)
    return before, after, reader.between(before, after, wanted)


def model_shown(past: LookBack, text: str) -> ModelAt:
    """Return a model as it is, or was at the revision behind an ``@``."""
    reader, repository = past.reader, past.reader.repository
    name, at, revision = _model_at(reader, text, past.host)
    if not at:  # as it stands now: what other commands refuse is not shown as what counts
        open_registry(repository.root, load_host_settings(registry=repository.root)._replace(host=past.host))
    commit = repository.resolve(revision) if at else repository.head()
    return model_at(repository, name, commit, past.host, recorded=None if at else reader.recorded)


def _model_at(reader: HistoryReader, text: str, host: str) -> tuple[str, str, str]:
    """Return name, ``@`` and revision; a name such as ``DialoGPT-medium@dev`` may have an ``@`` of its own."""
    parts = text.split("@")
    for count in range(len(parts), 1, -1):
        with suppress(UnknownModelError):
            return present(reader, "@".join(parts[:count]), host), "@"[: len(parts) - count], "@".join(parts[count:])
    name, at, revision = text.partition("@")
    return called(reader, name, host), at, revision
