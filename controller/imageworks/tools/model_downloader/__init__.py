"""The Python API of the model downloader: thin doors, each opened when first asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imageworks.model_loader.download_adapter import list_downloads, record_download, remove_download
    from imageworks.tools.model_downloader.config import DownloaderConfig
    from imageworks.tools.model_downloader.downloader import ModelDownloader
    from imageworks.tools.model_downloader.formats import (
        FormatDetector,
        FormatInfo,
        detect_format_and_quant,
    )
    from imageworks.tools.model_downloader.questions import Questions
    from imageworks.tools.model_downloader.url_analyzer import URLAnalysis, URLAnalyzer
    from imageworks.tools.model_downloader.values import DownloadedModel

__all__ = [
    "DownloadedModel",
    "DownloaderConfig",
    "FormatDetector",
    "FormatInfo",
    "ModelDownloader",
    "Questions",
    "URLAnalysis",
    "URLAnalyzer",
    "detect_format_and_quant",
    "list_downloads",
    "record_download",
    "remove_download",
]

_ADAPTER = "imageworks.model_loader.download_adapter"
_HOMES = {
    "DownloaderConfig": "config",
    "DownloadedModel": "values",
    "FormatDetector": "formats",
    "FormatInfo": "formats",
    "ModelDownloader": "downloader",
    "Questions": "questions",
    "detect_format_and_quant": "formats",
    "list_downloads": _ADAPTER,
    "record_download": _ADAPTER,
    "remove_download": _ADAPTER,
    "URLAnalysis": "url_analyzer",
    "URLAnalyzer": "url_analyzer",
}


def __getattr__(name: str) -> object:
    """Return a door by its name, importing what stands behind it."""
    from importlib import import_module

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home if "." in home else f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    """Return the public face alone."""
    return __all__
