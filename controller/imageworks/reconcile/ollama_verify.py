"""Compare what entries record of Ollama with the manifests in its store; their blobs are files like any other."""

from pathlib import Path

from imageworks.providers.ollama_errors import OllamaStoreError
from imageworks.providers.ollama_names import parse_name, same_model
from imageworks.providers.ollama_store import StoreReading, is_store, read_store
from imageworks.reconcile.ollama_sight import is_as_recorded, recorded_name
from imageworks.reconcile.verify import Fault
from imageworks.registry.entry import Entry


class StoreManifests:
    """Reads each store once."""

    def __init__(self) -> None:
        self._read: dict[Path, StoreReading | OllamaStoreError | None] = {}

    def problem(self, entry: Entry) -> tuple[Fault, str] | None:
        """Return what is wrong with a model's manifest in its store, or why nobody can tell; ``None`` when nothing is.

        Args:
            entry: What is recorded.
        """
        name = recorded_name(entry)
        reading = self._reading(entry.path) if entry.path is not None else None
        if name is None or reading is None:
            return None
        if isinstance(reading, OllamaStoreError):
            return Fault.UNREADABLE, reading.message
        model = next((model for model in reading.models if same_model(model.name, name)), None)
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
