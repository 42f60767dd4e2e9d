"""The engines that reach the nodes of a cluster, by the names that ``--on`` takes; each is loaded when it is named."""

from importlib import import_module
from typing import Final

from imageworks.fleet.engine import Engine
from imageworks.foundation.errors import ImageworksError, UsageError

ENGINES: Final = {"ray": "imageworks.operations.fleet.ray_engine"}
"""By name: the module whose ``open_engine(address)`` returns it, and the extra of the same name that it needs."""


def open_engine(on: str) -> Engine:
    """Return the engine that ``NAME`` or ``NAME=ADDRESS`` means, not yet connected."""
    name, _, address = on.partition("=")
    if name not in ENGINES:
        raise UsageError(f"--on: {name!r} is no engine", remedy=f"There is: {', '.join(ENGINES)}, or ray=ADDRESS.")
    try:
        module = import_module(ENGINES[name])
    except ModuleNotFoundError as error:
        raise ImageworksError(
            f"{name} is not installed here: {error}",
            remedy=f"Install it in the version of the cluster: pip install 'imageworks-models[{name}]'",
        ) from error
    engine: Engine = module.open_engine(address)
    return engine
