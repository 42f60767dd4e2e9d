"""What the loopback Ollama and its registry share: requests, answers, and streams cut short on purpose."""

import json
import socket
import struct
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Answer:
    """One answer: whole, or in pieces that go out as they come."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Iterable[bytes] | None = None


class CutError(Exception):
    """Raised by pieces: the connection ends here, without the end of the answer."""


def answer_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8"})


def answer_error(text: str, status: int) -> Answer:
    return answer_json({"error": text}, status)


class Loopback:
    """A server on 127.0.0.1 at a free port, answering in threads of this process."""

    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name=type(self).__name__, daemon=True
        )
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def respond(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def stop(self) -> None:
        """Stop listening and cut every connection, as a killed process would."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.cut_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        asked = Asked(
            self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, self._body()
        )
        owner = self.server.owner  # type: ignore[attr-defined] # ours
        owner.requests.append(asked)
        self._send(owner.respond(asked))

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT = answer  # noqa: N815 # the standard library's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        held = b""
        while size := int(self.rfile.readline(), 16):
            held += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return held

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.pieces is None:
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in answer.pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        except CutError:
            self.close_connection = True
            cut(self.connection)
        except OSError:  # the client left
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")
        finally:
            closing = getattr(answer.pieces, "close", None)
            if closing is not None:
                closing()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: Loopback) -> None:
        self.owner = owner
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 # as socketserver has it
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Stay silent: clients that leave are part of the tests."""

    def cut_all(self) -> None:
        for connection in list(self.open):
            cut(connection)


def cut(connection: socket.socket) -> None:
    """End a connection with a reset."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
