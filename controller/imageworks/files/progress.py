"""Who is told how far long work is: bytes that come, are read, or were here already, each under a label."""

from collections.abc import Callable
from threading import Lock
from typing import Final

READING: Final = "reading"
"""The work of whoever hashes a file that is here."""


class Progress:
    """Who is told of progress; what it does not care for it leaves out. Every method may be called from any thread.

    A label is a model's name, a file that is read, or a host and a model.
    """

    def expect(self, label: str, total_bytes: int, here_bytes: int = 0) -> None:
        """So many bytes will come under a label, of which some came with an interrupted run."""

    def start(self, label: str, total_bytes: int, work: str = "fetching") -> None:
        """Work on a label begins; total_bytes are still to come."""

    def advance(self, label: str, received_bytes: int) -> None:
        """So many more bytes came; negative when bytes had to be thrown away."""

    def reuse(self, label: str, reused_bytes: int) -> None:
        """So many bytes were on this machine already, and need not come."""

    def verify(self, label: str, hashed_bytes: int) -> None:
        """So many more bytes were hashed."""

    def note(self, label: str, text: str) -> None:
        """Something that a person would like to know, in one line."""

    def finish(self, label: str) -> None:
        """The label is complete and verified, or was given up."""


class TotalProgress(Progress):
    """Tells how many bytes of all are done.

    Args:
        told: Called with the bytes done so far and the bytes to do, from any thread.
    """

    def __init__(self, told: Callable[[int, int], None]) -> None:
        self._told = told
        self._lock = Lock()
        self._done = 0
        self._total = 0

    def expect(self, label: str, total_bytes: int, here_bytes: int = 0) -> None:
        """Count what will come."""
        del label, here_bytes
        with self._lock:
            self._total += total_bytes

    def advance(self, label: str, received_bytes: int) -> None:
        """Tell what came."""
        del label
        with self._lock:
            self._done += received_bytes
            self._told(self._done, self._total)
