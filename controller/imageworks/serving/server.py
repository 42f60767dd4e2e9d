"""A small read-only HTTP server for ``/v1/models``: so many connections, each for one request, each only so long."""

import io
import json
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Final, Self

from imageworks.errors import ImageworksError
from imageworks.serving.api import Api, Asked, Reply, error_document
from imageworks.serving.catalogue import Catalogue

MOST_CONNECTIONS: Final = 32
PATIENCE_SECONDS: Final = 10.0
LARGEST_BODY: Final = 1 << 20
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
        origins: Pages that may read answers, as `origin_of` gives them.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        log: Callable[[str], None] | None = None,
        origins: Iterable[str] = (),
    ) -> None:
        self._host = host
        try:
            self._listener = _Listener(Api(catalogue, host, origins), host, port, log)
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

    def __init__(self, api: Api, host: str, port: int, log: Callable[[str], None] | None) -> None:
        self.api = api
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


class _TimedReader(io.RawIOBase):
    """Reads a connection until one moment: whoever sends a byte now and then holds a place no longer than others."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        super().__init__()
        self._connection = connection
        self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what a BufferedReader hands over
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request with JSON."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_SECONDS

    def setup(self) -> None:
        """Read the whole request within one time."""
        super().setup()
        self.rfile = io.BufferedReader(_TimedReader(self.connection, PATIENCE_SECONDS))

    def version_string(self) -> str:
        """Return what stands in ``Server``: no versions, which only help those who look for old ones."""
        return "imageworks-models"

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Answer whatever method there is: the base looks for ``do_METHOD``."""
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what is no request with an error in OpenAI's form."""
        status = HTTPStatus(code)
        self._send(Reply(status, error_document(message or status.phrase, status)))

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # named so by the base
        """Hand the line to whoever asked for it."""
        if self.server.log is not None:
            self.server.log(format % arguments)

    def _handle(self) -> None:
        if len(self.headers.get_all("Host", [])) > 1:
            self.send_error(HTTPStatus.BAD_REQUEST, "several Host headers")
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.api.answer(Asked(self.command, self.path, headers, self._body())))

    def _body(self) -> bytes:
        """Return what was sent along; left unread, closing the connection would take the answer from the client."""
        length = self.headers.get("Content-Length", "")
        return self.rfile.read(min(int(length), LARGEST_BODY)) if length.isascii() and length.isdigit() else b""

    def _send(self, reply: Reply) -> None:
        body = b"" if reply.document is None else _encoded(reply.document)
        self.close_connection = True
        self.connection.settimeout(PATIENCE_SECONDS)
        self.send_response(reply.status)
        if reply.document is not None:
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _encoded(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")
