"""What a person should know of a plan besides its changes, one line each."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from imageworks.files.safe_paths import is_there
from imageworks.files.unfinished import Unfinished
from imageworks.foundation.texts import commit_command
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import SUFFIXES
from imageworks.registry.settings.settings import RegistrySettings

MOST_NAMED: Final = 3  # files in a command to type


def uncommitted_files(root: Path, changed: Iterable[str]) -> list[str]:
    """Tell of manifests and settings whose edits do not count yet."""
    files = [path for path in changed if path.endswith(SUFFIXES)]
    told = [f"{path} has uncommitted changes, which do not count yet" for path in files]
    named = files if len(files) <= MOST_NAMED else sorted({path.partition("/")[0] for path in files})
    shown = "`imageworks-models plan --uncommitted` shows what they would do"
    return [*told, f"{shown}, `{commit_command(root, *named)}` lets them count"] if told else []


def operation_in_progress(name: str | None) -> list[str]:
    """Tell that what git is in the middle of does not count yet."""
    if name is None:
        return []
    told = f"{name} is in progress: what it brings counts once `git status` says that it is done"
    return [f"{told}; conflicts in snapshot/ are settled by `imageworks-models snapshot rebuild`"]


def unsupported_settings(settings: RegistrySettings) -> list[str]:
    """Tell of settings that are written down and not carried out, so that nobody relies on them."""
    return [f"registry.yaml: {key} is not carried out by this version" for key in settings.unenforced]


def unrecorded_models(registry: RegistryState, announced: Mapping[str, Path]) -> list[str]:
    """Tell of models that a killed run put in place and nobody declares any more: no entry owns their bytes."""
    known = {*registry.manifests, *registry.entries, *registry.blocked}
    return [
        f"{path} was put there by an interrupted run for {name}, which is not declared any more: "
        "declare it again, or remove the folder"
        for name, path in announced.items()
        if name not in known and is_there(path)
    ]


def undeclared_downloads(unfinished: Iterable[Unfinished], registry: RegistryState) -> list[str]:
    """Tell of downloads that were broken off and that no manifest declares: no reconcile goes on with them."""
    names = sorted({one.name for one in unfinished} - {*registry.manifests, *registry.blocked})
    return [f"unfinished downloads: {', '.join(names)}: `status` tells of them, `clean` removes them"] if names else []
