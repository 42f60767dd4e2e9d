"""Small signed links fetched straight: kept connections, proxies and redirects left to others, clear refusals."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageworks.files import renames
from imageworks.files.artifact import LinkError
from imageworks.files.renames import RenameUnsupportedError, exchange, rename_new, sync_directory, sync_file
from imageworks.files.staging import StagingArea
from imageworks.transfer.direct_client import DirectClient, NotDirectError
from imageworks.transfer.engine import TransferEngine
from imageworks.transfer.job import TransferOptions
from support.transfer import FakeClock, Fault, FaultServer, LinkSource, RecordingProgress, content, remote, tree

DATA = content("direct", 3_000_000)
FILE = remote("model.bin", DATA)


@pytest.fixture
def client() -> Iterator[DirectClient]:
    made = DirectClient()
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer({"model.bin": DATA}) as running:
        yield running


def read(client: DirectClient, server: FaultServer) -> bytes:
    with client.stream(f"{server.base}/model.bin?signature=1", FILE) as pieces:
        return b"".join(bytes(piece) for piece in pieces)


def test_a_connection_is_kept_and_made_anew_when_it_was_closed(client: DirectClient, server: FaultServer) -> None:
    assert read(client, server) == DATA
    assert read(client, server) == DATA
    assert len(client.connections._open) == 1
    before = client.connections._open[0].sock
    assert before is not None
    before.shutdown(2)
    assert read(client, server) == DATA
    assert len(client.connections._open) == 1
    assert client.connections._open[0].sock is not before


def test_an_answer_that_was_not_read_to_its_end_ends_its_connection(client: DirectClient, server: FaultServer) -> None:
    with pytest.raises(OSError, match="disk"), client.stream(f"{server.base}/model.bin", FILE) as pieces:
        raise OSError(28, "disk full", next(pieces))
    assert client.connections._open == []
    assert read(client, server) == DATA


@pytest.mark.parametrize(
    ("fault", "retry_after", "reason"),
    [
        (Fault(status=403), None, "link-failed"),
        (Fault(status=429, headers={"Retry-After": "12"}), 12, "rate-limited"),
        (Fault(status=503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), None, "link-failed"),
    ],
)
def test_a_refusal_says_what_to_do_next(
    client: DirectClient, server: FaultServer, fault: Fault, retry_after: float | None, reason: str
) -> None:
    server.fault = lambda _path, _number: fault
    with pytest.raises(LinkError) as caught:
        read(client, server)
    assert (caught.value.retryable, caught.value.retry_after, caught.value.reason) == (True, retry_after, reason)
    assert "signature" not in caught.value.message


def test_a_dead_server_is_worth_another_try(client: DirectClient, server: FaultServer) -> None:
    base = server.base
    server.__exit__(None, None, None)
    with pytest.raises(LinkError, match=r"model\.bin: 127\.0\.0\.1") as caught, client.stream(f"{base}/x", FILE):
        pass
    assert caught.value.retryable
    server.server.server_close()


def test_a_redirect_and_a_proxy_are_left_to_the_providers_stream(
    client: DirectClient, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fault = lambda _path, _number: Fault(status=302, headers={"Location": "http://192.0.2.1/"})
    with pytest.raises(NotDirectError):
        read(client, server)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(NotDirectError), client.stream("https://cdn.example/x", FILE):
        pass
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(LinkError), client.stream("https://127.0.0.1:9/x", FILE):
        pass


def test_what_cannot_be_fetched_directly_is_streamed(server: FaultServer, tmp_path: Path) -> None:
    server.fault = lambda _path, number: Fault(status=302, headers={"Location": "/"}) if number == 0 else None
    area, source = StagingArea.open(tmp_path, "model"), LinkSource(server.base)
    with TransferEngine(TransferOptions(), clock=FakeClock()) as engine:
        engine.fetch("model", source, [FILE], area, RecordingProgress())
    assert tree(area.tree) == {"model.bin": DATA}
    assert source.streams["model.bin"] == 1


def test_threads_have_a_connection_each(client: DirectClient, server: FaultServer) -> None:
    got: list[bytes] = []
    together = threading.Barrier(3)

    def run() -> None:
        together.wait()
        got.append(read(client, server))

    workers = [threading.Thread(target=run) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert got == [DATA] * 3
    assert len(client.connections._open) == 3


def test_two_directories_trade_places(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").write_text("two")
    exchange(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "one").read_text() == "two"
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "three")


@pytest.mark.parametrize("supported", [True, False])
def test_a_rename_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, supported: bool) -> None:
    def unsupported(*_arguments: object) -> None:
        raise RenameUnsupportedError

    if not supported:
        monkeypatch.setattr(renames, "_rename", unsupported)
    for name in ("old", "taken"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError):
        rename_new(tmp_path / "old", tmp_path / "taken")
    rename_new(tmp_path / "old", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "taken"]


def test_no_answer_to_the_fsync_of_a_folder_stops_anything_but_a_file_that_fails_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(number: int) -> None:
        def fsync(_descriptor: int) -> None:
            raise OSError(number, "refused")

        monkeypatch.setattr(os, "fsync", fsync)

    failing(errno.EINVAL)
    sync_directory(tmp_path)
    sync_file(0)
    failing(errno.EIO)
    sync_directory(tmp_path)
    with pytest.raises(OSError, match="refused"):
        sync_file(0)
