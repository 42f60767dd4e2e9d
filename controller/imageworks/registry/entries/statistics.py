"""A host's models, counted."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from imageworks.registry.entries.queries import Model, file_paths, is_installed, quantization_of, size_of, text

UNKNOWN: Final = "unknown"
_GROUPS: Final = {
    "format": "download_format",
    "quantization": "quantization",
    "backend": "backend",
    "location": "download_location",
}


@dataclass(frozen=True, slots=True)
class Statistics(Mapping[str, object]):
    """A host's models, counted; as a mapping it has the earlier tool's keys, such as ``total_models``.

    Args:
        models: Models with files.
        installed: Those of them that are there.
        logical: Models without files of their own.
        deprecated: Models that are kept for going back.
        recorded_bytes: What the entries say that all files have.
        bytes_on_disk: What the files that are there have together, each file counted once however often it is linked.
        groups: Models and recorded bytes by value, for each of format, quantization, backend and location.
    """

    models: int
    installed: int
    logical: int
    deprecated: int
    recorded_bytes: int
    bytes_on_disk: int
    groups: Mapping[str, Mapping[str, tuple[int, int]]]

    def _items(self) -> Mapping[str, object]:
        by_value = {
            f"by_{title}": {value: n for value, (n, _) in group.items()} for title, group in self.groups.items()
        }
        return {
            "total_models": self.models,
            "total_size_bytes": self.recorded_bytes,
            **by_value,
            "installed": self.installed,
            "logical": self.logical,
            "deprecated": self.deprecated,
            "bytes_on_disk": self.bytes_on_disk,
        }

    def __getitem__(self, key: str) -> object:
        return self._items()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())


def count(models: Iterable[Model]) -> Statistics:
    """Return a host's models, counted; looks at each recorded file to count links to the same bytes once."""
    groups: dict[str, dict[str, tuple[int, int]]] = {title: {} for title in _GROUPS}
    having = installed = logical = deprecated = recorded = 0
    seen: dict[tuple[int, int], int] = {}
    for model in models:  # one by one: ten thousand at a time would fill the memory
        deprecated += model.get("deprecated") is True
        if not text(model, "download_path"):
            logical += 1
            continue
        having += 1
        installed += is_installed(model)
        size = size_of(model)
        recorded += size
        for title, key in _GROUPS.items():
            value = (quantization_of(model) if key == "quantization" else text(model, key)) or UNKNOWN
            number, bytes_of_all = groups[title].get(value, (0, 0))
            groups[title][value] = (number + 1, bytes_of_all + size)
        _look_at_files(model, seen)
    return Statistics(
        models=having,
        installed=installed,
        logical=logical,
        deprecated=deprecated,
        recorded_bytes=recorded,
        bytes_on_disk=sum(seen.values()),
        groups={title: dict(sorted(group.items(), key=_most_first)) for title, group in groups.items()},
    )


def _most_first(item: tuple[str, tuple[int, int]]) -> tuple[int, str]:
    value, (number, _) = item
    return -number, value


def _look_at_files(model: Model, seen: dict[tuple[int, int], int]) -> None:
    """Note the size of each file of a model by what the disk knows it as."""
    for path in file_paths(model) if not model.get("unavailable") else ():
        try:
            found = os.stat(path)  # noqa: PTH116 # tens of thousands of files: a Path for each costs more than the call
        except OSError:
            continue
        seen[found.st_dev, found.st_ino] = found.st_size
