"""Fetch the files of models: small ones in Python, large ones through one aria2c, all of them verified."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial

from imageworks.files.artifact import FileSource, RemoteFile
from imageworks.files.errors import TransferCancelledError
from imageworks.files.progress import Progress
from imageworks.files.safe_names import check_names
from imageworks.files.staging import StagingArea
from imageworks.foundation.closing import Closing
from imageworks.transfer.aria2.queue import DownloadQueue
from imageworks.transfer.direct_client import DirectClient
from imageworks.transfer.job import Arrivals, Job, Limiter, TransferOptions, told_of_disk
from imageworks.transfer.large_file import LargeFetch
from imageworks.transfer.retry import Clock, SystemClock
from imageworks.transfer.stream import fetch_streamed
from imageworks.transfer.stream_pool import StreamPool

VERIFIERS = 2
"""How many large files may still be verified while their successors already come."""
CANCEL_SECONDS = 10.0
"""How long a model that is given up may take to leave its connections."""


class TransferEngine(Closing):
    """Brings models' files into their staging areas; ``fetch`` may be called from several threads at once."""

    def __init__(self, options: TransferOptions | None = None, *, clock: Clock | None = None) -> None:
        self._options = options or TransferOptions()
        self._clock = clock or SystemClock()
        limit = self._options.limit_bytes_per_second
        self._queue = DownloadQueue(
            {"max-overall-download-limit": str(limit or 0)},
            stall_seconds=self._options.stall_seconds,
            clock=self._clock,
        )
        self._limiter = Limiter(limit, self._clock)
        self._direct = DirectClient(self._options.guard)
        self._slots = threading.Semaphore(self._options.jobs)
        self._streams = StreamPool(self._options.streams)
        self._large = ThreadPoolExecutor(self._options.jobs + VERIFIERS, thread_name_prefix="large")
        self._stops: set[threading.Event] = set()
        self._closed = False
        self._guard = threading.Lock()
        self._sharing = threading.Lock()
        self._busy = {"streams": 0, "large": 0}

    @property
    def aria2_pid(self) -> int | None:
        """The process id of aria2c while it runs."""
        return self._queue.pid

    def close(self) -> None:
        """End aria2c and all threads; what came so far stays resumable."""
        with self._guard:
            self._closed = True
            for stop in self._stops:
                stop.set()
        # What has not begun ends as it begins: a future that a pool cancels wakes nobody who waits for it.
        self._streams.close()
        self._large.shutdown(wait=False)
        self._queue.close()
        self._direct.close()

    def fetch(
        self, model: str, source: FileSource, files: Sequence[RemoteFile], staging: StagingArea, progress: Progress
    ) -> None:
        """Bring these files and no others into the staging area, verified and fsynced; what is there is kept."""
        check_names(file.path for file in files)
        staging.keep_only({file.path for file in files})
        missing = staging.missing(files)
        firsts = {file.digest: file for file in reversed(missing)}
        arrivals = Arrivals(staging, sum(map(self._is_streamed, firsts.values())))
        job = Job(model, source, staging, progress, self._options, self._clock, self._limiter, self._direct, arrivals)
        if not all(map(self._is_streamed, firsts.values())):
            self._queue.expect()
        if firsts:  # what is here already is no news
            progress.start(model, sum(file.size for file in firsts.values()))
        try:
            self._fetch_all(job, sorted(firsts.values(), key=lambda file: -file.size))
            for file in staging.missing(missing):
                with told_of_disk(file, staging.path):
                    first = staging.place(firsts[file.digest])
                    staging.link_or_copy(first, file, known=first.stat())
        finally:
            if firsts:
                progress.finish(model)

    def _fetch_all(self, job: Job, files: Sequence[RemoteFile]) -> None:
        """Fetch all at once; when one is given up, call the others off and raise for that one."""
        with self._guard:
            if self._closed:
                raise TransferCancelledError(job.model)
            self._stops.add(job.stop)
            futures = [self._submit(job, file) for file in files]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            if all(future.exception() is None for future in done):
                return
        finally:  # also when the program is interrupted
            job.stop.set()
            for future in futures:
                future.cancel()
            wait(futures, CANCEL_SECONDS)
            with self._guard:
                self._stops.discard(job.stop)
        errors = [error for future in futures if not future.cancelled() and (error := future.exception(0)) is not None]
        raise next((error for error in errors if not isinstance(error, TransferCancelledError)), errors[0])

    def _submit(self, job: Job, file: RemoteFile) -> "Future[None]":
        if self._is_streamed(file):
            return self._streams.submit(partial(self._stream, file, job))
        return self._large.submit(LargeFetch(file, job, self._queue, self._slot).run)

    def _is_streamed(self, file: RemoteFile) -> bool:
        return not file.large or file.size <= self._options.stream_up_to_bytes

    def _stream(self, file: RemoteFile, job: Job) -> None:
        if job.stop.is_set():
            raise TransferCancelledError(file.path)
        with self._sharing_limit("streams"):
            fetch_streamed(file, job)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        with self._slots, self._sharing_limit("large"):
            yield

    @contextmanager
    def _sharing_limit(self, kind: str) -> Iterator[None]:
        """While both aria2 and streams are busy, each gets half of the limit."""
        self._count(kind, 1)
        try:
            yield
        finally:
            self._count(kind, -1)

    def _count(self, kind: str, step: int) -> None:
        limit = self._options.limit_bytes_per_second
        if limit is None:
            return
        with self._sharing:
            self._busy[kind] += step
            if self._busy[kind] == (1 if step > 0 else 0):
                share = limit // 2 if all(self._busy.values()) else limit
                self._limiter.set_rate(share)
                self._queue.limit(share)
