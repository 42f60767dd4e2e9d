"""What a registry of Ollama's kind has under a name now: its manifest, asked for over the registry's own protocol."""

import hashlib
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin, urlsplit

from imageworks import __version__
from imageworks.detect.jsons import parse_object
from imageworks.http import HttpError, HttpPool, Reply, shown_url
from imageworks.providers.ollama_address import is_loopback
from imageworks.providers.ollama_errors import (
    OllamaBrokenStreamError,
    OllamaError,
    OllamaUnauthorisedError,
    OllamaUnreachableError,
)
from imageworks.providers.ollama_names import ModelName
from imageworks.providers.ollama_replies import read_layers, refusal
from imageworks.providers.ollama_values import UpstreamOllama

_ACCEPT: Final = "application/vnd.docker.distribution.manifest.v2+json"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5


class OllamaRegistries:
    """Asks registries, without credentials: over https, and over plain http only on this machine."""

    def __init__(self) -> None:
        agent = f"imageworks-models/{__version__}"
        self._remote = HttpPool(user_agent=agent)
        self._local = HttpPool(user_agent=agent, proxies=False)

    def close(self) -> None:
        """Close all connections."""
        self._remote.close()
        self._local.close()

    def find(self, name: ModelName) -> UpstreamOllama | None:
        """Return what a name's registry has, ``None`` when it says that it has no such model or tag.

        Args:
            name: The model; its host is the registry.

        Raises:
            OllamaUnreachableError: The registry does not answer.
            OllamaUnauthorisedError: It wants to know who asks.
            OllamaBrokenStreamError: What it says is no manifest.
        """
        what = f"looking up {name}"
        scheme = "http" if _is_local(name.host) else "https"
        url = f"{scheme}://{name.host}/v2/{name.namespace}/{name.model}/manifests/{name.tag}"
        reply = self._get(url, what)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise OllamaUnauthorisedError(
                f"{what}: {name.host} does not show it to everyone (HTTP {reply.status})",
                remedy="Ollama itself may pull it, by the key of its account; what is newest cannot be told from here.",
            )
        if reply.status != HTTPStatus.OK:
            raise refusal(reply.status, reply.body, what)
        found = parse_object(reply.body)
        try:
            config, layers = read_layers(found or {})
        except ValueError as error:
            raise _no_manifest(reply, what, str(error)) from None
        if found is None or config is None:
            raise _no_manifest(reply, what, "it names no config")
        return UpstreamOllama(
            name=name.shortest,
            digest=hashlib.sha256(reply.body).hexdigest(),
            config_digest=config.digest,
            layers=layers,
            size=config.size + sum(layer.size for layer in layers),
        )

    def _get(self, url: str, what: str) -> Reply:
        for _ in range(_MOST_REDIRECTS + 1):
            local = urlsplit(url).scheme == "http"
            try:
                reply = (self._local if local else self._remote).request("GET", url, {"accept": _ACCEPT})
            except HttpError as error:
                raise OllamaUnreachableError(
                    f"{what}: {shown_url(url)}: {error.why}",
                    remedy=error.remedy or "Check the network and the proxy, or run again later.",
                    retryable=not error.lasting,
                ) from None
            location = reply.headers.get("location")
            if reply.status not in _REDIRECTS or not location:
                return reply
            target = urljoin(url, location)
            parts = urlsplit(target)
            if not (parts.scheme == "https" or (local and parts.scheme == "http" and _is_local(parts.netloc))):
                raise OllamaError(
                    f"{what}: {shown_url(url)} redirects to {shown_url(target)}, which is not encrypted",
                    remedy="Something between changes answers: check the proxy.",
                )
            url = target
        raise OllamaError(f"{what}: {shown_url(url)}: more than {_MOST_REDIRECTS} redirects", remedy="Check the name.")


def _is_local(host: str) -> bool:
    return is_loopback(urlsplit(f"//{host}").hostname or "")


def _no_manifest(reply: Reply, what: str, why: str) -> OllamaBrokenStreamError:
    return OllamaBrokenStreamError(
        f"{what}: {shown_url(reply.url)} sends no manifest of a model: {why}",
        remedy="Check the name; something between may change answers.",
        retryable=True,
    )
