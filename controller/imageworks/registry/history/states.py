"""Read a registry's states out of commits or off the disk, and say in model words how two of them differ.

A commit may hold anything: broken documents, links, huge files. What cannot be read is told as such, in its place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Generic, NamedTuple, TypeVar

from imageworks.git.libgit2 import blob_id
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import BlobReference, BlobRefusedError, FileDifference, UnsafePathError
from imageworks.registry.documents.cache import ParsedDocuments
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.documents.document import DocumentError
from imageworks.registry.documents.json_reader import parse_json
from imageworks.registry.documents.yaml_reader import MAX_BYTES, parse_yaml
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.entry import pack
from imageworks.registry.history.compare import compare, layer_of, name_of
from imageworks.registry.history.model import FileVersion, ModelChange, Pairs, RecordKind, Version
from imageworks.registry.load import ENTRY_LIMIT_BYTES
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.manifests.manifest import SUFFIXES
from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE

ALL_LAYERS: Final = frozenset({RecordKind.MANIFEST, RecordKind.ENTRY, RecordKind.SETTINGS})
MOST_KEPT: Final = 2_000  # documents at a time: a history of twenty thousand commits has as many
WORTH_KEEPING: Final = 200  # documents; parsing fewer costs less than a cache that holds only them
_LONGEST_PROBLEM: Final = 300


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """What of a registry is asked for.

    Args:
        layers: Which layers.
        names: Which models; all when empty.
        host: Whose entries; every host's when absent.
    """

    layers: frozenset[RecordKind] = ALL_LAYERS
    names: frozenset[str] = frozenset()
    host: str | None = None

    def __contains__(self, path: object) -> bool:
        layer = layer_of(str(path))
        if layer not in self.layers or (layer is RecordKind.SETTINGS and self.names):
            return False
        if layer is RecordKind.ENTRY and self.host is not None and str(path).split("/")[1] != self.host:
            return False
        return not self.names or name_of(str(path)) in self.names


_Source = TypeVar("_Source")


class _Stored(NamedTuple, Generic[_Source]):  # one commit may have twenty thousand
    """A file that is read when somebody asks what it says.

    Args:
        blob: Git object id of its bytes.
        path: Registry path.
        source: Where its bytes are.
        read: Reads it.
    """

    blob: str
    path: str
    source: _Source
    read: Callable[[str, _Source], Version]

    @property
    def fields(self) -> Mapping[str, object] | None:
        """What it says."""
        return self.read(self.path, self.source).fields

    @property
    def problem(self) -> str:
        """Why it cannot be read."""
        return self.read(self.path, self.source).problem


class StateReader:
    """Reads the states of one registry."""

    def __init__(self, repository: RegistryRepository, caches: Sequence[ParsedDocuments] = ()) -> None:
        self.repository = repository
        self._versions: dict[tuple[str, bool], Version] = {}
        self._caches = tuple(caches)
        self._learned = 0

    def between(
        self, before: str | None, after: str | None, wanted: HistoryFilter | None = None
    ) -> Sequence[ModelChange]:
        """Return how two commits' states differ."""
        return compare(self.pairs(self.differences(before, after), wanted or HistoryFilter()))

    def uncommitted(self, before: str | None, wanted: HistoryFilter | None = None) -> Sequence[ModelChange]:
        """Return how the files on disk differ from a commit's state."""
        counts, head, read = wanted or HistoryFilter(), self.repository.head(), self._version
        # As git compares: line ends and sparse checkouts are no edits. All else is as the checked-out commit has it.
        edited = {path for path in self.repository.uncommitted() if path in counts}
        committed = (one for one in self.differences(before, head) if one.path not in edited and not _same_bytes(one))
        pairs = dict(self.pairs(committed, counts))
        disk = WorkTreeReader(self.repository.root)
        folders = [disk.files(folder) for folder in (MODELS, ENTRIES)] if edited else []  # none is read yet
        for path in edited:
            there = next((files[path] for files in folders if path in files), None)
            content = disk.file(path) if path == SETTINGS_FILE else there
            reference = self.repository.find_file(before, path)
            after = None if content is None else to_be_parsed(path, content)
            same = reference is not None and after is not None and reference.id == after.blob
            if not same and (reference is not None or after is not None):
                pairs[path] = (_stored(path, reference, read), after)
        return compare(dict(sorted(pairs.items())))

    def listed(self, revision: str | None) -> dict[str, BlobReference]:
        """Return the files of a commit that say something of models, by registry path."""
        found: dict[str, BlobReference] = {}
        for folder in (MODELS, ENTRIES):
            try:
                found |= self.repository.list_files(revision, folder)
            except UnsafePathError:  # a link in the folder's place: nothing in it is ours
                continue
        settings = self.repository.find_file(revision, SETTINGS_FILE)
        return found if settings is None else {**found, SETTINGS_FILE: settings}

    def differences(self, before: str | None, after: str | None) -> tuple[FileDifference, ...]:
        """Return the files that two commits have differently; none where the registry's own folder is a link."""
        try:
            return self.repository.differences(before, after)
        except UnsafePathError:
            return ()

    def pairs(self, differences: Iterable[FileDifference], wanted: HistoryFilter) -> Pairs:
        """Return what differing files said and say, by registry path."""
        read = self._version  # one for all: of twenty thousand files each would have a method of its own
        return {
            one.path: (_stored(one.path, one.before, read), _stored(one.path, one.after, read))
            for one in differences
            if one.path in wanted
        }

    def version(self, revision: str | None, path: str) -> Version | None:
        """Return a file as a commit has it; ``None`` when it has none."""
        reference = self.repository.find_file(revision, path)
        return None if reference is None else self._version(path, reference)

    def _version(self, path: str, reference: BlobReference) -> Version:
        key = (reference.id, path.endswith(SUFFIXES))
        known = self._versions.get(key)
        if known is None:
            known = self._versions[key] = self._cached(path, reference) or self._read(path, reference)
            if len(self._versions) > MOST_KEPT:
                del self._versions[next(iter(self._versions))]
        return known

    def _cached(self, path: str, reference: BlobReference) -> Version | None:
        if reference.refusal or path == SETTINGS_FILE:
            return None
        values = (cache.get(reference.id) for cache in self._caches)
        value = next((value for value in values if value is not None), None)
        return Version(reference.id, value) if isinstance(value, dict) else None

    def _read(self, path: str, reference: BlobReference) -> Version:
        version = parsed(path, reference.id, self._content(path, reference))
        keeps = self._caches and self._learned < MOST_KEPT
        if keeps and path != SETTINGS_FILE and isinstance(version.fields, dict):
            self._caches[0].put(reference.id, version.fields)
            self._learned += 1
        return version

    def save(self) -> None:
        """Keep what was read for the next time, if it was much; a cache only."""
        if self._learned >= WORTH_KEEPING:
            self._caches[0].save()

    def _content(self, path: str, reference: BlobReference) -> bytes | Refusal:
        if reference.refusal:
            return Refusal(reference.refusal)
        try:
            return self.repository.read_blob(reference.id, limit=_limit(path))
        except BlobRefusedError as error:
            return Refusal(error.render().split("\n", 1)[0])


def _stored(
    path: str, reference: BlobReference | None, read: Callable[[str, BlobReference], Version]
) -> FileVersion | None:
    return None if reference is None else _Stored(reference.id, path, reference, read)


def _same_bytes(one: FileDifference) -> bool:
    """Return whether only what kind of file it is differs."""
    return one.before is not None and one.after is not None and one.before.id == one.after.id


def _limit(path: str) -> int:
    return MAX_BYTES if path.endswith(SUFFIXES) else ENTRY_LIMIT_BYTES


def to_be_parsed(path: str, content: bytes | Refusal) -> FileVersion:
    """Return a file of which nothing is read before somebody asks what it says."""
    return _Stored(_blob_of(content), path, content, _parsed_lately)


def _blob_of(content: bytes | Refusal) -> str:
    return blob_id(content) if isinstance(content, bytes) else ""


def parsed(path: str, blob: str, content: bytes | Refusal) -> Version:
    """Return what a file says, or why nobody can say."""
    if isinstance(content, Refusal):
        return Version(blob, problem=f"{path}: {content.reason}"[:_LONGEST_PROBLEM])
    try:
        document = parse_yaml(content, path) if path.endswith(SUFFIXES) else parse_json(content, path)
    except DocumentError as error:
        return Version(blob, problem=f"{path}:{error.line}:{error.column}: {error.problem}"[:_LONGEST_PROBLEM])
    if not isinstance(document.value, dict):
        return Version(blob, problem=f"{path}:1:1: not a mapping of keys to values")
    return Version(blob, document.value if path.endswith(SUFFIXES) else pack(document.value, content))


@lru_cache(maxsize=8)  # whoever asks for one thing that a file says asks for others next
def _parsed_lately(path: str, content: bytes | Refusal) -> Version:
    return parsed(path, _blob_of(content), content)
