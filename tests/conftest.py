"""Fixtures for every test: no real home, no real Hub, no user's git identity, no network beyond loopback."""

import gc
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_timeout
from huggingface_hub import constants
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined] # public, by a list that mypy does not read
from hypothesis import settings

PASSED_THROUGH = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "CI")
LOOPBACK = ("127.", "localhost", "::1")
ENDING_SECONDS = 30.0  # what a fixture may take to end, once more for each that hangs
FAILED = pytest.StashKey[bool]()
MEMORY = Path("/dev/shm")  # noqa: S108 # one folder in it, which pytest makes for this user alone
MEMORY_BYTES = 2 << 30
NUMBERS = itertools.count()

tqdm.monitor_interval = 0  # else the first bar of the hub's own client starts a thread that stays

# How long an example takes depends on what else the machine does: speed is the business of benchmarks/.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure() -> None:
    """Give this process and its children the signals that a program starts with at a terminal.

    A shell starts what runs in the background (``make test &``, ``nohup``) with some signals ignored, and children
    inherit that.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    for number, default in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)
    if _suits(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among ten thousand tests while they are collected, nor later: they stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def _suits(place: Path) -> bool:
    """Whether tests can have their folders there: what they sync waits for no disk, and they run programs in them."""
    if not os.access(place, os.W_OK) or os.statvfs(place).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(place).free > MEMORY_BYTES


class Children:
    """The programs that a test starts, so that none outlives its failure."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []
        original = subprocess.Popen.__init__

        def started(child: "subprocess.Popen[bytes]", *args: object, **options: object) -> None:
            original(child, *args, **options)  # type: ignore[call-overload] # whatever the caller gives
            self._started.append(child)

        subprocess.Popen.__init__ = started  # type: ignore[assignment]

    def forget(self) -> None:
        """Begin anew, for another test."""
        self._started.clear()

    def kill(self) -> None:
        """End those that still run; what they hold in a fixture is let go."""
        for child in self._started:
            if child.poll() is None:
                child.kill()
                child.wait(ENDING_SECONDS)
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    with suppress(OSError):  # what was not written any more
                        stream.close()


CHILDREN = Children()


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: pytest_timeout.Settings) -> Generator[None, object, object]:
    """Let a test that has run out of time have as little of it for each thing that it leaves."""
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, ENDING_SECONDS)


def _hangs(_number: int, _frame: object) -> None:
    pytest.fail(f"a fixture does not end within {ENDING_SECONDS} s", pytrace=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a test failed."""
    report = yield
    item.stash[FAILED] = report.failed or item.stash.get(FAILED, False)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Bound the end of every fixture, and let no program of a failed test hang one or meet the next test.

    pytest-timeout and pytest's own dump of stacks stop their clocks when a test fails, as if somebody were to debug it.
    """
    if item.stash.get(FAILED, False):
        CHILDREN.kill()
    signal.signal(signal.SIGALRM, _hangs)
    signal.setitimer(signal.ITIMER_REAL, ENDING_SECONDS, ENDING_SECONDS)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        CHILDREN.forget()


def _folder(name: str, request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a folder, and remove it where the test passed.

    pytest would look through those of all earlier tests for its number: a minute in ten thousand tests.
    """
    made = factory.mktemp(f"{name}{next(NUMBERS)}", numbered=False)
    yield made
    if not request.node.stash.get(FAILED, False):
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As pytest's own."""
    yield from _folder(re.sub(r"\W", "_", request.node.name)[:30], request, tmp_path_factory)


@pytest.fixture(name="home_of_its_own")
def home_of_a_test(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from _folder("home", request, tmp_path_factory)


@pytest.fixture(scope="session", autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail where a test leaves a thread: it goes on among other tests, whose descriptors have the numbers it knows."""
    before = set(threading.enumerate())
    yield
    left, end = set(threading.enumerate()) - before, time.monotonic() + ENDING_SECONDS / 2
    for thread in left:
        thread.join(max(end - time.monotonic(), 0.0))
    assert not [thread for thread in left if thread.is_alive()]


@pytest.fixture(autouse=True)
def isolated_environment(home_of_its_own: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home of its own and an environment without the developer's settings; returns that home."""
    home = home_of_its_own
    for name in list(os.environ):
        if name not in PASSED_THROUGH and not name.startswith(("PYTEST_", "COVERAGE_", "HYPOTHESIS")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / ".local/state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("IMAGEWORKS_HOST", "testhost")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    for name, file in (("HF_TOKEN_PATH", "token"), ("HF_STORED_TOKENS_PATH", "stored_tokens")):
        monkeypatch.setattr(constants, name, str(home / ".cache/huggingface" / file))  # read at import
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # a test that forgets its hub is refused, not served
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return home


@pytest.fixture(autouse=True)
def only_loopback(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse any connection that would leave this machine, except in tests marked network or ollama."""
    if request.node.get_closest_marker("network") or request.node.get_closest_marker("ollama"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that need the outside world unless they are asked for by marker."""
    asked = config.getoption("markexpr", default="")
    for item in items:
        for marker in ("network", "ollama"):
            if item.get_closest_marker(marker) and marker not in asked:
                item.add_marker(pytest.mark.skip(reason=f"needs -m {marker}"))
