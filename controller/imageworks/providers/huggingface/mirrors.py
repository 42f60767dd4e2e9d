"""Mirrors of a hub: they give bytes, and nothing of what they say is believed; what they do not have the hub gives."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, TypeVar

from imageworks import __version__
from imageworks.files.artifact import NO_LINK, LinkError, RemoteFile
from imageworks.files.digests import Hasher
from imageworks.foundation.addresses import AddressGuard, Reach
from imageworks.foundation.closing import Closing
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.http import HttpPool, origin
from imageworks.providers.credentials import Credentials
from imageworks.providers.huggingface.errors import (
    HubUnreachableError,
    PrivateTargetError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    UnauthorisedError,
    UnexpectedReplyError,
    UpstreamGoneError,
)
from imageworks.providers.huggingface.rate_limit import Pace
from imageworks.providers.huggingface.session import HubSession, checked_endpoint
from imageworks.providers.huggingface.source import HubSource
from imageworks.providers.huggingface.token import Token
from imageworks.registry.settings.mirrors import Mirror

CONNECT_SECONDS: Final = 5.0
MOST_FAILURES: Final = 3
"""Wrong answers after which a mirror is asked for nothing more in a run."""
MOST_READ_BYTES: Final = 32 << 20
_LACKS: Final = (RepositoryNotFoundError, RevisionNotFoundError, UpstreamGoneError)
_AWAY: Final = (HubUnreachableError, PrivateTargetError, UnauthorisedError)

Given = TypeVar("Given")


class HubMirror(Closing):
    """One mirror, asked once for each file; used from several threads at once."""

    def __init__(
        self,
        mirror: Mirror,
        find_token: Callable[[], Token | None],
        *,
        private: Sequence[str] = (),
        offline: bool = False,
        told: Callable[[str], None] | None = None,
    ) -> None:
        self.endpoint = checked_endpoint(mirror.address, named="mirror")
        guard = (
            AddressGuard(self.endpoint, private)
            if mirror.trusted
            else AddressGuard("registry.yaml", private, home=Reach.PUBLIC)
        )
        self._pool = HttpPool(
            user_agent=f"imageworks-models/{__version__}", connect_seconds=CONNECT_SECONDS, guard=guard
        )
        self._pace = Pace()
        self.session = HubSession(
            self.endpoint, find_token, self._pool, self._pace, offline=offline, guard=guard, patient=False
        )
        self._told = told or (lambda _: None)
        self._lock = threading.Lock()
        self._failures = 0
        self._lacking: set[tuple[str, str]] = set()

    def close(self) -> None:
        """Close all connections."""
        self._pace.stop()
        self._pool.close()

    @property
    def is_off(self) -> bool:
        """Whether it is asked for nothing more."""
        return self._failures >= MOST_FAILURES

    def fail(self, repo: str, commit: str, error: ImageworksError) -> None:
        """Tell once what of it was of no use."""
        with self._lock:
            if self.is_off:
                return
            if isinstance(error, _LACKS):
                if (repo, commit) not in self._lacking:
                    self._lacking.add((repo, commit))
                    closed = isinstance(error, RepositoryNotFoundError) and self.session.token_origin is None
                    why = " (or wants a token: `credentials` in config.toml)" if closed else ""
                    self._told(
                        f"mirror {self.endpoint} does not give all of {repo} at {commit[:10]}{why}; the hub does"
                    )
                return
            failures = self._failures = MOST_FAILURES if isinstance(error, _AWAY) else self._failures + 1
            remedy = f"; {error.remedy}" if isinstance(error, PrivateTargetError) else ""
            rest = ", and it is not asked again in this run" if failures == MOST_FAILURES else ""
            self._told(f"mirror {self.endpoint}: {error.message}{remedy}; the hub is asked instead{rest}")


class MirroredSource:
    """Gives the bytes of one repository's files at one commit from mirrors, else from the hub."""

    def __init__(self, hub: HubSource, mirrors: Sequence[HubMirror], repo: str, commit: str) -> None:
        self._hub = hub
        self._about = repo, commit
        self._mirrors = [(mirror, HubSource(mirror.session, repo, commit)) for mirror in mirrors]
        self._passed: dict[str, int] = {}
        """How many mirrors are of no use for a file, by its path; the next one, or the hub, is where it comes from."""

    def link(self, file: RemoteFile) -> str:
        """Return a fresh URL of a large file that needs no credentials."""
        return self._first(file, lambda source: source.link(file), self._hub.link)

    @contextmanager
    def stream(self, file: RemoteFile, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """Open a file's bytes from an offset."""
        with ExitStack() as stack:

            def opened(source: HubSource) -> Iterator[bytes]:
                return stack.enter_context(source.stream(file, offset))

            yield self._first(file, opened, lambda _: opened(self._hub))

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes:
        """Return one range of a file; mirrors give whole ones only, as nothing but the digest vouches for them."""

        def whole(source: HubSource) -> bytes:
            hasher = Hasher(file.digest.algorithm, file.size)
            hasher.update(found := source.read(file, 0, file.size))
            if hasher.digest() != file.digest:
                raise UnexpectedReplyError(f"{file.path}: digest is {hasher.hexdigest()}, not {file.digest.value}")
            return found

        if offset == 0 and 0 < file.size <= min(length, MOST_READ_BYTES):
            return self._first(file, whole, lambda _: self._hub.read(file, offset, length))
        return self._hub.read(file, offset, length)

    def moves_on(self, file: RemoteFile, error: ImageworksError) -> bool:
        """Tell that what was given of a file was of no use; return whether another place is asked from now on."""
        at = self._passed.get(file.path, 0)
        if at == len(self._mirrors):
            return False
        self._mirrors[at][0].fail(*self._about, error)
        self._passed[file.path] = at + 1
        return True

    def _first(
        self, file: RemoteFile, ask: Callable[[HubSource], Given], ask_hub: Callable[[RemoteFile], Given]
    ) -> Given:
        while (at := self._passed.get(file.path, 0)) < len(self._mirrors):
            mirror, source = self._mirrors[at]
            if mirror.is_off:
                self._passed[file.path] = at + 1
                continue
            try:
                return ask(source)
            except LinkError as error:
                if error.reason == NO_LINK:
                    raise
                self.moves_on(file, error)
        return ask_hub(file)


def token_for(endpoint: str, named: Sequence[str], environment: Mapping[str, str]) -> Callable[[], Token | None]:
    """Return what finds the token that this host's owner named for a mirror."""

    def find() -> Token | None:
        scheme, host, port = origin(endpoint)
        found = Credentials(named, environment).token(host, port, encrypted=scheme == "https")
        return None if found is None else Token(*found)

    return find
