"""The suite's own promises: it ends, however it is started and whatever fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).with_name("conftest.py")
BOUND = "ENDING_SECONDS = 30.0"
STORIES = """
import signal, subprocess, sys, threading
import pytest

STARTED = []


@pytest.fixture
def hangs():
    yield
    threading.Event().wait()


def test_hangs_at_its_end(hangs):
    pass


def test_fails_and_hangs_at_its_end(hangs):
    assert STARTED


@pytest.mark.timeout(2)
def test_hangs_and_again_when_it_is_told_to_end():
    try:
        threading.Event().wait()
    finally:
        threading.Event().wait()


def test_fails_while_its_child_runs():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    STARTED.append(child)
    assert child.poll() is not None


def test_comes_after_it():
    assert STARTED[0].poll() is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_child_can_be_told_to_end(number):
    code = "import sys, signal; print(signal.getsignal(int(sys.argv[1])) is signal.SIG_IGN)"
    done = subprocess.run([sys.executable, "-c", code, str(int(number))], capture_output=True, text=True, check=True)
    assert done.stdout == "False\\n"
"""


def test_a_hanging_fixture_and_a_failing_test_cost_their_neighbours_nothing(tmp_path: Path) -> None:
    text = CONFTEST.read_text(encoding="utf-8")
    assert BOUND in text
    (tmp_path / "conftest.py").write_text(text.replace(BOUND, "ENDING_SECONDS = 0.5"), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimeout = 30\n", encoding="utf-8")
    (tmp_path / "test_stories.py").write_text(STORIES, encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "."]
    done = subprocess.run(
        # As in ``make test &``: a shell without job control ignores SIGINT for what it starts in the background.
        ["/bin/sh", "-c", "trap '' INT TERM HUP; exec \"$@\"", "sh", *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "5 passed" in done.stdout, done
    assert "3 failed" in done.stdout, done
    assert "2 errors" in done.stdout, done
    for name in ("test_hangs_at_its_end", "test_fails_and_hangs_at_its_end"):
        assert f"ERROR test_stories.py::{name}" in done.stdout, done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
