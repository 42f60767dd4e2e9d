"""A small read-only HTTP server for ``/v1/models``: GET and HEAD, so many connections at once, each for one request."""

import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from imageworks.errors import ImageworksError
from imageworks.serving.catalogue import Catalogue

PREFIX: Final = "/v1/models"
MOST_CONNECTIONS: Final = 32
PATIENCE_SECONDS: Final = 10.0
LARGEST_IGNORED_BODY: Final = 1 << 20
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"


class ServeError(ImageworksError):
    """The server cannot listen where it should."""


class ModelServer:
    """Serves a catalogue; a context manager that serves from entry to exit.

    Args:
        catalogue: What is offered.
        host: Address to listen on.
        port: Port; 0 picks a free one.
        log: Called with one line for each answered request.
    """

    def __init__(
        self, catalogue: Catalogue, *, host: str = "127.0.0.1", port: int = 0, log: Callable[[str], None] | None = None
    ) -> None:
        self._host = host
        try:
            self._listener = _Listener(catalogue, host, port, log)
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            message = f"cannot listen on {host}:{port}: {why or error}"
            raise ServeError(message, remedy="Choose another --port, or 0 for a free one.") from error
        self._thread = threading.Thread(target=self._listener.serve_forever, name="models", daemon=True)

    @property
    def url(self) -> str:
        """The base of the API, as clients want it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._listener.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


class _Listener(socketserver.ThreadingTCPServer):
    """Accepts connections, a thread each, and turns away what is too many."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, catalogue: Catalogue, host: str, port: int, log: Callable[[str], None] | None) -> None:
        self.catalogue = catalogue
        self.log = log
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((host, port), _Handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override] # TCP
        if not self._room.acquire(blocking=False):
            request.settimeout(PATIENCE_SECONDS)
            with suppress(OSError):  # it went away by itself
                request.sendall(_FULL)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 # formed by the base
        """Tell what broke; a peer that goes away in the middle of an answer is no event."""
        error = sys.exc_info()[1]
        if self.log is not None and not isinstance(error, OSError):
            self.log(f"error: {type(error).__name__}: {error}")


class _Handler(BaseHTTPRequestHandler):
    """Answers one request with JSON."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_SECONDS

    def version_string(self) -> str:
        """Return what stands in ``Server``: no versions, which only help those who look for old ones."""
        return "imageworks-models"

    def do_GET(self) -> None:
        """Answer with a document."""
        self._answer(*self._reply())

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self._answer(*self._reply())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer with an error in OpenAI's form; other methods than GET and HEAD are refused by their name."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, "this server is read-only: GET and HEAD"
            self._leave_body()
        self._answer(HTTPStatus(code), _error(message or HTTPStatus(code).phrase, code))

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # named so by the base
        """Hand the line to whoever asked for it."""
        if self.server.log is not None:
            self.server.log(format % arguments)

    def _reply(self) -> tuple[HTTPStatus, dict[str, object]]:
        path = urlsplit(self.path).path.rstrip("/") or "/"
        try:
            if path == "/health":
                return HTTPStatus.OK, {"status": "ok", "models": len(self.server.catalogue.shown())}
            if path == PREFIX:
                return HTTPStatus.OK, self.server.catalogue.document()
            if path.startswith(f"{PREFIX}/"):
                asked = unquote(path.removeprefix(f"{PREFIX}/"))
                found = self.server.catalogue.find(asked)
                if found is not None:
                    return HTTPStatus.OK, dict(found)
                return HTTPStatus.NOT_FOUND, _error(f"The model {asked!r} does not exist", 404, "model_not_found")
        except (ImageworksError, OSError) as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, _error(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        return HTTPStatus.NOT_FOUND, _error(f"there is only {PREFIX}, {PREFIX}/ID and /health", HTTPStatus.NOT_FOUND)

    def _answer(self, status: HTTPStatus, document: dict[str, object]) -> None:
        body = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _leave_body(self) -> None:
        """Read what was sent along, or closing the connection would take the answer from the client."""
        length = self.headers.get("Content-Length", "") if hasattr(self, "headers") else ""
        if length.isascii() and length.isdigit():
            self.rfile.read(min(int(length), LARGEST_IGNORED_BODY))


def _error(message: str, code: int, kind: str | None = None) -> dict[str, object]:
    told = "invalid_request_error" if code < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return {"error": {"message": message, "type": told, "param": None, "code": kind}}
