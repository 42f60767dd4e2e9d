"""The one door to HTTP: a thread-safe pool of connections that follows no redirect and remembers no cookie.

It stands on httpcore2, the layer below httpx2 which huggingface_hub brings along: 0.18 ms of CPU a HEAD request against
0.32 ms through ``httpx2.Client`` (2 cores, CPython 3.11), and what the client would add (redirects, cookies,
authentication, decoding) is what must not happen here. Proxies and certificates are those of ``proxies`` and
``certificates``.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from imageworks.errors import ImageworksError
from imageworks.log import detail
from imageworks.proxies import NetworkSettingError, Proxy, proxy_for

if TYPE_CHECKING:
    import ssl

    import httpcore2

CONNECT_SECONDS: Final = 15.0
READ_SECONDS: Final = 30.0
LARGEST_BODY_BYTES: Final = 32 * 1024 * 1024
CUT: Final = "the connection was cut"
_IN_ADDRESSES: Final = "".join(map(chr, range(ord("!"), ord("~") + 1)))


class HttpError(ImageworksError):
    """No usable answer came: refused, timed out, cut off, or not HTTP.

    Args:
        url: What was asked, shown without its query, which may hold a signature.
        why: What happened, as the end of a sentence.
        remedy: What to do about it, where that is known.
        unconnected: Not even a connection was made.
        lasting: Asking again would end likewise: a setting or a person must change first.
    """

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
    """Return what decides whether a credential may travel: scheme, host and port of a URL.

    Raises:
        ValueError: The port is not a number.
    """
    parts = urlsplit(url)
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def led_to(url: str, location: str) -> str:
    """Return where a ``Location`` leads, as an address that can be asked: in ASCII, as browsers send it.

    Args:
        url: What answered with it.
        location: The header's value, as it is read.

    Raises:
        ValueError: It is no address.
    """
    target = urljoin(url, quote(location.encode("latin-1", "replace"), safe=_IN_ADDRESSES))
    origin(target)
    return target


class HttpPool:
    """Sends requests over kept connections; every method may be called from any thread.

    Args:
        user_agent: Sent with each request.
        connect_seconds: How long making a connection may take, in seconds.
        read_seconds: How long the server may stay silent, in seconds.
        proxies: Whether the environment's proxies are used.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
        proxies: bool = True,
    ) -> None:
        self._user_agent = user_agent.encode("ascii")
        self._proxies = proxies
        self._timeout = {"connect": connect_seconds, "read": read_seconds, "write": read_seconds, "pool": None}
        # One connection each, taken by one thread at a time: a shared pool of httpcore2 looks at every connection under
        # one lock for every request, which doubles the CPU of a request from eight threads.
        self._idle: dict[tuple[str, str], list[httpcore2.ConnectionPool]] = {}
        self._closed = False
        self._certificates: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; those in use when their answer ends."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def request(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None) -> Reply:
        """Return the whole answer to a request, whatever its status.

        Args:
            method: The HTTP method.
            url: What is asked.
            headers: Sent besides ``user-agent`` and ``host``.
            content: Sent as the request's body.

        Raises:
            HttpError: No answer came, or one above 32 MiB.
        """
        with self.stream(method, url, headers, content) as answer:
            pieces = []
            received = 0
            for piece in answer.chunks:
                received += len(piece)
                if received > LARGEST_BODY_BYTES:
                    raise HttpError(url, f"the answer is larger than {LARGEST_BODY_BYTES} bytes")
                pieces.append(piece)
            return Reply(answer.url, answer.status, answer.headers, b"".join(pieces))

    def stream(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | Iterable[bytes] | None = None
    ) -> AbstractContextManager[OpenReply]:
        """Open the answer to a request; leaving the context gives the connection back.

        Args:
            method: The HTTP method.
            url: What is asked.
            headers: Sent besides ``user-agent`` and ``host``; with pieces as content, ``content-length`` too.
            content: Sent as the request's body; what its pieces raise comes out of the context.
        """
        return _Exchange(self, method, url, headers, content)

    def _take(self, place: tuple[str, str], proxy: Proxy | None) -> "httpcore2.ConnectionPool":
        import httpcore2

        encrypted = place[0].lower() == "https"
        with self._lock:
            idle = self._idle.get(place)
            if idle:
                return idle.pop()
            if encrypted and self._certificates is None:
                from imageworks.certificates import tls_context

                self._certificates = tls_context()  # httpcore2 would read it for each connection
        certificates = self._certificates if encrypted else None
        if proxy is not None and proxy.scheme == "socks5":
            from imageworks.socks import SocksBackend

            return httpcore2.ConnectionPool(certificates, max_connections=1, network_backend=SocksBackend(proxy))
        return httpcore2.ConnectionPool(
            certificates, proxy=None if proxy is None else _http_proxy(proxy), max_connections=1
        )

    def _proxy(self, url: str) -> Proxy | None:
        return proxy_for(url) if self._proxies else None

    def _give_back(self, place: tuple[str, str], connection: "httpcore2.ConnectionPool") -> None:
        with self._lock:
            if not self._closed:
                self._idle.setdefault(place, []).append(connection)
                return
        connection.close()


class _Exchange(AbstractContextManager[OpenReply]):
    """One request and its answer, with httpcore2's errors told as ours from start to end."""

    def __init__(
        self,
        pool: HttpPool,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | Iterable[bytes] | None = None,
    ) -> None:
        self._pool = pool
        self._content = content
        self._method = method
        self._url = url
        self._headers = headers
        self._proxy: Proxy | None = None
        self._stack = ExitStack()
        self._cut = threading.Event()

    def __enter__(self) -> OpenReply:
        import httpcore2

        headers = [(b"user-agent", self._pool._user_agent)]  # noqa: SLF001 # one class in two halves
        headers += [(name.encode("ascii"), value.encode("latin-1")) for name, value in self._headers.items()]
        place = self._url.partition("://")[0], urlsplit(self._url).netloc
        try:
            self._proxy = self._pool._proxy(self._url)  # noqa: SLF001
            connection = self._pool._take(place, self._proxy)  # noqa: SLF001
        except NetworkSettingError as error:
            raise HttpError(self._url, error.message, remedy=error.remedy, lasting=True) from None
        self._stack.callback(self._pool._give_back, place, connection)  # noqa: SLF001
        timeout = self._pool._timeout  # noqa: SLF001
        try:
            opened = connection.stream(
                self._method,
                self._url,
                headers=headers,
                content=self._content,  # type: ignore[arg-type] # any iterable serves, its annotation is too narrow
                extensions={"timeout": timeout},
            )
            response = self._stack.enter_context(opened)
        except _failures(httpcore2) as error:
            # The original is left out: h11 quotes a header that it refuses, and so would show the token.
            self._stack.close()
            raise _failure(self._url, error, self._proxy) from None
        except BaseException:  # the content's own error, or an interrupt
            self._stack.close()
            raise
        if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and self._proxy is not None:
            self._stack.close()
            raise _refused_by(self._proxy, self._url)
        found: dict[str, str] = {}
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
        detail("http-request", method=self._method, url=self._url, status=response.status)
        return OpenReply(self._url, response.status, found, self._chunks(response), self._cutter(response))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _chunks(self, response: "httpcore2.Response") -> Iterator[bytes]:
        import httpcore2

        try:
            yield from response.iter_stream()
        except _failures(httpcore2) as error:
            # A cut of our own meets the reader as an end or as a reset, as the server was quick or not.
            if self._cut.is_set():
                raise HttpError(self._url, CUT) from None
            raise _failure(self._url, error, self._proxy) from None
        if self._cut.is_set():  # an answer without a length seems to be whole then
            raise HttpError(self._url, CUT)

    def _cutter(self, response: "httpcore2.Response") -> Callable[[], None]:
        import socket

        stream = response.extensions.get("network_stream")
        connected = None if stream is None else stream.get_extra_info("socket")

        def cut() -> None:
            self._cut.set()
            if isinstance(connected, socket.socket):
                with suppress(OSError):  # it has ended already
                    socket.socket.shutdown(connected, socket.SHUT_RDWR)  # not TLS's own, which the reader may be using

        return cut


def _http_proxy(proxy: Proxy) -> "httpcore2.Proxy":
    import httpcore2

    context = None
    if proxy.scheme == "https":
        from imageworks.certificates import tls_context

        context = tls_context()
    user = None if proxy.user is None else (proxy.user.encode(), proxy.password.encode())
    return httpcore2.Proxy(f"{proxy.scheme}://{proxy.place}/", auth=user, ssl_context=context)


def _failures(module: object) -> tuple[type[Exception], ...]:
    names = ("TimeoutException", "NetworkError", "ProtocolError", "ProxyError", "UnsupportedProtocol")
    return (*(getattr(module, name) for name in names), OSError)


def _failure(url: str, error: Exception, proxy: Proxy | None) -> HttpError:
    """Return what a connection's end means, and whose doing it is."""
    kind, said = type(error).__name__, str(error)
    unconnected = kind in {"ConnectError", "ConnectTimeout"}
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
    from imageworks.certificates import certificates_setting

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
        "LocalProtocolError": "the request cannot be sent",
        "RemoteProtocolError": "the connection was cut, or the answer is not HTTP",
        "ConnectError": f"cannot connect: {error}",
    }
    return known.get(kind) or f"the connection broke: {error}"
