"""Where a model's server answers, by the model's name: what applications ask before they send requests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.texts import several
from imageworks.model_loader.entries import RegistryEntry
from imageworks.model_loader.registry import get_entry, load_registry
from imageworks.registry.legacy_snapshot import DEFAULT_PORTS, OTHER_PORT
from imageworks.serving.roles import base_url

__all__ = ["CapabilityError", "SelectedModel", "default_backend_port", "load_registry", "select_model"]


class CapabilityError(ImageworksError, RuntimeError):
    """No model can do what is asked of it."""


@dataclass(frozen=True, slots=True)
class SelectedModel:
    """How a model is reached.

    Args:
        logical_name: The variant name.
        endpoint_url: The base address of its OpenAI-compatible server.
        internal_model_id: What requests to that server send as ``model``.
        backend: What serves it.
        capabilities: Whether it can do each thing.
    """

    logical_name: str
    endpoint_url: str
    internal_model_id: str
    backend: str
    capabilities: Mapping[str, bool]


def default_backend_port(backend: str) -> int:
    """Return the port that a backend's server is expected on where nothing says otherwise.

    Args:
        backend: Such as ``vllm``.
    """
    return DEFAULT_PORTS.get(backend, OTHER_PORT)


def select_model(
    name: str, *, require_capabilities: Iterable[str] | str | None = None, registry: Path | None = None
) -> SelectedModel:
    """Return how a model is reached; nothing is started.

    Args:
        name: The variant name, or anything else that only one model is called.
        require_capabilities: What it must be able to do, such as ``vision``.
        registry: The registry; found as every command finds it when absent.

    Raises:
        UnknownModelError: No model, or more than one, is called so; it is a ``KeyError``.
        CapabilityError: It cannot do what is required.
    """
    entry = get_entry(name, registry=registry)
    missing = missing_capabilities(entry, several(require_capabilities))
    if missing:
        raise CapabilityError(
            f"{entry.name} has no {', '.join(missing)}", remedy="Name another model, or correct its capabilities."
        )
    host = entry.backend_config.host or "localhost"
    usual = f"http://{host}:{default_backend_port(entry.backend)}/v1"
    return SelectedModel(
        logical_name=entry.name,
        endpoint_url=(base_url(entry.fields) or usual).rstrip("/"),
        internal_model_id=entry.served_model_id or entry.name,
        backend=entry.backend,
        capabilities={ability: value is not False for ability, value in entry.capabilities.items()},
    )


def missing_capabilities(entry: RegistryEntry, required: Iterable[str]) -> list[str]:
    """Return what a model cannot do of what is required.

    Args:
        entry: The model.
        required: Capabilities, in any case.
    """
    able = {ability.lower() for ability, value in entry.capabilities.items() if value is not False}
    return [ability for ability in required if ability.strip().lower() not in able]
