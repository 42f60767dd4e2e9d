"""Which recorded models cannot be spoken of now, because the drive of their location is away, another, or silent."""

from collections.abc import Iterable
from pathlib import Path

from imageworks.files.locations import Locations
from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.registry.entries.queries import OLLAMA, Model, text


def with_availability(models: Iterable[Model], state_dir: Path) -> list[Model]:
    """Return models of which those say ``unavailable``, with the reason, whose files cannot be spoken of now."""
    listed = list(models)
    file = state_dir / STATE_FILE
    if not listed or not file.is_file():
        return listed
    with StateDatabase.open(file, read_only=True) as state:
        locations = Locations(state.locations())
    return [_marked(model, locations) for model in listed]


def _marked(model: Model, locations: Locations) -> Model:
    path = text(model, "download_path")
    if not path.startswith("/") or text(model, "source_provider") == OLLAMA:
        return model
    root = locations.root_of(Path(path))
    if root is None or locations.state_at(root).present:
        return model
    return {**model, "unavailable": locations.state_at(root).reason}
