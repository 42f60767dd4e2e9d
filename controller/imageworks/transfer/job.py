"""What the fetching of one file needs to know: the model it belongs to, the options, and who is told of progress."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from imageworks.files.artifact import FileSource, RemoteFile, SwitchingSource
from imageworks.files.errors import DiskFullError, StagingError, disk_refusal
from imageworks.files.progress import Progress
from imageworks.files.safe_paths import free_bytes
from imageworks.files.staging import StagingArea
from imageworks.foundation.addresses import AddressGuard
from imageworks.foundation.errors import ImageworksError
from imageworks.foundation.failpoints import failpoint
from imageworks.transfer.direct_client import DirectClient
from imageworks.transfer.retry import Clock

MIB = 1024 * 1024
SYNCED_TOGETHER = 32
"""How many streamed files wait to be synced: one journal commit serves all, where each would wait for its own."""


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How transfers behave.

    Args:
        connections: How many connections one large file may use at a time, at most 16.
        jobs: How many large files come at a time.
        streams: How many other files come at a time.
        stream_up_to_bytes: Files up to this size are fetched in Python: a connection of ours that is open already
            beats aria2's start of a download.
        limit_bytes_per_second: How much all transfers together may receive; ``None`` for as much as there is.
        attempts: How many failures in a row, without a byte of progress between, give a file up.
        stall_seconds: How long a file may receive nothing before its connections are made anew, in seconds.
        allow_http: Accept links without TLS to hosts other than this one, because the endpoint itself has none.
        guard: To which addresses our own connections may go; to any when absent.
    """

    connections: int = 8
    jobs: int = 4
    streams: int = 10
    stream_up_to_bytes: int = 8 * MIB
    limit_bytes_per_second: int | None = None
    attempts: int = 5
    stall_seconds: float = 60.0
    allow_http: bool = False
    guard: AddressGuard | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One model that is being fetched.

    Args:
        model: Its name, for progress.
        source: Where its bytes come from.
        area: Where they go.
        progress: Who is told.
        options: How transfers behave.
        clock: What tells the time and waits.
        limiter: What slows streams down to the limit.
        direct: What fetches small signed links.
        arrivals: Where streamed files wait for their names.
        stop: Set when the model is given up.
    """

    model: str
    source: FileSource
    area: StagingArea
    progress: Progress
    options: TransferOptions
    clock: Clock
    limiter: "Limiter"
    direct: DirectClient
    arrivals: "Arrivals"
    stop: threading.Event = field(default_factory=threading.Event)

    def meter(self) -> "Meter":
        """Return a counter of the bytes of one file."""
        return Meter(self)

    def check_room(self, file: RemoteFile) -> None:
        """Raise DiskFullError unless the rest of a file fits now: aria2 loses a file's progress when it runs full."""
        free = free_bytes(self.area.parts)
        if free is not None and free < file.size and free < self.area.bytes_to_write([file]):
            raise DiskFullError(str(self.area.place(file)))

    def moves_on(self, file: RemoteFile, error: ImageworksError) -> bool:
        """Return whether a file is looked for at another place from now on, as what came from this one is of no use."""
        return isinstance(self.source, SwitchingSource) and self.source.moves_on(file, error)

    def hashed(self, count: int) -> None:
        """Tell of bytes hashed."""
        self.progress.verify(self.model, count)


class Arrivals:
    """Verified parts that are synced and named together; what a kill leaves is whole and is not fetched again.

    Args:
        area: Where they get their names.
        count: How many are expected; none waits for a larger file that comes after them.
    """

    def __init__(self, area: StagingArea, count: int) -> None:
        self._area = area
        self._expected = count
        self._waiting: list[RemoteFile] = []
        self._lock = threading.Lock()

    def add(self, file: RemoteFile) -> None:
        """Take a file whose bytes are on their way to the disk; name those that wait once they are many or the last."""
        with self._lock:
            self._waiting.append(file)
            self._expected -= 1
            if self._expected > 0 and len(self._waiting) < SYNCED_TOGETHER:
                return
            files, self._waiting = self._waiting, []
        failpoint("transfer.arrived")
        for one in files:
            with told_of_disk(one, self._area.part(one)):
                self._area.accept(one)


class Meter:
    """Tells of one file's bytes as they come, are found to be here already, or are thrown away."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._told = 0

    def at(self, received: int) -> None:
        """So many bytes of the file are here in all."""
        if received != self._told:
            self._job.progress.advance(self._job.model, received - self._told)
            self._told = received

    def at_least(self, received: int) -> None:
        """So many are here; fewer than told before only means that a resumed download has not looked yet."""
        self.at(max(received, self._told))


class Limiter:
    """Lets threads receive so many bytes a second together."""

    def __init__(self, bytes_per_second: int | None, clock: Clock) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._free_at = 0.0
        self._lock = threading.Lock()

    def set_rate(self, bytes_per_second: int | None) -> None:
        """Change the limit."""
        with self._lock:
            self._rate = bytes_per_second

    def take(self, count: int, stop: threading.Event) -> None:
        """Return when so many more bytes may come."""
        with self._lock:
            if self._rate is None:
                return
            now = self._clock.now()
            start = max(now, self._free_at)
            self._free_at = start + count / self._rate
        if start > now:
            self._clock.wait(start - now, stop)


@contextmanager
def told_of_disk(file: RemoteFile, place: Path) -> Iterator[None]:
    """Say what the disk refused in our words."""
    try:
        yield
    except OSError as error:
        raise disk_refusal(error, place, StagingError, reason="disk-error", subject=f"{file.path}: ") from error
