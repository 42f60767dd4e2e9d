"""Being asked to end: by ^C, a service manager, a scheduler or a terminal that closes; all of them as cleanly."""

import signal
from threading import Event
from types import FrameType
from typing import Final

from imageworks.foundation.ending import REQUESTED

ASKING: Final = (signal.SIGTERM, signal.SIGHUP)
CAME: Final = Event()
"""Set once bytes began to come, which whoever interrupts is told about."""
_first: list[signal.Signals] = []


def end_as_interrupted() -> None:
    """Let requests to end go the way of ^C, where nobody who started us had them ignored, as ``nohup`` does."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    for number in ASKING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def ended_by() -> signal.Signals | None:
    """Return which request ended this process; ``None`` where it was ^C."""
    return _first[0] if _first else None


def _end(number: int, _frame: FrameType | None) -> None:
    if _first:
        return  # a second request must not break off what the first one made us put in order
    _first.append(signal.Signals(number))
    REQUESTED.set()
    raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    REQUESTED.set()
    raise KeyboardInterrupt
