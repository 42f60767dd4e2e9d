"""The loopback hub: two listeners over one folder tree, the API on the first, signed links on the second."""

import select
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import unquote

from imageworks.errors import ImageworksError
from imageworks.hub.access import AccessRules
from imageworks.hub.api import HubApi
from imageworks.hub.catalogue import Catalogue
from imageworks.hub.content import ContentChangedError, HubFile, StoragePolicy
from imageworks.hub.digests import HashingStoppedError
from imageworks.hub.limits import Quota, RateLimit
from imageworks.hub.links import LFS_PATH, LinkSigner
from imageworks.hub.replies import SAFE_METHODS, error_response, file_response, read_only
from imageworks.hub.wire import ProtocolError, Reader, Request, Response, Takeover, send

IDLE_SECONDS: Final = 120
PAUSE_SECONDS: Final = 0.1
DEFAULT_QUOTAS: Final = (Quota("api", 1000), Quota("resolvers", 5000))

Intercept = Callable[[Request], Response | Takeover | None]


class HubStartError(ImageworksError):
    """The hub cannot serve that folder or listen on that address."""


class RecordedRequest(NamedTuple):
    """What the hub remembers of a request: never the token itself."""

    origin: str
    method: str
    path: str
    has_authorization: bool


class HubServer:
    """A read-only Hugging Face-compatible hub; a context manager that serves from entry to exit.

    Args:
        root: The folder to serve.
        host: Address to listen on.
        port: Port of the hub's own origin; 0 picks a free one. The second origin always gets a free one.
        tokens: Token to user name; empty means that everybody is anonymous.
        private: Repositories that exist only for users.
        gated: Repositories whose files are for users only.
        refused: Gated repositories that no user has been granted.
        cdn_url: Base of a static server over the same tree, instead of our own second origin.
        storage: Which files are large.
        page_size: Entries in one page of a tree.
        link_lifetime: How long a signed link works, in seconds.
        quotas: Rate limits of API and of resolve requests.
        bytes_per_second: Limit of each connection's bodies, or ``None``.
        clock: Returns the time in seconds since the epoch.
        intercept: Sees each request first; what it returns is sent instead of the answer.
        record: Keep each request in :attr:`requests`.
        log: Called with one line for each answered request.
    """

    def __init__(  # noqa: PLR0913 - a server has that many settings, all by name
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: Mapping[str, str] | None = None,
        private: AbstractSet[str] = frozenset(),
        gated: AbstractSet[str] = frozenset(),
        refused: AbstractSet[str] = frozenset(),
        cdn_url: str | None = None,
        storage: StoragePolicy | None = None,
        page_size: int = 1000,
        link_lifetime: float = 3600.0,
        quotas: tuple[Quota, Quota] = DEFAULT_QUOTAS,
        bytes_per_second: int | None = None,
        clock: Callable[[], float] = time.time,
        intercept: Intercept | None = None,
        record: bool = True,
        log: Callable[[str], None] | None = None,
    ) -> None:
        if not root.is_dir():
            raise HubStartError(f"{root}: not a folder", remedy="Name the folder that holds <owner>/<repo> folders.")
        self.requests: list[RecordedRequest] = []
        self.intercept = intercept
        self.bytes_per_second = bytes_per_second
        self._record = record
        self._log = log
        self._host = host
        self._port = port
        self._access = AccessRules(dict(tokens or {}), frozenset(private), frozenset(gated), frozenset(refused))
        self._catalogue = Catalogue(root, storage or StoragePolicy())
        self._signer = LinkSigner(link_lifetime, clock)
        self._api = HubApi(
            self._catalogue,
            self._access,
            self._signer,
            (RateLimit(quotas[0], clock), RateLimit(quotas[1], clock)),
            page_size=page_size,
            second_origin=self._second_origin,
            cdn_url=cdn_url,
        )
        self._listeners: list[_Listener] = []

    @property
    def url(self) -> str:
        """Return the hub's origin, for HF_ENDPOINT."""
        return f"http://{_in_url(self._host)}:{self._listeners[0].port}"

    @property
    def cdn_url(self) -> str:
        """Return our second origin."""
        return self._second_origin(None)

    def start(self) -> None:
        """Listen on both origins and serve in the background."""
        self._catalogue.resume()
        try:
            for origin, port in (("hub", self._port), ("cdn", 0)):
                self._listeners.append(_Listener(self, origin, self._host, port))
        except OSError as error:
            self.stop()
            message = f"cannot listen on {self._host}:{self._port}: {error.strerror or error}"
            raise HubStartError(message, remedy="Choose another --port, or 0 for a free one.") from error
        for listener in self._listeners:
            listener.start()

    def stop(self) -> None:
        """Close both origins and all connections, and wait for their threads."""
        self._catalogue.stop()
        for listener in self._listeners:
            listener.stop()
        self._listeners.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def names(self) -> list[str]:
        """Return the names of all served repositories."""
        return self._catalogue.names()

    def warm(self) -> None:
        """Hash everything that is served, so that the first client need not wait."""
        for name in self.names():
            try:
                if (repository := self._catalogue.find(name)) is not None:
                    repository.resolve("main")
            except HashingStoppedError:
                return
            except (OSError, ImageworksError):
                continue  # whoever asks for this repository gets the error

    def respond(self, request: Request) -> Response:
        """Return the answer to a request, without any fault; an intercept may build on it."""
        return self._api.respond(request) if request.origin == "hub" else self._serve_link(request)

    def answer(self, request: Request) -> Response | Takeover:
        """Record a request and return what is sent for it."""
        if self._record:
            self.requests.append(
                RecordedRequest(request.origin, request.method, request.path, request.has_authorization)
            )
        reply = self.intercept(request) if self.intercept is not None else None
        return self.respond(request) if reply is None else reply

    def note(self, request: Request, reply: Response | Takeover) -> None:
        """Log an answered request; the query stays out, it may hold a link's signature."""
        if self._log is not None:
            status = reply.status if isinstance(reply, Response) else "-"
            self._log(f"{request.origin} {request.method} {request.path} {status}")

    def _second_origin(self, host: str | None) -> str:
        return f"http://{host or _in_url(self._host)}:{self._listeners[1].port}"

    def _serve_link(self, request: Request) -> Response:
        # Whoever sends credentials here would have sent them to any host a redirect names.
        if request.has_authorization:
            return error_response(HTTPStatus.BAD_REQUEST, "Authorization must not be sent to this origin")
        if request.method not in SAFE_METHODS:
            return read_only().response()
        if (problem := self._signer.problem(request.path, request.query)) is not None:
            return error_response(HTTPStatus.FORBIDDEN, problem)
        file = self._linked_file(request.path)
        if file is None:
            return error_response(HTTPStatus.NOT_FOUND, "No such file")
        return file_response(request, file)

    def _linked_file(self, path: str) -> HubFile | None:
        found = LFS_PATH.fullmatch(path)
        repository = self._catalogue.find(unquote(found["repository"])) if found else None
        if found is None or repository is None:
            return None
        for _ in range(2):  # the commit may have moved to a folder of its own since it was last looked at
            snapshot = repository.resolve(found["commit"])
            file = snapshot.files.get(unquote(found["path"])) if snapshot is not None else None
            if file is not None and file.content.is_current():
                return file
            repository.forget()
        return None


class _Connection(socketserver.BaseRequestHandler):
    """Serves one connection until either side has had enough."""

    server: "_Listener"

    def handle(self) -> None:
        connection: socket.socket = self.request
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Time limits in the kernel: a Python timeout would make the socket non-blocking, which sendfile cannot use.
        patience = struct.pack("ll", IDLE_SECONDS, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        reader = Reader(connection, self.server.origin)
        try:
            while (request := reader.next()) is not None:
                if not self._answer(connection, request):
                    return
        except ProtocolError as error:
            self._refuse(connection, error)
        except (OSError, ContentChangedError):
            return  # the peer went away, or a file changed under us: a cut connection says so

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        """Answer one request; returns whether the connection can take another."""
        hub = self.server.hub
        try:
            reply = hub.answer(request)
        except (OSError, ImageworksError) as error:
            reply = error_response(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        hub.note(request, reply)
        if isinstance(reply, Takeover):
            reply.write(connection)
            return False
        send(connection, reply, with_body=request.method != "HEAD", rate=hub.bytes_per_second)
        return request.headers.get("connection", "").lower() != "close"

    @staticmethod
    def _refuse(connection: socket.socket, error: ProtocolError) -> None:
        try:
            send(connection, Response(error.status, (("Connection", "close"),)), with_body=True, rate=None)
        except OSError:
            return


class _Listener(socketserver.ThreadingTCPServer):
    """One origin: a listening socket, a thread that accepts, and a thread for each connection."""

    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, hub: HubServer, origin: str, host: str, port: int) -> None:
        self.hub = hub
        self.origin = origin
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        super().__init__((host, port), _Connection)
        self.socket.setblocking(False)  # noqa: FBT003 - a peer may be gone between select and accept
        self._wake, self._woken = socket.socketpair()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def start(self) -> None:
        self._thread = threading.Thread(target=self._accept, name=f"hub-{self.origin}", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        """Accept connections until woken: unlike serve_forever, without a clock that ticks while nothing happens."""
        while self._woken not in select.select([self.socket, self._woken], [], [])[0]:
            try:
                connection, address = self.get_request()
            except BlockingIOError:
                continue
            except OSError:  # out of descriptors, most likely: let some connections end
                select.select([self._woken], [], [], PAUSE_SECONDS)
                continue
            self.process_request(connection, address)

    def stop(self) -> None:
        if self._thread is not None:
            self._wake.sendall(b"!")
            self._thread.join()
        self._wake.close()
        self._woken.close()
        with self._guard:
            for connection in self._connections:
                _hang_up(connection)
        self.server_close()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it had ended by itself


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
