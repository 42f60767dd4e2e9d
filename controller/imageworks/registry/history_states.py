"""Read a registry's states out of commits or off the disk, and say in model words how two of them differ.

A commit may hold anything: broken documents, links, huge files. What cannot be read is told as such, in its place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from imageworks.registry.document import DocumentError
from imageworks.registry.entry import FOLDER as ENTRIES
from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_library import blob_id
from imageworks.registry.git_values import BlobReference, BlobRefusedError, FileDifference, UnsafePathError
from imageworks.registry.history import compare, layer_of, name_of
from imageworks.registry.history_values import Layer, ModelChange, Pairs, Version
from imageworks.registry.json_gate import parse_json
from imageworks.registry.load import ENTRY_LIMIT_BYTES
from imageworks.registry.manifest import FOLDER as MODELS
from imageworks.registry.manifest import SUFFIXES
from imageworks.registry.parsed import ParsedDocuments
from imageworks.registry.reader import Refusal, WorkTreeReader
from imageworks.registry.settings import FILE as SETTINGS_FILE
from imageworks.registry.yaml_gate import MAX_BYTES, parse_yaml

ALL_LAYERS: Final = frozenset({Layer.MANIFEST, Layer.ENTRY, Layer.SETTINGS})
WORTH_KEEPING: Final = 200  # documents; parsing fewer costs less than a cache that holds only them
_LONGEST_PROBLEM: Final = 300


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a registry is asked for.

    Args:
        layers: Which layers.
        names: Which models; all when empty.
        host: Whose entries; every host's when absent.
    """

    layers: frozenset[Layer] = ALL_LAYERS
    names: frozenset[str] = frozenset()
    host: str | None = None

    def __contains__(self, path: object) -> bool:
        layer = layer_of(str(path))
        if layer not in self.layers or (layer is Layer.SETTINGS and self.names):
            return False
        if layer is Layer.ENTRY and self.host is not None and str(path).split("/")[1] != self.host:
            return False
        return not self.names or name_of(str(path)) in self.names


class StateReader:
    """Reads the states of one registry.

    Args:
        repository: The registry.
        caches: What manifests and entries say, by blob id; what is read anew goes to the first.
    """

    def __init__(self, repository: RegistryRepository, caches: Sequence[ParsedDocuments] = ()) -> None:
        self.repository = repository
        self._versions: dict[tuple[str, bool], Version] = {}
        self._caches = tuple(caches)
        self._learned = 0

    def between(self, before: str | None, after: str | None, wanted: Wanted | None = None) -> tuple[ModelChange, ...]:
        """Return how two commits' states differ.

        Args:
            before: The first commit; ``None`` for an empty registry.
            after: The second.
            wanted: What counts; everything when absent.
        """
        return compare(self.pairs(self.differences(before, after), wanted or Wanted()))

    def uncommitted(self, before: str | None, wanted: Wanted | None = None) -> tuple[ModelChange, ...]:
        """Return how the files on disk differ from a commit's state.

        Args:
            before: The commit; ``None`` for an empty registry.
            wanted: What counts; everything when absent.
        """
        counts = wanted or Wanted()
        disk = WorkTreeReader(self.repository.root)
        pairs: dict[str, tuple[Version | None, Version | None]] = {}
        now: dict[str, bytes | Refusal] = {**disk.files(MODELS), **disk.files(ENTRIES)}
        settings = disk.file(SETTINGS_FILE)
        if settings is not None:
            now[SETTINGS_FILE] = settings
        listed = self.listed(before)
        for path in sorted(now.keys() | listed.keys()):
            if path not in counts:
                continue
            content, reference = now.get(path), listed.get(path)
            blob = blob_id(content) if isinstance(content, bytes) else ""
            if reference is not None and reference.id == blob:
                continue
            old = None if reference is None else self._version(path, reference)
            pairs[path] = (old, None if content is None else parsed(path, blob, content))
        return compare(pairs)

    def listed(self, revision: str | None) -> dict[str, BlobReference]:
        """Return the files of a commit that say something of models, by registry path.

        Args:
            revision: The commit; ``None`` for an empty registry.
        """
        found: dict[str, BlobReference] = {}
        for folder in (MODELS, ENTRIES):
            try:
                found |= self.repository.list_files(revision, folder)
            except UnsafePathError:  # a link in the folder's place: nothing in it is ours
                continue
        settings = self.repository.find_file(revision, SETTINGS_FILE)
        return found if settings is None else {**found, SETTINGS_FILE: settings}

    def differences(self, before: str | None, after: str | None) -> tuple[FileDifference, ...]:
        """Return the files that two commits have differently; none where the registry's own folder is a link.

        Args:
            before: The first commit; ``None`` for an empty registry.
            after: The second.
        """
        try:
            return self.repository.differences(before, after)
        except UnsafePathError:
            return ()

    def pairs(self, differences: Iterable[FileDifference], wanted: Wanted) -> Pairs:
        """Return what differing files said and say, by registry path.

        Args:
            differences: The files.
            wanted: What counts.
        """
        return {
            one.path: (
                None if one.before is None else self._version(one.path, one.before),
                None if one.after is None else self._version(one.path, one.after),
            )
            for one in differences
            if one.path in wanted
        }

    def version(self, revision: str | None, path: str) -> Version | None:
        """Return a file as a commit has it; ``None`` when it has none.

        Args:
            revision: The commit.
            path: The file's registry path.
        """
        reference = self.repository.find_file(revision, path)
        return None if reference is None else self._version(path, reference)

    def _version(self, path: str, reference: BlobReference) -> Version:
        key = (reference.id, path.endswith(SUFFIXES))
        known = self._versions.get(key)
        if known is None:
            known = self._versions[key] = self._cached(path, reference) or self._read(path, reference)
        return known

    def _cached(self, path: str, reference: BlobReference) -> Version | None:
        if reference.refusal or path == SETTINGS_FILE:
            return None
        values = (cache.get(reference.id) for cache in self._caches)
        value = next((value for value in values if value is not None), None)
        return Version(reference.id, value) if isinstance(value, dict) else None

    def _read(self, path: str, reference: BlobReference) -> Version:
        version = parsed(path, reference.id, self._content(path, reference))
        if self._caches and path != SETTINGS_FILE and isinstance(version.fields, dict):
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


def _limit(path: str) -> int:
    return MAX_BYTES if path.endswith(SUFFIXES) else ENTRY_LIMIT_BYTES


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
    return Version(blob, document.value)
