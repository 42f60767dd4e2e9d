"""Run a node's task in a process of its own, and yield what it tells; what an engine calls on each node.

Not in the engine's worker itself: that one lives on between tasks with what it imported, takes no signals of ours, and
dies with everything in it. The child ends, as by ^C, when its input closes, which also happens where its parent is
killed.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from tempfile import TemporaryFile
from typing import IO, Final

from imageworks.fleet.node_task import NodeAnswer

PROGRAM: Final = "imageworks.cli.fleet_node"
POLL_SECONDS: Final = 0.25
"""How soon an engine's request to end is noticed."""
END_SECONDS: Final = 20.0
LAST_BYTES: Final = 4096


def run_task(
    task: str, environment: Mapping[str, str] | None = None, called_off: Callable[[], bool] = lambda: False
) -> Iterator[str]:
    """Yield the lines that a task tells, the answer last.

    Args:
        task: The task as a line.
        environment: What the child's environment is; this process's own by default.
        called_off: Looked at now and then; once it is true, the task is asked to end.
    """
    with TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 # our own program
            [sys.executable, "-P", "-m", PROGRAM],
            cwd=Path.home(),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        try:
            with suppress(BrokenPipeError):
                _pipe(process.stdin).write(f"{task}\n".encode())
                _pipe(process.stdin).flush()
            yield from _lines(_pipe(process.stdout), called_off)
            code = 0 if called_off() else process.wait(END_SECONDS)
        finally:
            _end(process)
        if code:
            yield NodeAnswer(error=f"its process ended with {code}: {_last_line(said)}").render()


def _lines(stream: IO[bytes], called_off: Callable[[], bool]) -> Iterator[str]:
    rest = b""
    with DefaultSelector() as selector:
        selector.register(stream, EVENT_READ)
        while not called_off():
            if not selector.select(POLL_SECONDS):
                continue
            if not (data := os.read(stream.fileno(), 1 << 16)):
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        _pipe(process.stdin).close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _pipe(process.stdout).close()


def _last_line(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(size - LAST_BYTES, 0))
    lines = said.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 # each was asked for
    return stream
