"""``python -m imageworks.cli.fleet_node``: what an engine runs on each node, a task on stdin, JSON lines on stdout.

It ends as by ^C when stdin closes: then nobody waits for it any more.
"""

import os
import signal
import sys
import threading
from typing import Final, TextIO

from imageworks.cli.app import leave_cycles
from imageworks.cli.signals import end_as_interrupted
from imageworks.files.progress import Progress
from imageworks.fleet.node_task import HEARTBEAT_SECONDS, NodeAnswer, NodeTask, NodeWork, progress_line
from imageworks.operations.fleet.node_identity import identify

INTERVAL_SECONDS: Final = 0.5


class ProgressLines(Progress):
    """Tells progress as lines, at most two a second, and now and then one that says no more than that it lives.

    Args:
        stream: Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._calls: list[list[object]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._thread.start()

    def expect(self, label: str, total_bytes: int, here_bytes: int = 0) -> None:
        """Tell it."""
        self._add(["expect", label, total_bytes, here_bytes])

    def start(self, label: str, total_bytes: int, work: str = "fetching") -> None:
        """Tell it."""
        self._add(["start", label, total_bytes, work])

    def advance(self, label: str, received_bytes: int) -> None:
        """Tell it, with what else comes of the label meanwhile."""
        with self._lock:
            last = self._calls[-1] if self._calls else []
            if last[:2] == ["advance", label] and isinstance(last[2], int):
                last[2] += received_bytes
            else:
                self._calls.append(["advance", label, received_bytes])

    def reuse(self, label: str, reused_bytes: int) -> None:
        """Tell it."""
        self._add(["reuse", label, reused_bytes])

    def note(self, label: str, text: str) -> None:
        """Tell it."""
        self._add(["note", label, text])

    def finish(self, label: str) -> None:
        """Tell it."""
        self._add(["finish", label])

    def close(self) -> None:
        """Tell what is left."""
        self._ended.set()
        self._thread.join()

    def _add(self, call: list[object]) -> None:
        with self._lock:
            self._calls.append(call)

    def _tell(self) -> None:
        quiet = 0.0
        while not self._ended.wait(INTERVAL_SECONDS):
            quiet = 0.0 if self._flush(empty=quiet >= HEARTBEAT_SECONDS) else quiet + INTERVAL_SECONDS
        self._flush(empty=False)

    def _flush(self, *, empty: bool) -> bool:
        with self._lock:
            calls, self._calls = self._calls, []
        if calls or empty:
            self._stream.write(progress_line(calls) + "\n")
            self._stream.flush()
        return bool(calls or empty)


def _end_with_input() -> None:
    """Ask this process to end, as a service manager does, when nobody holds the other end of its input any more."""
    while os.read(0, 1 << 12):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _perform(task: NodeTask, out: TextIO) -> NodeAnswer:
    answer = identify(task)
    if answer.error or task.work is NodeWork.IDENTIFY:
        return answer
    from imageworks.operations.fleet.node import perform

    progress = ProgressLines(out)
    try:
        return perform(task, answer, progress)
    except KeyboardInterrupt:
        return NodeAnswer(host=answer.host, version=answer.version, error="called off; what came so far is kept")
    finally:
        progress.close()


def main() -> None:
    """Do the task that stdin holds."""
    leave_cycles()
    end_as_interrupted()
    out, sys.stdout = sys.stdout, sys.stderr  # whatever else prints is no line of the protocol
    task = NodeTask.read(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    out.write(_perform(task, out).render() + "\n")
    out.flush()
    os._exit(0)  # the thread that waits for the input's end is not waited for


if __name__ == "__main__":
    main()
