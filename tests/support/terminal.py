"""Somebody at a terminal, within this process."""

import io


class Terminal(io.StringIO):
    """What somebody types, or sees, at a terminal."""

    def isatty(self) -> bool:
        return True
