"""The loopback hub: two servers over one folder tree, the API on the first, signed links on the second."""

import socket
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple, Self
from urllib.parse import unquote

from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.http_access import ServerAccess
from imageworks.foundation.http_messages import RawResponse, Request, Response
from imageworks.foundation.http_server import HttpServer, ServerStartError, url_host
from imageworks.loopback_hub.access import AccessRules
from imageworks.loopback_hub.api import HubApi
from imageworks.loopback_hub.content import HubFile, StoragePolicy
from imageworks.loopback_hub.digest_cache import HashingStoppedError
from imageworks.loopback_hub.rate_limit import Quota, RateLimit
from imageworks.loopback_hub.repositories import Repositories, ServedRepositories
from imageworks.loopback_hub.responses import SAFE_METHODS, error_response, file_response, read_only
from imageworks.loopback_hub.signed_links import LFS_PATH, LinkSigner

ANYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 # to compare with
DEFAULT_QUOTAS: Final = (Quota("api", 1000), Quota("resolvers", 5000))

Intercept = Callable[[Request], Response | RawResponse | None]


class RecordedRequest(NamedTuple):
    """What the hub remembers of a request: never the token itself."""

    origin: str
    method: str
    path: str
    has_authorization: bool


class HubServer:
    """A read-only Hugging Face-compatible hub; a context manager that serves from entry to exit.

    The second origin gets a free port, its signed links need no token, and get none. ``tokens`` gives users by their
    tokens, for what is ``private`` (there for users only), ``gated`` (its files are) or ``refused`` (to all of them).
    ``intercept`` sees each request first: what it returns is sent instead of the answer.
    """

    def __init__(  # noqa: PLR0913 - a server has that many settings, all by name
        self,
        root: Path | ServedRepositories,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        access: ServerAccess | None = None,
        tokens: Mapping[str, str] | None = None,
        private: AbstractSet[str] = frozenset(),
        gated: AbstractSet[str] = frozenset(),
        refused: AbstractSet[str] = frozenset(),
        cdn_url: str | None = None,
        storage: StoragePolicy | None = None,
        page_size: int = 1000,
        link_lifetime: float = 3600.0,
        quotas: tuple[Quota, Quota] = DEFAULT_QUOTAS,
        clock: Callable[[], float] = time.time,
        intercept: Intercept | None = None,
        record: bool = True,
        log: Callable[[str], None] | None = None,
    ) -> None:
        if isinstance(root, Path) and not root.is_dir():
            raise ServerStartError(f"{root}: not a folder", remedy="Name the folder that holds <owner>/<repo> folders.")
        self.requests: list[RecordedRequest] = []
        self.intercept = intercept
        self._record = record
        self._log = log
        self._address = (host, port)
        self._access = access or ServerAccess()
        users = {self._access.token: "user"} if self._access.token else {}
        self._rules = AccessRules({**users, **(tokens or {})}, frozenset(private), frozenset(gated), frozenset(refused))
        policy = storage or StoragePolicy()
        self._catalogue: ServedRepositories = Repositories(root, policy) if isinstance(root, Path) else root
        self._signer = LinkSigner(link_lifetime, clock)
        self._api = HubApi(
            self._catalogue,
            self._rules,
            self._signer,
            (RateLimit(quotas[0], clock), RateLimit(quotas[1], clock)),
            page_size=page_size,
            base_url=self._base_url,
            cdn_url=cdn_url,
        )
        self._servers: dict[str, HttpServer] = {}

    @property
    def url(self) -> str:
        """Return the hub's origin, for HF_ENDPOINT."""
        return self._base_url("hub")

    @property
    def cdn_url(self) -> str:
        """Return our second origin."""
        return self._base_url("cdn")

    @property
    def is_open(self) -> bool:
        """Return whether other machines get in without a token."""
        return self._servers["hub"].access.token is None and not self._servers["hub"].is_loopback

    def start(self) -> None:
        """Listen on both origins and serve in the background."""
        self._catalogue.resume()
        host, _ = self._address
        signed_links = replace(self._access, token=None, insecure=True)
        try:
            hub = self._servers["hub"] = HttpServer(self, self._address, name="hub", access=self._access, log=self._log)
            self._servers["cdn"] = HttpServer(self, (host, 0), name="cdn", access=signed_links, log=self._log)
        except ImageworksError:
            self.stop()
            raise
        if (hub.is_loopback or hub.access.insecure) and (self._rules.private or self._rules.gated):
            hub.access = replace(hub.access, token=None)  # these repositories ask for it, and no others
        for server in self._servers.values():
            server.start()

    def stop(self) -> None:
        """Close both origins and all connections, and wait for their threads."""
        self._catalogue.stop()
        for server in self._servers.values():
            server.stop()
        self._servers.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
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

    def answer(self, request: Request) -> Response | RawResponse:
        """Record a request and return what is sent for it."""
        if self._record:
            self.requests.append(
                RecordedRequest(request.origin, request.method, request.path, request.has_authorization)
            )
        reply = self.intercept(request) if self.intercept is not None else None
        return self.respond(request) if reply is None else reply

    def refusal(self, status: int, message: str) -> Response:
        """Return an error in the form that the Hub's clients read."""
        return error_response(HTTPStatus(status), message)

    def _base_url(self, name: str, reached_at: str | None = None) -> str:
        """Return an origin, for a client that reached this address of ours; never what it says of that itself."""
        server = self._servers[name]
        host = reached_at or server.host
        return f"http://{url_host(socket.gethostname() if host in ANYWHERE else host)}:{server.port}"

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
