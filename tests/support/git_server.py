"""A real git server on loopback: git's own ``http-backend`` behind a small HTTP server that asks for a token."""

import base64
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote, unquote, urlsplit

from support.git import git


@dataclass
class GitServer:
    """Where a bare repository is served, and what was asked of it.

    Args:
        folder: The bare repository.
        address: Its URL.
        token: The password that it wants; anyone may push when it is empty.
        authorizations: The Authorization headers that came, in order.
        on_request: What is done while a request waits for its answer.
    """

    folder: Path
    address: str = ""
    token: str = ""
    authorizations: list[str] = field(default_factory=list)
    on_request: Callable[[], object] = lambda: None

    def tip(self, branch: str = "main") -> str:
        return git(self.folder, "rev-parse", branch).strip()

    def subjects(self, branch: str = "main") -> list[str]:
        return git(self.folder, "log", "--format=%s", branch).splitlines()


@contextmanager
def serve_git(folder: Path, *, token: str = "") -> Iterator[GitServer]:
    """Make a bare repository in a folder and serve it until the end."""
    git(folder.parent, "init", "--quiet", "--bare", "--initial-branch", "main", str(folder))
    git(folder, "config", "http.receivepack", "true")
    served = GitServer(folder, token=token)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding", "") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self._answer(body)
            else:
                self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _answer(self, body: bytes) -> None:
            given = self.headers.get("Authorization", "")
            served.authorizations.append(given)
            served.on_request()
            password = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")[2]
            if served.token and password != served.token:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
                return
            url = urlsplit(self.path)
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(folder.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": unquote(url.path),
                "QUERY_STRING": url.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "tester",
            }
            done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            lines = [line.decode().partition(": ") for line in head.split(b"\r\n")]
            status = next((value for key, _, value in lines if key == "Status"), "200 OK")
            self.send_response(int(status.split()[0]))
            for key, _, value in lines:
                if key != "Status":
                    self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"http://127.0.0.1:{server.server_address[1]}/{quote(folder.name)}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
