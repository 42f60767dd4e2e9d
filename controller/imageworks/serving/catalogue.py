"""A host's models as OpenAI's ``/v1/models`` shows them, under the names that ``list`` shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imageworks.registry.completeness import known_incomplete
from imageworks.registry.lookup import named
from imageworks.registry.views import (
    Model,
    Wanted,
    abilities,
    is_installed,
    name_for_people,
    producer_for_people,
    quantization_of,
    text,
    texts,
)
from imageworks.serving.roles import base_url


@dataclass(frozen=True, slots=True)
class Offered:
    """Which models are shown.

    Args:
        testing: Whether what tests and demos made is.
        non_installed: Whether models are whose files are not here, or not all that they need.
        deprecated: Whether deprecated ones are.
        patterns: More patterns of testing names, separated by commas.
    """

    testing: bool = False
    non_installed: bool = False
    deprecated: bool = False
    patterns: str | None = None

    def choose(self, models: Sequence[Model]) -> list[Model]:
        """Return the models that are shown, in their order.

        Args:
            models: A host's snapshot.
        """
        wanted = Wanted(logical=True, deprecated=self.deprecated, testing=self.testing, patterns=self.patterns)
        return [model for model in wanted.choose(models) if self.non_installed or _is_servable(model)]


def _is_servable(model: Model) -> bool:
    return is_installed(model) and known_incomplete(model) is None


def model_object(model: Model, weights: Path) -> dict[str, object]:
    """Return one model in OpenAI's form; what is ours besides stands under ``imageworks``.

    Args:
        model: The merged model.
        weights: The root whose folders are named by owner.
    """
    return {
        "id": text(model, "name"),
        "object": "model",
        "created": _seconds(text(model, "downloaded_at")),
        "owned_by": producer_for_people(model, weights) or "unknown",
        "name": name_for_people(model),
        "imageworks": {
            "backend": text(model, "backend") or None,
            "served_model_id": text(model, "served_model_id") or text(model, "name"),
            "base_url": base_url(model),
            "format": text(model, "download_format") or None,
            "quantization": quantization_of(model),
            "roles": texts(model, "roles"),
            "capabilities": abilities(model),
            "installed": is_installed(model),
            **({"incomplete": why} if (why := known_incomplete(model)) else {}),
        },
    }


def _seconds(moment: str) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return 0  # OpenAI's clients want a number, and nobody knows when


class Catalogue:
    """What one registry offers now; files are looked at anew each time.

    Args:
        recorded: Returns the models as they are recorded now.
        offered: Which models are shown.
        weights: The root whose folders are named by owner.
    """

    def __init__(self, recorded: Callable[[], Sequence[Model]], offered: Offered, weights: Path) -> None:
        self._recorded = recorded
        self._offered = offered
        self._weights = weights

    def document(self) -> dict[str, object]:
        """Return the list of all models.

        Raises:
            ImageworksError: What is recorded cannot be read.
        """
        return {"object": "list", "data": [model_object(model, self._weights) for model in self.shown()]}

    def find(self, asked: str) -> Mapping[str, object] | None:
        """Return one model by its id, or by another name that only one of those shown has.

        Args:
            asked: The name.

        Raises:
            ImageworksError: What is recorded cannot be read.
        """
        shown = self.shown()
        exact = [model for model in shown if text(model, "name") == asked]
        found = exact or [model for model in shown if asked in named(model).names]
        return model_object(found[0], self._weights) if len(found) == 1 else None

    def shown(self) -> list[Model]:
        """Return the models that are shown now."""
        return self._offered.choose(self._recorded())
