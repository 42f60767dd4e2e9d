"""What the commands that only look show of a snapshot: which models, under which names. Light; writes nothing."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from imageworks.foundation.home import expanded
from imageworks.naming.model_names import (
    compile_testing_patterns,
    display_name,
    is_testing_name,
    producer_of,
    simple_slug,
    without_suffixes,
)
from imageworks.naming.quantization_labels import quantization_label
from imageworks.registry.entries.packed import as_text

Model = Mapping[str, object]
TESTING_VARIABLE: Final = "IMAGEWORKS_TEST_MODEL_PATTERNS"
OLLAMA: Final = "ollama"
BILLION: Final = 1_000_000_000
MILLION: Final = 1_000_000
LEGACY: Final = "legacy"
"""Where in ``metadata`` stands what an earlier tool recorded and nothing here has a field for."""

PLACEHOLDER: Final = re.compile(r"model-ollama-gguf.*")
"""Names that older importers gave what they knew nothing of."""

SYNTHETIC: Final = "ollama://"
"""What a path begins with that only stands for a model in Ollama."""


class ModelFilter(NamedTuple):
    """Which models of a snapshot are asked for.

    Args:
        formats: Containers or quantizations, of which one must fit; any when empty.
        location: A location's name, or a folder that the model must stand below; any when absent.
        backend: What must serve it; any when absent.
        deprecated: Whether deprecated models are asked for too.
        logical: Whether models without files of their own are.
        testing: Whether models made by tests and demos are.
        patterns: More patterns of testing names, separated by commas.
    """

    formats: tuple[str, ...] = ()
    location: str | None = None
    backend: str | None = None
    deprecated: bool = False
    logical: bool = False
    testing: bool = False
    patterns: str | None = None

    def choose(self, models: Iterable[Model]) -> list[Model]:
        """Return the models that are asked for, in their order."""
        return list(self.each(models))

    def each(self, models: Iterable[Model]) -> Iterator[Model]:
        """Yield the same one by one, for whom ten thousand at a time would fill the memory."""
        return (model for _, model in self.numbered(models))

    def numbered(self, models: Iterable[Model]) -> Iterator[tuple[int, Model]]:
        """Yield the same, each with its place among all."""
        filters = compile_testing_patterns(self.patterns)
        for place, model in enumerate(models):
            if (
                (self.logical or text(model, "download_path"))
                and (self.deprecated or model.get("deprecated") is not True)
                and (self.testing or not is_testing(model, filters))
                and self._fits(model)
            ):
                yield place, model

    def _fits(self, model: Model) -> bool:
        if self.backend and text(model, "backend").lower() != self.backend.lower():
            return False
        if self.formats and not any(is_of_format(model, wanted) for wanted in self.formats):
            return False
        return self.location is None or _is_at(model, self.location)


class RoleRow(NamedTuple):
    """One model in one of its roles.

    Args:
        role: The role.
        priority: The number by which the role chooses; the highest wins.
        model: The merged model.
    """

    role: str
    priority: int
    model: Model


def text(model: Model, key: str) -> str:
    """Return a model's text field, empty when it has none."""
    value = model.get(key)
    return value if isinstance(value, str) else ""


def part(model: Model, key: str) -> Mapping[str, object]:
    """Return a model's object field, empty when it has none."""
    value = model.get(key)
    if value is None or isinstance(value, dict):  # most are, and to ask an abstract class takes long
        return value or {}
    return value if isinstance(value, Mapping) else {}


def texts(model: Model, key: str) -> list[str]:
    """Return a model's list of texts, empty when it has none."""
    value = model.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def size_of(model: Model) -> int:
    """Return the recorded bytes of a model's files."""
    value = model.get("download_size_bytes")
    return value if isinstance(value, int) else 0


def is_testing(model: Model, filters: re.Pattern[str] | None = None) -> bool:
    """Return whether a test or a demo made a model."""
    marked = part(model, "metadata").get("testing") is True
    return marked or is_testing_name(text(model, "name"), display=text(model, "display_name"), filters=filters)


def is_installed(model: Model) -> bool:
    """Return whether a model's files are there: its path exists, and in Ollama's store all its blobs.

    Of a model in a store that cannot be seen from here the last look at Ollama counts.
    """
    path = text(model, "download_path")
    if path.startswith(SYNTHETIC):
        conditions = model.get("conditions")
        told = conditions if isinstance(conditions, list) else []
        return any(part({"it": one}, "it").get("type") == "Ready" and one.get("status") == "True" for one in told)
    if model.get("unavailable"):
        return False
    # A disk that does not answer has nothing to offer: os.path says so, where Path raises by the version of Python.
    if not path.startswith("/") or not os.path.exists(path):  # noqa: PTH110
        return False
    return text(model, "source_provider") != OLLAMA or all(map(os.path.exists, file_paths(model)))


def in_a_store(model: Model) -> bool:
    """Return whether more than a model's path says whether it is installed."""
    return text(model, "source_provider") == OLLAMA or text(model, "download_path").startswith(SYNTHETIC)


def is_of_format(model: Model, wanted: str) -> bool:
    """Return whether a model is of a container or a quantization, in any case; AWQ's are found by ``w4g128`` too."""
    details = part(part(model, "metadata"), "quantization_details")
    keys = ("download_format", "format")
    said = [*(text(model, key) for key in keys), quantization_of(model), details.get("method"), details.get("compact")]
    return wanted.lower() in {value.lower() for value in said if isinstance(value, str)}


def name_for_people(model: Model) -> str:
    """Return the display name, made from the family where nobody recorded one."""
    shown = text(model, "display_name")
    if shown:
        return shown
    return simple_names(model)[1] if text(model, "family") else text(model, "name")


def simple_names(model: Model, *, extra: str | None = None) -> tuple[str, str]:
    """Return a model's simple slug and display name: the one formula for everything that names models."""
    quantization = quantization_of(model)
    family = without_suffixes(text(model, "family"), (quantization, text(model, "download_format")))
    if text(model, "backend") == OLLAMA:
        family = without_suffixes(family, ("latest",))
    size = parameter_size(model)
    slug = simple_slug(family, parameter_size=size, extra=extra, quantization=quantization)
    return slug, display_name(family, parameter_size=size, extra=extra, quantization=quantization)


def parameter_size(model: Model) -> str | None:
    """Return how many parameters a model has as people say it, such as ``7.6b``; ``None`` when nobody counted them."""
    metadata = part(model, "metadata")
    said = text(metadata, "parameter_size").strip() or text(_details(model), "parameter_size").strip()
    if said:
        return said.lower()
    counted = metadata.get("parameters")
    if not isinstance(counted, int) or counted < MILLION:
        return None
    unit, letter = (BILLION, "b") if counted >= BILLION else (MILLION, "m")
    return f"{counted / unit:.1f}".removesuffix(".0") + letter


def quantization_of(model: Model) -> str | None:
    """Return a model's quantization: as recorded, else as Ollama says it of a name that does not."""
    return text(model, "quantization") or quantization_label(text(_details(model), "quantization_level"))


def _details(model: Model) -> Model:
    """Return what Ollama says of a model besides its name."""
    told = part(part(model, "metadata"), OLLAMA)
    return part(told, "details") if told else told


def display_after(model: Model, before: Model | None) -> str:
    """Return a model's display name after another look at it."""
    shown = text(before, "display_name") if before is not None else ""
    if before is not None and shown and not (text(before, "family") and shown == simple_names(before)[1]):
        return shown
    return simple_names(model)[1]


def producer_for_people(model: Model, weights: Path) -> str | None:
    """Return who made a variant: as recorded, else from its repository, its served name, or the folder it stands in."""
    recorded = text(model, "producer")
    if recorded:
        return recorded
    path = Path(text(model, "download_path"))
    repo = part(model, "resolved").get("repo") or part(model, "source").get("huggingface")
    return producer_of(
        repo=repo if isinstance(repo, str) else None,
        served_model_id=text(model, "served_model_id") if text(model, "backend") == "ollama" else None,
        relative_path=path.relative_to(weights).as_posix() if path.is_relative_to(weights) else None,
    )


def abilities(model: Model) -> list[str]:
    """Return the names of the capabilities that a model has."""
    return [name for name, has in part(model, "capabilities").items() if has is not False]


def condense(models: Iterable[Model]) -> Iterator[Model]:
    """Yield one model for each family, backend, format and quantization: the one that says most."""
    best: dict[tuple[str, ...], Model] = {}  # as texts: all may be of another family
    for model in models:
        key = (text(model, "family") or text(model, "name"), *(text(model, key) for key in _KIND))
        if key not in best or richness(model) > richness(best[key]):
            best[key] = as_text(model)
    yield from map(dict, sorted(best.values(), key=lambda model: text(model, "name")))


def richness(model: Model) -> tuple[int, ...]:
    """Return how much a record says, comparable: files that are there first, then roles, then the number of fields."""
    known = sum(1 for value in model.values() if value not in (None, "", [], {}))
    current = model.get("deprecated") is not True
    return (is_installed(model), current, model.get("managed") is True, len(texts(model, "roles")), known)


_KIND: Final = ("backend", "download_format", "quantization")


def role_rows(models: Iterable[Model]) -> list[RoleRow]:
    """Return one row for each role of each model: by role, then as the role would choose."""
    rows = []
    for model in models:
        for role in dict.fromkeys(texts(model, "roles")):
            priority = part(model, "role_priority").get(role, 0)
            rows.append(RoleRow(role, priority if isinstance(priority, int) else 0, model))
    return sorted(rows, key=lambda row: (row.role, -row.priority, text(row.model, "name")))


def file_paths(model: Model) -> list[str]:
    """Return the absolute paths of a model's recorded files; none for a model that stands in no folder."""
    path = text(model, "download_path")
    if not path.startswith("/"):
        return []
    single = part(model, "metadata").get("single_file") is True
    return [path] if single else [f"{path}/{name}" for name in texts(model, "download_files")]


def _is_at(model: Model, location: str) -> bool:
    if not location.startswith(("/", "~")):
        return text(model, "download_location") == location
    path = text(model, "download_path")
    return path.startswith("/") and Path(path).is_relative_to(expanded(location))
