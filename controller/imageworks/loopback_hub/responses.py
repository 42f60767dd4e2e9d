"""Replies that several endpoints share: JSON, errors with the hub's codes, and files by range."""

import json
import re
from http import HTTPStatus
from typing import Final

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.http_messages import Request, Response, Slice
from imageworks.loopback_hub.content import HubFile

SAFE_METHODS: Final = ("GET", "HEAD")
ONE_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
UNPRINTABLE: Final = re.compile(r"[^ -~]")


class ReplyError(ImageworksError):
    """A request that gets an error reply, in the words the Hugging Face client maps to its exceptions."""

    def __init__(
        self, status: HTTPStatus, message: str, *, code: str | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers

    def response(self) -> Response:
        """Return the reply."""
        # The message may quote what the client sent: a line break in it must not become a header.
        headers = [("X-Error-Message", UNPRINTABLE.sub("?", self.message)), *self.headers]
        if self.code is not None:
            headers.insert(0, ("X-Error-Code", self.code))
        return json_response({"error": self.message}, status=self.status, headers=tuple(headers))


def error_response(status: HTTPStatus, message: str) -> Response:
    """Return an error reply without a code."""
    return ReplyError(status, message).response()


def read_only() -> ReplyError:
    """Return the error for a method that would change something."""
    message = "This hub is read-only"
    return ReplyError(HTTPStatus.METHOD_NOT_ALLOWED, message, headers=(("Allow", ", ".join(SAFE_METHODS)),))


def json_response(value: object, *, status: int = HTTPStatus.OK, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return a reply that carries a JSON value."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", "application/json; charset=utf-8"), *headers), body)


def file_response(request: Request, file: HubFile, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return a file, or the part of it that the request asks for."""
    etag = f'"{file.sha256 or file.oid}"'
    common = (("ETag", etag), ("Accept-Ranges", "bytes"), *headers)
    if request.headers.get("if-none-match") in (etag, "*"):
        return Response(HTTPStatus.NOT_MODIFIED, common)
    typed = (("Content-Type", "application/octet-stream"), *common)
    asked = request.headers.get("range")
    if asked is not None and request.headers.get("if-range", etag) == etag:
        span = parse_range(asked, file.size)
        if span is not None:
            start, end = span
            if start >= end:
                unsatisfied = (("Content-Range", f"bytes */{file.size}"), *headers)
                return Response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, unsatisfied)
            part = ("Content-Range", f"bytes {start}-{end - 1}/{file.size}")
            return Response(HTTPStatus.PARTIAL_CONTENT, (part, *typed), Slice(file.content, start, end - start))
    return Response(HTTPStatus.OK, typed, Slice(file.content, 0, file.size))


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last that a ``Range`` header asks for, equal when none of it exists.

    ``None`` where it is to be ignored, which the standard allows for several ranges and demands for malformed ones.
    """
    found = ONE_RANGE.fullmatch(header.strip())
    if found is None or found.group() == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return max(size - int(last), 0), size
    start = int(first)
    if last and int(last) < start:
        return None
    end = min(int(last) + 1, size) if last else size
    return (start, end) if start < size else (size, size)
