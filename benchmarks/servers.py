"""The servers behind the transfer benchmarks: nginx with the bytes, and our loopback hub that links to it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import BenchmarkError
from benchmarks.scratch import program

START_SECONDS: Final = 10.0
HASH_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.05
NGINX: Final = """\
user root;
daemon off;
worker_processes 1;
error_log {folder}/nginx.log error;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 100000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; limit_rate {rate}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes can be had.

    Args:
        hub: The hub's URL, for HF_ENDPOINT.
        static: The static server's URL, for direct links.
        processes: The servers' process ids.
    """

    hub: str
    static: str
    processes: tuple[int, ...]


@contextlib.contextmanager
def served(root: Path, folder: Path, environment: Mapping[str, str], *, rate: str = "0") -> Iterator[Origin]:
    """Serve a tree of models.

    Args:
        root: Holds ``owner/repo`` folders.
        folder: For the servers' own files.
        environment: The hub's environment.
        rate: nginx's limit for each connection, such as ``20m``; ``0`` is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _nginx(root, folder, rate) as (static, nginx),
        hub_over(root, environment, "--cdn-url", static) as (hub, process),
    ):
        yield Origin(hub, static, (nginx, process))


@contextlib.contextmanager
def _nginx(root: Path, folder: Path, rate: str) -> Iterator[tuple[str, int]]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise BenchmarkError("nginx is missing: install nginx-light, or the package that your system has it in")
    port = free_port()
    settings = NGINX.format(folder=folder, root=root, port=port, rate=rate)
    if os.geteuid() != 0:
        settings = settings.removeprefix("user root;\n")
    config = folder / "nginx.conf"
    config.write_text(settings, encoding="utf-8")
    with subprocess.Popen([nginx, "-p", folder, "-e", folder / "nginx.log", "-c", config]) as process:
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()


@contextlib.contextmanager
def hub_over(root: Path, environment: Mapping[str, str], *words: str) -> Iterator[tuple[str, int]]:
    """Serve a tree of models by our hub; yield its URL and its process id."""
    command = [program("imageworks-models"), "hub", "serve", str(root), "--quiet", *words]
    with subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if "HF_ENDPOINT=" not in line:
                raise BenchmarkError("the loopback hub did not start")
            url = line.split("HF_ENDPOINT=")[1].strip()
            for repository in sorted(root.glob("*/*")):
                _warm(f"{url}/api/models/{repository.relative_to(root).as_posix()}/revision/main")
            yield url, process.pid
        finally:
            process.terminate()


def _warm(url: str) -> None:
    """Let the hub hash what it serves, outside of any measurement."""
    with urllib.request.urlopen(url, timeout=HASH_SECONDS) as reply:  # noqa: S310 # our own loopback server
        json.load(reply)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(POLL_SECONDS)
    raise BenchmarkError("nginx did not start")
