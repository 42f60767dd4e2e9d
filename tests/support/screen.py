"""A real pseudo-terminal with somebody who looks at its screen."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

import pyte

BOUND_SECONDS: Final = 120
ON_TERMINAL: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes its stdin the terminal that ends it by ^C, and goes on as another program."""


class Screen:
    """A program on a terminal of its own, whose screen is read.

    Args:
        words: The program.
        size: Columns and lines.
        environment: Its environment.
    """

    def __init__(self, words: Sequence[str], size: tuple[int, int], environment: Mapping[str, str]) -> None:
        columns, lines = size
        self._screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.raw = b""
        self._process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=dict(environment),
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(BOUND_SECONDS)
        os.close(self._ours)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen now, without empty lines."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def ended(self) -> bool:
        """Whether the program has ended."""
        return self._process.poll() is not None

    def wait(self, condition: Callable[[], bool]) -> None:
        """Read until a condition holds."""
        until = time.monotonic() + BOUND_SECONDS
        while not condition():
            assert time.monotonic() < until, "\n".join(self.lines)
            self._read()

    def type(self, data: bytes) -> None:
        """Type something."""
        os.write(self._ours, data)

    def end(self) -> int:
        """Read until the program ends, and return its exit code."""
        self.wait(lambda: self.ended)
        while self._read():
            pass
        return self._process.returncode

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 0.05)
        if not ready:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the other side is closed
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)
