"""A host's models as manifests and entries give them now, as `list` and the servers show them; light to load."""

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from imageworks.foundation.log import warn
from imageworks.host.settings import HostSettings
from imageworks.registry.snapshot_note import SnapshotNote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imageworks.registry.entries.queries import Model

MOST_TOLD: Final = 5
"""How many documents that were left out are named, one a line."""


def current_models(root: Path, host: HostSettings, *, summaries: bool = False) -> "Sequence[Model]":
    """Return this host's merged models, sorted by name; see `CurrentModels`."""
    return CurrentModels(root, host, summaries=summaries).models()


class CurrentModels:
    """A host's models as manifests and entries give them now; several threads may ask.

    They are computed again only where a commit has moved, and not at all where this host noted them.

    Args:
        root: The registry folder.
        host: This host.
        whole: Whether each model has its verified files too, which only entries list.
        summaries: Whether of each model that is enough which a table of models shows and chooses by.
        packed: Whether each model is kept as its text, for who holds ten thousand of them for days.
    """

    def __init__(
        self, root: Path, host: HostSettings, *, whole: bool = False, summaries: bool = False, packed: bool = False
    ) -> None:
        self._root = root
        self._whole = whole
        self._summaries = summaries
        self._packed = packed
        self._host = host
        self._note = SnapshotNote(host, root)
        self._lock = Lock()
        self._branch: str | None = None
        self._at: Sequence[str] = ()
        self._models: Sequence[Model] = ()

    def models(self) -> "Sequence[Model]":
        """Return the merged models, sorted by name."""
        with self._lock:
            if not self._at or self._at != self._note.at(self._branch):
                self._at = ()
                self._read()
            return self._models

    def _read(self) -> None:
        noted = None if self._whole else self._note.read(summaries=self._summaries, packed=self._packed)
        if noted is not None:
            left_out: Sequence[str] = noted.left_out
            self._models, self._branch, self._at = noted.models, noted.branch, noted.at
        else:
            from imageworks.reconcile.open_registry import merged_models, open_registry

            registry = open_registry(self._root, self._host)[1]
            left_out = [problem.render() for problem in registry.diagnostics]
            self._models = merged_models(registry, whole=self._whole, packed=self._packed)
            self._branch = registry.branch
            self._at = self._note.at_state(registry)
        for problem in left_out[:MOST_TOLD]:
            warn(problem)
        if len(left_out) > MOST_TOLD:
            warn(f"{len(left_out) - MOST_TOLD} more problems; `imageworks-models validate` lists all")
