"""The bytes of files by their addresses: what size they have, where they are led to, and the bytes themselves."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from imageworks.files.artifact import NO_LINK, LinkError, RemoteFile
from imageworks.foundation.addresses import AddressGuard, PrivateAddressError, Reach
from imageworks.foundation.closing import Closing
from imageworks.foundation.http import HttpError, HttpPool, OpenReply, led_to, origin, shown_url, whole_number
from imageworks.providers.credentials import LOOPBACK, Credentials
from imageworks.registry.manifests.manifest import local_path

MOST_REDIRECTS: Final = 5
CHUNK_BYTES: Final = 512 * 1024
_NO_HEAD: Final = frozenset({HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.FORBIDDEN})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REASONS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "unauthorised",
    HTTPStatus.FORBIDDEN: "unauthorised",
    HTTPStatus.NOT_FOUND: "source-missing",
    HTTPStatus.GONE: "source-missing",
    HTTPStatus.TOO_MANY_REQUESTS: "rate-limited",
}


class Addresses(Closing):
    """Asks for files by their addresses; used from several threads at once.

    A manifest names the addresses, and anybody may have written it: they lead to no private address that this host's
    settings do not allow, and credentials go to the host that they are for and no further.
    """

    def __init__(self, credentials: Credentials, private_hosts: tuple[str, ...], user_agent: str) -> None:
        self._credentials = credentials
        self._guard = AddressGuard("the manifest", private_hosts, home=Reach.PUBLIC)
        self._pool = HttpPool(user_agent=user_agent, guard=self._guard)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def size(self, url: str) -> int:
        """Return how many bytes a file has, by one HEAD request, or by the range of its first byte."""
        with ExitStack() as stack:
            reply = self._open("HEAD", url, stack, {})
            if reply.status in _NO_HEAD:
                stack.close()
                reply = self._open("GET", url, stack, {"range": "bytes=0-0"})
            self._check(reply, url)
            length = reply.headers.get("content-range", "").rpartition("/")[2] or reply.headers.get(
                "content-length", ""
            )
            if (size := whole_number(length)) is None:
                raise LinkError(
                    f"{shown_url(url)}: its host does not say how large it is",
                    remedy="name an address that does",
                    reason="unexpected-reply",
                )
            return size

    def link(self, url: str) -> str:
        """Return the address at which a file can be had without credentials."""
        if self._header(url):
            raise LinkError(f"{shown_url(url)} wants credentials", reason=NO_LINK)
        with ExitStack() as stack:
            reply = self._open("HEAD", url, stack, {})
            if reply.status in _NO_HEAD:
                raise LinkError(f"{shown_url(url)} answers no HEAD request", reason=NO_LINK)
            self._check(reply, url)
            if self._header(reply.url):
                raise LinkError(f"{shown_url(reply.url)} wants credentials", reason=NO_LINK)
            return reply.url

    @contextmanager
    def stream(self, url: str, offset: int) -> Iterator[Iterator[bytes]]:
        """Open a file's bytes from an offset."""
        with ExitStack() as stack:
            reply = self._open("GET", url, stack, {"range": f"bytes={offset}-"} if offset else {})
            self._check(reply, url)
            skip = offset if offset and reply.status == HTTPStatus.OK else 0
            yield _after(reply.chunks, skip)

    def _open(self, method: str, url: str, stack: ExitStack, headers: Mapping[str, str]) -> OpenReply:
        for _ in range(MOST_REDIRECTS + 1):
            self._check_address(url)
            try:
                sent = {**headers, **self._header(url), "accept-encoding": "identity"}
                reply = stack.enter_context(self._pool.stream(method, url, sent))
            except HttpError as error:
                raise LinkError(
                    error.message, remedy=error.remedy, retryable=not error.lasting, reason="hub-unreachable"
                ) from None
            location = reply.headers.get("location")
            if reply.status not in _REDIRECTS or not location:
                return reply
            stack.close()
            try:
                url = led_to(url, location)
            except ValueError:
                raise LinkError(
                    f"{shown_url(url)} redirects to what is no address", reason="unexpected-reply"
                ) from None
        raise LinkError(f"{shown_url(url)}: more than {MOST_REDIRECTS} redirects", reason="unexpected-reply")

    def _check_address(self, url: str) -> None:
        try:
            self._guard.check(url)
        except PrivateAddressError as error:
            raise LinkError(error.message, remedy=error.remedy, reason="private-address") from None

    def _header(self, url: str) -> dict[str, str]:
        """Return who we are to an address; a password travels only where nobody on the way reads it."""
        scheme, host, port = origin(url)
        found = self._credentials.header(host, port)
        return found if scheme == "https" or host in LOOPBACK else {}

    def _check(self, reply: OpenReply, url: str) -> None:
        if reply.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return
        refused = reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        host = urlsplit(reply.url).hostname
        remedy = f"give a netrc entry for {host}, or name a variable for it in `credentials` of the user's config.toml"
        busy = reply.status == HTTPStatus.TOO_MANY_REQUESTS or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise LinkError(
            f"{shown_url(url)}: HTTP {reply.status}",
            remedy=remedy if refused else None,
            retryable=busy,
            retry_after=whole_number(reply.headers.get("retry-after", "")),
            reason=_REASONS.get(reply.status, "unexpected-reply"),
        )


class UrlSource:
    """Gives a transfer the files of one model; a :class:`~imageworks.files.artifact.FileSource`."""

    def __init__(self, addresses: Addresses, urls: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._urls = urls
        self._lock = threading.Lock()

    def link(self, file: RemoteFile) -> str:
        """Return a URL of a file that needs no credentials, or raise LinkError."""
        url = self._urls[file.path]
        if local_path(url) is not None:
            raise LinkError(f"{url} is a file of this host", reason=NO_LINK)
        return self._addresses.link(url)

    @contextmanager
    def stream(self, file: RemoteFile, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """Open a file's bytes from an offset; raise LinkError."""
        url = self._urls[file.path]
        if offset >= file.size:
            yield iter(())
        elif (path := local_path(url)) is not None:
            with path.open("rb") as stream:
                stream.seek(offset)
                yield iter(lambda: stream.read(CHUNK_BYTES), b"")
        else:
            with self._addresses.stream(url, offset) as chunks:
                yield _told(chunks)

    def read(self, file: RemoteFile, length: int) -> bytes:
        """Return the first bytes of a file."""
        taken = bytearray()
        with self.stream(file) as chunks:
            for chunk in chunks:
                taken += chunk
                if len(taken) >= length:
                    break
        return bytes(taken[:length])


def _told(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except HttpError as error:
        raise LinkError(error.message, retryable=True, reason="hub-unreachable") from None


def _after(chunks: Iterator[bytes], skip: int) -> Iterator[bytes]:
    """Yield what comes after so many bytes, of a host that ignores ranges."""
    for chunk in chunks:
        if skip < len(chunk):
            yield chunk[skip:]
        skip = max(0, skip - len(chunk))
