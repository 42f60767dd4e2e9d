"""What a request gets: the list, one model, or an error in OpenAI's form that says where to go. Reads no socket."""

import json
import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

from imageworks.errors import ImageworksError, UsageError
from imageworks.registry.views import part, text
from imageworks.serving.catalogue import Catalogue

PREFIX: Final = "/v1/models"
METHODS: Final = "GET, HEAD, OPTIONS"
_SLASHES: Final = re.compile(r"/{2,}")
_HEADER_NAMES: Final = re.compile(r"[A-Za-z0-9-]{1,64}(?:\s*,\s*[A-Za-z0-9-]{1,64}){0,63}")
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ANYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 # to compare with
_FROM_CONTAINERS: Final = frozenset({"host.docker.internal", "host.containers.internal"})
_NOT_OURS: Final = (
    "this server answers to its own address and to loopback names only; `serve --host NAME` has it answer to that name"
)
_STARTED: Final = frozenset({"vllm", "lmdeploy", "ollama"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Args:
        method: Its method.
        target: What stands in its first line.
        headers: Its headers, by names in lower case.
        body: As much of what was sent along as is looked at.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What it gets.

    Args:
        status: The status.
        document: The body; ``None`` for none.
        headers: Headers besides the usual ones.
    """

    status: HTTPStatus
    document: Mapping[str, object] | None
    headers: Mapping[str, str] = field(default_factory=dict)


def origin_of(said: str) -> str:
    """Return an origin as browsers send it.

    Args:
        said: What a person wrote.

    Raises:
        UsageError: It is none; ``*`` is not taken, since any page that is open could then read the list.
    """
    with suppress(ValueError):
        parts = urlsplit(said.strip())
        usual = {"http": 80, "https": 443}.get(parts.scheme)
        if (
            parts.scheme
            and parts.hostname
            and parts.path in {"", "/"}
            and not (parts.query or parts.fragment or "@" in said)
        ):
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            port = f":{parts.port}" if parts.port not in {None, usual} else ""
            return f"{parts.scheme}://{host}{port}"
    raise UsageError(
        f"--cors {said!r} is no origin",
        remedy="Name the page's own, such as --cors http://localhost:3000; * is not taken.",
    )


class Api:
    """Answers requests for a catalogue.

    Args:
        catalogue: What is offered.
        address: Where the server listens.
        origins: The pages that may read answers, as `origin_of` gives them.
    """

    def __init__(self, catalogue: Catalogue, address: str, origins: Iterable[str] = ()) -> None:
        self._catalogue = catalogue
        self._address = address.lower()
        self._origins = frozenset(origins)

    def answer(self, asked: Asked) -> Reply:
        """Return what a request gets.

        Args:
            asked: The request.
        """
        if not self._is_for_us(asked):
            return _refusal(HTTPStatus.FORBIDDEN, _NOT_OURS)
        reply = self._options(asked) if asked.method == "OPTIONS" else self._read(asked)
        return Reply(reply.status, reply.document, {**reply.headers, **self._shared_with(asked)})

    def _is_for_us(self, asked: Asked) -> bool:
        """Return whether a request names this server: a page whose own name leads here (DNS rebinding) does not."""
        try:
            host = urlsplit(asked.target).netloc if "://" in asked.target else asked.headers.get("host")
            if host is None:
                return True  # HTTP/1.0; every browser sends it
            name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
        except ValueError:
            return False
        if name in _LOOPBACK_NAMES or name == self._address.strip("[]"):
            return True
        if self._address in _ANYWHERE:
            return _is_address(name) or name in _FROM_CONTAINERS or name == socket.gethostname().lower()
        return _is_loopback(name) and _is_loopback(self._address)

    def _shared_with(self, asked: Asked) -> Mapping[str, str]:
        if not self._origins:
            return {}
        origin = asked.headers.get("origin", "")
        allowed = {"Access-Control-Allow-Origin": origin} if origin in self._origins else {}
        return {**allowed, "Vary": "Origin"}

    def _options(self, asked: Asked) -> Reply:
        origin = asked.headers.get("origin")
        if origin is None:
            return Reply(HTTPStatus.NO_CONTENT, None, {"Allow": METHODS})
        if origin not in self._origins:
            return _refusal(
                HTTPStatus.FORBIDDEN, f"pages of {origin[:200]} may not read this: `serve --cors ORIGIN` lets them"
            )
        wanted = asked.headers.get("access-control-request-headers", "")
        return Reply(
            HTTPStatus.NO_CONTENT,
            None,
            {
                "Allow": METHODS,
                "Access-Control-Allow-Methods": f"{METHODS}, POST",  # a page may read where its model is served
                **({"Access-Control-Allow-Headers": wanted} if _HEADER_NAMES.fullmatch(wanted) else {}),
                "Access-Control-Max-Age": "600",
            },
        )

    def _read(self, asked: Asked) -> Reply:
        path = _path(asked.target)
        try:
            if asked.method == "POST" and path.startswith("/v1/") and not path.startswith(PREFIX):
                return self._elsewhere(asked, path)
            if asked.method not in {"GET", "HEAD"}:
                message = f"{asked.method[:20]} changes something, and this server is read-only: {METHODS}"
                return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, message, headers={"Allow": METHODS})
            if path == "/health":
                return Reply(HTTPStatus.OK, {"status": "ok", "models": len(self._catalogue.shown())})
            if path == PREFIX:
                return Reply(HTTPStatus.OK, self._catalogue.document())
            if path.startswith(f"{PREFIX}/"):
                name = unquote(path.removeprefix(f"{PREFIX}/"))
                found = self._catalogue.find(name)
                return Reply(HTTPStatus.OK, found) if found is not None else _unknown(name)
        except (ImageworksError, OSError) as error:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        message = f"there is no {path[:200]} here: this server lists models, at {PREFIX}, {PREFIX}/ID and /health"
        return _refusal(HTTPStatus.NOT_FOUND, message, kind="unknown_path")

    def _elsewhere(self, asked: Asked, path: str) -> Reply:
        """Return where the model of a request that wants work done is served."""
        name = _model_in(asked.body)
        if name is None:
            message = (
                f"this server lists models and does not serve {path[:200]}: GET {PREFIX} says where each one is served"
            )
            return _refusal(HTTPStatus.NOT_FOUND, message, kind="not_served_here", parameter="model")
        found = self._catalogue.find(name)
        if found is None:
            return _unknown(name)
        ours = part(found, "imageworks")
        url, server = text(ours, "base_url"), text(ours, "backend")
        known = text(ours, "served_model_id")
        where = f"it answers at {url} as model {known!r} while its server runs" if url else "its record has no address"
        start = f"; `imageworks-models launch {server} {found['id']}` starts it" if server in _STARTED else ""
        message = f"{name!r} is not served here, this server only lists it: {where}{start}"
        return _refusal(HTTPStatus.NOT_FOUND, message, kind="not_served_here", parameter="model")


def _path(target: str) -> str:
    """Return a request's path with one slash where several stand, and none at its end."""
    if "://" in target.partition("?")[0]:
        target = f"/{target.partition('://')[2].partition('/')[2]}"
    plain = target.partition("?")[0].partition("#")[0]
    return _SLASHES.sub("/", plain).rstrip("/") or "/"


def _model_in(body: bytes) -> str | None:
    with suppress(ValueError, RecursionError):
        said = json.loads(body)
        if isinstance(said, Mapping) and isinstance(said.get("model"), str):
            return str(said["model"])
    return None


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def _is_loopback(name: str) -> bool:
    with suppress(ValueError):
        return ip_address(name.strip("[]")).is_loopback
    return name in _LOOPBACK_NAMES


def _unknown(name: str) -> Reply:
    return _refusal(HTTPStatus.NOT_FOUND, f"The model {name!r} does not exist", kind="model_not_found")


def error_document(
    message: str, status: HTTPStatus, *, kind: str | None = None, parameter: str | None = None
) -> dict[str, object]:
    """Return an error as OpenAI's clients read it.

    Args:
        message: What a person reads.
        status: The status it goes with.
        kind: A word for programs.
        parameter: What in the request it is about.
    """
    told = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return {"error": {"message": message, "type": told, "param": parameter, "code": kind}}


def _refusal(
    status: HTTPStatus,
    message: str,
    *,
    kind: str | None = None,
    parameter: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    return Reply(status, error_document(message, status, kind=kind, parameter=parameter), headers or {})
