"""A hub for tests: repositories made of folders, a server in this process, and faults to throw at its clients."""

import os
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from imageworks.foundation.http_messages import RawResponse, Request, Response, Slice
from imageworks.loopback_hub.content import Snapshot, StoragePolicy
from imageworks.loopback_hub.digest_cache import DigestCache
from imageworks.loopback_hub.folder_repository import FolderRepository
from imageworks.loopback_hub.server import HubServer, RecordedRequest
from support.git import git

STALL_SECONDS = 60.0  # no test waits longer for a hub that has gone silent


class HubRepository:
    """A repository below a hub's root, written as plain folders; each earlier commit stays resolvable.

    Args:
        root: The served folder.
        name: ``owner/repo`` or a single name.
        files: The first commit's content by relative path.
        storage: Must be the server's, where that is not the default: it is part of the commit id.
    """

    def __init__(
        self, root: Path, name: str, files: Mapping[str, bytes], *, storage: StoragePolicy | None = None
    ) -> None:
        self.root = root
        self.name = name
        self.folder = root / name
        self._storage = storage or StoragePolicy()
        self.commit_id = self._put(self.folder, files, None)

    def commit(self, changes: Mapping[str, bytes | None]) -> str:
        """Make a new commit of ``main``; ``None`` deletes a file; returns the commit id."""
        old = self.folder.with_name(f"{self.folder.name}@{self.commit_id}")
        if not old.exists():
            self._put(old, {}, self.folder)
        self.commit_id = self._put(self.folder, changes, self.folder)
        return self.commit_id

    def branch(self, branch: str, changes: Mapping[str, bytes | None] | None = None) -> str:
        """Make or move another branch to ``main`` plus changes; returns its commit id."""
        return self._put(
            self.folder.with_name(f"{self.folder.name}@{quote(branch, safe='')}"), changes or {}, self.folder
        )

    def _put(self, target: Path, changes: Mapping[str, bytes | None], base: Path | None) -> str:
        """Write base plus changes and put it in the target's place by renaming."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.root) as scratch:
            new = Path(scratch) / "tree"
            new.mkdir()
            for path in base.rglob("*") if base else ():
                relative = path.relative_to(base or path)
                if path.is_file() and str(relative) not in changes:
                    (new / relative).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, new / relative)
            for name, data in changes.items():
                if data is not None:
                    (new / name).parent.mkdir(parents=True, exist_ok=True)
                    (new / name).write_bytes(data)
            if target.exists():
                target.rename(Path(scratch) / "old")
            new.rename(target)
        return self._snapshot(target).commit

    def _snapshot(self, folder: Path) -> Snapshot:
        name = str(folder.relative_to(self.root))
        found = FolderRepository(os.path.realpath(self.root), name, DigestCache(), self._storage).resolve("main")
        assert found is not None
        return found


class HubHistory:
    """A repository below a hub's root, kept by git, so that the hub knows its history.

    Args:
        root: The served folder.
        name: ``owner/repo``.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.folder = root / name
        self.folder.mkdir(parents=True)
        self.commits: list[str] = []
        self._now = datetime.now(UTC)  # one for all commits, so that their ages differ by what was asked
        git(self.folder, "init", "--quiet", "--initial-branch", "main")

    def commit(self, changes: Mapping[str, bytes | None], *, age: timedelta = timedelta()) -> str:
        """Make a commit of ``main`` that is some time old; ``None`` deletes a file; returns its id."""
        for name, data in changes.items():
            path = self.folder / name
            if data is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        git(self.folder, "add", "--all")
        date = f"{self._now - age:%Y-%m-%dT%H:%M:%S+0000}"
        when = ("-c", "user.name=Hub", "-c", "user.email=hub@localhost")
        command = ["git", *when, "commit", "--quiet", "--allow-empty", "--message", f"Commit {len(self.commits)}"]
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        subprocess.run(command, cwd=self.folder, env={**os.environ, **dates}, check=True)
        self.commits.append(git(self.folder, "rev-parse", "HEAD").strip())
        return self.commits[-1]


Fault = Callable[[HubServer, Request], Response | RawResponse]


@dataclass
class _Planned:
    fault: Fault
    where: str
    method: str | None
    origin: str | None
    times: int

    def is_meant_for(self, request: Request) -> bool:
        wanted = self.method in (None, request.method) and self.origin in (None, request.origin)
        return wanted and self.times != 0 and self.where in request.path


@dataclass
class Faults:
    """Faults waiting for the requests they are meant for; give it to a server with :meth:`install`."""

    hub: HubServer
    _planned: list[_Planned] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    seen: list[Request] = field(default_factory=list)

    @classmethod
    def install(cls, hub: HubServer) -> "Faults":
        """Stand between a server and its clients."""
        faults = cls(hub)
        hub.intercept = faults
        return faults

    def add(
        self, fault: Fault, *, where: str = "", method: str | None = None, origin: str | None = None, times: int = 1
    ) -> None:
        """Plan a fault for the next ``times`` requests whose path contains ``where``; -1 is for ever."""
        with self._lock:
            self._planned.append(_Planned(fault, where, method, origin, times))

    def __call__(self, request: Request) -> Response | RawResponse | None:
        with self._lock:
            self.seen.append(request)
            planned = next((planned for planned in self._planned if planned.is_meant_for(request)), None)
            if planned is None:
                return None
            planned.times -= 1
        return planned.fault(self.hub, request)


def status(code: int, *headers: tuple[str, str]) -> Fault:
    """Answer with a bare status: ``status(429, ("Retry-After", "1"))``, ``status(503)``, ``status(403)``."""
    return lambda _hub, _request: Response(code, headers)


def wrong_bytes(hub: HubServer, request: Request) -> Response:
    """Send as many bytes as asked for, each of them flipped."""
    response = hub.respond(request)
    return replace(response, body=bytes(byte ^ 0xFF for byte in body_of(response)))


def ignore_range(hub: HubServer, request: Request) -> Response:
    """Send the whole file whatever range was asked for, and do not offer ranges."""
    headers = {key: value for key, value in request.headers.items() if key != "range"}
    response = hub.respond(replace(request, headers=headers))
    return replace(response, headers=tuple(pair for pair in response.headers if pair[0] != "Accept-Ranges"))


def truncate(after: int) -> Fault:
    """Announce the full length, send ``after`` bytes of the body and end the connection."""
    return _partly(after, lambda _connection: None)


def reset(after: int = 0) -> Fault:
    """Send ``after`` bytes of the body, then reset the connection."""
    return _partly(after, _linger_zero)


def stall(after: int, release: threading.Event) -> Fault:
    """Send ``after`` bytes of the body, then nothing until released (or the client hangs up), then end."""
    return _partly(after, lambda connection: _wait(connection, release))


def no_length(after: int | None = None) -> Fault:
    """Send the body without a Content-Length, cut to ``after`` bytes if given; the end of the connection ends it."""

    def fault(hub: HubServer, request: Request) -> RawResponse:
        response = hub.respond(request)
        lines = [line for line in response.head().split(b"\r\n") if not line.lower().startswith(b"content-length")]
        return RawResponse(lambda connection: connection.sendall(b"\r\n".join(lines) + body_of(response)[:after]))

    return fault


def header(name: str, value: str | None) -> Fault:
    """Answer as always but with one header changed, or left out when ``None``."""

    def fault(hub: HubServer, request: Request) -> Response:
        response = hub.respond(request)
        kept = tuple(pair for pair in response.headers if pair[0].lower() != name.lower())
        return replace(response, headers=kept if value is None else (*kept, (name, value)))

    return fault


def body(data: bytes) -> Fault:
    """Answer as always but with another body: for listings no honest hub would send."""
    return lambda hub, request: replace(hub.respond(request), body=data)


def body_of(response: Response) -> bytes:
    """Return the body's bytes."""
    if isinstance(response.body, Slice):
        return response.body.content.read()[response.body.offset :][: response.body.count]
    return response.body


def paths(requests: list[RecordedRequest], origin: str, method: str) -> list[str]:
    """Return the paths of the recorded requests of one origin and method."""
    return [request.path for request in requests if (request.origin, request.method) == (origin, method)]


def _partly(after: int, then: Callable[[socket.socket], None]) -> Fault:
    def fault(hub: HubServer, request: Request) -> RawResponse:
        response = hub.respond(request)

        def write(connection: socket.socket) -> None:
            connection.sendall(response.head() + body_of(response)[:after])
            then(connection)

        return RawResponse(write)

    return fault


def _linger_zero(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _wait(connection: socket.socket, release: threading.Event) -> None:
    """Wait until released, or until either side has hung up, whatever it sent before."""
    hung_up = select.poll()
    hung_up.register(connection, select.POLLHUP | getattr(select, "POLLRDHUP", 0))
    end = time.monotonic() + STALL_SECONDS
    while not release.wait(0.02) and time.monotonic() < end:
        if hung_up.poll(0):
            return
