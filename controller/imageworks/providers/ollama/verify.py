"""Compare what entries record of Ollama with the manifests in its store; their blobs are files like any other."""

from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.plan.verification import Fault
from imageworks.providers.ollama.errors import OllamaStoreError
from imageworks.providers.ollama.facts import is_as_recorded, recorded_name
from imageworks.providers.ollama.names import NameKey, comparable, parse_name
from imageworks.providers.ollama.store import StoreReading, is_store, read_store
from imageworks.registry.entries.entry import Entry

if TYPE_CHECKING:
    from imageworks.providers.ollama.model import OllamaModel


class StoreManifests:
    """Reads each store once."""

    def __init__(self) -> None:
        self._read: dict[Path, StoreReading | OllamaStoreError | None] = {}
        self._models: dict[Path, dict[NameKey, OllamaModel]] = {}

    def problem(self, entry: Entry) -> tuple[Fault, str] | None:
        """Return what is wrong with a model's manifest in its store, or why nobody can tell."""
        name = recorded_name(entry)
        reading = self._reading(entry.path) if entry.path is not None else None
        if name is None or reading is None:
            return None
        if isinstance(reading, OllamaStoreError):
            return Fault.UNREADABLE, reading.message
        if reading.folder not in self._models:
            self._models[reading.folder] = {comparable(model.name): model for model in reversed(reading.models)}
        model = self._models[reading.folder].get(comparable(name))
        if model is not None:
            changed = Fault.MANIFEST, f"{name} is another model in Ollama now ({model.digest[:12]})"
            return None if is_as_recorded(entry, model) else changed
        own = reading.folder.joinpath("manifests", *parse_name(name).parts)
        above = {_folded(path) for path in (own, *own.parents)}  # the case of the store may be another
        closed = sorted(path for path in reading.unreadable if _folded(path) in above)
        why = {_folded(path): why for path, why in reading.damaged}
        if closed:
            return Fault.UNREADABLE, f"{closed[0]}: {why[_folded(closed[0])]}, so nobody can say what {name} is"
        if _folded(own) in why:
            return Fault.MANIFEST, f"{own}: {why[_folded(own)]}"
        return Fault.MANIFEST, f"{name} is gone from Ollama"

    def _reading(self, store: Path) -> StoreReading | OllamaStoreError | None:
        if store not in self._read:
            try:
                self._read[store] = read_store(store) if is_store(store / "manifests") else None
            except OllamaStoreError as error:
                self._read[store] = error
        return self._read[store]


def _folded(path: Path) -> str:
    return str(path).lower()
