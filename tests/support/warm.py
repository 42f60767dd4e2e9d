"""Runs of the program in processes forked from one that has imported it: what a test asks is its work, not its start.

All else is as in a process of its own: session, folder, environment, streams, end. What reads the environment while it
is imported is imported there, or once more. Run as a program, this file is the process that is ready.
"""

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Final, NamedTuple

HEAVY: Final = (
    "httpx2",
    "httpcore2",
    "anyio",
    "tqdm",
    "yaml",
    "filelock",
    "fsspec",
    "rich.console",
    "jsonschema",
    "ssl",
)
LARGEST: Final = 1 << 17
AS_HERE: Final = ("LANG", "LC_ALL", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
ENDING_SECONDS: Final = 30.0
STARTER: Final = """\
#!{python} -IS
import json, os, sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket
asked = {{"words": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd(), "program": sys.argv[0]}}
server = socket(AF_UNIX, SOCK_SEQPACKET)
server.connect({address!r})
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
server.sendmsg([json.dumps(asked).encode()], [(SOL_SOCKET, SCM_RIGHTS, streams)])
code = int(server.recv(16))
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Done(NamedTuple):
    """What a run ended with."""

    code: int
    stdout: str
    stderr: str
    pid: int


def _forks() -> bool:
    """Whether runs are forked: coverage begins with a process, and macOS has no such sockets nor forks it well."""
    return sys.platform == "linux" and "coverage" not in sys.modules


class WarmProgram:
    """``python -m imageworks`` from a process that is ready; one run at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._folder = ""

    def run(self, words: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float) -> Done | None:
        """Run to the end; ``None`` where only a process of its own would be the same, or another run is on its way."""
        here = {name: os.environ.get(name) for name in AS_HERE}
        if not _forks() or any(
            environment.get(name) != here.get(name)
            for name in environment
            if name.startswith(("PYTHON", "LANG", "LC_"))
        ):
            return None
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._run(self._started(), words, environment, folder, seconds)
        finally:
            self._lock.release()

    def write_starter(self, path: Path) -> None:
        """Write a program that is this one, for scripts that run it by its name."""
        if not _forks():
            path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m imageworks "$@"\n', encoding="utf-8")
        else:
            with self._lock:
                self._started()
            path.write_text(STARTER.format(python=sys.executable, address=f"{self._folder}/asked"), encoding="utf-8")
        path.chmod(0o755)

    def _started(self) -> socket.socket:
        if self._channel is not None and self._process is not None and self._process.poll() is None:
            return self._channel
        self.end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._folder = tempfile.mkdtemp(prefix="warm-")  # short: the address of a socket has 108 bytes
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(f"{self._folder}/asked")
            listener.listen()
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno()), str(listener.fileno())],
                pass_fds=(theirs.fileno(), listener.fileno()),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._channel = ours
        return ours

    @staticmethod
    def _run(
        channel: socket.socket, words: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float
    ) -> Done:
        streams = [os.pipe(), os.pipe()]
        asked = {"words": list(words), "environment": dict(environment), "folder": str(folder)}
        try:
            with Path(os.devnull).open("rb") as nothing:
                passed = [nothing.fileno(), *(write for _, write in streams)]
                socket.send_fds(channel, [json.dumps(asked).encode()], passed)
        finally:
            for _, write in streams:
                os.close(write)
        try:
            pid = int(channel.recv(LARGEST))
            told = {read: bytearray() for read, _ in streams}
            _drain(told, pid, time.monotonic() + seconds)
        finally:
            for read, _ in streams:
                os.close(read)
        out, errors = (bytes(data).decode() for data in told.values())
        return Done(int(channel.recv(LARGEST)), out, errors, pid)

    def end(self) -> None:
        """End the process that is ready."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.wait(ENDING_SECONDS)
            shutil.rmtree(self._folder, ignore_errors=True)
        self._channel = self._process = None


def _drain(told: Mapping[int, bytearray], pid: int, end: float) -> None:
    with selectors.DefaultSelector() as selector:
        for descriptor in told:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(end - time.monotonic(), 0))
            if not ready and time.monotonic() >= end:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"the program hangs: {told}")
            for key, _ in ready:
                data = os.read(key.fd, LARGEST)
                told[key.fd].extend(data)
                if not data:
                    selector.unregister(key.fd)


WARM: Final = WarmProgram()
atexit.register(WARM.end)


def run_program(
    *words: str, folder: Path, environment: Mapping[str, str], seconds: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, as quickly as it can be."""
    done = WARM.run(words, environment, folder, seconds)
    if done is not None:
        return subprocess.CompletedProcess(words, done.code, done.stdout, done.stderr)
    return subprocess.run(
        [sys.executable, "-m", "imageworks", *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


class _Later(MetaPathFinder):
    """Refuses what has to be imported by the process that uses it."""

    def find_spec(self, name: str, _path: object, _target: object = None) -> None:
        if name.partition(".")[0] == "huggingface_hub":
            raise ImportError(name)


def _import_all() -> None:
    """Import the whole program, but for what reads the environment meanwhile."""
    later = _Later()
    sys.meta_path.insert(0, later)
    package = importlib.import_module("imageworks")
    names = [
        one.name for one in pkgutil.walk_packages(package.__path__, "imageworks.") if one.name != "imageworks.__main__"
    ]
    for name in (*HEAVY, *names):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    sys.meta_path.remove(later)


def _become(asked: Mapping[str, object], descriptors: Sequence[int]) -> None:
    """Be the program that was asked for, up to its first line."""
    os.setsid()
    folder, environment, words = asked["folder"], asked["environment"], asked["words"]
    assert isinstance(folder, str)
    assert isinstance(environment, dict)
    assert isinstance(words, list)
    os.chdir(folder)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = open(0, encoding=sys.stdin.encoding, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=sys.stderr.encoding, errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    from imageworks.foundation import failpoints

    importlib.reload(failpoints)
    sys.path.insert(0, folder)
    sys.argv = [str(asked.get("program") or Path(failpoints.__file__).parent.parent / "__main__.py"), *words]


def _serve(channel: socket.socket, listener: socket.socket) -> None:
    """Fork for each run that is asked for; returns in the processes that are to be the program."""
    while True:
        ready, _, _ = select.select([channel, listener], [], [])
        if channel in ready:
            if _forked(channel, (channel, listener), tell=True):
                return
            continue
        asking, _ = listener.accept()
        with asking:
            if waits := os.fork():
                os.waitpid(waits, 0)
            elif os.fork():  # nobody's child, so that scripts can run several at once
                os._exit(0)
            elif _forked(asking, (asking, channel, listener), tell=False):
                return
            else:
                os._exit(0)


def _forked(asking: socket.socket, inherited: Sequence[socket.socket], *, tell: bool) -> bool:
    """Run what somebody asks for, and say how it ended; whether this is the process that is to run it."""
    data, descriptors, _, _ = socket.recv_fds(asking, LARGEST, 3)
    if not data:
        os._exit(0)
    pid = os.fork()
    if not pid:
        for one in inherited:
            one.close()
        _become(json.loads(data), descriptors)
        return True
    for descriptor in descriptors:
        os.close(descriptor)
    if tell:
        asking.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    asking.send(str(os.waitstatus_to_exitcode(status)).encode())
    return False


if __name__ == "__main__":
    _import_all()
    _serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
    from imageworks.cli.app import main

    main()
