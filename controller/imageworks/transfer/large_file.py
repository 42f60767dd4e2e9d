"""Fetch one large file through aria2, hashing behind it; decide what each way of failing calls for."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

from imageworks.files.artifact import NO_LINK, LinkError, RemoteFile
from imageworks.files.digests import BUFFER_BYTES, Hasher
from imageworks.files.errors import (
    DigestMismatchError,
    DiskFullError,
    SizeMismatchError,
    StagingError,
    StalledError,
    TransferCancelledError,
    TransferError,
)
from imageworks.files.renames import start_writeback
from imageworks.foundation.failpoints import failpoint
from imageworks.foundation.proxies import NetworkSettingError
from imageworks.transfer.aria2.process import NotByAria2Error, aria2_proxy
from imageworks.transfer.aria2.queue import Download, DownloadQueue, DownloadResult, Ending
from imageworks.transfer.job import MIB, Job, Meter, TransferOptions, told_of_disk
from imageworks.transfer.links import check_link, without_queries
from imageworks.transfer.retry import Attempts
from imageworks.transfer.stream import fetch_streamed

PROGRESS_BYTES = MIB
"""A try that brings less than this counts as one without progress."""
_WRITEBACK_BYTES = 32 * MIB
_LARGEST_PIECES_BYTES = 16 * 1024 * MIB
_SMALLEST_SPLIT_BYTES = MIB
_LARGEST_SPLIT_BYTES = 32 * MIB
_LONGEST_TIMEOUT_SECONDS = 30
_MOST_CONNECTIONS = 16

_UNKNOWN = 1  # among others a control file that does not fit
_CANNOT_RESUME = 8
_DISK_FULL = 9
_REFUSED = frozenset({3, 22, 24})  # not found, refused, unauthorised: a link that has expired looks like any of them
_OF_THE_PLACE = frozenset({Ending.ERROR, Ending.STALLED})
_DISK = frozenset({14, 15, 16, 17, 18})
_NOT_RESERVED = frozenset({_UNKNOWN, 17})  # ... by this disk, or this aria2c knows no way to
_UNUSABLE = frozenset({10, 11, 12, 13, 32})  # what is here does not fit: piece length, name in use, wrong digest


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a failed try calls for.

    Args:
        discard: Throw away what came.
        single: From now on use one connection.
        at_once: The next try needs no wait: it will have a fresh link.
        fatal: No next try.
    """

    discard: bool = False
    single: bool = False
    at_once: bool = False
    fatal: TransferError | None = None


class LargeFetch:
    """Brings one large file into its job's area, verified and fsynced."""

    def __init__(
        self,
        file: RemoteFile,
        job: Job,
        queue: DownloadQueue,
        slot: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._file = file
        self._job = job
        self._queue = queue
        self._slot = slot
        self._meter: Meter = job.meter()
        self._attempts = Attempts(job.options.attempts)
        self._single = False
        self._reserves = False
        self._wrong = False
        self._resumed = False
        self._most_received = 0
        self._failed_before: DownloadResult | None = None

    def run(self) -> None:
        """Fetch until the file is there; raise TransferError or LinkError when it is given up."""
        with told_of_disk(self._file, self._job.area.part(self._file)):
            while not self._found_complete():
                try:
                    if self._try():
                        return
                except LinkError as error:
                    if error.reason == NO_LINK:
                        fetch_streamed(self._file, self._job)
                        return
                    if self._job.moves_on(self._file, error):
                        continue
                    if not error.retryable or not self._attempts.failed():
                        raise
                    self._wait(error.retry_after)

    def _try(self) -> bool:
        """Fetch once; return whether the file is there, verified."""
        with closing(PrefixHasher(self._file, self._job)) as hasher:
            try:
                with self._slot():
                    download = self._start()
                    outcome = _followed(download, hasher)
                if outcome.ending is Ending.COMPLETE:
                    failpoint("transfer.part-written")
                    hasher.check()
            except (DigestMismatchError, SizeMismatchError) as error:
                self._discard()
                # What an earlier run left says nothing of the place that gave the rest.
                if not self._resumed and self._job.moves_on(self._file, error):
                    return False
                if self._wrong:
                    raise
                self._wrong = True
                return False
        if outcome.ending is not Ending.COMPLETE:
            self._fail(outcome, download.received_bytes)
            return False
        failpoint("transfer.verified")
        self._job.area.accept(self._file)
        self._meter.at(self._file.size)
        return True

    def _start(self) -> Download:
        self._stop_if_asked()
        self._job.check_room(self._file)
        url = self._job.source.link(self._file)
        check_link(url, self._file, allow_http=self._job.options.allow_http)
        self._reserves = self._job.area.reserves
        download = Download(
            url,
            self._job.area.parts,
            self._job.area.part(self._file).name,
            _options(self._file, self._job.options, single=self._single)
            | {"file-allocation": "falloc" if self._reserves else "none"}
            | self._network_options(url),
            self._job.stop,
            self._meter.at_least,
        )
        self._queue.add(download)
        return download

    def _network_options(self, url: str) -> dict[str, str]:
        """Return by which proxy aria2 fetches a link; raise LinkError where it cannot, or a setting is wrong."""
        try:
            options = aria2_proxy(url)
        except NetworkSettingError as error:
            raise LinkError(f"{self._file.path}: {error.message}", remedy=error.remedy) from None
        except NotByAria2Error as error:
            self._job.progress.note(self._job.model, f"{self._file.path} comes over one connection: {error.message}")
            raise LinkError(error.message, reason=NO_LINK) from None
        return options

    def _found_complete(self) -> bool:
        """Clear away what cannot be resumed; return whether an earlier run left the whole file, and take it then."""
        area, file = self._job.area, self._file
        part, control = area.part(file), area.control(file)
        resumable = control.is_file() and control.stat().st_size > 0 and part.is_file() and not part.is_symlink()
        self._resumed = resumable and part.stat().st_nlink == 1
        if self._resumed:
            return False
        try:
            if not control.exists() and part.is_file() and part.stat().st_size == file.size:
                area.verify_part(file)
                area.accept(file)
                self._meter.at(file.size)
                return True
        except (DigestMismatchError, StagingError):
            self._job.progress.note(self._job.model, f"{file.path}: what an earlier run left is not right, again")
        area.discard_part(file)
        return False

    def _fail(self, outcome: DownloadResult, received: int) -> None:
        """Do what a failed try calls for, or raise."""
        if received - self._most_received >= PROGRESS_BYTES:
            self._attempts.progressed()
            self._most_received = received
        verdict = self._judge(outcome)
        self._failed_before = outcome
        if verdict.discard:
            self._discard()
        self._single = self._single or verdict.single
        if verdict.fatal is not None:
            raise verdict.fatal
        if outcome.ending in _OF_THE_PLACE and self._job.moves_on(self._file, self._given_up(outcome)):
            return
        if not self._attempts.failed():
            raise self._given_up(outcome)
        if not verdict.at_once or self._attempts.failures > 1:
            self._wait(None)

    def _judge(self, outcome: DownloadResult) -> _Verdict:
        path = self._file.path
        if outcome.ending is Ending.CANCELLED:
            return _Verdict(fatal=TransferCancelledError(path))
        if outcome.ending is Ending.IMPOSSIBLE:
            return _Verdict(fatal=outcome.error)
        if outcome.ending is not Ending.ERROR:  # stalled, or aria2c died
            return _Verdict(at_once=True)
        if outcome.code in _NOT_RESERVED and self._reserves:
            self._job.area.reserves = False
            return _Verdict(at_once=True)
        if outcome.code == _DISK_FULL:
            return _Verdict(fatal=DiskFullError(str(self._job.area.parts)))
        if outcome.code in _DISK:
            return _Verdict(fatal=StagingError(f"{path}: {without_queries(outcome.message)}", reason="disk-error"))
        if outcome.code == _CANNOT_RESUME:
            return _Verdict(discard=True, single=True, at_once=True)
        if outcome.code in _UNUSABLE or (outcome.code == _UNKNOWN and self._failed_before == outcome):
            return _Verdict(discard=True, at_once=True)
        return _Verdict(at_once=outcome.code in _REFUSED)

    def _given_up(self, outcome: DownloadResult) -> TransferError:
        if outcome.ending is Ending.STALLED:
            return StalledError(self._file.path, self._job.options.stall_seconds, self._attempts.failures)
        return TransferError(
            f"{self._file.path}: {without_queries(outcome.message) or outcome.ending} (aria2 code {outcome.code})",
            remedy="check the network or the mirror and run again; what came so far is kept and resumes",
        )

    def _discard(self) -> None:
        self._job.area.discard_part(self._file)
        self._meter.at(0)
        self._most_received = 0

    def _wait(self, retry_after: float | None) -> None:
        self._job.clock.wait(self._attempts.wait_seconds(retry_after), self._job.stop)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._job.stop.is_set():
            raise TransferCancelledError(self._file.path)


class PrefixHasher:
    """Hashes a part from the front while aria2 still writes behind; one for each try, never across two.

    A piece that aria2 called complete is not written again within a try. A new try may start from an older control
    file and write it again, so what was hashed before would prove nothing about the disk.
    """

    def __init__(self, file: RemoteFile, job: Job) -> None:
        self._file = file
        self._job = job
        self._hasher = Hasher(file.digest.algorithm, file.size)
        self._descriptor: int | None = None
        self._buffer = bytearray(BUFFER_BYTES)
        self._written_back = 0

    def follow(self, download: Download) -> DownloadResult:
        """Hash what becomes complete until the download ends; return how it ended."""
        while download.outcome is None:
            download.wait_beyond(self._hasher.received)
            if download.prefix_bytes > self._hasher.received:
                self._hash_to(download.prefix_bytes)
        return download.outcome

    def check(self) -> None:
        """Hash the rest; raise SizeMismatchError or DigestMismatchError when the part is not the file."""
        descriptor = self._open()
        size = os.fstat(descriptor).st_size
        if size != self._file.size:
            raise SizeMismatchError(self._file.path, self._file.size, size)
        start_writeback(descriptor, self._written_back, size - self._written_back)  # nobody writes to it any more
        self._written_back = size
        self._hash_to(size)
        if self._hasher.digest() != self._file.digest:
            raise DigestMismatchError(self._file.path, self._file.digest.value, self._hasher.hexdigest())

    def close(self) -> None:
        """Close the part."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = self._job.area.open_part(self._file)
        return self._descriptor

    def _hash_to(self, end: int) -> None:
        descriptor = self._open()
        view = memoryview(self._buffer)
        while (start := self._hasher.received) < end:
            count = os.preadv(descriptor, [view[: min(len(view), end - start)]], start)
            if count == 0:
                raise SizeMismatchError(self._file.path, self._file.size, start)
            self._hasher.update(view[:count])
            self._job.hashed(count)
            if self._hasher.received - self._written_back >= _WRITEBACK_BYTES:
                start_writeback(descriptor, self._written_back, self._hasher.received - self._written_back)
                self._written_back = self._hasher.received


def _followed(download: Download, hasher: PrefixHasher) -> DownloadResult:
    """Hash behind a download until it ends; should hashing fail, end it first: aria2 must not go on writing."""
    try:
        return hasher.follow(download)
    except BaseException:
        download.unwanted = True
        download.wait()
        raise


def _options(file: RemoteFile, options: TransferOptions, *, single: bool) -> dict[str, str]:
    """Choose aria2's options for a file; the piece length depends on its size alone, so that any run can resume it."""
    connections = 1 if single else min(options.connections, _MOST_CONNECTIONS)
    split = min(max(file.size // (connections * 2), _SMALLEST_SPLIT_BYTES), _LARGEST_SPLIT_BYTES)
    return {
        "split": str(connections),
        "max-connection-per-server": str(connections),
        "min-split-size": str(split),
        "piece-length": str(MIB if file.size < _LARGEST_PIECES_BYTES else 4 * MIB),
        "timeout": str(max(1, min(_LONGEST_TIMEOUT_SECONDS, int(options.stall_seconds)))),
    }
