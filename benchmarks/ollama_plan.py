"""A dry run of reconcile with nothing to do, over models on disk and as many of Ollama; the daemon is one on loopback.

The daemon's answers stand ready, so that what is measured is ours: its own reading of the store is its own affair.
"""

import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.measure import Comparison, Contender, Limit, compare
from benchmarks.registries import make_settled_registry
from benchmarks.scratch import Scratch, program

LIMIT_SECONDS: Final = 0.5
MANIFEST: Final = "schema_version: 1\nsource: {{ollama: {name}}}\nbackend: ollama\n"
LAYERS: Final = ("model", "template", "license", "params")
KINDS: Final = "application/vnd.ollama.image."
DETAILS: Final = {"format": "gguf", "family": "llama", "parameter_size": "7B", "quantization_level": "Q4_K_M"}


def run(folder: Path, *, rounds: int, quick: bool) -> list[Comparison]:
    """Measure no-op dry runs over two stores.

    Args:
        folder: Scratch space.
        rounds: How often.
        quick: Whether to take few models.
    """
    count = 50 if quick else 500
    scratch = Scratch(folder / f"ollama-{count}")
    make_settled_registry(scratch, count)
    store = scratch.root / "ollama store"
    listed = [make_model(store, number) for number in range(count)]
    with answering(listed) as url:
        environment = scratch.environment(OLLAMA_HOST=url, OLLAMA_MODELS=str(store))
        settle(scratch, environment, listed)
        command = (program("imageworks-models"), "reconcile", "--dry-run", "--detailed-exitcode")
        contender = Contender("plan", command, environment, scratch.registry)
        title = f"no-op reconcile --dry-run, {count} models on disk and {count} of Ollama"
        limits = [] if quick else [Limit("plan", LIMIT_SECONDS)]
        return [compare(title, [contender], rounds=rounds, limits=limits)]


def make_model(store: Path, number: int) -> dict[str, object]:
    """Put a small model into a store, and return how the daemon lists it.

    Args:
        store: Ollama's models folder.
        number: Which one.
    """
    blobs = [f"{kind} of model {number}".encode() for kind in LAYERS]
    config = json.dumps({"model_format": "gguf", "model_family": "llama", "number": number}).encode()
    manifest = {
        "schemaVersion": 2,
        "config": blob(store, "application/vnd.docker.container.image.v1+json", config),
        "layers": [blob(store, KINDS + kind, data) for kind, data in zip(LAYERS, blobs, strict=True)],
    }
    content = json.dumps(manifest).encode()
    path = store / f"manifests/registry.ollama.ai/library/bench-{number}/latest"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {
        "name": f"bench-{number}:latest",
        "model": f"bench-{number}:latest",
        "modified_at": "2026-08-01T12:00:00Z",
        "size": len(config) + sum(map(len, blobs)),
        "digest": hashlib.sha256(content).hexdigest(),
        "details": DETAILS,
        "capabilities": ["completion"],
    }


def blob(store: Path, media_type: str, data: bytes) -> dict[str, object]:
    """Write a blob and return how a manifest names it."""
    digest = hashlib.sha256(data).hexdigest()
    path = store / f"blobs/sha256-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def settle(scratch: Scratch, environment: dict[str, str], listed: list[dict[str, object]]) -> None:
    """Declare every model of the store, and let it be adopted.

    Args:
        scratch: The registry's scratch space.
        environment: Leads to the daemon.
        listed: The models.
    """
    for row in listed:
        name = str(row["name"])
        file = scratch.registry / f"models/{name.partition(':')[0]}-latest-ollama-gguf.yaml"
        file.write_text(MANIFEST.format(name=json.dumps(name)), encoding="utf-8")
    for words in (("git", "add", "models"), ("git", "commit", "--quiet", "--message", "Declare models of Ollama")):
        subprocess.run(words, env=environment, cwd=scratch.registry, check=True)
    reconcile = [program("imageworks-models"), "reconcile", "--yes"]
    subprocess.run(reconcile, env=environment, cwd=scratch.root, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def answering(listed: list[dict[str, object]]) -> Iterator[str]:
    """Answer as a daemon that has some models, and yield its address.

    Args:
        listed: The models.
    """
    answers = {"/api/version": {"version": "0.33.0"}, "/api/tags": {"models": listed}, "/api/ps": {"models": []}}

    class Daemon(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes here, and one in the real daemon
        ready: ClassVar = {path: json.dumps(answer).encode() for path, answer in answers.items()}
        shown: ClassVar = json.dumps({"details": DETAILS, "capabilities": ["completion"], "model_info": {}}).encode()

        def do_GET(self) -> None:
            """Answer what stands ready."""
            self._send(self.ready.get(self.path, b"{}"))

        def do_POST(self) -> None:
            """Show a model: all are alike."""
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._send(self.shown)

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Daemon)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
