"""The files of one commit for the transfer room: links without credentials, and bytes fetched in Python."""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from imageworks.files.artifact import RemoteFile
from imageworks.foundation.http import HttpError, OpenReply, Reply, shown_url
from imageworks.providers.huggingface.errors import (
    HubUnreachableError,
    InconsistentListingError,
    LinkNeedsCredentialsError,
    UnauthorisedError,
    UnexpectedReplyError,
)
from imageworks.providers.huggingface.rate_limit import QuotaName
from imageworks.providers.huggingface.refusals import RequestContext, refusal
from imageworks.providers.huggingface.session import HubSession

CHUNK_BYTES: Final = 512 * 1024
_NO_HEAD: Final = frozenset({HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
_ONE_CONNECTION: Final = "It is fetched over one connection."
_HEXADECIMAL: Final = re.compile(r"[0-9a-f]+")
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class HubSource:
    """Gives the bytes of one repository's files at one commit; used from several threads at once."""

    __slots__ = ("_commit", "_lock", "_open_to_all", "_repo", "_session")  # ten thousand stand in a plan

    def __init__(self, session: HubSession, repo: str, commit: str) -> None:
        self._session = session
        self._repo = repo
        self._commit = commit
        self._lock = threading.Lock()
        self._open_to_all: bool | None = None

    def url(self, path: str) -> str:
        """Return where the hub resolves a file."""
        return f"{self._session.endpoint}/{self._repo}/resolve/{self._commit}/{quote(path)}"

    def link(self, file: RemoteFile) -> str:
        """Return a fresh URL of a large file that needs no credentials, by one HEAD request."""
        reply = self._head(file)
        target = self._session.target(reply)
        if target is None and reply.status in _NO_HEAD:
            raise LinkNeedsCredentialsError(f"{self._session.host} answers no HEAD request", remedy=_ONE_CONNECTION)
        if target is None and reply.status != HTTPStatus.OK:
            raise refusal(reply, self._asked(file), self._session.token_origin)
        self._check_claims(file, reply, redirected=target is not None)
        if target is not None and not self._session.is_own(target):
            return self._session.check_target(target, reply)
        if self._session.token_origin is None or self._is_open_to_all(reply.url):
            return target or reply.url
        raise LinkNeedsCredentialsError(
            f"{self._repo}: {file.path} comes from {self._session.host} itself and only with the token",
            remedy=_ONE_CONNECTION,
        )

    def check_access(self, file: RemoteFile) -> None:
        """Raise when the hub refuses a file to this token, by one HEAD request; other answers prove nothing yet."""
        reply = self._head(file)
        if reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS}:
            raise refusal(reply, self._asked(file), self._session.token_origin)

    @contextmanager
    def stream(self, file: RemoteFile, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """Open a file's bytes from an offset; the token goes to the hub only."""
        if offset >= file.size:  # an empty file needs no request, and a range behind the end would be refused
            yield iter(())
            return
        with ExitStack() as stack:
            headers = {"range": f"bytes={offset}-"} if offset else {}
            reply = self._session.open(self.url(file.path), QuotaName.RESOLVERS, stack, headers=headers)
            if reply.status == HTTPStatus.UNAUTHORIZED and self._session.renew_token():
                reply = self._session.open(self.url(file.path), QuotaName.RESOLVERS, stack, headers=headers)
            skipped = self._check_start(file, reply, offset)
            yield _regrouped(_measured(reply, file, skip=skipped, wanted=file.size - offset))

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes:
        """Return one range of a file and ask for no byte more, as looking at headers needs it."""
        end = min(offset + length, file.size)
        if offset >= end:
            return b""
        with ExitStack() as stack:
            headers = {"range": f"bytes={offset}-{end - 1}"}
            reply = self._session.open(self.url(file.path), QuotaName.RESOLVERS, stack, headers=headers)
            skip = offset if reply.status == HTTPStatus.OK else 0
            ranged = reply.headers.get("content-range", "").startswith(f"bytes {offset}-")
            if reply.status != HTTPStatus.OK and not ranged:
                raise refusal(reply, self._asked(file), self._session.token_origin)
            collected = bytearray()
            for chunk in reply.chunks:
                collected += chunk[min(skip, len(chunk)) :]
                skip = max(0, skip - len(chunk))
                if len(collected) >= end - offset:
                    break
            return bytes(collected[: end - offset])

    def _head(self, file: RemoteFile) -> Reply:
        url = self.url(file.path)
        reply = self._session.request("HEAD", url, QuotaName.RESOLVERS)
        if reply.status == HTTPStatus.UNAUTHORIZED and self._session.renew_token():
            reply = self._session.request("HEAD", url, QuotaName.RESOLVERS)
        return reply

    def _asked(self, file: RemoteFile) -> RequestContext:
        return RequestContext(self._repo, f"{self._session.endpoint}/{self._repo}", self._commit, file.path)

    def _check_claims(self, file: RemoteFile, reply: Reply, *, redirected: bool) -> None:
        """Raise where what a reply says of the file contradicts the listing; a mirror that says nothing may serve it.

        The bytes are checked by the listing's digest either way, and travel without the token.
        """
        headers = reply.headers
        digest = headers.get("x-linked-etag")
        if digest is None and not redirected:
            etag = _unquoted(headers.get("etag", ""))
            # A web server's own ETag is no digest.
            digest = etag if len(etag) == len(file.digest.value) and _HEXADECIMAL.fullmatch(etag) else None
        size = headers.get("x-linked-size")
        claims = (
            ("commit", headers.get("x-repo-commit"), self._commit),
            ("digest", None if digest is None else _unquoted(digest), file.digest.value),
            ("size", size if size is not None or redirected else headers.get("content-length"), str(file.size)),
        )
        for name, said, listed in claims:
            if said is not None and said != listed:
                raise InconsistentListingError(
                    f"{self._repo}: {file.path}: the hub says {name} {said}, its listing said {listed}",
                    remedy="Run again; if it stays, the hub or a mirror between is broken.",
                )

    def _is_open_to_all(self, url: str) -> bool:
        """Return whether the hub gives files of this repository without the token; asked once."""
        with self._lock:
            if self._open_to_all is None:
                reply = self._session.request("HEAD", url, QuotaName.RESOLVERS, anonymous=True)
                self._open_to_all = reply.status == HTTPStatus.OK or self._session.target(reply) is not None
            return self._open_to_all

    def _check_start(self, file: RemoteFile, reply: OpenReply, offset: int) -> int:
        """Return how many bytes to skip before the offset."""
        if reply.headers.get("content-encoding", "identity") != "identity":
            raise UnexpectedReplyError(
                f"{shown_url(reply.url)}: the content comes encoded, though it was asked for as it is",
                remedy="Something between changes answers: check the proxy and HF_ENDPOINT.",
            )
        if reply.status == HTTPStatus.OK:
            length = reply.headers.get("content-length")
            if length is not None and length != str(file.size):
                raise self._wrong_size(file, length)
            return offset
        if reply.status == HTTPStatus.PARTIAL_CONTENT and offset:
            span = _CONTENT_RANGE.fullmatch(reply.headers.get("content-range", ""))
            if span is None or int(span[1]) != offset:
                raise UnexpectedReplyError(
                    f"{shown_url(reply.url)}: bytes from {offset} were asked for, others came", retryable=True
                )
            if span[3] not in {"*", str(file.size)}:
                raise self._wrong_size(file, span[3])
            return 0
        if self._session.is_own(reply.url):
            raise refusal(reply, self._asked(file), self._session.token_origin)
        if reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:  # a signed link lives about an hour
            raise UnauthorisedError(
                f"{shown_url(reply.url)}: the link to {file.path} has expired (HTTP {reply.status})",
                remedy="Run again.",
                reason="link-expired",
                retryable=True,
            )
        raise UnexpectedReplyError(f"{shown_url(reply.url)}: unexpected answer HTTP {reply.status}", retryable=True)

    def _wrong_size(self, file: RemoteFile, said: str) -> InconsistentListingError:
        return InconsistentListingError(
            f"{self._repo}: {file.path}: {said} bytes are announced, its listing said {file.size}",
            remedy="Run again; if it stays, the hub or a mirror between is broken.",
        )


def _unquoted(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _measured(reply: OpenReply, file: RemoteFile, *, skip: int, wanted: int) -> Iterator[bytes]:
    """Yield exactly the wanted bytes, or raise: more or fewer of them are never the file."""
    left = wanted
    try:
        for chunk in reply.chunks:
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            piece = chunk[skip:] if skip else chunk
            skip = 0
            left -= len(piece)
            if left < 0:
                raise InconsistentListingError(
                    f"{shown_url(reply.url)}: more bytes come than the listing said ({file.size})", retryable=True
                )
            yield piece
    except HttpError as error:
        raise HubUnreachableError(f"{error.message}, {left} bytes before the end", retryable=True) from None
    if left > 0:
        raise HubUnreachableError(f"{shown_url(reply.url)}: the answer ended {left} bytes early", retryable=True)


def _regrouped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield larger pieces: each costs its taker a hash update and a write."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
