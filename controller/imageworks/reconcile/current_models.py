"""A host's models as manifests and entries give them now, as `list` and the servers show them; light to load."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, cast

from imageworks.foundation.log import warn
from imageworks.host.settings import HostSettings
from imageworks.registry.entries.packed import models_of, packed_models
from imageworks.registry.entries.summaries import summary_of
from imageworks.registry.snapshot_note import SnapshotNote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imageworks.registry.entries.queries import Model
    from imageworks.registry.load import RegistryState

MOST_TOLD: Final = 5
"""How many documents that were left out are named, one a line."""


def current_models(root: Path, host: HostSettings) -> "Sequence[Model]":
    """Return this host's merged models, sorted by name, each as its text; see `CurrentModels`."""
    return CurrentModels(root, host).models()


def each_model(root: Path, host: HostSettings, *, summaries: bool = False, whole: bool = False) -> "Iterator[Model]":
    """Return an iterator over the same, each read when it is its turn: of ten thousand, values take 80 MB.

    Args:
        root: The registry folder.
        host: This host.
        summaries: Whether of each model that is enough which a table of models shows and chooses by.
        whole: Whether each model has its verified files too, which only entries list.
    """
    noted = None if whole else SnapshotNote(host, root).read(summaries=summaries)
    if noted is not None:
        _tell(noted.left_out)
        return iter(noted.models)
    from imageworks.registry.snapshot import each_whole, expected_snapshot

    if whole:
        return each_whole(current_registry(root, host))
    models = models_of(expected_snapshot(current_registry(root, host)))
    return map(summary_of, models) if summaries else models


def current_registry(root: Path, host: HostSettings) -> "RegistryState":
    """Return the registry as it is now; what is wrong in it is told."""
    from imageworks.reconcile.open_registry import open_registry

    registry = open_registry(root, host)[1]
    _tell([problem.render() for problem in registry.diagnostics])
    return registry


def _tell(left_out: "Sequence[str]") -> None:
    for problem in left_out[:MOST_TOLD]:
        warn(problem)
    if len(left_out) > MOST_TOLD:
        warn(f"{len(left_out) - MOST_TOLD} more problems; `imageworks-models validate` lists all")


class CurrentModels:
    """A host's models as manifests and entries give them now; several threads may ask.

    They are computed again only where a commit has moved, and not at all where this host noted them. Each is kept as
    its text: ten thousand take 18 MB so, and 80 as values.

    Args:
        root: The registry folder.
        host: This host.
        whole: Whether each model has its verified files too, which only entries list; such are values.
        small: Whether texts are packed, to half of that, for a server that keeps them long.
        on_reading: Called before they are read, so that what else fills the memory can go.
    """

    def __init__(
        self,
        root: Path,
        host: HostSettings,
        *,
        whole: bool = False,
        small: bool = False,
        on_reading: Callable[[], None] = lambda: None,
    ) -> None:
        self._root = root
        self._whole = whole
        self._small = small
        self._host = host
        self._on_reading = on_reading
        self._note = SnapshotNote(host, root)
        self._lock = Lock()
        self._branch: str | None = None
        self._at: Sequence[str] = ()
        self._models: Sequence[Model] = ()

    def models(self) -> "Sequence[Model]":
        """Return the merged models, sorted by name."""
        with self._lock:
            if not self._at or self._at != self._note.at(self._branch):
                self._at, self._models = (), ()  # let go before others are read
                self._on_reading()
                self._read()
            return self._models

    def _read(self) -> None:
        noted = None if self._whole else self._note.read(packed=True, small=self._small)
        if noted is not None:
            _tell(noted.left_out)
            self._models, self._branch, self._at = cast("Sequence[Model]", noted.models), noted.branch, noted.at
        else:
            from imageworks.registry.snapshot import snapshot_lines, whole_models

            registry = current_registry(self._root, self._host)
            lines = snapshot_lines(registry)
            self._models = whole_models(registry) if self._whole else packed_models(lines, small=self._small)
            self._branch = registry.branch
            self._at = self._note.at_state(registry)
