"""Fetch one file in Python, hashing each piece as it is written."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from imageworks.files.artifact import NO_LINK, LinkError, RemoteFile
from imageworks.files.digests import Hasher, hash_descriptor
from imageworks.files.errors import DigestMismatchError, SizeMismatchError, TransferCancelledError
from imageworks.files.renames import start_writeback
from imageworks.files.staging import write_all
from imageworks.foundation.failpoints import failpoint
from imageworks.transfer.direct_client import NotDirectError
from imageworks.transfer.job import MIB, Job, Meter, told_of_disk
from imageworks.transfer.links import check_link
from imageworks.transfer.retry import Attempts

RESUMED_FROM_BYTES = MIB
"""Unfinished parts below this are fetched anew: asking for the rest costs as much."""


def fetch_streamed(file: RemoteFile, job: Job) -> None:
    """Bring one file into the job's area, verified; it is synced and named with others."""
    attempts = Attempts(job.options.attempts)
    meter = job.meter()
    wrong = False
    while not job.stop.is_set():
        before = _kept_bytes(file, job)
        try:
            if _fetch_here(file, job, meter, before):
                return
        except SizeMismatchError as error:
            if error.received > error.expected or not attempts.failed():
                job.area.discard_part(file)
                raise
            job.clock.wait(attempts.wait_seconds(), job.stop)  # most likely the connection broke
        except DigestMismatchError:
            job.area.discard_part(file)
            meter.at(0)
            if wrong:
                raise
            wrong = True
        except LinkError as error:
            if _kept_bytes(file, job) - before >= MIB:
                attempts.progressed()
            if not error.retryable or not attempts.failed():
                raise
            job.clock.wait(attempts.wait_seconds(error.retry_after), job.stop)
    raise TransferCancelledError(file.path)


def _fetch_here(file: RemoteFile, job: Job, meter: Meter, offset: int) -> bool:
    """Fetch once from where a file is looked for now; return whether it is here, else it is looked for elsewhere."""
    try:
        with told_of_disk(file, job.area.part(file)):
            _fetch_once(file, job, meter, offset)
    except LinkError as error:
        if not job.moves_on(file, error):
            raise
        return False
    except (SizeMismatchError, DigestMismatchError) as error:
        if offset or not job.moves_on(file, error):  # what an earlier try left may be what is wrong
            raise
        job.area.discard_part(file)
        meter.at(0)
        return False
    return True


def _fetch_once(file: RemoteFile, job: Job, meter: Meter, offset: int) -> None:
    job.check_room(file)
    hasher = Hasher(file.digest.algorithm, file.size)
    descriptor = _open(file, job, hasher, offset)
    try:
        meter.at(hasher.received)
        if hasher.received < file.size:
            with _opened(file, job, hasher.received) as pieces:
                for piece in pieces:
                    if job.stop.is_set():
                        raise TransferCancelledError(file.path)
                    job.limiter.take(len(piece), job.stop)
                    write_all(descriptor, memoryview(piece))
                    hasher.update(piece)
                    meter.at(hasher.received)
                    job.hashed(len(piece))
                    if hasher.received > file.size:
                        break
        start_writeback(descriptor, 0, hasher.received)
    finally:
        os.close(descriptor)
    failpoint("transfer.part-written")
    if hasher.received != file.size:
        raise SizeMismatchError(file.path, file.size, hasher.received)
    if hasher.digest() != file.digest:
        raise DigestMismatchError(file.path, file.digest.value, hasher.hexdigest())
    failpoint("transfer.verified")
    job.arrivals.add(file)


@contextmanager
def _opened(file: RemoteFile, job: Job, offset: int) -> Iterator[Iterator[bytes | memoryview]]:
    """Open the bytes by the quickest way that there is for this file."""
    with ExitStack() as stack:
        pieces = _direct(file, job, stack) if file.large and offset == 0 else None
        yield stack.enter_context(job.source.stream(file, offset)) if pieces is None else pieces


def _direct(file: RemoteFile, job: Job, stack: ExitStack) -> Iterator[memoryview] | None:
    if file.size > job.options.stream_up_to_bytes:
        return None  # it is here because it has no link
    try:
        url = check_link(job.source.link(file), file, allow_http=job.options.allow_http)
        return stack.enter_context(job.direct.stream(url, file))
    except NotDirectError:
        return None
    except LinkError as error:
        if error.reason != NO_LINK:
            raise
        return None


def _kept_bytes(file: RemoteFile, job: Job) -> int:
    """Return how much of the file an earlier try left that is worth going on from."""
    try:
        found = job.area.part(file).lstat()
    except FileNotFoundError:
        return 0
    if not stat.S_ISREG(found.st_mode) or job.area.control(file).exists():
        return 0
    size = found.st_size
    return size if size == file.size or RESUMED_FROM_BYTES <= size < file.size else 0


def _open(file: RemoteFile, job: Job, hasher: Hasher, offset: int) -> int:
    """Open the part for writing, with what it already holds hashed."""
    if not offset:
        return job.area.create_part(file)
    reading = job.area.open_part(file)
    try:
        hash_descriptor(reading, hasher, progress=job.hashed)
    finally:
        os.close(reading)
    return os.open(job.area.part(file), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
