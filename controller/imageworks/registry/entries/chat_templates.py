"""The file that holds a model's chat template."""

from collections.abc import Callable
from pathlib import Path

from imageworks.foundation.home import expanded_or_none
from imageworks.registry.entries.queries import Model, part, text
from imageworks.registry.settings.model_places import Use, why_named


def template_file(
    model: Model, *, registry: Path | None = None, allows: Callable[[Path], bool] | None = None
) -> str | None:
    """Return the absolute path of a model's chat template; ``None`` where no file of its own holds it."""
    declared, path = part(model, "chat_template"), text(model, "download_path")
    named = text(declared, "path")
    if text(declared, "source") != "external" or not named or "\0" in named:
        return None
    single = part(model, "metadata").get("single_file") is True
    folder = Path(path).parent if single else Path(path)
    places = [place for place in (folder, registry) if place is not None and place.is_absolute()]
    given = expanded_or_none(named)
    if given is None:
        return None
    found = next((place / given for place in places if (place / given).is_file()), None)
    if found is None:
        return None
    inside = any(found.resolve().is_relative_to(place.resolve()) for place in places)
    if why_named(str(found.resolve()), Use.READING) is not None:
        return None
    return str(found) if inside or (allows is not None and allows(found)) else None
