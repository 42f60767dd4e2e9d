"""What hosts' entries hold; of what is alike on many hosts, little is read."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from imageworks.git.libgit2 import blob_id
from imageworks.git.read import TREE_MODE
from imageworks.git.repository import RegistryRepository
from imageworks.git.values import PLAIN_MODES
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.merge import snapshot_file
from imageworks.registry.load import ENTRY_LIMIT_BYTES

_OF_ONE_HOST: Final = (b"model_path", b"download_path", b"downloaded_at")
"""The keys whose values differ by host and say nothing of how a repository's model stands, as both files sort them."""
_IN_ENTRIES: Final = tuple(b'"%b": "' % key for key in _OF_ONE_HOST)
_IN_SNAPSHOTS: Final = tuple(b'"%b":"' % key for key in _OF_ONE_HOST)
_NAME: Final = b',"name":"'
_SNAPSHOT_LIMIT_BYTES: Final = 64 * 1024 * 1024
_LONGEST_VALUE: Final = 4096  # bytes; what is longer is cut, so that no entry is made of it
_MOST_FORMS: Final = 4  # of one name; hosts have their models in few ways

Values = Mapping[str, Sequence[bytes]]


class EntryContent(NamedTuple):
    """An entry as it is recorded.

    Args:
        data: Its bytes.
        alike: The same without the values that differ by host.
    """

    data: bytes
    alike: bytes


class _Form(NamedTuple):
    """What entries of several hosts have alike, with ``%b`` for the values that differ.

    Args:
        pattern: The whole entry.
        keys: Which values it has.
        alike: The entry without the values.
    """

    pattern: bytes
    keys: tuple[int, ...]
    alike: bytes


class HostEntries:
    """Gives the contents of hosts' entries at commits.

    Reading 100,000 objects of git takes longer than all else that is done with them. Most differ from another host's
    entry of the same name in three values only, which the host's snapshot has as well. Put together they are the entry
    exactly where git's id of them is the entry's own: nothing that a snapshot says is believed. All others are read.
    """

    def __init__(self, repository: RegistryRepository) -> None:
        self._repository = repository
        self._forms: dict[str, list[_Form]] = {}

    def of(self, host: str, revision: str | None) -> Mapping[str, EntryContent | str]:
        """Return a host's entries by their names; of one that is not to be read, what is wrong with it."""
        found: dict[str, EntryContent | str] = {}
        listed = self._repository.listing(revision, f"{ENTRIES}/{host}")
        values = self._values(host, revision) if self._forms else {}
        for file, (identifier, mode) in listed.items():
            if not file.endswith(".json") or mode == TREE_MODE:
                continue
            name = file.removesuffix(".json")
            told = self._told(name, identifier, values) if mode in PLAIN_MODES else None
            found[name] = told or self._read(f"{ENTRIES}/{host}/{file}", name, identifier, mode)
        return found

    def _told(self, name: str, identifier: str, values: Values) -> EntryContent | None:
        """Return the entry that has an id, where it is one of the known forms with the host's values."""
        if (own := values.get(name)) is None:
            return None
        for form in self._forms.get(name, ()):
            data = form.pattern % tuple([own[key] for key in form.keys])
            if len(data) <= ENTRY_LIMIT_BYTES and blob_id(data) == identifier:
                return EntryContent(data, form.alike)
        return None

    def _read(self, path: str, name: str, identifier: str, mode: int) -> EntryContent | str:
        reference = self._repository.reference(identifier, mode)
        if reference.refusal or reference.size > ENTRY_LIMIT_BYTES:
            return f"{path}: {reference.refusal or 'too large'}"
        data = self._repository.read_blob(identifier, limit=ENTRY_LIMIT_BYTES)
        form = _form(data)
        forms = self._forms.setdefault(name, [])
        forms.insert(0, form)
        del forms[_MOST_FORMS:]
        return EntryContent(data, form.alike)

    def _values(self, host: str, revision: str | None) -> Values:
        """Return what a host's snapshot has for the values that differ by host, by the models' names."""
        snapshot = self._repository.find_file(revision, snapshot_file(host))
        if snapshot is None or snapshot.refusal or snapshot.size > _SNAPSHOT_LIMIT_BYTES:
            return {}
        lines = self._repository.unverified(snapshot.id).split(b"\n")
        return {_name(line): _values_in(line) for line in lines}


def _name(line: bytes) -> str:
    start = line.rfind(_NAME) + len(_NAME)
    return line[start : line.find(b'"', start)].decode("utf-8", "replace")


def _values_in(line: bytes) -> list[bytes]:
    found, end = [], 0
    for word in _IN_SNAPSHOTS:
        start = line.find(word, end)
        start = start + len(word) if start >= 0 else end
        end = line.find(b'"', start)
        found.append(line[start : min(end, start + _LONGEST_VALUE)])
    return found


def _form(content: bytes) -> _Form:
    """Return an entry's form.

    A quote within a text stands behind a backslash, so what is found is a key with a text as its value.
    """
    pieces, keys, before, end = [], [], 0, 0
    for key, word in enumerate(_IN_ENTRIES):
        start = content.find(word, end) + len(word)
        end = content.find(b'"', start) if start >= len(word) else end
        if start >= len(word) and end > start and b"\\" not in content[start:end]:
            pieces.append(content[before:start])
            keys.append(key)
            before = end
    pieces.append(content[before:])
    return _Form(b"%b".join(piece.replace(b"%", b"%%") for piece in pieces), tuple(keys), b"-".join(pieces))
