"""Whether somebody can be asked."""

import sys


def at_terminal() -> bool:
    """Return whether stdin is a terminal; where stdout goes is no matter, for questions go to stderr."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False
