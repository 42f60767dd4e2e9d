"""Ollama's HTTP API: the ten calls, with errors that say what happened, also in the middle of an answer under 200."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from imageworks import __version__
from imageworks.foundation.closing import Closing
from imageworks.foundation.http import HttpError, HttpPool, OpenReply, Reply
from imageworks.providers.ollama.address import OllamaAddress, OllamaKey, is_loopback
from imageworks.providers.ollama.errors import (
    OllamaBrokenStreamError,
    OllamaCancelledError,
    OllamaDigestMismatchError,
    OllamaError,
    OllamaNotFoundError,
    OllamaUnreachableError,
)
from imageworks.providers.ollama.model import CreateSpec, OllamaModel, PullProgress, ShownModel
from imageworks.providers.ollama.names import ModelName, parse_name
from imageworks.providers.ollama.replies import (
    hex_digest,
    read_listed,
    read_names,
    read_progress,
    read_shown,
    refusal,
    said_error,
    whole_object,
)
from imageworks.providers.ollama.stream import read_lines

CONNECT_SECONDS: Final = 3.0
"""Long enough for a host on the same network; every plan pays it when a distant daemon is down."""
ANSWER_SECONDS: Final = 30.0
"""For what the daemon answers out of its head or from small files."""
WORK_SECONDS: Final = 3600.0
"""For silence while it hashes or quantizes; the daemon is asked in between whether it is still there."""
_UPLOAD_BYTES: Final = 1024 * 1024
_ERROR_BYTES: Final = 64 * 1024
_START: Final = "Start Ollama (`ollama serve`), or correct OLLAMA_HOST."

Told = Callable[[PullProgress], None]
Cancelled = Callable[[], bool]


def never() -> bool:
    """Return false: nobody calls it off."""
    return False


def untold(_: PullProgress) -> None:
    """Tell no one."""


class OllamaClient(Closing):
    """Talks to one daemon; every method may be called from any thread, and its repr shows no key."""

    def __init__(self, address: OllamaAddress, key: OllamaKey | None = None, *, proxies: bool = True) -> None:
        self.address = address
        self._key = key
        agent = f"imageworks-models/{__version__}"
        through = proxies and not address.is_loopback
        self._quick = HttpPool(
            user_agent=agent, connect_seconds=CONNECT_SECONDS, read_seconds=ANSWER_SECONDS, proxies=through
        )
        self._patient = HttpPool(
            user_agent=agent, connect_seconds=CONNECT_SECONDS, read_seconds=WORK_SECONDS, proxies=through
        )

    def __repr__(self) -> str:
        return f"OllamaClient({self.address.url!r}, key={'given' if self._key else None})"

    def close(self) -> None:
        """Close all connections."""
        self._quick.close()
        self._patient.close()

    def version(self) -> str:
        """Return the daemon's version, ``0.0.0`` for one built by hand."""
        what = "asking Ollama for its version"
        reply = self._ask("GET", "/api/version", what)
        try:
            version = whole_object(reply.body, what).get("version")
        except OllamaBrokenStreamError:
            version = None
        if not isinstance(version, str):
            raise OllamaUnreachableError(f"what answers at {self.address.url} is not Ollama", remedy=_START)
        return version

    def tags(self) -> tuple[OllamaModel, ...]:
        """Return the installed models; the daemon reads its disk for each call, and passes over damaged manifests."""
        what = "listing Ollama's models"
        return read_listed(whole_object(self._ask("GET", "/api/tags", what).body, what), what)

    def ps(self) -> frozenset[str]:
        """Return the names of the models that are loaded now."""
        what = "listing the models that Ollama has loaded"
        return read_names(whole_object(self._ask("GET", "/api/ps", what).body, what))

    def show(self, name: str, *, verbose: bool = False) -> ShownModel:
        """Return what the daemon knows of a model."""
        model, what = parse_name(name), f"showing {name}"
        body = {"model": model.shortest, **({"verbose": True} if verbose else {})}
        reply = self._ask("POST", "/api/show", what, body, about=model)
        return read_shown(model.shortest, whole_object(reply.body, what))

    def pull(self, name: str, *, told: Told = untold, cancelled: Cancelled = never) -> None:
        """Let the daemon fetch a model; returns when it says that all is there.

        A registry on this machine is asked over plain http, any other over https.
        """
        model = parse_name(name)
        local = is_loopback(model.host.partition(":")[0])
        body = {"model": model.shortest, "stream": True, **({"insecure": True} if local else {})}
        self._follow("/api/pull", body, f"pulling {model}", told, cancelled)

    def create(self, spec: CreateSpec, *, told: Told = untold, cancelled: Cancelled = never) -> None:
        """Let the daemon make a model; one that has the name already is replaced."""
        model = parse_name(spec.name)
        body: dict[str, object] = {"model": model.shortest, "stream": True}
        if spec.base is not None:
            body["from"] = parse_name(spec.base).shortest
        for key, blobs in (("files", spec.files), ("adapters", spec.adapters)):
            if blobs:
                body[key] = {name: f"sha256:{checked_digest(digest)}" for name, digest in blobs.items()}
        said = {
            "template": spec.template,
            "system": spec.system,
            "license": list(spec.license),
            "parameters": dict(spec.parameters),
            "quantize": spec.quantize,
        }
        body.update({key: value for key, value in said.items() if value})
        self._follow("/api/create", body, f"creating {model}", told, cancelled)

    def delete(self, name: str) -> None:
        """Remove a model and the blobs that no other model has."""
        model = parse_name(name)
        self._ask("DELETE", "/api/delete", f"deleting {model}", {"model": model.shortest}, about=model)

    def copy(self, source: str, destination: str) -> None:
        """Give a model another name; its blobs are shared."""
        one, other = parse_name(source), parse_name(destination)
        body = {"source": one.shortest, "destination": other.shortest}
        self._ask("POST", "/api/copy", f"copying {one} to {other}", body, about=one)

    def has_blob(self, digest: str) -> bool:
        """Return whether the store has some bytes."""
        pure = checked_digest(digest)
        what = f"asking for the blob {pure[:12]}"
        reply = self._send(self._quick, "HEAD", f"/api/blobs/sha256:{pure}", what)
        if reply.status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            return reply.status == HTTPStatus.OK
        raise refusal(reply.status, reply.body, what, key=self._secret)

    def upload_blob(
        self, path: Path, digest: str, *, told: Callable[[int], None] | None = None, cancelled: Cancelled = never
    ) -> bool:
        """Give a file's bytes to the store; returns whether they had to be sent."""
        pure = checked_digest(digest)
        what = f"uploading {path} to Ollama"
        if self.has_blob(pure):
            return False
        try:
            with path.open("rb") as source:
                size = os.fstat(source.fileno()).st_size
                pieces = _pieces(source.read, path, told, lambda: _stop(what, cancelled))
                headers = {**self._headers(), "content-length": str(size)}
                url = f"{self.address.url}/api/blobs/sha256:{pure}"
                with self._patient.stream("POST", url, headers, pieces) as answer:
                    status, body = answer.status, _body(answer)
        except HttpError as error:
            raise self._unreachable(error, what) from None
        except OSError as error:
            raise OllamaError(f"{path}: cannot be read: {error.strerror}", remedy="Check the file.") from None
        if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            raise refusal(status, body, what, key=self._secret)
        return True

    @property
    def _secret(self) -> str | None:
        return None if self._key is None else self._key.value

    def _headers(self) -> dict[str, str]:
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key.value}"
        return headers

    def _ask(
        self,
        method: str,
        path: str,
        what: str,
        body: Mapping[str, object] | None = None,
        *,
        about: ModelName | None = None,
    ) -> Reply:
        """Return a good answer, or raise what the daemon says is wrong."""
        reply = self._send(self._quick, method, path, what, body)
        if reply.status == HTTPStatus.OK:
            return reply
        error = refusal(reply.status, reply.body, what, key=self._secret)
        if about is not None and reply.status == HTTPStatus.NOT_FOUND and not isinstance(error, OllamaNotFoundError):
            raise OllamaNotFoundError(f"{what}: {about} is not installed", remedy="`ollama list` shows what is.")
        raise error

    def _send(
        self, pool: HttpPool, method: str, path: str, what: str, body: Mapping[str, object] | None = None
    ) -> Reply:
        content, headers = self._content(body)
        try:
            return pool.request(method, self.address.url + path, headers, content)
        except HttpError as error:
            raise self._unreachable(error, what) from None

    def _content(self, body: Mapping[str, object] | None) -> tuple[bytes | None, dict[str, str]]:
        headers = self._headers()
        if body is None:
            return None, headers
        return json.dumps(body).encode(), {**headers, "content-type": "application/json"}

    def _follow(self, path: str, body: Mapping[str, object], what: str, told: Told, cancelled: Cancelled) -> None:
        """Read progress until the daemon says success; its words are for people, only success and error count."""
        content, headers = self._content(body)

        def accept(reply: OpenReply, rest: Callable[[], bytes]) -> None:
            if reply.status != HTTPStatus.OK:
                raise refusal(reply.status, rest()[:_ERROR_BYTES], what, key=self._secret)

        lines = read_lines(
            lambda: self._patient.stream("POST", self.address.url + path, headers, content),
            what=what,
            accept=accept,
            cancelled=cancelled,
            ask_alive=self.version,
        )
        succeeded = False
        try:
            for line in lines:
                said = line.get("error")
                if said:
                    raise said_error(said if isinstance(said, str) else json.dumps(said), what, key=self._secret)
                succeeded = line.get("status") == "success"
                told(read_progress(line))
        except HttpError as error:
            raise self._unreachable(error, what) from None
        finally:
            lines.close()
        if not succeeded:
            raise OllamaBrokenStreamError(
                f"{what}: the daemon stopped before it was done",
                remedy="See whether Ollama still runs, then run again; what came so far is kept.",
                retryable=True,
            )

    def _unreachable(self, error: HttpError, what: str) -> OllamaUnreachableError:
        why = f"{what}: Ollama at {self.address.url}: {error.why}"
        return OllamaUnreachableError(why, remedy=error.remedy or _START, retryable=not error.unconnected)


def checked_digest(digest: str) -> str:
    """Return the 64 digits of a sha256, or raise OllamaDigestMismatchError."""
    pure = hex_digest(digest)
    if pure is None:
        raise OllamaDigestMismatchError(f"{digest[:100]!r} is no sha256", remedy="Give 64 hexadecimal digits.")
    return pure


def _pieces(
    read: Callable[[int], bytes], path: Path, told: Callable[[int], None] | None, check: Callable[[], None]
) -> Iterator[bytes]:
    while True:
        check()
        try:
            piece = read(_UPLOAD_BYTES)
        except OSError as error:  # told apart from the connection's own
            raise OllamaError(f"{path}: cannot be read: {error.strerror}", remedy="Check its disk.") from None
        if not piece:
            return
        yield piece
        if told is not None:
            told(len(piece))


def _stop(what: str, cancelled: Cancelled) -> None:
    if cancelled():
        raise OllamaCancelledError(f"{what}: called off", remedy="Run again.")


def _body(answer: OpenReply) -> bytes:
    held = b""
    for piece in answer.chunks:
        held += piece
        if len(held) > _ERROR_BYTES:
            break
    return held[:_ERROR_BYTES]
