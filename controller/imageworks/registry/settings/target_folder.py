"""Where a model's folder is below its location's root: one rule for the plan and for the checks between manifests."""

from pathlib import Path
from typing import Final

from imageworks.registry.manifests.manifest import is_commit
from imageworks.registry.settings.settings import PUBLISHER

NO_PUBLISHER: Final = "local"


def target_folder(root: Path, layout: str, manifest_name: str, repo: str | None, ref: str | None) -> Path:
    """Return a model's folder below a location's root."""
    return root / folder_name(layout, manifest_name, repo, ref)


def folder_name(layout: str, manifest_name: str, repo: str | None, ref: str | None) -> str:
    """Return a model's folder relative to its location's root, ``/``-separated; see `target_folder`."""
    if layout == PUBLISHER and "/" not in (repo or ""):
        repo = f"{NO_PUBLISHER}/{repo or manifest_name}"  # LM Studio sees nothing that stands a folder higher or lower
    if layout == "flat" or repo is None:
        return manifest_name
    suffix = "" if ref is None or ref == "main" or is_commit(ref) else "@" + ref.replace("/", "-")
    return repo + suffix
