"""Work that a copy of this process does at the same time, where this host has a second core to do it."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def can_split() -> bool:
    """Return whether work may go to a copy of this process; one of several threads is not to be copied."""
    return sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 and threading.active_count() == 1


@contextmanager
def beside(work: Callable[[], bytes]) -> Iterator[Callable[[], bytes]]:
    """Let a copy of this process do some work, and yield what waits for its result: nothing where it failed.

    The copy ends with what it returns: what it writes elsewhere or changes in its memory, nobody sees.
    """
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(reader)  # else it would wait for itself to read, where this process is gone
        _end_with(work, writer)
    os.close(writer)

    def result() -> bytes:
        with os.fdopen(os.dup(reader), "rb") as stream:
            return stream.read()

    try:
        yield result
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _end_with(work: Callable[[], bytes], writer: int) -> None:
    try:
        result = work()
        with os.fdopen(writer, "wb") as stream:
            stream.write(result)
    finally:
        os._exit(0)
