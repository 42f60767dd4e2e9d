"""The server of ``/v1/models``."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Self

from imageworks.foundation.http_access import ServerAccess
from imageworks.foundation.http_messages import Response
from imageworks.foundation.http_server import HttpServer, ServerLimits, url_host
from imageworks.serving.http_api import HEALTH, Api
from imageworks.serving.model_list import ModelList

LIMITS: Final = ServerLimits(connections=32, request_seconds=10.0, idle_seconds=10.0, stalled_seconds=10.0)


class ModelServer(Api):
    """Serves a catalogue; a context manager that listens from its making and serves from entry to exit."""

    def __init__(
        self,
        catalogue: ModelList,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        log: Callable[[str], None] | None = None,
        access: ServerAccess | None = None,
        limits: ServerLimits = LIMITS,
        page: Callable[[str], Response | None] = lambda _: None,
    ) -> None:
        rules = replace(access or ServerAccess(), open_paths=frozenset({HEALTH}))
        super().__init__(catalogue, says_how_many=rules.token is None, page=page)
        line = '"{method} {path} HTTP/1.1" {status}'
        self._server = HttpServer(self, (host, port), name="models", access=rules, limits=limits, log=log, line=line)

    @property
    def url(self) -> str:
        """The base of the API, as clients want it."""
        return f"http://{url_host(self._server.host)}:{self._server.port}/v1"

    @property
    def is_open(self) -> bool:
        """Whether other machines get in without a token."""
        return self._server.access.token is None and not self._server.is_loopback

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
