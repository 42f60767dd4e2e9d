"""Issue 18: what a host serves works as the upstream of a caching proxy of the Hub, such as Olah, and behind one."""

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imageworks.host.settings import load_host_settings
from imageworks.loopback_hub.server import HubServer
from imageworks.operations.fleet.installed_repositories import InstalledRepositories
from support.reconcile import MODEL, NAME, REPO, World, command
from support.world import log_is_closed, started_world

__all__ = ["log_is_closed", "started_world"]
PASSED_ON = ("content-type", "etag", "x-repo-commit", "x-linked-etag", "x-linked-size", "x-error-code", "link")


class _Follows(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect of a HEAD alone: its headers are the answer."""

    def http_error_302(self, req, *rest):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002, ANN202
        return None if req.get_method() == "HEAD" else super().http_error_302(req, *rest)


class CachingProxy:
    """Asks its upstream for each thing once, keeps bytes by their ETag, and gives addresses of its own."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.asked: Counter[str] = Counter()
        self._kept: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self._lock = threading.Lock()

    def get(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        with self._lock:
            if path not in self._kept and "/resolve/" in path:
                status, headers, _ = self._ask("HEAD", path)
                if status < 400:
                    status, headers = 200, {**headers, "etag": headers.get("x-linked-etag") or headers["etag"]}
                    body = self._ask("GET", path)[2]
                    self._kept[path] = status, {**headers, "accept-ranges": "bytes"}, body
            if path in self._kept:
                return self._kept[path]
            return self._ask(method, path)

    def _ask(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked[f"{method} {path.rpartition('/')[2]}"] += 1
        opener = urllib.request.build_opener(_Follows, urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(self.upstream + path, method=method), timeout=30) as reply:  # noqa: S310
                status, headers, body = reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as error:
            status, headers, body = error.code, error.headers, error.read()
        kept = {name.lower(): value for name, value in headers.items() if name.lower() in PASSED_ON}
        return status, kept, body


@contextmanager
def proxied(upstream: str) -> Iterator[tuple[CachingProxy, str]]:
    proxy = CachingProxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            status, headers, body = proxy.get(self.command, self.path)
            span = self.headers.get("Range", "").removeprefix("bytes=").split("-")
            first, total = (int(span[0]) if span[0] else 0), len(body)
            last = int(span[1]) if len(span) > 1 and span[1] else total - 1
            if status == 200 and span[0]:
                status, body = 206, body[first : last + 1]
                headers = {**headers, "content-range": f"bytes {first}-{last}/{total}"}
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def download(endpoint: str, home: Path) -> Mapping[str, bytes]:
    """Return what the real `hf` brings from an endpoint."""
    target = home / "files"
    done = subprocess.run(
        [Path(sys.executable).parent / "hf", "download", REPO, "--local-dir", target],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()}


@pytest.fixture(name="host")
def host_with_a_model(world: World) -> Iterator[HubServer]:
    repository = world.serve()
    world.declare(source={"huggingface": REPO, "revision": repository.commit_id})
    world.reconcile()
    with HubServer(InstalledRepositories(world.root, load_host_settings(registry=world.root))) as hub:
        yield hub


def test_hf_takes_from_a_host_through_a_caching_proxy(host: HubServer, tmp_path: Path) -> None:
    with proxied(host.url) as (proxy, address):
        assert download(address, tmp_path / "first") == MODEL
        assert download(address, tmp_path / "second") == MODEL
    assert {proxy.asked[f"GET {name}"] for name in MODEL} == {1}


@pytest.mark.parametrize("variable", ["IMAGEWORKS_MIRROR", "HF_ENDPOINT"])
def test_a_caching_proxy_is_a_mirror_or_a_hub(
    world: World, host: HubServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setattr("imageworks.files.content_index.ContentIndex.find", lambda *_: None)
    before = len(world.hub.requests)
    with proxied(host.url) as (proxy, address):
        monkeypatch.setenv("IMAGEWORKS_HOST", "elsewhere")
        monkeypatch.setenv("IMAGEWORKS_STATE_DIR", str(world.folder / "its state"))
        monkeypatch.setenv("IMAGEWORKS_CACHE_DIR", str(world.folder / "its cache"))
        monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(world.folder / "its weights"))
        monkeypatch.setenv(variable, address)
        told = command("reconcile", "--yes", "--registry", world.root, "--no-progress")
        assert told.code == 0, told
        assert "mirror" not in told.err
    assert {proxy.asked[f"GET {name}"] for name in MODEL} == {1}
    upstream = [one for one in world.hub.requests[before:] if one.method == "GET" and "/api/" not in one.path]
    assert upstream == []
    assert json.loads((world.root / f"discovered/elsewhere/{NAME}.json").read_bytes())["artifacts"]
