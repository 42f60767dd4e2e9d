"""What a person should know of a plan besides its changes, one line each."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from imageworks.reconcile.unfinished import Unfinished
from imageworks.registry.load import RegistryState
from imageworks.registry.manifest import SUFFIXES
from imageworks.registry.settings import RegistrySettings
from imageworks.transfer.paths import is_there


def uncommitted_manifests(changed: Iterable[str]) -> list[str]:
    """Tell of manifests whose edits do not count yet.

    Args:
        changed: Registry paths that differ from the checked-out commit.
    """
    return [
        f"{path} has uncommitted changes, which do not count: commit them first"
        for path in changed
        if path.endswith(SUFFIXES)
    ]


def unsupported_settings(settings: RegistrySettings) -> list[str]:
    """Tell of settings that are written down and not carried out, so that nobody relies on them.

    Args:
        settings: The registry's settings.
    """
    return [f"registry.yaml: {key} is not carried out by this version" for key in settings.unenforced]


def unrecorded_models(registry: RegistryState, announced: Mapping[str, Path]) -> list[str]:
    """Tell of models that a killed run put in place and nobody declares any more: no entry owns their bytes.

    Args:
        registry: The registry as it was read.
        announced: Where models were about to be published, by name.
    """
    known = {*registry.manifests, *registry.entries, *registry.blocked}
    return [
        f"{path} was put there by an interrupted run for {name}, which is not declared any more: "
        "declare it again, or remove the folder"
        for name, path in announced.items()
        if name not in known and is_there(path)
    ]


def undeclared_downloads(unfinished: Iterable[Unfinished], registry: RegistryState) -> list[str]:
    """Tell of downloads that were broken off and that no manifest declares: no reconcile goes on with them.

    Args:
        unfinished: What interrupted runs of this registry left.
        registry: The registry as it was read.
    """
    names = sorted({one.name for one in unfinished} - {*registry.manifests, *registry.blocked})
    return [f"unfinished downloads: {', '.join(names)}: `status` tells of them, `clean` removes them"] if names else []
