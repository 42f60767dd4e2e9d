"""Fetch a small signed link straight into a buffer: a third of the time that a general HTTP client takes for a MiB.

Only for links that need no credentials and no proxy; whatever is out of the ordinary is left to the provider's stream.
The standard library's client is used because it reads into memory of ours, and hundreds of files of about a MiB are
where a client's own copying is the greatest cost.
"""

from __future__ import annotations  # the client is imported where it is used: 30 ms that most commands do not need

import threading
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imageworks.proxies import NetworkSettingError, proxy_for
from imageworks.transfer.files import LinkError, RemoteFile

if TYPE_CHECKING:
    import http.client
    import ssl
    from collections.abc import Iterator

BUFFER_BYTES = 1024 * 1024
TIMEOUT_SECONDS = 30.0
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class NotDirectError(Exception):
    """This link is not to be fetched directly."""


class DirectClient:
    """Keeps a connection and a buffer for each thread that uses it."""

    def __init__(self) -> None:
        self._threads = threading.local()
        self._open: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._certificates: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close all connections; a thread that waits for one's bytes wakes up."""
        import socket

        with self._lock:
            for connection in self._open:
                if connection.sock is not None:
                    with suppress(OSError):  # it has ended already
                        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
                connection.close()
            self._open.clear()

    @contextmanager
    def stream(self, url: str, file: RemoteFile) -> Iterator[Iterator[memoryview]]:
        """Open a link's bytes; each piece is valid until the next is asked for.

        Args:
            url: A link that was checked.
            file: Which file it is for.

        Raises:
            NotDirectError: There is a proxy between, or the link leads on elsewhere.
            LinkError: The server refuses, or the connection breaks.
        """
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
        import http.client

        if not hasattr(self._threads, "connections"):
            self._threads.connections = {}
            self._threads.buffer = bytearray(BUFFER_BYTES)
        known: dict[tuple[str, str], http.client.HTTPConnection] = self._threads.connections
        if (scheme, place) in known:
            return known[scheme, place], False
        if scheme == "https":
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                place, timeout=TIMEOUT_SECONDS, context=self._trusted()
            )
        else:
            made = http.client.HTTPConnection(place, timeout=TIMEOUT_SECONDS)
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
        from imageworks.certificates import tls_context

        with self._lock:
            if self._certificates is None:
                self._certificates = tls_context()
            return self._certificates


@contextmanager
def _told_of_server(file: RemoteFile, host: str) -> Iterator[None]:
    import http.client

    try:
        yield
    except NetworkSettingError as error:
        raise LinkError(f"{file.path}: {error.message}", remedy=error.remedy) from None
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
            retry_after=float(after) if after.isdigit() else None,
            reason="rate-limited" if answer.status == HTTPStatus.TOO_MANY_REQUESTS else "link-failed",
        )
