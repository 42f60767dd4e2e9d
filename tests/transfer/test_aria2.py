"""The aria2c child: its port is its own, its secret is nowhere to be seen, and it dies with its parent."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imageworks.files.errors import Aria2Error
from imageworks.transfer.aria2 import process as aria2
from imageworks.transfer.aria2.process import Aria2Process
from imageworks.transfer.aria2.queue import Download, DownloadQueue, Ending, _complete_prefix
from imageworks.transfer.links import without_queries
from imageworks.transfer.retry import Attempts, SystemClock
from support.transfer import TOKEN, FaultServer

proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def process() -> Iterator[Aria2Process]:
    made = Aria2Process({})
    made.start()
    yield made
    made.stop(idle=True)


def eventually(holds: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether something comes true before long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        threading.Event().wait(0.02)
    return False


def test_it_answers_alone_and_in_batches(process: Aria2Process) -> None:
    assert process.call("aria2.getVersion")["version"]
    good, bad = process.call_all([("aria2.getVersion", ()), ("aria2.tellStatus", ("0000000000000000",))])
    assert good["version"]
    assert "not found" in bad["message"]
    assert process.call_all([]) == []
    with pytest.raises(Aria2Error, match=r"refuses aria2\.noSuchMethod"):
        process.call("aria2.noSuchMethod")


def test_every_fixed_option_is_known_to_it(process: Aria2Process) -> None:
    known = process.call("aria2.getGlobalOption")
    assert {name: known.get(name) for name in aria2.FIXED_OPTIONS} == {
        **aria2.FIXED_OPTIONS,
        "rpc-max-request-size": "16777216",
        "no-want-digest-header": known.get("no-want-digest-header"),  # versions before 1.37 have none and ask for none
    }


def test_after_its_end_it_does_not_answer(process: Aria2Process) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    assert eventually(lambda: process.pid is None)
    with pytest.raises(Aria2Error, match="does not answer"):
        process.call("aria2.getVersion")
    process.stop()
    with pytest.raises(Aria2Error, match="not running"):
        process.call("aria2.getVersion")


def test_a_port_that_someone_else_took_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        squatter.settimeout(0.05)
        ports = iter([squatter.getsockname()[1]])
        free = aria2._free_port
        monkeypatch.setattr(aria2, "_free_port", lambda: next(ports, None) or free())
        process = Aria2Process({})
        process.start()
        assert process.call("aria2.getVersion")["version"]
        process.stop(idle=True)
        with pytest.raises(TimeoutError):
            heard.append(squatter.accept()[0].recv(1000))
    assert heard == []


def test_a_program_that_is_not_aria2c_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "aria2c"
    fake.write_text("#!/bin/sh\necho I am something else\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Aria2Error, match="does not start: I am something else"):
        Aria2Process({}).start()
    ended: list[Download] = []
    queue = DownloadQueue({}, stall_seconds=60)
    download = Download("http://127.0.0.1:9/x", tmp_path, "x", {}, threading.Event(), lambda _count: None)
    queue.add(download)
    ended.append(download)
    assert download.wait().ending is Ending.IMPOSSIBLE
    queue.close()


def test_an_option_that_aria2_refuses_ends_that_download_alone(tmp_path: Path) -> None:
    with FaultServer({"x": b"bytes"}) as server:
        queue = DownloadQueue({}, stall_seconds=60)
        downloads = [
            Download(f"{server.base}/x", tmp_path, name, options, threading.Event(), lambda _count: None)
            for name, options in (("good", {}), ("bad", {"split": "many"}))
        ]
        for download in downloads:
            queue.add(download)
        assert [download.wait().ending for download in downloads] == [Ending.COMPLETE, Ending.ERROR]
        queue.limit(1000)
        queue.close()
        late = Download(f"{server.base}/x", tmp_path, "late", {}, threading.Event(), lambda _count: None)
        queue.add(late)
        assert late.wait().ending is Ending.CANCELLED
    assert (tmp_path / "good").read_bytes() == b"bytes"


@proc
def test_no_secret_is_on_a_command_line_in_an_environment_or_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = Aria2Process({})
    process.start()
    pid = process.pid
    secrets = [process._secret.encode(), TOKEN.encode()]
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    left = list(tmp_path.iterdir())
    process.stop(idle=True)
    assert any(f"--stop-with-process={os.getpid()}".encode() in line for line in lines)
    assert [line for line in lines for secret in secrets if secret in line] == []
    assert [secret for secret in secrets if secret in environment] == []
    assert left == []


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_the_child_is_told_its_proxy_and_never_reads_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ada:p%40ss@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "near.example")
    assert not any("proxy" in name.lower() for name in aria2._environment())
    assert aria2.aria2_proxy("https://cdn.example/x") == {
        "all-proxy": "http://proxy.example:3128",
        "all-proxy-user": "ada",
        "all-proxy-passwd": "p@ss",
    }
    assert aria2.aria2_proxy("https://near.example/x") == {"all-proxy": ""}


@proc
@pytest.mark.parametrize("setpriv", [True, False], ids=["at once", "by watching"])
def test_it_dies_with_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, setpriv: bool) -> None:
    if not setpriv:
        for name in ("aria2c", "sh"):
            (tmp_path / name).symlink_to(f"/usr/bin/{name}")
        monkeypatch.setenv("PATH", str(tmp_path))
    script = (
        "import sys, time\n"
        "from imageworks.transfer.aria2.process import Aria2Process\n"
        "process = Aria2Process({})\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: not _runs(pid), 5)


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("bitfield", "pieces"),
    [("", 0), ("0", 0), ("7f", 0), ("8", 1), ("c", 2), ("d", 2), ("e", 3), ("f", 4), ("ffe0", 11), ("fff7ff", 12)],
)
def test_the_complete_front_is_read_from_the_bits(bitfield: str, pieces: int) -> None:
    assert _complete_prefix(bitfield, 1024) == pieces * 1024


def test_signatures_do_not_reach_a_message() -> None:
    said = "Failed URI=https://cdn.example/a/b?X-Amz-Signature=secret&x=1 status=403"
    assert without_queries(said) == "Failed URI=https://cdn.example/a/b?... status=403"


def test_waits_double_with_jitter_up_to_a_limit() -> None:
    attempts = Attempts(50)
    waits = []
    for _ in range(12):
        assert attempts.failed()
        waits.append(attempts.wait_seconds())
    assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits[:6]))
    assert all(30 <= wait <= 60 for wait in waits[6:])
    assert 900 <= attempts.wait_seconds(99999) <= 901


def test_the_systems_clock_goes_on_and_is_interrupted() -> None:
    clock, stop = SystemClock(), threading.Event()
    stop.set()
    before = clock.now()
    clock.wait(60, stop)
    assert 0 <= clock.now() - before < 30
