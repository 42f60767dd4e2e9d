"""Waiting that a signal ends at once; apart from signals, for most commands wait for nothing."""

import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def pauses() -> Iterator[Callable[[float | None], None]]:
    """Give what waits some seconds, or until a signal comes.

    Whoever waits for a lock sleeps on where a signal came a moment before, or to another thread: its handler runs only
    when the main thread is at work again.
    """
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.settimeout(0)
        writing.settimeout(0)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

        def pause(seconds: float | None) -> None:
            select.select([reading], [], [], seconds)
            with suppress(BlockingIOError):
                while reading.recv(64):
                    continue

        try:
            yield pause
        finally:
            signal.set_wakeup_fd(before)
