"""Whose a model of Ollama's is, what it is made of, and which are pinned, as far as manifests say it. Pure."""

from collections.abc import Iterable
from typing import Final

from imageworks.naming.model_names import split_ollama_tag
from imageworks.registry.manifests.manifest import Manifest, OllamaSource, State

LIBRARY: Final = "library"
"""The owner of Ollama's models without one."""
OLLAMA_REGISTRY: Final = "registry.ollama.ai"
_KNOWN_REGISTRIES: Final = frozenset({OLLAMA_REGISTRY, "hf.co", "huggingface.co"})
"""Where an owner is who the same name means elsewhere; anybody can give any name in a registry of one's own."""


def pinned_names(manifests: Iterable[Manifest]) -> frozenset[str]:
    """Return the models of Ollama that manifests want at one digest."""
    sources = (one.source for one in manifests if one.state is State.PRESENT)  # else nobody holds them to it
    return frozenset(ollama_key(one.name) for one in sources if isinstance(one, OllamaSource) and one.digest)


def ollama_key(name: str) -> str:
    """Return what is equal for two spellings of one model of Ollama: its defaults filled in, the case folded."""
    host, namespace, model, tag = _ollama_parts(name)
    return f"{host}/{namespace}/{model}:{tag}".lower()


def ollama_owner(name: str) -> str:
    """Return whose model of Ollama's a name means, with the host of a registry that is neither Ollama's nor the hub."""
    host, namespace, _, _ = _ollama_parts(name)
    return namespace if host.lower() in _KNOWN_REGISTRIES else f"{host}/{namespace}"


def base_name(source: OllamaSource) -> str | None:
    """Return the model that one of Ollama's is made of, ``None`` without one; the path of a file is none."""
    base = source.modelfile.base if source.modelfile is not None else None
    return None if base is None or base.startswith(("/", "~")) else base


def _ollama_parts(name: str) -> tuple[str, str, str, str]:
    base, tag = split_ollama_tag(name.partition("://")[2] if "://" in name else name)
    parts = [OLLAMA_REGISTRY, LIBRARY][: max(0, 2 - base.count("/"))] + base.split("/")
    return "/".join(parts[:-2]), parts[-2], parts[-1], tag
