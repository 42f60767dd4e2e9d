"""What stands between client and hub in offices: proxies that want a password and count, certificates of their own.

All of it is on loopback. A proxy leads every name to this machine, so that what goes around it finds no host at all.
"""

import base64
import contextlib
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

HUB_NAME = "hub.test"
"""A name that only a proxy of ours can look up."""


@contextlib.contextmanager
def listening(taken: Callable[[socket.socket], object], host: str = "127.0.0.1") -> Iterator[int]:
    """Take every connection to a free port until the end, and yield the port.

    The last connection is our own: closing a socket ends no accept() on it. That one goes on as soon as any signal
    wakes it, by the number, and takes connections from whichever server of this process has the number then.
    """
    ending = threading.Event()

    def take() -> None:
        while True:
            connection, _address = listener.accept()
            if ending.is_set():
                connection.close()
                return
            taken(connection)

    with socket.create_server((host, 0)) as listener:
        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ending.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class Relay:
    """Listens on a free port of loopback, and pumps bytes between its clients and other ports of loopback."""

    def __init__(self) -> None:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, ssl.SSLError):
                    outer.serve(self.request)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self.received = 0
        """How many bytes came back from where it led."""
        self.targets: list[str] = []
        self.refused = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        raise NotImplementedError

    def _join(self, client: socket.socket, port: int, first: bytes = b"") -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as upstream:
            upstream.settimeout(None)
            upstream.sendall(first)
            onward = threading.Thread(target=_pump, args=(client, upstream), daemon=True)
            onward.start()
            while piece := upstream.recv(1 << 16):
                with self._lock:
                    self.received += len(piece)
                client.sendall(piece)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            onward.join(5)

    def _note(self, target: str) -> None:
        with self._lock:
            self.targets.append(target)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class ForwardProxy(Relay):
    """An HTTP proxy for plain and encrypted requests.

    Args:
        user: Who may use it; everybody when ``None``.
        password: The user's.
    """

    def __init__(self, user: str | None = None, password: str = "") -> None:
        super().__init__()
        self._wanted = None if user is None else base64.b64encode(f"{user}:{password}".encode()).decode()

    def serve(self, client: socket.socket) -> None:
        head = _head(client)
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        given = [line.partition(" Basic ")[2] for line in lines if line.lower().startswith("proxy-authorization:")]
        if self._wanted is not None and given != [self._wanted]:
            self.refused += 1
            client.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        self._note(target)
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self._join(client, int(target.rpartition(":")[2]))
            return
        place, _, path = target.removeprefix("http://").partition("/")
        kept = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection:"))]
        request = "\r\n".join([f"{method} /{path} HTTP/1.1", "Connection: close", *kept])
        self._join(client, int(place.rpartition(":")[2]), request.encode("latin-1"))


class SocksProxy(Relay):
    """A SOCKS5 proxy.

    Args:
        user: Who may use it; everybody when ``None``.
        password: The user's.
    """

    def __init__(self, user: str | None = None, password: str = "") -> None:
        super().__init__()
        self._wanted = None if user is None else (user.encode(), password.encode())

    def serve(self, client: socket.socket) -> None:
        _, count = _exactly(client, 2)
        methods = _exactly(client, count)
        if self._wanted is not None:
            if 2 not in methods:
                self.refused += 1
                client.sendall(b"\x05\xff")
                return
            client.sendall(b"\x05")
            client.sendall(b"\x02")  # an answer may come in pieces
            user = _exactly(client, _exactly(client, 2)[1])
            password = _exactly(client, _exactly(client, 1)[0])
            right = (user, password) == self._wanted
            client.sendall(b"\x01" + (b"\x00" if right else b"\x01"))
            if not right:
                self.refused += 1
                return
        else:
            client.sendall(b"\x05\x00")
        kind = _exactly(client, 4)[3]
        raw = _exactly(client, _exactly(client, 1)[0] if kind == 3 else {1: 4, 4: 16}[kind])
        host = raw.decode() if kind == 3 else socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, raw)
        port = int.from_bytes(_exactly(client, 2), "big")
        self._note(f"{host}:{port}")
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        self._join(client, port)


class TlsFront(Relay):
    """An encrypted door to a plain server of loopback.

    Args:
        port: The server's.
        certificate: The door's certificate and key, in one file.
    """

    def __init__(self, port: int, certificate: Path) -> None:
        super().__init__()
        self._target = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)

    def serve(self, client: socket.socket) -> None:
        with self._context.wrap_socket(client, server_side=True) as encrypted:
            self._join(encrypted, self._target)


@dataclass(frozen=True)
class Authority:
    """An authority that no system trusts, and a certificate of it for loopback.

    Args:
        root: The authority's certificate.
        server: Certificate and key of a server called localhost, 127.0.0.1 or hub.test.
    """

    root: Path
    server: Path


def make_authority(folder: Path) -> Authority:
    """Make an authority and a server's certificate, or skip the test where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    names = folder / "names.cnf"
    names.write_text(f"subjectAltName=DNS:localhost,DNS:{HUB_NAME},IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    signed = ("-set_serial", "7", "-days", "30", "-extfile", "names.cnf")
    for words in (
        ("req", "-x509", *key, "-days", "30", "-subj", "/CN=Office", "-keyout", "ca.key", "-out", "ca.pem"),
        ("req", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"),
        ("x509", "-req", "-in", "server.csr", "-out", "server.crt", "-CA", "ca.pem", "-CAkey", "ca.key", *signed),
    ):
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True, timeout=60)
    server = folder / "server.pem"
    server.write_bytes((folder / "server.crt").read_bytes() + (folder / "server.key").read_bytes())
    return Authority(folder / "ca.pem", server)


def _head(client: socket.socket) -> bytes:
    held = b""
    while b"\r\n\r\n" not in held:
        piece = client.recv(1 << 16)
        if not piece:
            raise ConnectionResetError
        held += piece
    return held


def _exactly(client: socket.socket, count: int) -> bytes:
    held = b""
    while len(held) < count:
        piece = client.recv(count - len(held))
        if not piece:
            raise ConnectionResetError
        held += piece
    return held
