"""Files with their digests, a server that misbehaves on request, a source that links to it, a clock without waits.

Run as a program it fetches and publishes one model, so that a test can kill it: see ``child_command``.
"""

import hashlib
import json
import os
import re
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from imageworks.files.artifact import LinkError, RemoteFile
from imageworks.files.digests import Algorithm, Digest
from imageworks.files.location_markers import MARKER_NAME
from imageworks.files.progress import Progress
from imageworks.files.publish import PublishMethod, publish, recover
from imageworks.files.safe_names import STAGING_NAME
from imageworks.files.staging import StagingArea, write_all
from imageworks.transfer.engine import TransferEngine
from imageworks.transfer.job import TransferOptions

MIB = 1024 * 1024
TOKEN = "hf_canary_token_that_must_stay_home"  # noqa: S105 - a canary


def content(seed: str, size: int) -> bytes:
    """Bytes that look random and are the same on each call; a safetensors file, where there is room for its header."""
    header = _header(size)
    return header + _random(seed, size - len(header))


def gguf_content(seed: str, size: int) -> bytes:
    """Bytes that are the same on each call, of a GGUF file that leaves its quantization to its name."""
    text = b"general.architecture"
    head = b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, len(text)) + text + struct.pack("<IQ", 8, 5) + b"llama"
    head += bytes(-len(head) % 32)
    return head + _random(seed, size - len(head))


def _header(size: int) -> bytes:
    """Return the header of a safetensors file of one tensor that fills it."""
    length = 96
    if size < 8 + length:
        return b""
    described = {"w": {"dtype": "U8", "shape": [size - 8 - length], "data_offsets": [0, size - 8 - length]}}
    return struct.pack("<Q", length) + json.dumps(described).encode().ljust(length)


def _random(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size) if size < 1 << 20 else _long_content(seed, size)


def _long_content(seed: str, size: int) -> bytes:
    block = hashlib.shake_128(seed.encode()).digest(1 << 20)
    numbered = (b"%016d" % number + block[16:] for number in range(-(-size // (1 << 20))))
    return b"".join(numbered)[:size]


def sha256(data: bytes) -> Digest:
    return Digest(Algorithm.SHA256, hashlib.sha256(data).hexdigest())


def git_blob(data: bytes) -> Digest:
    return Digest(Algorithm.GIT_BLOB, hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())


def remote(path: str, data: bytes, *, large: bool = True) -> RemoteFile:
    return RemoteFile(path, len(data), sha256(data) if large else git_blob(data), large)


def stage(area: StagingArea, files: dict[str, bytes]) -> None:
    """Put verified files into an area's tree, the way a transfer does."""
    for name, data in files.items():
        file = remote(name, data)
        descriptor = area.create_part(file)
        write_all(descriptor, memoryview(data))
        os.close(descriptor)
        area.accept(file)


MARKER = Path(STAGING_NAME, MARKER_NAME)
"""What tells a location's disk from others, below its root."""


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, but for the marker of a location."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MARKER
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@dataclass
class Fault:
    """How one request is answered; without any of these, as it should be.

    Args:
        status: Answer with this status and nothing else.
        headers: Sent with it.
        cut_after: Break the connection after so many bytes of the body.
        short: Announce and send so many bytes fewer.
        flip: Change the byte at this offset of the file.
        ignore_range: Send the whole file with 200.
        hold: Send no byte of the file from the one at ``hold_after`` on before this event, whatever the range.
        hold_after: See ``hold``.
        body: Send this instead of the file.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    short: int = 0
    flip: int | None = None
    ignore_range: bool = False
    hold: threading.Event | None = None
    hold_after: int = 0
    body: bytes | None = None


class FaultServer:
    """Serves bytes with ranges on loopback; ``fault`` may answer any request in its own way."""

    def __init__(
        self, files: dict[str, bytes], fault: Callable[[str, int], Fault | None] = lambda _path, _number: None
    ) -> None:
        self.files = files
        self.fault = fault
        self.served: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.seen_headers: list[str] = []
        self.starts: dict[str, list[int]] = {}
        """Where the ranges asked for began, by the query of the link."""
        self.holding = threading.Event()
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with suppress(ConnectionError):  # the other side gave up, as it may
                    super().handle()

            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path.lstrip("/")
        with self.lock:
            number = self.requests[path]
            self.requests[path] += 1
            self.seen_headers.append(f"{handler.path} {handler.headers}")
        fault = self.fault(path, number) or Fault()
        if fault.status is not None:
            handler.send_response(fault.status)
            for name, value in fault.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        data = self.files[path] if fault.body is None else fault.body
        if fault.flip is not None:
            data = data[: fault.flip] + bytes([data[fault.flip] ^ 1]) + data[fault.flip + 1 :]
        start, end = 0, len(data) - 1
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        if ranged and not fault.ignore_range:
            start, end = int(ranged[1]), min(int(ranged[2] or end), end)
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        else:
            handler.send_response(200)
        self.starts.setdefault(urlsplit(handler.path).query, []).append(start)
        length = end - start + 1 - fault.short
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        self._send(handler, path, memoryview(data)[start : start + length], fault, start)

    def _send(self, handler: BaseHTTPRequestHandler, path: str, body: memoryview, fault: Fault, start: int) -> None:
        sent = 0
        while sent < len(body):
            piece = body[sent : sent + 64 * 1024]
            if fault.cut_after is not None and sent + len(piece) > fault.cut_after:
                handler.wfile.write(body[sent : fault.cut_after])
                handler.close_connection = True
                handler.connection.close()
                return
            if fault.hold is not None and start + sent >= fault.hold_after:
                self.holding.set()
                fault.hold.wait(60)
            handler.wfile.write(piece)
            sent += len(piece)
            with self.lock:
                self.served[path] += len(piece)


class LinkSource:
    """A provider of links to a FaultServer; the first part of each link's query says which of them it is."""

    def __init__(
        self, base: str, *, refuse: Callable[[RemoteFile, int], LinkError | None] = lambda _file, _n: None
    ) -> None:
        self.base = base
        self.refuse = refuse
        self.links: Counter[str] = Counter()
        self.streams: Counter[str] = Counter()

    def link(self, file: RemoteFile) -> str:
        self.links[file.path] += 1
        if error := self.refuse(file, self.links[file.path]):
            raise error
        return f"{self.base}/{file.path}?signature={self.links[file.path]}"

    @contextmanager
    def stream(self, file: RemoteFile, offset: int = 0) -> Iterator[Iterator[bytes]]:
        import http.client

        self.streams[file.path] += 1
        connection = http.client.HTTPConnection(urlsplit(self.base).netloc, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Range": f"bytes={offset}-"} if offset else {})
            connection.request("GET", f"/{file.path}?hub", headers=headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                after = answer.headers.get("Retry-After")
                raise LinkError("refused", retryable=True, retry_after=float(after) if after else None)
            yield self._pieces(answer.read1)
        finally:
            connection.close()

    @staticmethod
    def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
        try:
            while piece := read(256 * 1024):
                yield piece
        except OSError as error:
            raise LinkError(f"broken: {error}", retryable=True) from error


class FakeClock:
    """Waits are noted and over at once; time moves when a test says so."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []
        self.lock = threading.Lock()

    def now(self) -> float:
        with self.lock:
            return self.time

    def wait(self, seconds: float, stop: threading.Event) -> None:
        del stop
        with self.lock:
            self.waits.append(seconds)
            self.time += seconds

    def advance(self, seconds: float) -> None:
        with self.lock:
            self.time += seconds


class RecordingProgress(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.total = 0
        self.received = 0
        self.hashed = 0
        self.notes: list[str] = []
        self.finished: list[str] = []

    def start(self, label: str, total_bytes: int, work: str = "fetching") -> None:
        del label, work
        self.total += total_bytes

    def advance(self, label: str, received_bytes: int) -> None:
        del label
        with self.lock:
            self.received += received_bytes

    def verify(self, label: str, hashed_bytes: int) -> None:
        del label
        with self.lock:
            self.hashed += hashed_bytes

    def note(self, label: str, text: str) -> None:
        del label
        self.notes.append(text)

    def finish(self, label: str) -> None:
        self.finished.append(label)


def child_command(
    base: str, root: Path, target: Path, files: list[RemoteFile], owned: list[str], method: PublishMethod
) -> list[str]:
    """A command that recovers, fetches the files and publishes them, printing ``done`` at the end."""
    listed = [[file.path, file.size, file.digest.algorithm, file.digest.value, file.large] for file in files]
    request = {
        "base": base,
        "root": str(root),
        "target": str(target),
        "files": listed,
        "owned": owned,
        "method": method,
    }
    return [sys.executable, __file__, json.dumps(request)]


def _main() -> None:
    request = json.loads(sys.argv[1])
    files = [
        RemoteFile(path, size, Digest(Algorithm(algorithm), value), large)
        for path, size, algorithm, value, large in request["files"]
    ]
    root, target = Path(request["root"]), Path(request["target"])
    if any(report.target == target for report in recover(root)):
        sys.stdout.write("done\n")
        return
    area = StagingArea.open(root, "model", target=target)
    with TransferEngine(TransferOptions(stream_up_to_bytes=MIB, connections=2)) as engine:
        engine.fetch("model", LinkSource(request["base"]), files, area, Progress())
    publish(area, target, owned=frozenset(request["owned"]), method=PublishMethod(request["method"]))
    sys.stdout.write("done\n")


if __name__ == "__main__":
    _main()
