"""The second pass: look at verified files and say what the model is, for its entry."""

from collections.abc import Iterable
from pathlib import Path

from imageworks.reconcile.compose import Facts
from imageworks.reconcile.situation import Upstream
from imageworks.registry.entry import ArtifactFile


def describe(folder: Path, files: Iterable[ArtifactFile], upstream: Upstream) -> Facts:
    """Return what verified files say of their model.

    Args:
        folder: Where the files stand.
        files: The verified files.
        upstream: What the source says of the model.
    """
    del folder, files
    return Facts(container=upstream.container, quantization=upstream.quantization, license=upstream.license)
