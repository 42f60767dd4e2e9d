"""Where a model's folder is below its location's root: one rule for the plan and for the checks between manifests."""

from pathlib import Path
from typing import Final

from imageworks.registry.manifest import is_commit
from imageworks.registry.settings import PUBLISHER

NO_PUBLISHER: Final = "local"


def target_folder(root: Path, layout: str, manifest_name: str, repo: str | None, ref: str | None) -> Path:
    """Return a model's folder below a location's root.

    Args:
        root: The location's root.
        layout: ``owner/repo``, ``publisher/repo`` (likewise, and always two folders deep) or ``flat``.
        manifest_name: The variant name, used by ``flat`` and where there is no repository.
        repo: The repository's name.
        ref: The declared branch or revision; a branch or tag other than ``main`` gets a suffix, a pin alone does not.
    """
    return root / folder_name(layout, manifest_name, repo, ref)


def folder_name(layout: str, manifest_name: str, repo: str | None, ref: str | None) -> str:
    """Return a model's folder relative to its location's root, ``/``-separated; see `target_folder`."""
    if layout == PUBLISHER and "/" not in (repo or ""):
        repo = f"{NO_PUBLISHER}/{repo or manifest_name}"  # LM Studio sees nothing that stands a folder higher or lower
    if layout == "flat" or repo is None:
        return manifest_name
    suffix = "" if ref is None or ref == "main" or is_commit(ref) else "@" + ref.replace("/", "-")
    return repo + suffix
