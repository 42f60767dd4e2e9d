"""What was found of hosts' entries before, by the ids of what it was made from: a cache only."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from imageworks import __version__
from imageworks.files.renames import write_durably
from imageworks.fleet.status import ModelOnHost, Standing
from imageworks.foundation.bounded_json import read_json_file
from imageworks.foundation.private_files import FILE_MODE, ForeignFolderError, make_private_folder
from imageworks.host.settings import HostSettings
from imageworks.registry.documents.cache import cache_file

FORMAT: Final = 2
WORTH_KEEPING: Final = 2_000
"""Models; fewer are read anew faster than a file is worth."""


class KnownModels:
    """How models stand on hosts, as computed before from the same trees; what is the same on many is kept once."""

    def __init__(self, host: HostSettings, root: Path) -> None:
        self._file = cache_file(host.cache_dir / "fleet", root)
        self._top = host.cache_dir
        self._format = f"{FORMAT}:{__version__}"
        self._models: dict[ModelOnHost, int] = {}
        self._hosts: dict[str, tuple[str, list[int]]] = {}
        with suppress(OSError, ValueError, TypeError, KeyError):
            self._read()
        self._each = list(self._models)
        self._changed = False

    def get(self, host: str, at: str) -> Sequence[ModelOnHost] | None:
        """Return how a host's models stand, where that was computed from the same trees."""
        with suppress(ValueError, TypeError, KeyError, IndexError):
            known_at, places = self._hosts[host]
            if known_at == at:
                return [self._each[place] for place in places]
        return None

    def put(self, host: str, at: str, models: Sequence[ModelOnHost]) -> Sequence[ModelOnHost]:
        """Remember how a host's models stand, and return that."""
        self._hosts[host] = at, [self._models.setdefault(model, len(self._models)) for model in models]
        self._changed = True
        return models

    def save(self) -> None:
        """Write what was computed anew, where it is worth it; a cache that cannot be written is none."""
        if not self._changed or sum(len(places) for _, places in self._hosts.values()) < WORTH_KEEPING:
            return
        rows = [[o.name, o.standing.value, o.revision, o.size, o.complete, o.reason] for o in self._models]
        body = json.dumps({"format": self._format, "models": rows, "hosts": self._hosts}, separators=(",", ":"))
        with suppress(OSError, ForeignFolderError):
            make_private_folder(self._file.parent, top=self._top)
            write_durably(self._file, body.encode(), mode=FILE_MODE)

    def _read(self) -> None:
        found = read_json_file(self._file)
        if isinstance(found, dict) and found.get("format") == self._format:
            models = [ModelOnHost(name, _STANDINGS[standing], *rest) for name, standing, *rest in found["models"]]
            self._models = {model: place for place, model in enumerate(models)}
            self._hosts = dict(found["hosts"])


_STANDINGS: Final = {one.value: one for one in Standing}
