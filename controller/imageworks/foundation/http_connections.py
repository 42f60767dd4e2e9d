"""Connections by the way that they take: direct, through a proxy, only to permitted addresses.

SOCKS5 (RFC 1928, 1929) is spoken here, in sixty lines of our own: the package that httpcore2 wants for it has had no
release since 2020, and what httpcore2 does with it leaves a refused connection open and takes an answer in two pieces
for a broken one. The proxy looks the names up itself.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

import httpcore2

from imageworks.foundation.addresses import IN_ADDRESSES, AddressGuard
from imageworks.foundation.certificates import tls_context
from imageworks.foundation.proxies import Proxy

FAILURES: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
    OSError,
)
_VERSION: Final = b"\x05"
_OPEN, _BY_PASSWORD, _NEITHER = 0, 2, 255
_IPV4, _NAME, _IPV6 = 1, 3, 4
_WHY: Final = {
    2: "its rules do not allow it",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "the host refused the connection",
    6: "the host is too far away",
}
REFUSED: Final = "407"
"""What the message of a refused user begins with, as an HTTP proxy says it."""


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


class SocksBackend(httpcore2.NetworkBackend):
    """Opens connections by asking a SOCKS5 proxy for them."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._direct = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Return a connection to a host, made by the proxy."""
        proxy = self._proxy
        stream = self._direct.connect_tcp(proxy.host, proxy.port, timeout, local_address, socket_options)
        try:
            _introduce(stream, proxy, timeout)
            _ask_for(stream, host, port, timeout)
        except BaseException:
            stream.close()
            raise
        return stream


def _introduce(stream: httpcore2.NetworkStream, proxy: Proxy, timeout: float | None) -> None:
    methods = bytes([_OPEN] if proxy.user is None else [_OPEN, _BY_PASSWORD])
    stream.write(_VERSION + bytes([len(methods)]) + methods, timeout)
    version, method = _read(stream, 2, timeout)
    if version != _VERSION[0]:
        raise httpcore2.ProxyError("it does not speak SOCKS5")
    if method == _BY_PASSWORD and proxy.user is not None:
        user, password = proxy.user.encode()[:255], proxy.password.encode()[:255]
        stream.write(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password, timeout)
        if _read(stream, 2, timeout)[1] != 0:
            raise httpcore2.ProxyError(REFUSED)
    elif method == _NEITHER:
        raise httpcore2.ProxyError(REFUSED)
    elif method != _OPEN:
        raise httpcore2.ProxyError("it wants a kind of log-in that is not known here")


def _ask_for(stream: httpcore2.NetworkStream, host: str, port: int, timeout: float | None) -> None:
    stream.write(_VERSION + b"\x01\x00" + _address(host) + port.to_bytes(2, "big"), timeout)
    _, reply, _, kind = _read(stream, 4, timeout)
    if reply != 0:
        raise httpcore2.ProxyError(_WHY.get(reply, f"SOCKS error {reply}"))
    length = {_IPV4: 4, _IPV6: 16}.get(kind) or _read(stream, 1, timeout)[0]
    _read(stream, length + 2, timeout)  # from where it connected


def _address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if isinstance(address, IPv4Address) else _IPV6]) + address.packed


def _read(stream: httpcore2.NetworkStream, count: int, timeout: float | None) -> bytes:
    held = b""
    while len(held) < count:
        piece = stream.read(count - len(held), timeout)
        if not piece:
            raise httpcore2.ProxyError("it ended the connection")
        held += piece
    return held
