"""What was found of hosts' entries before, by git's ids of entry and manifest: a cache only."""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from imageworks import __version__
from imageworks.files.renames import write_durably
from imageworks.fleet.status import ModelOnHost, Standing
from imageworks.foundation.bounded_json import read_json_file
from imageworks.foundation.private_files import FILE_MODE, ForeignFolderError, make_private_folder
from imageworks.host.settings import HostSettings
from imageworks.registry.documents.cache import cache_file

FORMAT: Final = 3
WORTH_KEEPING: Final = 2_000
"""Entries; fewer are read anew faster than a file is worth."""


@dataclass(slots=True, eq=False)
class EntryKind:
    """Entries of one name, of one host or of many, that say the same of how a model stands.

    Args:
        name: The entries' name.
        key: What they have alike: a digest of it, or the id of the only one.
        single: Whether it is only one, of which nothing is left out.
        judged_by: The manifest that the model was held against last, with the id of its content.
        model: How it stands by that.
    """

    name: str
    key: str
    single: bool
    judged_by: str = ""
    model: ModelOnHost | None = None


class HostKinds(NamedTuple):
    """Of which kinds a host's entries are.

    Args:
        tree: Git's id of the folder of its entries.
        kinds: The kinds by the entries' names.
    """

    tree: str
    kinds: Mapping[str, EntryKind]


class KnownModels:
    """Of which kinds hosts' entries are, and how the models of each kind stand, as found before.

    Git keeps the ids of the entries that were looked at, as the folder that held them.
    """

    def __init__(self, host: HostSettings, root: Path) -> None:
        self._file = cache_file(host.cache_dir / "fleet", root)
        self._top = host.cache_dir
        self._format = f"{FORMAT}:{__version__}"
        self._kinds: dict[tuple[str, str], EntryKind] = {}
        self._hosts: dict[str, HostKinds] = {}
        with suppress(OSError, ValueError, TypeError, KeyError, IndexError):
            self.take(read_json_file(self._file))
        self._changed = False

    def of(self, host: str) -> HostKinds:
        """Return of which kinds a host's entries were when they were last looked at."""
        return self._hosts.get(host) or HostKinds("", {})

    def put(self, host: str, found: HostKinds) -> None:
        """Remember of which kinds a host's entries are."""
        self._hosts[host] = found
        self._changed = True

    def kind(self, name: str, key: str, *, single: bool) -> EntryKind:
        """Return the kind of some entries."""
        if (kind := self._kinds.get((name, key))) is None:
            kind = self._kinds[name, key] = EntryKind(name, key, single)
        return kind

    def judge(self, kind: EntryKind, judged_by: str, model: ModelOnHost) -> None:
        """Remember how the model of a kind of entries stands."""
        kind.judged_by, kind.model = judged_by, model
        self._changed = True

    def save(self, hosts: Collection[str]) -> None:
        """Write what was found of hosts, where it is worth it; a cache that cannot be written is none."""
        entries = sum(len(found.kinds) for host, found in self._hosts.items() if host in hosts)
        if not self._changed or entries < WORTH_KEEPING:
            return
        with suppress(OSError, ForeignFolderError):
            make_private_folder(self._file.parent, top=self._top)
            write_durably(self._file, self.written(hosts), mode=FILE_MODE)

    def written(self, hosts: Collection[str]) -> bytes:
        """Return what was found of some hosts as :meth:`take` reads it."""
        places: dict[EntryKind, int] = {}
        of_hosts = {
            host: [found.tree, [places.setdefault(kind, len(places)) for kind in found.kinds.values()]]
            for host, found in self._hosts.items()
            if host in hosts
        }
        document = {"format": self._format, "kinds": [_row(kind) for kind in places], "hosts": of_hosts}
        return json.dumps(document, separators=(",", ":")).encode()

    def take(self, document: object) -> None:
        """Add what was found of hosts elsewhere."""
        if not isinstance(document, dict) or document.get("format") != self._format:
            return
        kinds = [self._kinds.setdefault((one.name, one.key), one) for one in (_kind(*row) for row in document["kinds"])]
        self._hosts |= {
            host: HostKinds(tree, {kind.name: kind for kind in map(kinds.__getitem__, places)})
            for host, (tree, places) in document["hosts"].items()
        }


def _row(kind: EntryKind) -> list[object]:
    row: list[object] = [kind.name, kind.key, kind.single]
    if (model := kind.model) is None:
        return row
    said = [model.name, model.standing.value, model.revision, model.size, model.complete, model.reason]
    return [*row, kind.judged_by, *said]


def _kind(name: str, key: str, single: bool, judged_by: str = "", *said: Any) -> EntryKind:  # noqa: ANN401, FBT001 # as written
    if not said:
        return EntryKind(name, key, single)
    of_model, standing, *rest = said
    return EntryKind(name, key, single, judged_by, ModelOnHost(of_model, Standing(standing), *rest))
