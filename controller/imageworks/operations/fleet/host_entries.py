"""What hosts' entries are; of what is alike on many hosts, little is read."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from imageworks.git.libgit2 import blob_id
from imageworks.git.read import TREE_MODE
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import PLAIN_MODES, BlobRefusedError
from imageworks.host.second_process import beside, can_split
from imageworks.operations.fleet.known_models import EntryKind, HostKinds, KnownModels
from imageworks.registry.commit_reader import MANY
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.merge import snapshot_file
from imageworks.registry.load import ENTRY_LIMIT_BYTES

_OF_ONE_HOST: Final = (b"model_path", b"download_path", b"downloaded_at")
"""The keys whose values differ by host and say nothing of how a repository's model stands, as both files sort them."""
_IN_ENTRIES: Final = tuple(b'"%b": "' % key for key in _OF_ONE_HOST)
_IN_SNAPSHOTS: Final = tuple(b'"%b":"' % key for key in _OF_ONE_HOST)
_NAME: Final = b',"name":"'
_LINE: Final = re.compile(rb"[^\n]+")
_SUFFIX: Final = ".json"
_SNAPSHOT_LIMIT_BYTES: Final = 64 * 1024 * 1024
_LONGEST_VALUE: Final = 4096  # bytes; what is longer is cut, so that no entry is made of it
_MOST_FORMS: Final = 4  # of one name; hosts have their models in few ways
_BYTES_A_READ: Final = 20_000
"""Of a snapshot; so many are looked through in the time that one entry takes to read."""

_WORTH_A_PROCESS: Final = 10_000
"""Entries; of fewer, half are looked at in the time that a second process and its answer take."""


class _Lines:
    """What a host's snapshot has of each model, by the models' names; read where git has it: a copy is 18 MB."""

    def __init__(self, snapshot: memoryview) -> None:
        self._snapshot = snapshot
        self._places = {_name(line[0]): line.span() for line in _LINE.finditer(snapshot)}

    def get(self, name: bytes) -> bytes | None:
        """Return a model's line; ``None`` where it has none."""
        place = self._places.get(name)
        return None if place is None else bytes(self._snapshot[slice(*place)])


class _Form(NamedTuple):
    """What entries of several hosts have alike.

    Args:
        parts: The whole entry in pieces; every other one is a value that differs, as it was read.
        keys: Which values those are.
        kind: The kind of such entries.
    """

    parts: list[bytes]
    keys: tuple[int, ...]
    kind: EntryKind


class HostEntries:
    """Says of which kind hosts' entries are at commits.

    Reading 100,000 objects of git takes longer than all else that is done with them. Most differ from another host's
    entry of the same name in three values only, which the host's snapshot has as well. Put together they are the entry
    exactly where git's id of them is the entry's own: nothing that a snapshot says is believed. All others are read.

    Args:
        repository: Where they are.
        known: What was found before; what is found is added.
        alike: The names of models whose standing does not depend on the values that differ by host.
    """

    def __init__(self, repository: RegistryRepository, known: KnownModels, alike: Collection[str]) -> None:
        self._repository = repository
        self._known = known
        self._alike = alike
        self._forms: dict[str, list[_Form]] = {}

    def look_ahead(self, recorded: Mapping[str, str | None]) -> None:
        """Look at the entries of many hosts, given the commits that hold them, with two processes where it is worth it.

        The first host's are read; those of the others are mostly proved by them.
        """
        first, *others = [
            host for host, at in recorded.items() if self._tree(host, at) != self._known.of(host).tree
        ] or [""]
        if not others or len(self.of(first, recorded[first])) * len(others) < _WORTH_A_PROCESS or not can_split():
            return
        half = len(others) // 2
        with beside(lambda: self._looked_at(others[half:], recorded)) as result:
            self._looked_at(others[:half], recorded)
            with suppress(ValueError):
                self._known.take(json.loads(result()))

    def _looked_at(self, hosts: Sequence[str], recorded: Mapping[str, str | None]) -> bytes:
        """Look at the entries of some hosts, and return what was found."""
        for host in hosts:
            self.of(host, recorded[host])
        return self._known.written(hosts)

    def _tree(self, host: str, revision: str | None) -> str:
        return self._repository.tree_id(revision, f"{ENTRIES}/{host}") or ""

    def of(self, host: str, revision: str | None) -> Mapping[str, EntryKind | str]:
        """Return the kinds of a host's entries by their names; of one that is not to be read, what is wrong with it."""
        tree = self._tree(host, revision)
        before = self._known.of(host)
        usable = {name: kind for name, kind in before.kinds.items() if kind.single or name in self._alike}
        if before.tree == tree and len(usable) == len(before.kinds):
            return usable
        found = self._look(host, revision, self._by_ids(before.tree, usable))
        kinds = {name: kind for name, kind in found.items() if isinstance(kind, EntryKind)}
        if len(kinds) == len(found):
            self._known.put(host, HostKinds(tree, kinds))
        return found

    def content(self, host: str, name: str, revision: str | None) -> bytes:
        """Return the bytes of one of a host's entries."""
        found = self._repository.find_file(revision, _path(host, name))
        return self._repository.read_blob(found.id, limit=ENTRY_LIMIT_BYTES) if found is not None else b""

    def _by_ids(self, tree: str, kinds: Mapping[str, EntryKind]) -> Mapping[str, EntryKind]:
        """Return what was known of a host's entries by their ids."""
        listed = self._repository.listing_of(tree) if kinds else {}
        return {listed[file][0]: kind for name, kind in kinds.items() if (file := name + _SUFFIX) in listed}

    def _look(self, host: str, revision: str | None, known: Mapping[str, EntryKind]) -> dict[str, EntryKind | str]:
        found: dict[str, EntryKind | str] = {}
        unknown: list[tuple[str, str, int]] = []
        for file, (identifier, mode) in self._repository.listing(revision, f"{ENTRIES}/{host}").items():
            if not file.endswith(_SUFFIX) or mode == TREE_MODE:
                continue
            name = file[: -len(_SUFFIX)]
            kind = known.get(identifier) if mode in PLAIN_MODES else None
            if kind is not None and kind.name == name:
                found[name] = kind
            else:
                unknown.append((name, identifier, mode))
        lines = self._lines(host, revision, len(unknown) * _BYTES_A_READ) if self._forms and unknown else None
        for name, identifier, mode in unknown:
            told = self._told(name, identifier, lines) if lines and mode in PLAIN_MODES else None
            found[name] = told or self._read(host, name, identifier, mode)
        if len(unknown) > MANY:
            self._repository.let_go()
        return found

    def _told(self, name: str, identifier: str, lines: _Lines) -> EntryKind | None:
        """Return the kind of an entry that is one of the known forms with the host's values."""
        if (line := lines.get(name.encode())) is None:
            return None
        own = _values_in(line)
        for parts, keys, kind in self._forms.get(name, ()):
            parts[1::2] = [own[place] for place in keys]
            data = b"".join(parts)
            if len(data) <= ENTRY_LIMIT_BYTES and blob_id(data) == identifier:
                return kind
        return None

    def _read(self, host: str, name: str, identifier: str, mode: int) -> EntryKind | str:
        """Return an entry's kind by its content, or what is wrong with it."""
        reference = self._repository.reference(identifier, mode)
        if reference.refusal or reference.size > ENTRY_LIMIT_BYTES:
            return f"{_path(host, name)}: {reference.refusal or 'too large'}"
        if name not in self._alike:
            return self._known.kind(name, identifier, single=True)
        parts, keys = _parts(self._repository.read_blob(identifier, limit=ENTRY_LIMIT_BYTES))
        kind = self._known.kind(name, hashlib.sha256(b"\0".join(parts[::2])).hexdigest(), single=False)
        forms = self._forms.setdefault(name, [])
        forms.insert(0, _Form(parts, keys, kind))
        del forms[_MOST_FORMS:]
        return kind

    def _lines(self, host: str, revision: str | None, limit: int) -> _Lines | None:
        """Return what a host's snapshot has of each model, by the models' names, where it is no larger than told."""
        snapshot = self._repository.find_file(revision, snapshot_file(host))
        if snapshot is None or snapshot.refusal or snapshot.size > min(limit, _SNAPSHOT_LIMIT_BYTES):
            return None
        try:
            return _Lines(self._repository.view_blob(snapshot.id))
        except BlobRefusedError:  # a damaged one proves nothing
            return None


def _path(host: str, name: str) -> str:
    return f"{ENTRIES}/{host}/{name}{_SUFFIX}"


def _name(line: bytes) -> bytes:
    start = line.rfind(_NAME) + len(_NAME)
    return line[start : line.find(b'"', start)]


def _values_in(line: bytes) -> Sequence[bytes]:
    found, end = [], 0
    for word in _IN_SNAPSHOTS:
        start = line.find(word, end)
        start = start + len(word) if start >= 0 else end
        end = line.find(b'"', start)
        found.append(line[start : min(end, start + _LONGEST_VALUE)])
    return found


def _parts(content: bytes) -> tuple[list[bytes], tuple[int, ...]]:
    """Return an entry in pieces, of which every other one is a value that differs by host, and which values those are.

    A quote within a text stands behind a backslash, so what is found is a key with a text as its value.
    """
    parts, keys, before, end = [], [], 0, 0
    for key, word in enumerate(_IN_ENTRIES):
        start = content.find(word, end) + len(word)
        end = content.find(b'"', start) if start >= len(word) else end
        if start >= len(word) and end > start and b"\\" not in content[start:end]:
            parts += [content[before:start], content[start:end]]
            keys.append(key)
            before = end
    parts.append(content[before:])
    return parts, tuple(keys)
