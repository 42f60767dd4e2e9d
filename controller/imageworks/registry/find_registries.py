"""Which registries are meant where nobody names one: those that files lie in, or those of the repository around.

A hook or a job runs in one repository; another registry of the same person is none of its business.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from imageworks.git.program import GitProgram
from imageworks.registry.entries.entry import FOLDER as ENTRIES
from imageworks.registry.entries.merge import SNAPSHOT_FOLDER
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.settings.settings import FILE

_MARK: Final = b"schema_version"


def repository_around(folder: Path) -> Path | None:
    """Return the work tree that a folder lies in; ``None`` outside of any git repository."""
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)


def registry_of(file: Path) -> Path | None:
    """Return the registry that a file lies in, in the same repository; ``None`` for a file of something else."""
    for folder in file.parents:
        if is_registry(folder):
            return folder
        if (folder / ".git").exists():
            break
    return None


def is_registry(folder: Path) -> bool:
    """Return whether a folder is a registry of models: other programs have a ``registry.yaml`` as well."""
    try:
        content = (folder / FILE).read_bytes()
    except OSError:
        return False
    return _MARK in content or any((folder / name).is_dir() for name in (MODELS, ENTRIES, SNAPSHOT_FOLDER))


def registries_of(files: Iterable[Path]) -> list[Path]:
    """Return the registries that some files lie in, once each."""
    found = (registry_of(file.parent.resolve() / file.name) for file in files)
    return list(dict.fromkeys(root for root in found if root is not None))


def registries_around(folder: Path) -> list[Path]:
    """Return the registry that a folder lies in, else all that are tracked in its repository."""
    top = repository_around(folder)
    for above in (folder, *folder.parents):
        near = [one for one in (above, above / "registry") if is_registry(one)]
        if near:
            return near[:1]
        if above == top:
            break
    return [] if top is None else [one for one in _tracked(top) if is_registry(one)]


def _tracked(top: Path) -> Iterator[Path]:
    listed = GitProgram(top, os.environ).run("ls-files", "-z", "--", FILE, f"**/{FILE}")
    for file in filter(None, listed.out.split("\0")):
        yield top / Path(file).parent


def concerns_models(content: bytes) -> bool:
    """Return whether a YAML file that lies in no registry may be one of ours; ``models/`` is a common name."""
    return _MARK in content
