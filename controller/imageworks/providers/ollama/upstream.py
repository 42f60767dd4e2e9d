"""What a registry of Ollama's kind has under a name now: its manifest, asked for over the registry's own protocol."""

import hashlib
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from imageworks import __version__
from imageworks.foundation.addresses import AddressGuard, PrivateAddressError
from imageworks.foundation.http import HttpError, HttpPool, OpenReply, Reply, led_to, shown_url
from imageworks.foundation.json_values import parse_object
from imageworks.providers.ollama.address import is_loopback
from imageworks.providers.ollama.errors import (
    OllamaBrokenStreamError,
    OllamaError,
    OllamaNotFoundError,
    OllamaPrivateTargetError,
    OllamaUnauthorisedError,
    OllamaUnreachableError,
)
from imageworks.providers.ollama.model import UpstreamOllama
from imageworks.providers.ollama.names import ModelName
from imageworks.providers.ollama.replies import read_layers, refusal

_AGENT: Final = f"imageworks-models/{__version__}"
_ACCEPT: Final = "application/vnd.docker.distribution.manifest.v2+json"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5
_ERROR_BYTES: Final = 64 * 1024
_NEVER: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY})
"""What a registry says of a name or tag that it will not have later either."""
_CLOSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class OllamaRegistries:
    """Asks registries, without credentials: over https, and over plain http only on this machine."""

    def __init__(self, private_hosts: Collection[str] = ()) -> None:
        self._private_hosts = private_hosts
        self._local = HttpPool(user_agent=_AGENT, proxies=False)
        self._remote: dict[str, tuple[AddressGuard, HttpPool]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self._local.close()
        with self._lock:
            for _, pool in self._remote.values():
                pool.close()

    def find(self, name: ModelName) -> UpstreamOllama | None:
        """Return what a name's registry has, ``None`` when it says that it has no such model or tag."""
        what = f"looking up {name}"
        reply = self._get(name, f"{_registry(name)}/manifests/{name.tag}", what)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status in _NEVER:
            said = refusal(reply.status, reply.body, what)
            raise OllamaNotFoundError(
                f"{said.message} (HTTP {reply.status} of {name.host})",
                remedy="It stays so: correct the name or the tag. The Hub refuses models that are split into shards.",
            )
        if reply.status in _CLOSED:
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

    @contextmanager
    def blob(self, name: ModelName, digest: str, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open a blob's bytes as its registry sends them; whoever takes them compares them with the digest."""
        what = f"fetching the blob {digest[:12]} of {name}"
        url = f"{_registry(name)}/blobs/sha256:{digest}"
        headers = {"accept-encoding": "identity", **({"range": f"bytes={start}-"} if start else {})}
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                with self._pool(name, url).stream("GET", url, headers) as reply:
                    target = self._redirected(name, reply, what)
                    if target is None:
                        _check_blob(reply, what, name)
                        yield (start if reply.status == HTTPStatus.PARTIAL_CONTENT else 0), reply.chunks
                        return
            except HttpError as error:
                raise _unreachable(url, what, error) from None
            except PrivateAddressError as error:
                raise _private(what, error) from None
            url = target
        raise OllamaError(f"{what}: {shown_url(url)}: more than {_MOST_REDIRECTS} redirects", remedy="Check the name.")

    def _get(self, name: ModelName, url: str, what: str) -> Reply:
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                reply = self._pool(name, url).request("GET", url, {"accept": _ACCEPT})
                target = self._redirected(name, reply, what)
            except HttpError as error:
                raise _unreachable(url, what, error) from None
            except PrivateAddressError as error:
                raise _private(what, error) from None
            if target is None:
                return reply
            url = target
        raise OllamaError(f"{what}: {shown_url(url)}: more than {_MOST_REDIRECTS} redirects", remedy="Check the name.")

    def _pool(self, name: ModelName, url: str) -> HttpPool:
        return self._local if urlsplit(url).scheme == "http" else self._guarded(name)[1]

    def _guarded(self, name: ModelName) -> tuple[AddressGuard, HttpPool]:
        with self._lock:
            if name.host not in self._remote:
                guard = AddressGuard(_registry(name), self._private_hosts)
                self._remote[name.host] = guard, HttpPool(user_agent=_AGENT, guard=guard)
            return self._remote[name.host]

    def _redirected(self, name: ModelName, reply: Reply | OpenReply, what: str) -> str | None:
        """Return where an answer leads, ``None`` where it is the answer."""
        target = _redirected(reply, what)
        if target is not None:
            self._guarded(name)[0].check(target)
        return target


def _registry(name: ModelName) -> str:
    scheme = "http" if _is_local(name.host) else "https"
    return f"{scheme}://{name.host}/v2/{name.namespace}/{name.model}"


def _redirected(reply: Reply | OpenReply, what: str) -> str | None:
    """Return where an answer leads, ``None`` where it is the answer; never from encrypted to plain."""
    location = reply.headers.get("location")
    if reply.status not in _REDIRECTS or not location:
        return None
    try:
        target = led_to(reply.url, location)
    except ValueError:
        raise OllamaError(
            f"{what}: {shown_url(reply.url)} redirects to what is no address",
            remedy="Something between changes answers: check the proxy.",
        ) from None
    parts, local = urlsplit(target), urlsplit(reply.url).scheme == "http"
    if parts.scheme == "https" or (local and parts.scheme == "http" and _is_local(parts.netloc)):
        return target
    raise OllamaError(
        f"{what}: {shown_url(reply.url)} redirects to {shown_url(target)}, which is not encrypted",
        remedy="Something between changes answers: check the proxy.",
    )


def _check_blob(reply: OpenReply, what: str, name: ModelName) -> None:
    if reply.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        return
    if reply.status == HTTPStatus.NOT_FOUND:
        raise OllamaNotFoundError(f"{what}: {name.host} has it no more", remedy="Declare a tag that is offered.")
    if reply.status in _CLOSED:
        raise OllamaUnauthorisedError(
            f"{what}: {name.host} does not give it to everyone (HTTP {reply.status})",
            remedy=f"Ollama may have the key: `ollama rm {name}`, then run again, and it pulls all of it anew.",
        )
    body = b""
    for piece in reply.chunks:
        body += piece
        if len(body) > _ERROR_BYTES:
            break
    raise refusal(reply.status, body[:_ERROR_BYTES], what)


def _unreachable(url: str, what: str, error: HttpError) -> OllamaUnreachableError:
    return OllamaUnreachableError(
        f"{what}: {shown_url(url)}: {error.why}",
        remedy=error.remedy or "Check the network and the proxy, or run again later.",
        retryable=not error.lasting,
    )


def _private(what: str, error: PrivateAddressError) -> OllamaError:
    return OllamaPrivateTargetError(f"{what}: {error.message}", remedy=error.remedy)


def _is_local(host: str) -> bool:
    return is_loopback(urlsplit(f"//{host}").hostname or "")


def _no_manifest(reply: Reply, what: str, why: str) -> OllamaBrokenStreamError:
    return OllamaBrokenStreamError(
        f"{what}: {shown_url(reply.url)} sends no manifest of a model: {why}",
        remedy="Check the name; something between may change answers.",
        retryable=True,
    )
