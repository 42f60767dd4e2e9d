"""A host's models as OpenAI's ``/v1/models`` shows them, under the names that ``list`` shows."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock

from imageworks.detection.problems import condition_of
from imageworks.host.memory import give_back
from imageworks.registry.entries.completeness import known_incomplete
from imageworks.registry.entries.lookup import named
from imageworks.registry.entries.queries import (
    Model,
    ModelFilter,
    abilities,
    in_a_store,
    is_installed,
    name_for_people,
    producer_for_people,
    quantization_of,
    text,
    texts,
)
from imageworks.serving.client_hints import client_hints
from imageworks.serving.roles import base_url

Seen = tuple[bool, str | None]
"""Whether a model's files are here, and what they lack."""


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

    @property
    def recorded(self) -> ModelFilter:
        """Which models are shown as far as what is recorded of them goes."""
        return ModelFilter(logical=True, deprecated=self.deprecated, testing=self.testing, patterns=self.patterns)


def model_object(model: Model, weights: Path, seen: Seen) -> dict[str, object]:
    """Return one model in OpenAI's form; what is ours besides stands under ``imageworks``."""
    installed, incomplete = seen
    return {
        "id": text(model, "name"),
        "object": "model",
        "created": _seconds(text(model, "downloaded_at")),
        "owned_by": producer_for_people(model, weights) or "unknown",
        "name": name_for_people(model),
        **client_hints(model),
        "imageworks": {
            "backend": text(model, "backend") or None,
            "served_model_id": text(model, "served_model_id") or text(model, "name"),
            "base_url": base_url(model),
            "format": text(model, "download_format") or None,
            "quantization": quantization_of(model),
            "roles": texts(model, "roles"),
            "capabilities": abilities(model),
            "installed": installed,
            **({"incomplete": incomplete} if incomplete else {}),
        },
    }


def _seconds(moment: str) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return 0  # OpenAI's clients want a number, and nobody knows when


class _ListedModel:
    """One model, written once for each state in which its files were seen."""

    __slots__ = ("_incomplete", "_models", "_number", "_place", "_recorded", "_seen", "_weights", "_written")

    def __init__(self, models: Sequence[Model], number: int, model: Model, weights: Path) -> None:
        self._models = models
        self._number = number
        self._weights = weights
        # A model may be read anew from its text for each question, and whether it is here is asked with each request.
        asked = {key: model.get(key) for key in ("download_path", "unavailable", "source_provider")}
        self._place = None if in_a_store(model) else asked
        # What is recorded does not change; of older records, files tell each time.
        self._recorded = condition_of(model) is not None
        self._incomplete = known_incomplete(model) if self._recorded else None
        self._seen: Seen | None = None
        self._written = b""

    @property
    def model(self) -> Model:
        """What is recorded, read anew each time."""
        return self._models[self._number]

    def look(self) -> Seen:
        """Return whether its files are here now, and what they lack."""
        installed = is_installed(self._place if self._place is not None else self.model)
        return installed, self._incomplete if self._recorded else known_incomplete(self.model)

    def written(self, seen: Seen) -> bytes:
        """Return it as JSON."""
        if seen != self._seen:
            document = model_object(self.model, self._weights, seen)
            self._written, self._seen = _encoded(document), seen
        return self._written


class ModelList:
    """What one registry offers now: built once for each commit, and files are looked at anew each time.

    Several threads may ask; those that ask while files are looked at share the next look.
    """

    def __init__(self, recorded: Callable[[], Sequence[Model]], offered: Offered, weights: Path) -> None:
        self._recorded = recorded
        self._offered = offered
        self._weights = weights
        self._lock = Lock()
        self._looks = 0
        self._models: Sequence[Model] | None = None
        self._listed: list[_ListedModel] = []
        self._by_name: dict[str, list[_ListedModel]] = {}
        self._shown: list[tuple[_ListedModel, Seen]] = []
        self._document = b""

    def document(self) -> bytes:
        """Return the list of all models, as JSON."""
        with self._lock_for_look():
            if not self._document:
                written = b", ".join(one.written(seen) for one, seen in self._shown)
                self._document = b'{"object": "list", "data": [' + written + b"]}"
            return self._document

    def find(self, asked: str) -> Mapping[str, object] | None:
        """Return one model by its id, or by another name that only one of those shown has."""
        with self._lock:
            self._build()
            if not self._by_name:
                for one in self._listed:
                    for name in dict.fromkeys(named(one.model).names):
                        self._by_name.setdefault(name, []).append(one)
            called = [(one, one.look()) for one in self._by_name.get(asked, ())]
        shown = [(one.model, seen) for one, seen in called if self._is_shown(seen)]
        exact = [found for found in shown if text(found[0], "name") == asked]
        found = exact or shown
        return model_object(found[0][0], self._weights, found[0][1]) if len(found) == 1 else None

    def shown(self) -> list[Model]:
        """Return the models that are shown now."""
        with self._lock_for_look():
            return [one.model for one, _ in self._shown]

    def let_go(self) -> None:
        """Forget what was written of the models; asked by who reads them for this list."""
        self._models, self._by_name, self._listed, self._shown, self._document = None, {}, [], [], b""

    @contextmanager
    def _lock_for_look(self) -> Iterator[None]:
        """Hold the lock with what is shown known as it was at some time since the call."""
        before = self._looks
        with self._lock:
            if self._looks == before:
                self._looks += 1
                self._look()
            yield

    def _look(self) -> None:
        self._build()
        looked = ((one, one.look()) for one in self._listed)
        shown = [(one, seen) for one, seen in looked if self._is_shown(seen)]
        if shown != self._shown:
            self._shown, self._document = shown, b""

    def _is_shown(self, seen: Seen) -> bool:
        return self._offered.non_installed or seen == (True, None)

    def _build(self) -> None:
        models = self._recorded()
        if models is not self._models:
            self.let_go()  # before it is written of these
            chosen = self._offered.recorded.numbered(models)
            self._listed = [_ListedModel(models, number, model, self._weights) for number, model in chosen]
            self._models = models
            give_back()  # what reading them left is not to stand beside a page that is made next


def _encoded(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
