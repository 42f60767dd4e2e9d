"""Connections of the standard library that each thread keeps, for many short requests in a row.

They read into memory of ours, and a request takes a third of a pool's time: with files by the hundred, a client's own
work is the greatest cost. What goes by a proxy is not for them.
"""

from __future__ import annotations  # the client is imported where it is used: 30 ms that most commands do not need

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imageworks.foundation.certificates import tls_context
from imageworks.foundation.proxies import PORTS

if TYPE_CHECKING:
    import http.client
    import ssl
    from collections.abc import Callable, Mapping

    from imageworks.foundation.addresses import AddressGuard

    _Place = tuple[str, str, int]


class NotConnectedError(OSError):
    """No connection to the server could be made."""


class KeptConnections:
    """Keeps one connection to each place for each thread; a server's end of one that was idle is nobody's failure."""

    def __init__(self, guard: AddressGuard | None, *, connect_seconds: float, read_seconds: float) -> None:
        self._guard = guard
        self._seconds = connect_seconds, read_seconds
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

    def ask(self, method: str, url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Return the answer to a request without a body; who does not read it to its end drops its connection."""
        import http.client

        connection, fresh = self._connection(url)
        try:
            return _asked(connection, method, url, headers)
        except (http.client.RemoteDisconnected, ConnectionError):
            if fresh:
                self.drop(url)
                raise
        except BaseException:
            self.drop(url)
            raise
        self.drop(url)  # it had been kept too long
        return self.ask(method, url, headers)

    def drop(self, url: str) -> None:
        """Close this thread's connection to a place."""
        connection = self._of_thread().pop(_place(url), None)
        if connection is not None:
            connection.close()
            with self._lock:
                if connection in self._open:  # else all were closed meanwhile
                    self._open.remove(connection)

    def _of_thread(self) -> dict[_Place, http.client.HTTPConnection]:
        if not hasattr(self._threads, "connections"):
            self._threads.connections = {}
        known: dict[_Place, http.client.HTTPConnection] = self._threads.connections
        return known

    def _connection(self, url: str) -> tuple[http.client.HTTPConnection, bool]:
        """Return this thread's connection to a place, and whether it is new."""
        known, place = self._of_thread(), _place(url)
        if place in known and known[place].sock is not None:
            return known[place], False
        self.drop(url)
        scheme, host, port = place
        kind = _kind_of_connection(self._guard, self._trusted() if scheme == "https" else None, *self._seconds)
        made = known[place] = kind(host, port)
        with self._lock:
            self._open.append(made)
        return made, True

    def _trusted(self) -> ssl.SSLContext:
        with self._lock:
            if self._certificates is None:
                self._certificates = tls_context()
            return self._certificates


def _place(url: str) -> _Place:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme]


def _asked(
    connection: http.client.HTTPConnection, method: str, url: str, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    connection.request(method, target, headers=dict(headers))
    return connection.getresponse()


def _kind_of_connection(
    guard: AddressGuard | None, certificates: ssl.SSLContext | None, connect_seconds: float, read_seconds: float
) -> Callable[[str, int], http.client.HTTPConnection]:
    """Return what makes a connection that is opened when it is first used."""
    import http.client

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            place = self.host, self.port
            try:
                made = (
                    socket.create_connection(place, connect_seconds)
                    if guard is None
                    else guard.connect(*place, connect_seconds)
                )
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sock = made if certificates is None else certificates.wrap_socket(made, server_hostname=self.host)
            except OSError as error:
                raise NotConnectedError(str(error) or type(error).__name__) from error
            self.sock.settimeout(read_seconds)

    class Encrypted(Plain):
        default_port = http.client.HTTPS_PORT

    return Plain if certificates is None else Encrypted
