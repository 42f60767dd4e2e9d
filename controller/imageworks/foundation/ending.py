"""Whether this process was asked to end: threads that read or copy for minutes, which nothing interrupts, look here."""

from threading import Event
from typing import Final

from imageworks.foundation.errors import ExitCode, ImageworksError

REQUESTED: Final = Event()
"""Set once, by whoever takes the process's signals."""


class EndingError(ImageworksError):
    """The process was asked to end while this was under way."""

    def __init__(self) -> None:
        super().__init__("the run was asked to end", exit_code=ExitCode.INTERRUPTED)


def go_on() -> None:
    """Return while the process is to go on."""
    if REQUESTED.is_set():
        raise EndingError
