"""Fetch a small signed link straight into a buffer: a third of the time that a general HTTP client takes for a MiB.

Only for links that need no credentials and no proxy; whatever is out of the ordinary is left to the provider's stream.
The standard library's client is used because it reads into memory of ours, and hundreds of files of about a MiB are
where a client's own copying is the greatest cost.
"""

from __future__ import annotations  # the client is imported where it is used: 30 ms that most commands do not need

import socket
import threading
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.foundation.addresses import PrivateAddressError
from imageworks.foundation.certificates import tls_context
from imageworks.foundation.http import whole_number
from imageworks.foundation.proxies import NetworkSettingError, proxy_for

if TYPE_CHECKING:
    import http.client
    import ssl
    from collections.abc import Callable, Iterator

    from imageworks.foundation.addresses import AddressGuard

BUFFER_BYTES = 1024 * 1024
TIMEOUT_SECONDS = 30.0
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class NotDirectError(Exception):
    """This link is not to be fetched directly."""


class DirectClient:
    """Keeps a connection and a buffer for each thread that uses it."""

    def __init__(self, guard: AddressGuard | None = None) -> None:
        self._guard = guard
        self._threads = threading.local()
        self._open: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._certificates: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close all connections; a thread that waits for one's bytes wakes up."""
        with self._lock:
            for connection in self._open:
                if connection.sock is not None:
                    with suppress(OSError):  # it has ended already
                        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
                connection.close()
            self._open.clear()

    @contextmanager
    def stream(self, url: str, file: RemoteFile) -> Iterator[Iterator[memoryview]]:
        """Open a link's bytes; each piece is valid until the next is asked for."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        with _told_of_server(file, host):
            proxied = proxy_for(url) is not None
        if proxied:
            raise NotDirectError
        try:
            with _told_of_server(file, host):
                answer = self._ask(url)
            _check(answer, file)
            yield self._pieces(answer, file, host)
        except BaseException:
            self._drop(parts.scheme, parts.netloc)  # an answer that was not read to its end
            raise

    def _ask(self, url: str) -> http.client.HTTPResponse:
        import http.client

        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        headers = {"User-Agent": "imageworks-models", "Accept-Encoding": "identity"}
        connection, fresh = self._connection(parts.scheme, parts.netloc)
        try:
            connection.request("GET", target, headers=headers)
            return connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            if fresh:
                raise
        self._drop(parts.scheme, parts.netloc)  # it had been kept too long
        connection, _ = self._connection(parts.scheme, parts.netloc)
        connection.request("GET", target, headers=headers)
        return connection.getresponse()

    def _pieces(self, answer: http.client.HTTPResponse, file: RemoteFile, host: str) -> Iterator[memoryview]:
        view = memoryview(self._threads.buffer)
        while True:
            with _told_of_server(file, host):  # not around the yield: what the disk refuses is not the server's doing
                try:
                    count = answer.readinto(view)
                except (AttributeError, ValueError) as error:  # what the library meets where close() took it away
                    raise ConnectionAbortedError("the connection was closed") from error
            if not count:
                return
            yield view[:count]

    def _connection(self, scheme: str, place: str) -> tuple[http.client.HTTPConnection, bool]:
        """Return this thread's connection to a place, and whether it is new."""
        if not hasattr(self._threads, "connections"):
            self._threads.connections = {}
            self._threads.buffer = bytearray(BUFFER_BYTES)
        known: dict[tuple[str, str], http.client.HTTPConnection] = self._threads.connections
        if (scheme, place) in known:
            return known[scheme, place], False
        made = _opener(self._guard, self._trusted() if scheme == "https" else None)(place)
        known[scheme, place] = made
        with self._lock:
            self._open.append(made)
        return made, True

    def _drop(self, scheme: str, place: str) -> None:
        connection = self._threads.connections.pop((scheme, place), None) if hasattr(self._threads, "buffer") else None
        if connection is not None:
            connection.close()
            with self._lock:
                if connection in self._open:  # else all were closed meanwhile
                    self._open.remove(connection)

    def _trusted(self) -> ssl.SSLContext:
        with self._lock:
            if self._certificates is None:
                self._certificates = tls_context()
            return self._certificates


def _opener(
    guard: AddressGuard | None, certificates: ssl.SSLContext | None
) -> Callable[[str], http.client.HTTPConnection]:
    """Return what makes a connection that is opened when it is first used."""
    import http.client

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            place = self.host, self.port
            made = (
                socket.create_connection(place, self.timeout) if guard is None else guard.connect(*place, self.timeout)
            )
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = made

    class Encrypted(Plain):
        default_port = http.client.HTTPS_PORT

        def connect(self) -> None:
            super().connect()
            if certificates is not None:
                self.sock = certificates.wrap_socket(self.sock, server_hostname=self.host)

    made = Plain if certificates is None else Encrypted
    return lambda place: made(place, timeout=TIMEOUT_SECONDS)


@contextmanager
def _told_of_server(file: RemoteFile, host: str) -> Iterator[None]:
    import http.client

    try:
        yield
    except NetworkSettingError as error:
        raise LinkError(f"{file.path}: {error.message}", remedy=error.remedy) from None
    except PrivateAddressError as error:
        raise LinkError(f"{file.path}: {error.message}", remedy=error.remedy, reason="private-address") from None
    except (OSError, http.client.HTTPException) as error:
        raise LinkError(f"{file.path}: {host}: {str(error) or type(error).__name__}", retryable=True) from None


def _check(answer: http.client.HTTPResponse, file: RemoteFile) -> None:
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        raise NotDirectError
    if answer.status != HTTPStatus.OK:
        after = answer.headers.get("Retry-After", "") if answer.status in _BUSY else ""
        raise LinkError(
            f"{file.path}: the server answers {answer.status} {answer.reason}",
            retryable=True,  # a link that has expired is asked for again
            retry_after=whole_number(after),
            reason="rate-limited" if answer.status == HTTPStatus.TOO_MANY_REQUESTS else "link-failed",
        )
