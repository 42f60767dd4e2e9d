"""What a request gets: the list, one model, or an error in OpenAI's form that says where to go. Reads no socket."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.http_access import METHODS
from imageworks.foundation.http_messages import Headers, Request, Response
from imageworks.registry.entries.queries import part, text
from imageworks.serving.model_list import ModelList

PREFIX: Final = "/v1/models"
HEALTH: Final = "/health"
_SLASHES: Final = re.compile(r"/{2,}")
_STARTED: Final = frozenset({"vllm", "lmdeploy", "ollama"})


class Api:
    """Answers requests for a catalogue; how many models there are, strangers need not know."""

    def __init__(
        self,
        catalogue: ModelList,
        *,
        says_how_many: bool = True,
        page: Callable[[str], Response | None] = lambda _: None,
    ) -> None:
        self._catalogue = catalogue
        self._page = page
        self._says_how_many = says_how_many

    def refusal(self, status: int, message: str) -> Response:
        """Return an error in OpenAI's form."""
        return _refusal(HTTPStatus(status), message)

    def answer(self, request: Request) -> Response:
        """Return what a request gets."""
        path = _SLASHES.sub("/", request.path).rstrip("/") or "/"
        try:
            if request.method == "POST" and path.startswith("/v1/") and not path.startswith(PREFIX):
                return self._elsewhere(request, path)
            if request.method not in {"GET", "HEAD"}:
                message = f"{request.method[:20]} changes something, and this server is read-only: {METHODS}"
                return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, message, headers=(("Allow", METHODS),))
            if path == HEALTH:
                count = {"models": len(self._catalogue.shown())} if self._says_how_many else {}
                return _json(HTTPStatus.OK, {"status": "ok", **count})
            if path == PREFIX:
                return _response(HTTPStatus.OK, self._catalogue.document())
            if path.startswith(f"{PREFIX}/"):
                name = unquote(path.removeprefix(f"{PREFIX}/"))
                found = self._catalogue.find(name)
                return _json(HTTPStatus.OK, found) if found is not None else _unknown(name)
            if not path.startswith("/v1/") and (shown := self._page(path)) is not None:
                return shown
        except (ImageworksError, OSError) as error:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        message = f"there is no {path[:200]} here: this server lists models, at {PREFIX}, {PREFIX}/ID and /health"
        return _refusal(HTTPStatus.NOT_FOUND, message, kind="unknown_path")

    def _elsewhere(self, request: Request, path: str) -> Response:
        """Return where the model of a request that wants work done is served."""
        name = _model_in(request.body)
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


def _model_in(body: bytes) -> str | None:
    with suppress(ValueError, RecursionError):
        said = json.loads(body)
        if isinstance(said, Mapping) and isinstance(said.get("model"), str):
            return str(said["model"])
    return None


def _unknown(name: str) -> Response:
    return _refusal(HTTPStatus.NOT_FOUND, f"The model {name!r} does not exist", kind="model_not_found")


def _json(status: HTTPStatus, document: Mapping[str, object], headers: Headers = ()) -> Response:
    return _response(status, json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace"), headers)


def _response(status: HTTPStatus, body: bytes, headers: Headers = ()) -> Response:
    kind = ("Content-Type", "application/json; charset=utf-8")
    return Response(status, (kind, ("Cache-Control", "no-store"), *headers), body)


def _refusal(
    status: HTTPStatus, message: str, *, kind: str | None = None, parameter: str | None = None, headers: Headers = ()
) -> Response:
    """Return an error as OpenAI's clients read it: ``kind`` is a word for programs, ``parameter`` what it is about."""
    told = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return _json(status, {"error": {"message": message, "type": told, "param": parameter, "code": kind}}, headers)
