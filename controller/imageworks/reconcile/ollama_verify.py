"""Compare what entries record of Ollama with the manifests in its store; their blobs are files like any other."""

from pathlib import Path

from imageworks.providers.ollama_errors import OllamaStoreError
from imageworks.providers.ollama_names import same_model
from imageworks.providers.ollama_store import read_store
from imageworks.providers.ollama_values import OllamaModel
from imageworks.reconcile.ollama_sight import is_as_recorded, recorded_name
from imageworks.registry.entry import Entry


class StoreManifests:
    """Reads each store once."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[OllamaModel, ...] | None] = {}

    def problem(self, entry: Entry) -> str | None:
        """Return what is wrong with a model's manifest in its store; ``None`` when nothing is, or nobody can tell.

        Args:
            entry: What is recorded.
        """
        name = recorded_name(entry)
        models = self._models(entry.path) if entry.path is not None else None
        if name is None or models is None:
            return None
        model = next((model for model in models if same_model(model.name, name)), None)
        if model is None:
            return f"{name} is gone from Ollama"
        return None if is_as_recorded(entry, model) else f"{name} is another model in Ollama now ({model.digest[:12]})"

    def _models(self, store: Path) -> tuple[OllamaModel, ...] | None:
        if store not in self._read:
            try:
                self._read[store] = read_store(store).models if (store / "manifests").is_dir() else None
            except OllamaStoreError:
                self._read[store] = None
        return self._read[store]
