"""HTTP/1.1 on a socket, by hand: the standard handler spends most of a small request in the e-mail header parser."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from imageworks.errors import ImageworksError
from imageworks.hub.content import BlobContent, Content, FileContent

HEAD_LIMIT: Final = 64 * 1024
BODY_LIMIT: Final = 4 * 1024 * 1024
RECEIVE_BYTES: Final = 64 * 1024
SEND_BYTES: Final = 1 << 30
PACES_PER_SECOND: Final = 50
HEAD_END: Final = b"\r\n\r\n"
REASONS: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class ProtocolError(ImageworksError):
    """The peer sent something that is not a request we answer; the connection ends after the reply.

    Args:
        status: The HTTP status to reply with.
        message: What was wrong with the request.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived; ``path`` is still percent-encoded, so that a quoted slash stays inside its part."""

    origin: str
    """``hub`` for the API, ``cdn`` for the second origin that redirects lead to."""
    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case; the last of several wins."""
    body: bytes = b""

    @property
    def has_authorization(self) -> bool:
        """Tell whether the client sent credentials of any kind."""
        return "authorization" in self.headers

    @property
    def parts(self) -> list[str]:
        """Return the decoded parts of the path, split before decoding."""
        return [unquote(part) for part in self.path.strip("/").split("/")]


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes ``offset`` to ``offset + count`` of a content, sent without passing through Python where it is a file."""

    content: Content
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Response:
    """One reply; ``Content-Length`` is added when it is sent."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Slice = b""

    def header(self, name: str) -> str | None:
        """Return the value of the first header of that name, or ``None``."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    @property
    def length(self) -> int:
        """Return the length of the body in bytes."""
        return self.body.count if isinstance(self.body, Slice) else len(self.body)

    def head(self) -> bytes:
        """Return status line and headers as they go on the wire."""
        lines = [REASONS.get(self.status) or f"HTTP/1.1 {self.status} Unknown\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in self.headers]
        # A 304 describes the body it leaves out; a length of zero there would be taken for the file's.
        lines.append("\r\n" if self.status == HTTPStatus.NOT_MODIFIED else f"Content-Length: {self.length}\r\n\r\n")
        return "".join(lines).encode("latin-1", "replace")


@dataclass(frozen=True, slots=True)
class Takeover:
    """A reply that writes to the socket itself, whatever it likes; the connection is closed afterwards.

    Faults are made of this: a body cut short, a stall, a reset.
    """

    write: Callable[[socket.socket], None]


class Reader:
    """Takes requests off one connection; what arrived too early is kept for the next.

    Args:
        connection: The accepted socket, blocking.
        origin: The name of the listener, put into each request.
    """

    def __init__(self, connection: socket.socket, origin: str) -> None:
        self._connection = connection
        self._origin = origin
        self._buffer = b""

    def next(self) -> Request | None:
        """Return the next request, or ``None`` when the peer is done."""
        while (end := self._buffer.find(HEAD_END)) < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise ProtocolError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too long")
            if not self._receive():
                return None
        head, self._buffer = self._buffer[:end], self._buffer[end + len(HEAD_END) :]
        method, target, headers = parse_head(head)
        path, _, query = target.partition("?")
        return Request(self._origin, method, path, query, headers, self._body(headers))

    def _body(self, headers: dict[str, str]) -> bytes:
        if "transfer-encoding" in headers:
            raise ProtocolError(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        stated = headers.get("content-length", "0")
        if not (stated.isascii() and stated.isdigit()):
            raise ProtocolError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        length = int(stated)
        if length > BODY_LIMIT:
            raise ProtocolError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request's body is too long")
        if length and headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._buffer) < length:
            if not self._receive():
                raise ProtocolError(HTTPStatus.BAD_REQUEST, "the request's body was cut short")
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def _receive(self) -> bool:
        received = self._connection.recv(RECEIVE_BYTES)
        self._buffer += received
        return bool(received)


def parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Split the head of a request.

    Args:
        head: Everything before the empty line.

    Returns:
        The method, the target in origin form, and the headers with lower-case names.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):  # noqa: PLR2004
        raise ProtocolError(HTTPStatus.BAD_REQUEST, "not an HTTP/1.1 request line")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name[-1] in " \t" or name[0] in " \t":
            raise ProtocolError(HTTPStatus.BAD_REQUEST, "a malformed header")
        name = name.lower()
        if name == "content-length" and headers.get(name, value.strip()) != value.strip():
            raise ProtocolError(HTTPStatus.BAD_REQUEST, "two different Content-Lengths")
        headers[name] = value.strip()
    if words[2] == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return words[0], words[1], headers


def send(connection: socket.socket, response: Response, *, with_body: bool, rate: int | None) -> None:
    """Put a reply on the wire.

    Args:
        connection: The accepted socket, blocking.
        response: What to say.
        with_body: False for HEAD, where only the headers go.
        rate: Bytes per second for this body, or ``None`` for as fast as it goes.
    """
    head = response.head()
    body = response.body
    if not with_body:
        connection.sendall(head)
    elif isinstance(body, bytes):
        connection.sendall(head + body)
    elif isinstance(body.content, FileContent):
        descriptor = body.content.open()
        try:
            connection.sendall(head)
            send_file(connection, descriptor, body.offset, body.count, rate)
        finally:
            os.close(descriptor)
    else:
        send_blob(connection, head, body.content, body, rate)


def send_blob(connection: socket.socket, head: bytes, content: BlobContent, part: Slice, rate: int | None) -> None:
    """Send a slice of a content that lives in a git object database."""
    connection.sendall(head)
    data = memoryview(content.read())[part.offset : part.offset + part.count]
    step = len(data) if rate is None else max(rate // PACES_PER_SECOND, 1)
    pace = Pace(rate)
    for start in range(0, len(data), max(step, 1)):
        piece = data[start : start + step]
        connection.sendall(piece)
        pace.after(len(piece))


def send_file(connection: socket.socket, descriptor: int, offset: int, count: int, rate: int | None) -> None:
    """Send part of an open file from the kernel's cache straight to the socket.

    Args:
        connection: The accepted socket, blocking.
        descriptor: The open file.
        offset: The first byte.
        count: How many bytes.
        rate: Bytes per second, or ``None``.
    """
    step = SEND_BYTES if rate is None else max(rate // PACES_PER_SECOND, 1)
    pace = Pace(rate)
    end = offset + count
    while offset < end:
        sent = os.sendfile(connection.fileno(), descriptor, offset, min(step, end - offset))
        if not sent:  # the file shrank under us: the peer sees a short body, which is the truth
            raise ConnectionAbortedError
        offset += sent
        pace.after(sent)


class Pace:
    """Holds one connection to a rate.

    Args:
        rate: Bytes per second, or ``None`` to hold nothing.
    """

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._started = time.monotonic()
        self._sent = 0

    def after(self, count: int) -> None:
        """Wait until ``count`` more bytes fit into the rate."""
        if self._rate is not None:
            self._sent += count
            ahead = self._sent / self._rate - (time.monotonic() - self._started)
            if ahead > 0:
                time.sleep(ahead)
