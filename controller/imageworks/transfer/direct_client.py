"""Fetch a small signed link straight into a buffer: a third of the time that a general HTTP client takes for a MiB.

Only for links that need no credentials and no proxy; whatever is out of the ordinary is left to the provider's stream.
"""

from __future__ import annotations  # the client is imported where it is used: 30 ms that most commands do not need

import threading
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.foundation.addresses import PrivateAddressError
from imageworks.foundation.http import whole_number
from imageworks.foundation.kept_connections import KeptConnections
from imageworks.foundation.proxies import NetworkSettingError, proxy_for

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator

    from imageworks.foundation.addresses import AddressGuard

BUFFER_BYTES = 1024 * 1024
TIMEOUT_SECONDS = 30.0
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_HEADERS = {"User-Agent": "imageworks-models", "Accept-Encoding": "identity"}


class NotDirectError(Exception):
    """This link is not to be fetched directly."""


class DirectClient:
    """Keeps connections and a buffer for each thread that uses it."""

    def __init__(self, guard: AddressGuard | None = None) -> None:
        self.connections = KeptConnections(guard, connect_seconds=TIMEOUT_SECONDS, read_seconds=TIMEOUT_SECONDS)
        self._threads = threading.local()

    def close(self) -> None:
        """Close all connections; a thread that waits for one's bytes wakes up."""
        self.connections.close()

    @contextmanager
    def stream(self, url: str, file: RemoteFile) -> Iterator[Iterator[memoryview]]:
        """Open a link's bytes; each piece is valid until the next is asked for."""
        host = urlsplit(url).hostname or ""
        with _told_of_server(file, host):
            proxied = proxy_for(url) is not None
        if proxied:
            raise NotDirectError
        with _told_of_server(file, host):
            answer = self.connections.ask("GET", url, _HEADERS)
        try:
            _check(answer, file)
            yield self._pieces(answer, file, host)
        except BaseException:
            self.connections.drop(url)  # an answer that was not read to its end
            raise

    def _pieces(self, answer: http.client.HTTPResponse, file: RemoteFile, host: str) -> Iterator[memoryview]:
        if not hasattr(self._threads, "buffer"):
            self._threads.buffer = bytearray(BUFFER_BYTES)
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
