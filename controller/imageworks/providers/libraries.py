"""Folders of models that another program shows to its users: LM Studio's, where hosts and registries have one."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from imageworks.detection.file_names import Role, classify
from imageworks.foundation.home import expanded
from imageworks.host.lmstudio_home import find_lmstudio
from imageworks.host.settings import DEFAULT_WEIGHTS, DEFAULT_WINDOWS_LMSTUDIO, HostSettings
from imageworks.providers.lmstudio.library import SERVED, studio_identity
from imageworks.providers.locations import LINUX, LMSTUDIO, WINDOWS
from imageworks.registry.settings.settings import PUBLISHER, Location

LIBRARY: Final = LMSTUDIO
"""The kind of such locations, and the backend of the models in them."""


def locations_here(host: HostSettings) -> Mapping[str, Location]:
    """Return the places for models on this machine: our own store, and the libraries that exist here."""
    found = {LINUX: Location(LINUX, _below_home(host.model_root or DEFAULT_WEIGHTS))}
    if host.lmstudio_root is not None:  # named on purpose, so it counts before it is made
        found[WINDOWS] = _library(WINDOWS, host.lmstudio_root)
    folders = [(DEFAULT_WINDOWS_LMSTUDIO, True), *((one.models, one.windows) for one in find_lmstudio())]
    for folder, windows in folders:
        name = WINDOWS if windows else LIBRARY
        if folder.is_dir() and name not in found:
            found[name] = _library(name, folder)
    return found


def name_in_library(folders: Iterable[Path], model: Path, files: Iterable[str], container: str | None) -> str | None:
    """Return what a library calls a model, where it stands so that it is seen and can be loaded."""
    if container not in SERVED:
        return None
    weights = [path for path in files if classify(path).role is Role.WEIGHTS]
    names = (studio_identity(folder, model, weights) for folder in folders)
    return next((name for name in names if name is not None), None)


def _library(name: str, folder: Path) -> Location:
    return Location(name, _below_home(folder), layout=PUBLISHER, kind=LIBRARY)


def _below_home(path: Path) -> str:
    """Return a path as registry.yaml should have it: with ``~`` where it is below the home folder."""
    full = expanded(path)
    home = Path.home()
    return f"~/{full.relative_to(home).as_posix()}" if full.is_relative_to(home) and full != home else full.as_posix()
