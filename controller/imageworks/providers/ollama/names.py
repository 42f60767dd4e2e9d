"""Names of models by Ollama's own grammar: ``[host/][namespace/]model[:tag]``, one model whatever the case. Pure."""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, urlsplit

from imageworks.naming.model_names import ollama_name
from imageworks.providers.named_source import NamedSource
from imageworks.providers.ollama.errors import OllamaNameError

DEFAULT_HOST: Final = "registry.ollama.ai"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"
HUB_HOSTS: Final = frozenset({"hf.co", "huggingface.co"})

_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII)
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)
_CLOUD_TAG: Final = "-cloud"
PREFIX: Final = "ollama:"
PAGES: Final = frozenset({"ollama.com", "www.ollama.com", "registry.ollama.ai"})
_BARE: Final = re.compile(r"[^/:@\s]+:[^/:@\s]+", re.ASCII)  # of a library without owners; the hub has no such names
_PAGE_PARTS: Final = 2  # owner and model


class OllamaRegistry(Enum):
    """Where a name's suffix says that the model runs; the value is the suffix."""

    UNSAID = ""
    LOCAL = "local"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class ModelName:
    """A complete name: every part valid, the defaults filled in, the case as written.

    Args:
        host: The registry, with its port.
        namespace: The owner.
        model: The model.
        tag: The tag.
    """

    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        return self.shortest

    @property
    def shortest(self) -> str:
        """The name as Ollama lists it: without the default host and namespace, always with the tag."""
        if self.host.lower() != DEFAULT_HOST:
            owner = f"{self.host}/{self.namespace}/"
        else:
            owner = "" if self.namespace.lower() == DEFAULT_NAMESPACE else f"{self.namespace}/"
        return f"{owner}{self.model}:{self.tag}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What is equal for two spellings of one model: Ollama takes the case that is already there."""
        return self.host.lower(), self.namespace.lower(), self.model.lower(), self.tag.lower()

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """The four folders that lead to the manifest in a store."""
        return self.host, self.namespace, self.model, self.tag

    @property
    def is_from_hub(self) -> bool:
        """Whether the Hugging Face Hub serves it."""
        return self.host.lower() in HUB_HOSTS

    @property
    def is_cloud(self) -> bool:
        """Whether its tag stands for a model that runs elsewhere and has no weights here."""
        tag = self.tag.lower()
        return tag == OllamaRegistry.CLOUD.value or tag.endswith(_CLOUD_TAG)


@lru_cache(maxsize=8192)
def parse_name(text: str) -> ModelName:
    """Return the model that a text names, as the store would call it after a pull.

    ``:local`` at the end only says where from and is dropped; ``:cloud`` becomes part of the tag.
    """
    base, origin = _split_origin(text, text.strip())
    if origin is not OllamaRegistry.UNSAID and _split_origin(text, base)[1] is not OllamaRegistry.UNSAID:
        raise OllamaNameError(
            f"{_shown(text)} says twice where the model runs", remedy="Use either :local or :cloud, once, at the end."
        )
    if origin is OllamaRegistry.CLOUD:
        base += _CLOUD_TAG if base.rfind(":") > base.rfind("/") else f":{OllamaRegistry.CLOUD.value}"
    name = _filled(base)
    reason = _fault(name)
    if reason is not None:
        raise OllamaNameError(f"{_shown(text)} cannot be the name of a model in Ollama: {reason[0]}", remedy=reason[1])
    return name


def named_source(text: str) -> NamedSource | None:
    """Return the model that a text names, ``None`` where it is none of Ollama's."""
    name = _name_in(text)
    if name is None:
        return None
    full = parse_name(name).shortest
    called = ollama_name(full)
    return NamedSource({"ollama": full}, called.variant, "ollama", comment="`pin` adds its digest", placed=False)


def _name_in(text: str) -> str | None:
    if text.lower().startswith(PREFIX):
        return text[len(PREFIX) :].removeprefix("//")
    if _BARE.fullmatch(text):
        return text
    page = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(page)
        host = parts.hostname
    except ValueError:
        return None
    steps = [unquote(step) for step in parts.path.split("/") if step]
    if host not in PAGES or len(steps) < _PAGE_PARTS:
        return None
    owner, model = steps[:_PAGE_PARTS]
    return model if owner == "library" else f"{owner}/{model}"


NameKey = tuple[str, ...]


def same_model(one: str, other: str) -> bool:
    """Return whether two names mean one model; a text that is no name is only itself."""
    return comparable(one) == comparable(other)


def comparable(name: str) -> NameKey:
    """Return what two names have in common exactly when they mean one model; a text that is no name is only itself."""
    try:
        return parse_name(name).key
    except OllamaNameError:
        return (name,)


def stored_name(parts: tuple[str, ...]) -> ModelName | None:
    """Return the name of the manifest that lies at four folders of a store, ``None`` when Ollama would pass it over."""
    if len(parts) != 4:  # noqa: PLR2004 # the four levels of the layout
        return None
    name = ModelName(*parts)
    return name if _fault(name) is None else None


def _split_origin(text: str, name: str) -> tuple[str, OllamaRegistry]:
    """Return a name without what its end says of where it runs."""
    base, colon, suffix = name.rpartition(":")
    low = suffix.strip().lower()
    if not colon or "/" in low:
        return name, OllamaRegistry.UNSAID
    if low in {OllamaRegistry.CLOUD.value, OllamaRegistry.LOCAL.value}:
        return base, OllamaRegistry(low)
    if low.endswith(_CLOUD_TAG):
        tag = suffix.strip()[: -len(_CLOUD_TAG)]
        if not tag:
            raise OllamaNameError(f"{_shown(text)} has no tag before {_CLOUD_TAG}", remedy="Write it as model:cloud.")
        return f"{base}:{tag}", OllamaRegistry.CLOUD
    return name, OllamaRegistry.UNSAID


def _filled(name: str) -> ModelName:
    tag = DEFAULT_TAG
    if name.rfind(":") > name.rfind("/"):
        name, _, tag = name.rpartition(":")
    rest, slash, model = name.rpartition("/")
    if not slash:
        return ModelName(DEFAULT_HOST, DEFAULT_NAMESPACE, model, tag)
    host, slash, namespace = rest.rpartition("/")
    host = host.partition("://")[2] if "://" in host else host
    return ModelName(host if slash else DEFAULT_HOST, namespace, model, tag)


def _fault(name: ModelName) -> tuple[str, str] | None:
    """Return what is wrong with a name and what to do, ``None`` when nothing is."""
    if "@" in f"{name.model}{name.tag}":
        return "it cannot be pinned by a digest in its name", "Name the tag, and declare the digest as `source.digest`."
    if not _HOST.fullmatch(name.host):
        return f"the host {name.host!r} is not one", "Write it as host/namespace/model:tag."
    if not _NAMESPACE.fullmatch(name.namespace):
        return _namespace_fault(name)
    for kind, part in (("model", name.model), ("tag", name.tag)):
        if not _PART.fullmatch(part):
            return (
                f"the {kind} {part!r} is not 1 to 80 letters, digits and `_ - .`, the first a letter, digit or `_`",
                "Check the spelling at https://ollama.com/library.",
            )
    return None


def _namespace_fault(name: ModelName) -> tuple[str, str]:
    if name.is_from_hub and "." in name.namespace:
        return (
            f"the owner {name.namespace!r} has a dot, which Ollama does not accept",
            "Declare it as `source.huggingface` instead.",
        )
    if ":" in name.namespace or "." in name.namespace:
        return f"{name.namespace!r} looks like a host", "A name with a host needs all of host/namespace/model:tag."
    return f"the namespace {name.namespace!r} is not one", "Write it as namespace/model:tag."


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")  # noqa: PLR2004 # enough to find it again
