"""Connections by the way that they take: direct, through a proxy, only to permitted addresses."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import httpcore2

from imageworks.foundation.addresses import IN_ADDRESSES, AddressGuard
from imageworks.foundation.certificates import tls_context
from imageworks.foundation.proxies import Proxy
from imageworks.foundation.socks import SocksBackend

FAILURES: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
    OSError,
)


def address_of(url: str) -> httpcore2.URL:
    """Return what is asked, read by the parser by which its origin and its host are judged."""
    if not url.isascii():
        parts = urlsplit(url)
        url = urlunsplit(parts._replace(netloc=parts.netloc.encode("idna").decode()))
    return httpcore2.URL(quote(url, safe=IN_ADDRESSES))


def connections(*, encrypted: bool, proxy: Proxy | None, guard: AddressGuard | None) -> httpcore2.ConnectionPool:
    """Return what keeps connections to encrypted or to plain places, by a proxy or by none."""
    context = tls_context() if encrypted else None  # certificates take time to read, and a plain place has none
    backend: httpcore2.NetworkBackend | None = None
    by = None
    if proxy is not None and proxy.scheme == "socks5":
        backend = SocksBackend(proxy)
    elif proxy is not None:
        by = httpcore2.Proxy(
            f"{proxy.scheme}://{proxy.place}/",
            auth=None if proxy.user is None else (proxy.user.encode(), proxy.password.encode()),
            ssl_context=tls_context() if proxy.scheme == "https" else None,
        )
    elif guard is not None:
        backend = GuardedBackend(guard)
    return httpcore2.ConnectionPool(context, by, max_connections=None, network_backend=backend)


class GuardedBackend(httpcore2.NetworkBackend):
    """Opens connections to the very addresses that were looked at."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._direct = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Return a connection to the first address of a host that answers."""
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        try:
            addresses = self._guard.addresses(host)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for address in addresses:
            try:
                return self._direct.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure
