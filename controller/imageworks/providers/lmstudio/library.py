"""The models that LM Studio has: what stands at ``publisher/model/file`` below its folder. Reads names, no content."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imageworks.detection.file_names import Container, Role, classify

SERVED: Final = frozenset({"gguf", "mlx"})
"""What LM Studio can load; other weights may stand there and are nothing to it."""

_DEPTH: Final = 2  # publisher/model
_UNFINISHED: Final = (".part", ".downloading", ".incomplete", ".aria2")


@dataclass(frozen=True, slots=True)
class StudioModel:
    """One folder of models as LM Studio sees it.

    Args:
        name: ``publisher/model``.
        folder: Where it stands.
        weights: The files of weights in it, by name.
        projectors: The mmproj files that stand beside them.
        size: Bytes of all of them.
    """

    name: str
    folder: Path
    weights: tuple[str, ...]
    projectors: tuple[str, ...]
    size: int


def observe_studio(root: Path) -> Iterator[StudioModel]:
    """Yield the models below LM Studio's folder, sorted; what stands at another depth is none to LM Studio."""
    for publisher in _folders(root):
        for folder in _folders(publisher):
            found = _model(f"{publisher.name}/{folder.name}", folder)
            if found.weights:
                yield found


def studio_identity(root: Path, model: Path, weights: list[str]) -> str | None:
    """Return what LM Studio calls a model, its path there; ``None`` where it does not see it."""
    if not model.is_relative_to(root) or len(model.relative_to(root).parts) != _DEPTH:
        return None
    name = model.relative_to(root).as_posix()
    if not weights or any("/" in path for path in weights):
        return None
    quantized = sorted(path for path in weights if classify(path).container is Container.GGUF)
    return f"{name}/{quantized[0]}" if quantized else name


def _model(name: str, folder: Path) -> StudioModel:
    weights, projectors, size = list[str](), list[str](), 0
    for entry in _entries(folder):
        role = classify(entry.name).role
        if role not in {Role.WEIGHTS, Role.PROJECTOR} or entry.name.lower().endswith(_UNFINISHED):
            continue
        try:
            if not entry.is_file():
                continue
            size += entry.stat().st_size
        except OSError:
            continue
        (weights if role is Role.WEIGHTS else projectors).append(entry.name)
    return StudioModel(name, folder, tuple(sorted(weights)), tuple(sorted(projectors)), size)


def _folders(folder: Path) -> list[Path]:
    return sorted(
        Path(entry.path) for entry in _entries(folder) if not entry.name.startswith(".") and _is_folder(entry)
    )


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
