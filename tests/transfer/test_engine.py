"""The engine with a real aria2c and real HTTP: every kind of trouble ends in verified bytes or one clear error."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from imageworks.files.artifact import NO_LINK, LinkError, RemoteFile
from imageworks.files.errors import (
    Aria2NotFoundError,
    DigestMismatchError,
    DiskFullError,
    SizeMismatchError,
    StalledError,
    TransferCancelledError,
    TransferError,
)
from imageworks.files.safe_names import UnsafeNameError
from imageworks.files.staging import StagingArea
from imageworks.transfer import job as jobs
from imageworks.transfer.engine import TransferEngine
from imageworks.transfer.job import TransferOptions
from support.filesystems import refusing
from support.registry import noted_bytes, wait_for, written_bytes
from support.transfer import (
    MIB,
    TOKEN,
    FakeClock,
    Fault,
    FaultServer,
    LinkSource,
    RecordingProgress,
    content,
    remote,
    stage,
    tree,
)

BIG = content("big", 12 * MIB + 345)
WEIGHTS = remote("model.safetensors", BIG)
OPTIONS = TransferOptions(stream_up_to_bytes=64 * 1024, connections=4, attempts=3, stall_seconds=60)


@pytest.fixture
def area(tmp_path: Path) -> StagingArea:
    return StagingArea.open(tmp_path, "model")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer({"model.safetensors": BIG}) as running:
        yield running


def fetch(
    server: FaultServer,
    area: StagingArea,
    files: list[RemoteFile],
    *,
    source: LinkSource | None = None,
    options: TransferOptions = OPTIONS,
    clock: FakeClock | None = None,
) -> tuple[LinkSource, RecordingProgress]:
    source = source or LinkSource(server.base)
    progress = RecordingProgress()
    with TransferEngine(options, clock=clock) as engine:
        engine.fetch("model", source, files, area, progress)
    return source, progress


def resumed_from(server: FaultServer, *links: str) -> int:
    """Where the first range asked for began, after the one request from the start with which aria2 learns the size."""
    starts = sorted(start for link in links for start in server.starts[link])
    return starts[1] if starts[0] == 0 else starts[0]


def only(number: int, fault: Fault) -> Callable[[str, int], Fault | None]:
    return lambda _path, count: fault if count == number else None


def test_files_of_all_sizes_come_verified_and_progress_adds_up(area: StagingArea) -> None:
    contents = {"config.json": b"{}", "empty": b"", "sub/tokenizer.bin": content("t", 40_000), "weights.bin": BIG}
    files = [remote(name, data, large=len(data) > 30_000) for name, data in contents.items()]
    with FaultServer(contents) as server:
        _, progress = fetch(server, area, files)
        cdn = [line for line in server.seen_headers if "?signature" in line]
    assert tree(area.tree) == contents
    assert progress.received == progress.hashed == progress.total == sum(map(len, contents.values()))
    assert progress.finished == ["model"]
    assert list(area.parts.iterdir()) == []
    assert cdn
    assert all(TOKEN not in line for line in cdn)


def test_small_files_alone_start_no_aria2c(area: StagingArea) -> None:
    with FaultServer({"a": b"1"}) as server, TransferEngine(OPTIONS) as engine:
        engine.fetch("m", LinkSource(server.base), [remote("a", b"1", large=False)], area, RecordingProgress())
        assert engine.aria2_pid is None


def test_what_is_here_already_is_not_fetched_again(server: FaultServer, area: StagingArea) -> None:
    fetch(server, area, [WEIGHTS])
    server.requests.clear()
    _, progress = fetch(server, area, [WEIGHTS])
    assert not server.requests
    assert progress.total == 0


def test_what_an_earlier_run_staged_and_no_one_wants_is_dropped(server: FaultServer, area: StagingArea) -> None:
    stage(area, {"unwanted/old.bin": b"x", "model.safetensors": BIG})
    fetch(server, area, [WEIGHTS])
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert [path.name for path in area.tree.iterdir()] == ["model.safetensors"]
    assert not server.requests


def test_equal_files_are_fetched_once(server: FaultServer, area: StagingArea) -> None:
    source, _ = fetch(server, area, [WEIGHTS, remote("copy/again.safetensors", BIG)])
    assert tree(area.tree) == {"model.safetensors": BIG, "copy/again.safetensors": BIG}
    assert sum(source.links.values()) == 1


def test_a_metalink_file_is_a_file_like_any_other(area: StagingArea) -> None:
    data = b'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="x"/></metalink>'.ljust(100_000)
    with FaultServer({"x.meta4": data}) as server:
        fetch(server, area, [remote("x.meta4", data)])
    assert tree(area.tree) == {"x.meta4": data}


def test_an_expired_link_is_resolved_again_and_the_download_goes_on(server: FaultServer, area: StagingArea) -> None:
    expired = threading.Event()

    def fault(_path: str, number: int) -> Fault | None:
        if number == 0:
            return Fault(cut_after=9 * MIB)
        if number < 6 and not expired.is_set():
            return Fault(status=403)
        return None

    class Source(LinkSource):
        def link(self, file: RemoteFile) -> str:
            if self.links[file.path]:
                expired.set()
            return super().link(file)

    server.fault = fault
    source, progress = fetch(
        server, area, [WEIGHTS], source=Source(server.base), options=TransferOptions(connections=1), clock=FakeClock()
    )
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert source.links["model.safetensors"] == 2
    assert resumed_from(server, "signature=2") >= 5 * MIB
    assert progress.received == len(BIG)


@pytest.mark.parametrize("large", [True, False])
def test_wrong_bytes_are_fetched_once_more(server: FaultServer, area: StagingArea, *, large: bool) -> None:
    server.fault = only(0, Fault(flip=5000))
    _, progress = fetch(server, area, [remote("model.safetensors", BIG, large=large)], clock=FakeClock())
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert progress.received == len(BIG)


@pytest.mark.parametrize("large", [True, False])
def test_bytes_that_stay_wrong_are_refused_and_leave_nothing(
    server: FaultServer, area: StagingArea, *, large: bool
) -> None:
    server.fault = lambda _path, _number: Fault(flip=5000)
    with pytest.raises(DigestMismatchError, match=r"model\.safetensors: digest is"):
        fetch(server, area, [remote("model.safetensors", BIG, large=large)], clock=FakeClock())
    assert tree(area.tree) == {}
    assert list(area.parts.iterdir()) == []


@pytest.mark.parametrize("body", [b"<html>please log in</html>", BIG + b"more"], ids=["shorter", "longer"])
@pytest.mark.parametrize("large", [True, False])
def test_another_body_than_announced_is_refused(
    server: FaultServer, area: StagingArea, body: bytes, *, large: bool
) -> None:
    server.fault = lambda _path, _number: Fault(body=body)
    with pytest.raises(SizeMismatchError, match="bytes came, expected"):
        fetch(server, area, [remote("model.safetensors", BIG, large=large)], clock=FakeClock())
    assert tree(area.tree) == {}


def test_a_file_that_only_the_hub_gives_is_streamed(server: FaultServer, area: StagingArea) -> None:
    def refuse(_file: RemoteFile, _number: int) -> LinkError:
        return LinkError("no link", reason=NO_LINK)

    source = LinkSource(server.base, refuse=refuse)
    fetch(server, area, [WEIGHTS], source=source)
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert source.streams["model.safetensors"] == 1


def test_the_servers_wish_to_wait_is_granted(server: FaultServer, area: StagingArea) -> None:
    def refuse(_file: RemoteFile, number: int) -> LinkError | None:
        return LinkError("slow down", retryable=True, retry_after=77) if number == 1 else None

    clock = FakeClock()
    fetch(server, area, [WEIGHTS], source=LinkSource(server.base, refuse=refuse), clock=clock)
    assert [77 <= wait < 79 for wait in clock.waits] == [True]


def test_a_small_signed_link_that_is_rate_limited_waits_too(area: StagingArea) -> None:
    clock = FakeClock()
    with FaultServer({"a": b"1"}, only(0, Fault(status=429, headers={"Retry-After": "9"}))) as server:
        fetch(server, area, [remote("a", b"1")], clock=clock)
    assert tree(area.tree) == {"a": b"1"}
    assert [9 <= wait < 11 for wait in clock.waits] == [True]


def test_waits_grow_and_then_the_file_is_given_up(server: FaultServer, area: StagingArea) -> None:
    server.fault = lambda _path, _number: Fault(status=403)
    clock = FakeClock()
    with pytest.raises(TransferError, match=r"model\.safetensors.*403"):
        fetch(server, area, [WEIGHTS], clock=clock, options=TransferOptions(attempts=5))
    assert len(clock.waits) == 3  # the first fresh link is tried at once
    assert clock.waits == sorted(clock.waits)


def test_a_refusal_that_will_not_change_is_told_at_once(server: FaultServer, area: StagingArea) -> None:
    source = LinkSource(server.base, refuse=lambda _file, _n: LinkError("gated", reason="gated"))
    with pytest.raises(LinkError, match="gated"):
        fetch(server, area, [WEIGHTS], source=source)
    assert source.links["model.safetensors"] == 1


def test_a_link_without_tls_to_elsewhere_is_refused(server: FaultServer, area: StagingArea) -> None:
    with pytest.raises(LinkError, match=r"http://192\.0\.2\.1, which is not https"):
        fetch(server, area, [WEIGHTS], source=LinkSource("http://192.0.2.1"))


def test_no_unsafe_name_causes_a_request(server: FaultServer, area: StagingArea) -> None:
    with pytest.raises(UnsafeNameError):
        fetch(server, area, [WEIGHTS, remote("../escape", b"x")])
    assert not server.requests


def test_without_aria2c_the_message_says_what_to_install(
    server: FaultServer, area: StagingArea, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Aria2NotFoundError) as caught:
        fetch(server, area, [WEIGHTS])
    assert caught.value.message == (
        "aria2c not found. Please install aria2c for optimal download performance.\n"
        "Ubuntu/Debian: sudo apt install aria2\n"
        "macOS: brew install aria2"
    )


def test_a_stalled_download_is_begun_anew_and_keeps_its_bytes(server: FaultServer, area: StagingArea) -> None:
    release = threading.Event()
    server.fault = only(0, Fault(hold=release, hold_after=6 * MIB))
    clock = FakeClock()
    watcher = threading.Thread(
        target=_pass_until,
        args=(release, clock, server, 2, lambda: written_bytes(area.parts) > 11 * MIB // 2),
    )
    watcher.start()
    fetch(server, area, [WEIGHTS], clock=clock, options=TransferOptions(connections=1))
    release.set()
    watcher.join()
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert resumed_from(server, "signature=2") >= 5 * MIB


def test_a_download_that_always_stalls_is_given_up(server: FaultServer, area: StagingArea) -> None:
    release = threading.Event()
    server.fault = lambda _path, _number: Fault(hold=release)
    clock = FakeClock()
    watcher = threading.Thread(target=_pass_until, args=(release, clock, server, 99, lambda: True))
    watcher.start()
    with pytest.raises(StalledError, match="no byte came for 60 s, 3 times"):
        fetch(server, area, [WEIGHTS], clock=clock, options=TransferOptions(connections=1, attempts=3))
    release.set()
    watcher.join()


def _pass_until(
    release: threading.Event, clock: FakeClock, server: FaultServer, requests: int, arrived: Callable[[], bool]
) -> None:
    """Let time pass for the watchdog, from an arrival on, until so many requests came or the test is over."""
    server.holding.wait(30)
    wait_for(arrived)
    while not release.wait(0.05) and server.requests["model.safetensors"] < requests:
        clock.advance(20)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_broken_connection_goes_on_where_it_broke(server: FaultServer, area: StagingArea, *, streamed: bool) -> None:
    server.fault = only(0, Fault(cut_after=9 * MIB))
    options = TransferOptions(connections=1)
    _, progress = fetch(
        server, area, [remote("model.safetensors", BIG, large=not streamed)], clock=FakeClock(), options=options
    )
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert resumed_from(server, *server.starts) >= 5 * MIB
    assert progress.received == len(BIG)


def test_a_server_that_forgets_ranges_is_asked_from_the_start(server: FaultServer, area: StagingArea) -> None:
    server.fault = lambda _path, number: Fault(cut_after=9 * MIB) if number == 0 else Fault(ignore_range=True)
    fetch(server, area, [WEIGHTS], clock=FakeClock(), options=TransferOptions(connections=1))
    assert tree(area.tree) == {"model.safetensors": BIG}


def test_aria2c_killed_under_way_is_started_again_and_resumes(server: FaultServer, area: StagingArea) -> None:
    release = threading.Event()
    server.fault = only(0, Fault(hold=release, hold_after=9 * MIB))
    source, progress = LinkSource(server.base), RecordingProgress()
    with TransferEngine(TransferOptions(connections=1), clock=FakeClock()) as engine:
        worker = threading.Thread(target=engine.fetch, args=("m", source, [WEIGHTS], area, progress))
        worker.start()
        assert server.holding.wait(30)
        wait_for(lambda: noted_bytes(area.parts) >= 5 * MIB)
        first = engine.aria2_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        worker.join(60)
        assert engine.aria2_pid not in {None, first}
    release.set()
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert progress.received == len(BIG)
    assert resumed_from(server, "signature=2") >= 5 * MIB


def test_room_is_reserved_for_a_file_and_is_not_taken_for_what_came(server: FaultServer, area: StagingArea) -> None:
    release = threading.Event()
    server.fault = only(0, Fault(hold=release, hold_after=9 * MIB))
    with TransferEngine(TransferOptions(connections=1), clock=FakeClock()) as engine:

        def run() -> None:
            with suppress(TransferCancelledError):
                engine.fetch("m", LinkSource(server.base), [WEIGHTS], area, RecordingProgress())

        worker = threading.Thread(target=run)
        worker.start()
        assert server.holding.wait(30)
        wait_for(lambda: noted_bytes(area.parts) >= 5 * MIB)
    release.set()
    worker.join(60)
    assert area.part(WEIGHTS).stat().st_size == len(BIG)
    assert area.bytes_to_write([WEIGHTS]) == 0
    assert 5 * MIB <= area.gathered() < 10 * MIB
    server.starts.clear()
    fetch(server, area, [WEIGHTS])
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert resumed_from(server, *server.starts) >= 5 * MIB


def test_files_come_whole_where_no_room_can_be_reserved(tmp_path: Path) -> None:
    files = {f"{number}.safetensors": content(f"{number}", 6 * MIB) for number in range(3)}
    wanted = [remote(name, data) for name, data in files.items()]
    with refusing(tmp_path, {"fallocate": errno.EOPNOTSUPP}) as disk, FaultServer(files) as server:
        area = StagingArea.open(disk.path, "model")
        clock = FakeClock()
        fetch(server, area, wanted, clock=clock, options=TransferOptions(stream_up_to_bytes=0, jobs=3))
        assert tree(area.tree) == files
        assert list(area.parts.iterdir()) == []
    assert clock.waits == []


def test_closing_ends_a_model_whose_files_have_not_all_begun(area: StagingArea) -> None:
    """A file that was waiting for its turn is not waited for."""
    files = {f"{n}.json": content(f"{n}", 100) for n in range(4)}
    release, raised = threading.Event(), list[TransferError]()
    with FaultServer(files) as server:
        server.fault = lambda _path, _number: Fault(hold=release)
        engine = TransferEngine(TransferOptions(streams=1), clock=FakeClock())
        wanted = [remote(name, data) for name, data in files.items()]

        def run() -> None:
            try:
                engine.fetch("m", LinkSource(server.base), wanted, area, RecordingProgress())
            except TransferError as error:
                raised.append(error)

        worker = threading.Thread(target=run, daemon=True)
        worker.start()
        assert server.holding.wait(30)
        engine.close()
        release.set()
        worker.join(30)
        assert not worker.is_alive()
    assert [error.reason for error in raised] == ["cancelled"]
    with pytest.raises(TransferCancelledError):
        engine.fetch("m", LinkSource("http://127.0.0.1:9"), wanted, area, RecordingProgress())


def leave_part(area: StagingArea, part: bytes, control: bytes | None) -> None:
    area.part(WEIGHTS).write_bytes(part)
    if control is not None:
        area.control(WEIGHTS).write_bytes(control)


@pytest.mark.parametrize(
    ("part", "control"),
    [
        (BIG[: 5 * MIB], None),
        (b"\0" * len(BIG), None),
        (b"\0" * len(BIG), b""),
        (BIG, b"not a control file"),
        (b"x" * (len(BIG) + 10), b"\0" * 39),
    ],
    ids=["short", "wrong", "empty control", "garbage control", "longer"],
)
def test_leavings_that_cannot_be_resumed_are_thrown_away(
    server: FaultServer, area: StagingArea, part: bytes, control: bytes | None
) -> None:
    leave_part(area, part, control)
    fetch(server, area, [WEIGHTS], clock=FakeClock())
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert list(area.parts.iterdir()) == []


def test_a_whole_part_that_is_right_is_taken_without_a_request(server: FaultServer, area: StagingArea) -> None:
    leave_part(area, BIG, None)
    fetch(server, area, [WEIGHTS])
    assert tree(area.tree) == {"model.safetensors": BIG}
    assert not server.requests


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_a_link_planted_as_a_part_is_never_written_through(
    server: FaultServer, area: StagingArea, tmp_path: Path, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    part = area.part(WEIGHTS)
    part.symlink_to(victim) if kind == "symlink" else part.hardlink_to(victim)
    area.control(WEIGHTS).write_bytes(b"x")
    fetch(server, area, [WEIGHTS], clock=FakeClock())
    assert victim.read_bytes() == b"precious"
    assert tree(area.tree) == {"model.safetensors": BIG}


def test_one_model_fails_and_another_goes_on(tmp_path: Path) -> None:
    with (
        FaultServer({"bad": BIG, "good": BIG}, lambda path, _n: Fault(status=404) if path == "bad" else None) as server,
        TransferEngine(OPTIONS, clock=FakeClock()) as engine,
    ):
        good, bad = StagingArea.open(tmp_path, "good"), StagingArea.open(tmp_path, "bad")
        source = LinkSource(server.base)
        worker = threading.Thread(
            target=engine.fetch, args=("good", source, [remote("good", BIG)], good, RecordingProgress())
        )
        worker.start()
        with pytest.raises(TransferError, match="bad"):
            engine.fetch("bad", source, [remote("bad", BIG)], bad, RecordingProgress())
        worker.join(60)
    assert tree(good.tree) == {"good": BIG}


def test_one_file_given_up_calls_the_models_others_off(area: StagingArea) -> None:
    release = threading.Event()

    def fault(path: str, _number: int) -> Fault:
        return Fault(hold=release) if path == "slow" else Fault(status=404)

    with FaultServer({"slow": BIG, "gone": b"x"}, fault) as server:
        with pytest.raises(LinkError, match="404"):
            fetch(server, area, [remote("slow", BIG), remote("gone", b"x")], clock=FakeClock())
        release.set()
    assert tree(area.tree) == {}


def test_a_limit_slows_streams_down(area: StagingArea) -> None:
    clock = FakeClock()
    contents = {f"f{number}": content(str(number), 50_000) for number in range(4)}
    with FaultServer(contents) as server:
        files = [remote(name, data, large=False) for name, data in contents.items()]
        fetch(server, area, files, clock=clock, options=TransferOptions(limit_bytes_per_second=100_000, streams=1))
    assert 1.0 <= sum(clock.waits) <= 2.1  # 200,000 bytes at 100,000 a second, the last piece waited for by no one


DISK_WAYS = pytest.mark.parametrize(
    ("large", "options"),
    [(True, OPTIONS), (False, OPTIONS), (True, TransferOptions(stream_up_to_bytes=len(BIG)))],
    ids=["aria2", "stream", "direct"],
)


@DISK_WAYS
def test_a_file_that_does_not_fit_is_not_begun(
    server: FaultServer, small_disk: Path, options: TransferOptions, *, large: bool
) -> None:
    area = StagingArea.open(small_disk, "model")
    with pytest.raises(DiskFullError, match="no space left"):
        fetch(server, area, [remote("model.safetensors", BIG, large=large)], options=options)
    assert not server.requests


@DISK_WAYS
def test_a_disk_that_fills_up_meanwhile_is_said_clearly_and_at_once(
    server: FaultServer,
    small_disk: Path,
    options: TransferOptions,
    monkeypatch: pytest.MonkeyPatch,
    *,
    large: bool,
) -> None:
    monkeypatch.setattr(jobs, "free_bytes", lambda _path: 1 << 40)
    area = StagingArea.open(small_disk, "model")
    clock = FakeClock()
    with pytest.raises(DiskFullError, match="no space left"):
        fetch(server, area, [remote("model.safetensors", BIG, large=large)], clock=clock, options=options)
    assert clock.waits == []
    assert tree(area.tree) == {}
