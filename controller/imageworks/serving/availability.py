"""Which recorded models cannot be spoken of now, because the drive of their location is away, another, or silent."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from imageworks.files.locations import Locations
from imageworks.files.state import STATE_FILE, StateDatabase
from imageworks.registry.entries.queries import OLLAMA, Model, text


def with_availability(models: Iterable[Model], state_dir: Path) -> Iterator[Model]:
    """Yield models of which those say ``unavailable``, with the reason, whose files cannot be spoken of now."""
    locations: Locations | None = None
    for model in models:
        locations = locations or _known_locations(state_dir / STATE_FILE)
        yield _marked(model, locations)


def _known_locations(file: Path) -> Locations:
    if not file.is_file():
        return Locations(())
    with StateDatabase.open(file, read_only=True) as state:
        return Locations(state.locations())


def _marked(model: Model, locations: Locations) -> Model:
    path = text(model, "download_path")
    if not path.startswith("/") or text(model, "source_provider") == OLLAMA:
        return model
    root = locations.root_of(Path(path))
    if root is None or locations.state_at(root).present:
        return model
    return {**model, "unavailable": locations.state_at(root).reason}
