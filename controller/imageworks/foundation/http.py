"""The one door to HTTP: connections that follow no redirect and remember no cookie.

It sends requests by the connections of httpx2 (httpcore2): what its client would add (redirects, cookies, credentials
of an address, decoding) is what must not happen here, and its requests and answers cost a quarter more. A HEAD, which a
download asks of each large file, goes by ``kept_connections``. Proxies and certificates are those of ``proxies`` and
``certificates``.
"""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from imageworks.foundation.addresses import IN_ADDRESSES, AddressGuard
from imageworks.foundation.certificates import certificates_setting
from imageworks.foundation.closing import Closing
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.kept_connections import KeptConnections
from imageworks.foundation.log import detail
from imageworks.foundation.proxies import NetworkSettingError, Proxy, proxy_for

if TYPE_CHECKING:
    import httpcore2

CONNECT_SECONDS: Final = 15.0
READ_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 600.0
LARGEST_BODY_BYTES: Final = 32 * 1024 * 1024
CUT: Final = "the connection was cut"
_UNSENDABLE: Final = "the request cannot be sent"
_NOT_HTTP: Final = "the connection was cut, or the answer is not HTTP"
_PLAIN: Final = re.compile(r"https?://(?![/?#])[!-~]+")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class HttpError(ImageworksError):
    """No usable answer came: refused, timed out, cut off, or not HTTP."""

    def __init__(
        self, url: str, why: str, *, remedy: str | None = None, unconnected: bool = False, lasting: bool = False
    ) -> None:
        super().__init__(f"{shown_url(url)}: {why}", remedy=remedy)
        self.why = why
        self.unconnected = unconnected
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete answer.

    Args:
        url: What was asked.
        status: The HTTP status.
        headers: Header values by lower-case name; repeated ones are joined with a comma.
        body: The whole content, empty for HEAD.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class OpenReply:
    """An answer whose content is still coming.

    Args:
        url: What was asked.
        status: The HTTP status.
        headers: Header values by lower-case name.
        chunks: The content as it comes, in pieces of at most 64 KiB; raises HttpError when it is cut off.
        cut: Ends the connection, from any thread: whoever waits for the next piece wakes up.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]
    cut: Callable[[], None] = lambda: None


def shown_url(url: str) -> str:
    """Return a URL fit for a message: without user, password, query and fragment, any of which may be secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def origin(url: str) -> tuple[str, str, int]:
    """Return what decides whether a credential may travel: scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def whole_number(text: str) -> int | None:
    """Return the number that a header says; ``None`` for what is none, or counts nothing that there is."""
    return int(text) if _NUMBER.fullmatch(text) else None


def led_to(url: str, location: str) -> str:
    """Return where a ``Location`` leads, as an address that can be asked: in ASCII, as browsers send it."""
    plain = _PLAIN.fullmatch(location) is not None  # as the links of hubs are, one a large file
    target = location if plain else urljoin(url, quote(location.encode("latin-1", "replace"), safe=IN_ADDRESSES))
    origin(target)
    return target


class HttpPool(Closing):
    """Sends requests over kept connections; every method may be called from any thread."""

    def __init__(
        self,
        *,
        user_agent: str,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        proxies: bool = True,
        guard: AddressGuard | None = None,
    ) -> None:
        self._guard = guard
        self._kept = KeptConnections(guard, connect_seconds=connect_seconds, read_seconds=read_seconds)
        self._user_agent = user_agent.encode("ascii")
        self._proxies = proxies
        self._answer_seconds = answer_seconds
        self._timeout = {"connect": connect_seconds, "read": read_seconds, "write": read_seconds, "pool": None}
        self._pools: dict[tuple[bool, Proxy | None], httpcore2.ConnectionPool] = {}
        self._in_use = 0
        self._closed = False
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections, at once or when the last answer under way has ended."""
        self._count(0, closing=True)

    def request(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None) -> Reply:
        """Return the whole answer to a request, whatever its status."""
        if method == "HEAD" and (reply := self._head(url, headers)) is not None:
            return reply
        with self.stream(method, url, headers, content) as answer:
            ends = time.monotonic() + self._answer_seconds
            pieces = []
            received = 0
            for piece in answer.chunks:
                received += len(piece)
                if received > LARGEST_BODY_BYTES:
                    raise HttpError(url, f"the answer is larger than {LARGEST_BODY_BYTES} bytes")
                if time.monotonic() > ends:
                    raise HttpError(url, f"the answer did not end within {self._answer_seconds:.0f} s", lasting=True)
                pieces.append(piece)
            return Reply(answer.url, answer.status, answer.headers, b"".join(pieces))

    @contextmanager
    def stream(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | Iterable[bytes] | None = None
    ) -> Iterator[OpenReply]:
        """Open the answer to a request; leaving the context gives the connection back."""
        from imageworks.foundation.http_connections import FAILURES, address_of

        try:
            address = address_of(url)
        except ValueError:
            raise HttpError(url, "that is no address", lasting=True) from None
        try:
            proxy = proxy_for(url) if self._proxies else None
            pool = self._pool(url, proxy)
        except NetworkSettingError as error:
            raise HttpError(url, error.message, remedy=error.remedy, lasting=True) from None
        sent = [(b"user-agent", self._user_agent)]
        sent += [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
        was_cut = threading.Event()

        def chunks() -> Iterator[bytes]:
            try:
                yield from answer.iter_stream()
            except FAILURES as error:
                # A cut of our own meets the reader as an end or as a reset, as the server was quick or not.
                raise HttpError(url, CUT) if was_cut.is_set() else _failure(url, error, proxy) from None
            if was_cut.is_set():  # an answer without a length seems to be whole then
                raise HttpError(url, CUT)

        def cut() -> None:
            was_cut.set()
            _shut(answer)

        with self._used(), ExitStack() as stack:
            opening = pool.stream(
                method,
                address,
                headers=sent,
                content=content,  # type: ignore[arg-type] # any iterable serves, its annotation is too narrow
                extensions={"timeout": self._timeout},
            )
            try:
                answer = stack.enter_context(opening)
            except FAILURES as error:
                # The original is left out: h11 quotes a header that it refuses, and so would show the token.
                raise _failure(url, error, proxy) from None
            if answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and proxy is not None:
                raise _refused_by(proxy, url)
            detail("http-request", method=method, url=url, status=answer.status)
            said = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers)
            yield OpenReply(url, answer.status, _by_name(said), chunks(), cut)

    def _head(self, url: str, headers: Mapping[str, str]) -> Reply | None:
        """Return the answer to a HEAD by a connection that is kept; ``None`` where it is not to be asked so."""
        from http.client import HTTPException

        try:
            origin(url)
            if not _PLAIN.fullmatch(url) or (self._proxies and proxy_for(url) is not None):
                return None
        except (ValueError, NetworkSettingError):
            return None
        with self._used():
            try:
                answer = self._kept.ask("HEAD", url, {"user-agent": self._user_agent.decode("ascii"), **headers})
                answer.read()
            except ValueError:  # it quotes the header that it refuses, which may be the token
                raise HttpError(url, _UNSENDABLE) from None
            except HTTPException:
                raise HttpError(url, _NOT_HTTP) from None
            except OSError as error:
                raise _failure(url, error, None) from None
            if answer.status < HTTPStatus.OK:  # what comes before an answer
                self._kept.drop(url)
                return None
            detail("http-request", method="HEAD", url=url, status=answer.status)
            return Reply(url, answer.status, _by_name(answer.getheaders()))

    def _pool(self, url: str, proxy: Proxy | None) -> "httpcore2.ConnectionPool":
        from imageworks.foundation.http_connections import connections

        route = url[:8].lower() == "https://", proxy
        with self._lock:
            if route not in self._pools:
                self._pools[route] = connections(encrypted=route[0], proxy=proxy, guard=self._guard)
            return self._pools[route]

    @contextmanager
    def _used(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int, *, closing: bool = False) -> None:
        """Count the answers under way: the connections of a closed pool go when there is none."""
        with self._lock:
            self._in_use += more
            self._closed |= closing
            if self._in_use or not self._closed:
                return
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()
        self._kept.close()


def _by_name(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for said, value in headers:
        name = said.lower()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _shut(response: "httpcore2.Response") -> None:
    stream = response.extensions.get("network_stream")
    connected = None if stream is None else stream.get_extra_info("socket")
    if isinstance(connected, socket.socket):
        with suppress(OSError):  # it has ended already
            socket.socket.shutdown(connected, socket.SHUT_RDWR)  # not TLS's own, which the reader may be using


def _failure(url: str, error: Exception, proxy: Proxy | None) -> HttpError:
    """Return what a connection's end means, and whose doing it is."""
    kind, said = type(error).__name__, str(error)
    unconnected = kind in {"ConnectError", "ConnectTimeout", "NotConnectedError"}
    if proxy is not None and kind == "ProxyError":
        if said.startswith("407"):
            return _refused_by(proxy, url)
        remedy = (
            f"Check {proxy.variable}, and whether that proxy may reach the host; NO_PROXY names hosts to ask directly."
        )
        return HttpError(url, f"{proxy.shown} gives no connection: {said}", remedy=remedy, unconnected=True)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return HttpError(
            url, f"its certificate is not trusted: {said}", remedy=_trust_remedy(), unconnected=True, lasting=True
        )
    if proxy is not None and unconnected and "SSL" not in said:
        why = f"cannot connect to {proxy.shown}: {said or 'it does not answer'}"
        return HttpError(url, why, remedy=f"Correct or unset {proxy.variable}.", unconnected=True)
    return HttpError(url, _why(error), unconnected=unconnected)


def _refused_by(proxy: Proxy, url: str) -> HttpError:
    why = "wants a user and a password" if proxy.user is None else "refuses the user and password given"
    code = "" if proxy.scheme == "socks5" else " (HTTP 407)"
    how = f"as {proxy.scheme}://user:password@{proxy.place}, with @ : / # % percent-encoded"
    return HttpError(url, f"{proxy.shown} {why}{code}", remedy=f"Write them into it {how}.", lasting=True)


def _trust_remedy() -> str:
    variable = certificates_setting()
    if variable is None:
        return "Where a network checks what comes, name its certificates in SSL_CERT_FILE."
    return f"{variable} says what is trusted, and its issuer is not there: add it, or correct the variable."


def _why(error: Exception) -> str:
    kind = type(error).__name__
    known = {
        "ConnectTimeout": "the connection timed out",
        "ReadTimeout": "the server stopped answering",
        "WriteTimeout": "the server stopped reading",
        "UnsupportedProtocol": "only http and https are known",
        "TimeoutError": "the server stopped answering",
        "LocalProtocolError": _UNSENDABLE,
        "RemoteProtocolError": _NOT_HTTP,
        "ConnectError": f"cannot connect: {error}",
        "NotConnectedError": f"cannot connect: {error}",
    }
    return known.get(kind) or f"the connection broke: {error}"
