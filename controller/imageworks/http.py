"""The one door to HTTP: a thread-safe pool of connections that follows no redirect and remembers no cookie.

It stands on httpcore2, the layer below httpx2 which huggingface_hub brings along: 0.18 ms of CPU a HEAD request against
0.32 ms through ``httpx2.Client`` (2 cores, CPython 3.11), and what the client would add (redirects, cookies,
authentication, decoding) is what must not happen here. Proxies and certificates come from the same variables.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit, urlunsplit

from imageworks.errors import ImageworksError
from imageworks.log import detail

if TYPE_CHECKING:
    import ssl

    import httpcore2

CONNECT_SECONDS: Final = 15.0
READ_SECONDS: Final = 30.0
LARGEST_BODY_BYTES: Final = 32 * 1024 * 1024


class HttpError(ImageworksError):
    """No usable answer came: refused, timed out, cut off, or not HTTP.

    Args:
        url: What was asked, shown without its query, which may hold a signature.
        why: What happened, as the end of a sentence.
        unconnected: Not even a connection was made.
    """

    def __init__(self, url: str, why: str, *, unconnected: bool = False) -> None:
        super().__init__(f"{shown_url(url)}: {why}")
        self.why = why
        self.unconnected = unconnected


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

    def _take(self, place: tuple[str, str], url: str) -> "httpcore2.ConnectionPool":
        import httpcore2

        with self._lock:
            idle = self._idle.get(place)
            if idle:
                return idle.pop()
            encrypted = place[0].lower() == "https"
            if encrypted and self._certificates is None:
                self._certificates = httpcore2.default_ssl_context()  # httpcore2 would read it for each connection
        proxy = _proxy_for(url) if self._proxies else None
        return httpcore2.ConnectionPool(
            ssl_context=self._certificates if encrypted else None,
            proxy=_parsed_proxy(proxy) if proxy else None,
            max_connections=1,
        )

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
        self._stack = ExitStack()

    def __enter__(self) -> OpenReply:
        import httpcore2

        headers = [(b"user-agent", self._pool._user_agent)]  # noqa: SLF001 # one class in two halves
        headers += [(name.encode("ascii"), value.encode("latin-1")) for name, value in self._headers.items()]
        place = self._url.partition("://")[0], urlsplit(self._url).netloc
        connection = self._pool._take(place, self._url)  # noqa: SLF001
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
            unconnected = isinstance(error, (httpcore2.ConnectError, httpcore2.ConnectTimeout))
            # The original is left out: h11 quotes a header that it refuses, and so would show the token.
            self._stack.close()
            raise HttpError(self._url, _why(error), unconnected=unconnected) from None
        except BaseException:  # the content's own error, or an interrupt
            self._stack.close()
            raise
        found: dict[str, str] = {}
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
        detail("http-request", method=self._method, url=self._url, status=response.status)
        return OpenReply(self._url, response.status, found, self._chunks(response), _cutter(response))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _chunks(self, response: "httpcore2.Response") -> Iterator[bytes]:
        import httpcore2

        try:
            yield from response.iter_stream()
        except _failures(httpcore2) as error:
            raise HttpError(self._url, _why(error)) from None


def _cutter(response: "httpcore2.Response") -> Callable[[], None]:
    import socket

    stream = response.extensions.get("network_stream")
    connected = None if stream is None else stream.get_extra_info("socket")

    def cut() -> None:
        if isinstance(connected, socket.socket):
            with suppress(OSError):  # it has ended already
                socket.socket.shutdown(connected, socket.SHUT_RDWR)  # not TLS's own, which the reader may be using

    return cut


def _failures(module: object) -> tuple[type[Exception], ...]:
    names = ("TimeoutException", "NetworkError", "ProtocolError", "ProxyError", "UnsupportedProtocol")
    return (*(getattr(module, name) for name in names), OSError)


def _why(error: Exception) -> str:
    kind = type(error).__name__
    told = {
        "ConnectTimeout": "the connection timed out",
        "ReadTimeout": "the server stopped answering",
        "WriteTimeout": "the server stopped reading",
        "UnsupportedProtocol": "only http and https are known",
        "LocalProtocolError": "the request cannot be sent",
        "RemoteProtocolError": "the connection was cut, or the answer is not HTTP",
        "ProxyError": "the proxy refused",
        "ConnectError": f"cannot connect: {error}",
    }
    return told.get(kind) or f"the connection broke: {error}"


def _proxy_for(url: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return None if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]) else proxy


def _parsed_proxy(proxy: str) -> "httpcore2.Proxy":
    import httpcore2

    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "/", "", ""))
    user = (parts.username, parts.password or "") if parts.username else None
    return httpcore2.Proxy(address, auth=user)
