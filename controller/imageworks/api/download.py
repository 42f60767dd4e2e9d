"""Download a model in one call."""

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import TypedDict, Unpack

from imageworks.api.progress import ProgressWish, progress_for
from imageworks.model_loader.registry import DEFAULT_WAIT_SECONDS
from imageworks.tools.model_downloader.downloader import ModelDownloader
from imageworks.tools.model_downloader.values import DownloadedModel


class DownloadOptions(TypedDict, total=False):
    """What may be said of a download besides its name; all of it can be left out.

    Args:
        quantization: Which one of several, such as ``q4_k_m``.
        revision: A branch, tag or commit.
        format_preference: Acceptable formats, the preferred one first.
        location_override: A location's name, or a path, below which this host then allows models.
        include_optional: Whether documents, pictures and examples come too.
        force_redownload: Whether the pin moves and every byte is read again.
        interactive: Whether somebody at the terminal may be asked; nobody is when absent.
        backend: What is to serve it.
        roles: What it is to be used for.
        declare: Whether a manifest is written; it is when absent.
        include: Globs: of weights and data only these.
        exclude: Globs: not these files.
        weights: Only these weights, with everything that is not weights.
        sha256: The digest of a file that an address outside the hub names.
        name: What it is to be called; by family, format and so on when absent.
    """

    quantization: str | None
    revision: str | None
    format_preference: Sequence[str] | str | None
    location_override: str | Path | None
    include_optional: bool
    force_redownload: bool
    interactive: bool
    backend: str | None
    roles: Sequence[str] | str | None
    declare: bool
    include: Sequence[str] | str | None
    exclude: Sequence[str] | str | None
    weights: Sequence[str] | str | None
    sha256: str | None
    name: str | None


def download(
    model: str,
    *,
    registry: str | Path | None = None,
    progress: ProgressWish = "auto",
    wait: float = DEFAULT_WAIT_SECONDS,
    cancel: Event | None = None,
    **options: Unpack[DownloadOptions],
) -> DownloadedModel:
    """Declare a model, bring and verify its files, and record all of it in one commit.

    Args:
        model: Whatever `imageworks-models download` takes.
        registry: The registry; found as every command finds it when absent, and made where there is none.
        progress: ``auto``, a callback or ``None``.
        wait: Seconds to wait for another process that holds the registry.
        cancel: Set by another thread to call it off.
        options: See `DownloadOptions`.

    Raises:
        ImageworksError: It cannot be had; what came so far is kept, and the same call resumes it.
        OperationCancelledError: `cancel` was set.
    """
    where = None if registry is None else Path(registry)
    with progress_for(progress) as shown:
        downloader = ModelDownloader(where, wait=wait, progress=shown, cancel=cancel)
        options.setdefault("interactive", False)
        return downloader.download(model, **options)
