"""The one HTTP server under everything that we serve: every wait, size and number of it is bounded.

The threads are socketserver's. A connection that waits for its client can lose its place to a new one, the longest
waiting first, so that whoever connects and says little keeps nobody out.
"""

import os
import selectors
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, Protocol, Self

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.http_access import OpenServerError, ServerAccess
from imageworks.foundation.http_messages import (
    Headers,
    RawResponse,
    Request,
    RequestError,
    Response,
    Slice,
    body_length,
    parse_head,
)

RECEIVE_BYTES: Final = 64 * 1024
SEND_BYTES: Final = 1 << 30
PAUSE_SECONDS: Final = 0.1
HEAD_END: Final = b"\r\n\r\n"
NEVER: Final = float("inf")
CLOSING: Final = (("Connection", "close"),)


class ServerStartError(ImageworksError):
    """The server cannot listen where it should."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a server bears; times in seconds, sizes in bytes."""

    connections: int = 256
    line_bytes: int = 16 * 1024
    head_bytes: int = 64 * 1024
    body_bytes: int = 4 * 1024 * 1024
    request_seconds: float = 20.0
    """From the first byte of a request to its last."""
    idle_seconds: float = 60.0
    """Between two requests of one connection."""
    stalled_seconds: float = 30.0
    """Without the client taking anything of what it asked for."""
    linger_seconds: float = 2.0
    """For what a refused client still sends: closing at once would take the answer from it."""
    ending_seconds: float = 10.0


class Site(Protocol):
    """What is served."""

    def answer(self, request: Request) -> Response | RawResponse:
        """Return what a request gets that the server's rules let through."""

    def refusal(self, status: int, message: str) -> Response:
        """Return an error in the form that the site's clients read."""


class HttpServer(socketserver.ThreadingTCPServer):
    """One listening socket, a thread that accepts, a thread for each connection; ``name`` stands in each request.

    ``log`` gets a line for each answer, in the form ``line``, and for each fault of ours.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(
        self,
        site: Site,
        address: tuple[str, int],
        *,
        name: str,
        access: ServerAccess,
        limits: ServerLimits | None = None,
        log: Callable[[str], None] | None = None,
        line: str = "{name} {method} {path} {status}",
    ) -> None:
        host, port = address
        self.site = site
        self.host = host
        self.name = name
        self.access = access
        self.limits = limits or ServerLimits()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._connections: dict[socket.socket, _Connection] = {}
        self._log = log
        self._line = line
        self._running = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        try:
            super().__init__((host.strip("[]"), port), socketserver.BaseRequestHandler, bind_and_activate=False)
            self.server_bind()
            self.is_loopback = access.check_exposure(host, str(self.server_address[0]))
            self.server_activate()
        except (OSError, OverflowError, ValueError, OpenServerError) as error:
            self.server_close()
            if isinstance(error, OpenServerError):
                raise
            message = f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}"
            raise ServerStartError(message, remedy="Choose another --port, or 0 for a free one.") from error
        self.socket.setblocking(False)  # noqa: FBT003 # a peer may be gone between select and accept
        self._wake, self._woken = socket.socketpair()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve in the background."""
        self._thread = threading.Thread(target=self._accept, name=f"{self.name}-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close all connections and wait for their threads, as long as that takes them at most."""
        if self._thread is not None:
            self._wake.sendall(b"!")
            self._thread.join()
        self._wake.close()
        self._woken.close()
        self.server_close()
        with self._changed:
            for connection in self._connections.values():
                connection.hang_up()
            self._changed.wait_for(lambda: self._running == 0, self.limits.ending_seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        """Accept connections until woken: unlike serve_forever, without a clock that ticks while nothing happens."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            woken = selector.register(self._woken, selectors.EVENT_READ)
            while woken not in [key for key, _ in selector.select()]:
                try:
                    self.process_request(*self.get_request())
                except (BlockingIOError, ConnectionError):
                    continue
                except (OSError, RuntimeError):  # out of descriptors or threads: let some connections end
                    time.sleep(PAUSE_SECONDS)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Give a connection a place and a thread, or turn it away."""
        with self._changed:
            if len(self._connections) >= self.limits.connections and not self._evict():
                self._turn_away(request)
                return
            self._connections[request] = _Connection(self, request)
            self._running += 1
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self.shutdown_request(request)
            raise

    def _turn_away(self, request: socket.socket) -> None:
        reply = self.site.refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections: try again in a moment")
        with suppress(OSError):  # it went away by itself
            request.send(reply.head((("Retry-After", "1"), *CLOSING)) + _in_memory(reply), socket.MSG_DONTWAIT)
        super().shutdown_request(request)

    def _evict(self) -> bool:
        """Hang up on the connection that has kept its place for nothing the longest; returns whether there is one."""
        longest = min(self._connections, key=lambda request: self._connections[request].yields_at)
        if self._connections[longest].yields_at > time.monotonic():
            return False
        self._connections.pop(longest).hang_up()
        return True

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override] # noqa: ARG002
        """Serve one connection; on its thread."""
        connection = self._connections.get(request)
        if connection is not None:
            connection.serve()

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Close a connection and give its place back."""
        super().shutdown_request(request)
        with self._changed:
            self._connections.pop(request, None)
            self._running -= 1
            self._changed.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 # formed by the base
        """Tell of a fault of ours, which ends its own connection only."""
        error = sys.exc_info()[1]
        if self._log is not None:
            self._log(f"error: {type(error).__name__}: {error}")

    def note(self, request: Request, status: int | None) -> None:
        """Log an answer; the query stays out, it may hold a link's signature."""
        if self._log is not None:
            said = "-" if status is None else status
            self._log(self._line.format(name=self.name, method=request.method, path=request.path, status=said))


class _Connection:
    """Takes requests off one connection and answers them; what arrived too early is kept for the next."""

    def __init__(self, server: HttpServer, connection: socket.socket) -> None:
        self._server = server
        self._limits = server.limits
        self._socket = connection
        self._buffer = b""
        self._address = ""
        self._until = 0.0
        self._patience = 0.0
        self.yields_at = time.monotonic()
        """From when on it loses its place to a new connection."""

    def hang_up(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it had ended by itself

    def serve(self) -> None:
        # Time limits in the kernel: a Python timeout would make the socket non-blocking, which sendfile cannot use.
        _set_patience(self._socket, self._limits.stalled_seconds, socket.SO_SNDTIMEO)
        self._address = str(self._socket.getsockname()[0]).removeprefix("::ffff:")
        idle = self._limits.request_seconds
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._exchange(idle):
                idle = self._limits.idle_seconds
        except (OSError, ImageworksError):
            return  # the peer went away, or a file changed under us: a cut connection says so

    def _exchange(self, idle: float) -> bool:
        """Answer one request; returns whether the connection can take another."""
        request: Request | None = None
        site, access = self._server.site, self._server.access
        try:
            head = self._head(idle)
            if head is None:
                return False
            request = parse_head(head, self._server.name, self._address)
            length = body_length(request, self._limits.body_bytes)
            address = access.check_host(request, self._server.host)
            if address != request.address:
                request = replace(request, address=address)
            reply: Response | RawResponse | None = access.preflight(request)
            if reply is None:
                access.check_token(request)
            if length:
                request = self._with_body(request, length)
        except RequestError as error:
            self._refuse(request, error)
            return False
        self.yields_at = NEVER
        if reply is None:
            try:
                reply = site.answer(request)
            except (OSError, ImageworksError) as error:
                reply = site.refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        if isinstance(reply, RawResponse):
            self._server.note(request, None)
            reply.write(self._socket)
            return False
        self._server.note(request, reply.status)
        stays = "close" not in request.headers.get("connection", "").lower()
        self._send(request, reply, (*access.shared_with(request), *(() if stays else CLOSING)))
        return stays

    def _head(self, idle: float) -> bytes | None:
        """Return the next request up to its empty line, or ``None`` when the peer is done."""
        self.yields_at = time.monotonic()
        seconds = idle
        while not self._buffer:
            try:
                if not self._receive(seconds):
                    return None
            except RequestError:
                return None  # it began none
            self._buffer = self._buffer.lstrip(b"\r\n")  # some end their bodies with an empty line
            seconds = self.yields_at + idle - time.monotonic()
        self._until = time.monotonic() + self._limits.request_seconds
        while (end := self._buffer.find(HEAD_END)) < 0 and len(self._buffer) <= self._limits.head_bytes:
            if not self._receive(self._until - time.monotonic()):
                return None
        if self._buffer.find(b"\r\n", 0, self._limits.line_bytes) < 0:
            raise RequestError(HTTPStatus.REQUEST_URI_TOO_LONG, "the request's first line is too long")
        if not 0 <= end <= self._limits.head_bytes:
            raise RequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too long")
        head, self._buffer = self._buffer[:end], self._buffer[end + len(HEAD_END) :]
        return head

    def _with_body(self, request: Request, length: int) -> Request:
        if "expect" in request.headers:
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        pieces, missing = [self._buffer], length - len(self._buffer)
        while missing > 0:
            self._buffer = b""
            if not self._receive(self._until - time.monotonic()):
                raise RequestError(HTTPStatus.BAD_REQUEST, "the request's body was cut short")
            pieces.append(self._buffer)
            missing -= len(self._buffer)
        whole = b"".join(pieces)
        self._buffer = whole[length:]
        return replace(request, body=whole[:length])

    def _receive(self, seconds: float) -> bool:
        """Take what comes in a time; whoever sends a byte now and then holds a place no longer than others."""
        if seconds != self._patience:
            _set_patience(self._socket, seconds, socket.SO_RCVTIMEO)
            self._patience = seconds
        try:
            received = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            raise RequestError(HTTPStatus.REQUEST_TIMEOUT, "the request took too long to arrive") from None
        self._buffer += received
        return bool(received)

    def _refuse(self, request: Request | None, error: RequestError) -> None:
        """Say what was wrong, and take what is still sent for a moment, so that the client can read it."""
        reply = self._server.site.refusal(error.status, error.message)
        shared: Headers = ()
        if request is not None:
            self._server.note(request, reply.status)
            shared = self._server.access.shared_with(request)
        self._send(request, reply, (*error.headers, *shared, *CLOSING))
        self._socket.shutdown(socket.SHUT_WR)
        until, left = time.monotonic() + self._limits.linger_seconds, 4 * self._limits.body_bytes
        while (seconds := until - time.monotonic()) > 0 and left > 0:
            _set_patience(self._socket, seconds, socket.SO_RCVTIMEO)
            received = len(self._socket.recv(RECEIVE_BYTES))
            left -= received or left

    def _send(self, request: Request | None, reply: Response, more: Headers) -> None:
        head, body = reply.head(more), reply.body
        if request is not None and request.method == "HEAD":
            self._socket.sendall(head)
        elif isinstance(body, Slice) and (file := body.content.open()) is not None:
            try:
                self._socket.sendall(head)
                self._send_file(file, body.offset, body.offset + body.count)
            finally:
                os.close(file)
        else:
            self.yields_at = time.monotonic() + self._limits.stalled_seconds
            self._socket.sendall(head + _in_memory(reply))

    def _send_file(self, file: int, offset: int, end: int) -> None:
        """Send part of a file from the kernel's cache straight to the socket."""
        while offset < end:
            sent = os.sendfile(self._socket.fileno(), file, offset, min(SEND_BYTES, end - offset))
            if not sent:  # the file shrank under us: the peer sees a short body, which is the truth
                raise ConnectionAbortedError
            offset += sent


def url_host(host: str) -> str:
    """Return an address as it stands in a URL."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _in_memory(reply: Response) -> bytes:
    body = reply.body
    return body if isinstance(body, bytes) else body.content.read()[body.offset : body.offset + body.count]


def _set_patience(connection: socket.socket, seconds: float, side: int) -> None:
    microseconds = max(int(seconds * 1_000_000), 1)  # none would be for ever
    connection.setsockopt(socket.SOL_SOCKET, side, struct.pack("ll", *divmod(microseconds, 1_000_000)))
