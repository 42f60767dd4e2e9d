"""The registry and its downloads as Python code sees them, as earlier tools had them; opened when first asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imageworks.model_loader.registry import get_entry, list_models, load_registry
    from imageworks.model_loader.role_selection import select_by_role
    from imageworks.model_loader.service import CapabilityError, select_model

__all__ = ["CapabilityError", "get_entry", "list_models", "load_registry", "select_by_role", "select_model"]

_HOMES = {
    "CapabilityError": "service",
    "get_entry": "registry",
    "list_models": "registry",
    "load_registry": "registry",
    "select_by_role": "role_selection",
    "select_model": "service",
}


def __getattr__(name: str) -> object:
    """Return what is asked for by its name, importing its module."""
    from importlib import import_module

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    """Return the public face alone."""
    return __all__
