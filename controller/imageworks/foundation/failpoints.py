"""Named points at which a test can kill or fail this process; nothing happens unless ``IMAGEWORKS_FAILPOINT`` is set.

For tests only. ``IMAGEWORKS_FAILPOINT=git.ref-moved`` acts at the first time that the point is reached,
``git.ref-moved:3`` at the third. ``IMAGEWORKS_FAILPOINT_ACTION`` is ``kill`` (SIGKILL to this process, the default) or
``raise``. The variables are read when this module is imported: unset, a point is one call of an empty function.
"""

import os
import signal
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "IMAGEWORKS_FAILPOINT"
ACTION_VARIABLE: Final = "IMAGEWORKS_FAILPOINT_ACTION"


class FailpointReached(BaseException):  # not an error: no handler of errors may swallow it
    """What the ``raise`` action raises; not an ``Exception``, so that only a test can catch it."""


def arm(specification: str, action: str) -> Callable[[str], None]:
    """Return the function that acts at one failpoint."""
    if not specification:
        return _pass_by
    wanted, _, count = specification.partition(":")
    remaining = int(count or "1")

    def armed(name: str) -> None:
        nonlocal remaining
        if name != wanted:
            return
        remaining -= 1
        if remaining:
            return
        if action == "raise":
            raise FailpointReached(name)
        os.kill(os.getpid(), signal.SIGKILL)

    return armed


def _pass_by(_name: str) -> None:
    """Do nothing: no failpoint is set."""


_act: Callable[[str], None] = arm(os.environ.get(VARIABLE, ""), os.environ.get(ACTION_VARIABLE, "kill"))


def failpoint(name: str) -> None:
    """Mark a place between two durable steps."""
    _act(name)
