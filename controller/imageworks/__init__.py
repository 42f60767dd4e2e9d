"""A Git-backed declarative registry for AI models, with a reconcile controller.

>>> import imageworks
>>> registry = imageworks.Registry.open()
>>> registry.plan()
<Plan for workstation: 2 to add, 0 to change, 0 to destroy; 4.5 GiB to fetch>
>>> imageworks.download("Qwen/Qwen2.5-VL-7B-Instruct-AWQ")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imageworks.api.download import download
    from imageworks.api.progress import ProgressEvent
    from imageworks.api.session import Registry
    from imageworks.foundation.errors import ImageworksError
    from imageworks.plan.report import OperationCancelledError

__version__ = "0.1.0"
__all__ = ["ImageworksError", "OperationCancelledError", "ProgressEvent", "Registry", "__version__", "download"]

_HOMES = {
    "ImageworksError": "imageworks.foundation.errors",
    "OperationCancelledError": "imageworks.plan.report",
    "ProgressEvent": "imageworks.api.progress",
    "Registry": "imageworks.api.session",
    "download": "imageworks.api.download",
}


def __getattr__(name: str) -> object:
    """Return what is asked for by its name, importing its module."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """Return the public face alone."""
    return __all__
