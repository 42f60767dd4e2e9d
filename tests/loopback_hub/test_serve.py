"""The command ``hub serve`` as a process."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.hub import HubRepository

PROGRAM = "from imageworks.cli.app import main; main()"


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; yields the process and the first line of its output."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "hub", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_the_endpoint_serves_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    HubRepository(tmp_path, "acme/tiny", {"a.txt": b"hello"})
    with serving(str(tmp_path)) as (process, line):
        assert line.startswith("export HF_ENDPOINT=http://127.0.0.1:")
        url = line.strip().partition("=")[2]
        with urllib.request.urlopen(f"{url}/acme/tiny/resolve/main/a.txt", timeout=60) as reply:  # noqa: S310
            assert reply.read() == b"hello"
        process.send_signal(number)
        rest, talk = process.communicate(timeout=60)

    assert (process.returncode, rest) == (0, "")
    assert "Serving 1 repository of" in talk
    assert "acme/tiny" in talk
    assert "hub GET /acme/tiny/resolve/main/a.txt 200" in talk
    assert "warning" not in talk


def test_it_warns_when_others_can_reach_it(tmp_path: Path) -> None:
    with serving(str(tmp_path), "--host", "0.0.0.0", "--insecure", "--quiet") as (process, line):  # noqa: S104
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=60)

    assert line.startswith("export HF_ENDPOINT=http://")
    assert "warning: listening on 0.0.0.0" in talk
    assert process.returncode == 0


def test_the_token_may_come_from_the_environment_and_is_never_shown(tmp_path: Path) -> None:
    HubRepository(tmp_path, "acme/tiny", {"a.txt": b"hello"})
    with serving(str(tmp_path), "--gated", "acme/tiny", IMAGEWORKS_HUB_TOKEN="hf_mine") as (process, line):  # noqa: S106
        request = urllib.request.Request(  # noqa: S310
            f"{line.strip().partition('=')[2]}/acme/tiny/resolve/main/a.txt",
            headers={"Authorization": "Bearer hf_mine"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            assert reply.read() == b"hello"
        process.send_signal(signal.SIGINT)
        rest, talk = process.communicate(timeout=60)

    assert "hf_mine" not in line + rest + talk
    assert "warning" not in talk
