"""A world in one folder: a registry made by ``init``, a hub on loopback, and the real program as a child process."""

import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Final

from imageworks.foundation.http_messages import RawResponse, Request, Response, Slice
from imageworks.loopback_hub.content import FileContent
from imageworks.loopback_hub.server import HubServer
from support.git import commit_all, git
from support.hub import Faults, HubRepository, body_of
from support.transfer import content
from support.warm import WARM

REPO: Final = "acme/tiny"
NAME: Final = "tiny-vllm"
HOST: Final = "testhost"
RUN_SECONDS: Final = 120
INDEX: Final = "model.safetensors.index.json"
SHARDS: Final = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
LARGE_BYTES: Final = 9 << 20
"""Above what is fetched in Python, so that aria2 brings it."""
PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "COVERAGE_PROCESS_START", "COVERAGE_FILE")
PROGRAM: Final = (sys.executable, "-m", "imageworks")


def weights(seed: str, size: int) -> bytes:
    """Return a safetensors file of one tensor."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + content(seed, size)


def model(version: str, *, large: int = LARGE_BYTES) -> dict[str, bytes]:
    """Return a model's files: a shard for aria2 that differs by version, one for Python that does not, small files."""
    files = {
        "config.json": json.dumps(
            {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "v": version}
        ).encode(),
        "README.md": b"---\nlicense: apache-2.0\n---\n# Tiny\n",
        SHARDS[0]: weights(f"one-{version}", large),
        SHARDS[1]: weights("two", 300_000),
        INDEX: json.dumps(
            {"metadata": {}, "weight_map": dict.fromkeys(("a", "b"), SHARDS[0]) | {"c": SHARDS[1]}}
        ).encode(),
    }
    extra = (
        "tokenizer.json" if version == "1" else "generation_config.json"
    )  # an update drops one file and adds another
    return files | {extra: b"{}"}


def small_model(seed: str) -> dict[str, bytes]:
    """Return a model whose every file is small."""
    return {
        "config.json": json.dumps({"model_type": "llama", "seed": seed}).encode(),
        "model.safetensors": weights(seed, 2000),
    }


@dataclass
class Meter:
    """Sends the bodies of files itself, counting the bytes that went out; a connection a body.

    Args:
        rate: Bytes per second and connection, or ``None``.
        most: So many bytes of each file go out, until this is ``None`` again.
    """

    rate: int | None = None
    most: int | None = None
    served: Counter[str] = field(default_factory=Counter)
    tokens_at: list[str] = field(default_factory=list)
    """Which origins saw an Authorization header."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, hub: HubServer, request: Request) -> Response | RawResponse | None:
        if request.has_authorization:
            self.tokens_at.append(request.origin)
        if request.method != "GET" or not (request.origin == "cdn" or "/resolve/" in request.path):
            return None
        response = hub.respond(request)
        if response.status not in {200, 206}:
            return response
        closing = Response(response.status, (*response.headers, ("Connection", "close")), _bytes_of(response))
        return RawResponse(lambda connection: self._send(connection, request.path.rpartition("/")[2], closing))

    def _send(self, connection: socket, name: str, response: Response) -> None:
        data = memoryview(response.body if isinstance(response.body, bytes) else b"")
        started, sent = time.monotonic(), 0
        with suppress(OSError):
            connection.sendall(response.head())
            while sent < len(data):
                self._hold(name, started + RUN_SECONDS)
                connection.sendall(piece := data[sent : sent + 16384])
                sent += len(piece)
                with self.lock:
                    self.served[name] += len(piece)
                if self.rate is not None:
                    time.sleep(max(sent / self.rate - (time.monotonic() - started), 0))

    def _hold(self, name: str, end: float) -> None:
        while self.most is not None and self.served[name] >= self.most and time.monotonic() < end:
            time.sleep(0.01)

    def total(self) -> int:
        with self.lock:
            return self.served.total()


def _bytes_of(response: Response) -> bytes:
    """Return a body's bytes, reading no more of the file than is sent."""
    if isinstance(response.body, Slice) and isinstance(response.body.content, FileContent):
        descriptor = response.body.content.open()
        try:
            return os.pread(descriptor, response.body.count, response.body.offset)
        finally:
            os.close(descriptor)
    return body_of(response)


@dataclass(frozen=True)
class Ran:
    """What a run of the program ended with."""

    code: int
    stdout: str
    stderr: str
    pid: int = 0

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@dataclass
class World:
    """Everything that one run of the program sees.

    Args:
        root: The folder that holds it all.
        hub: The running hub.
        faults: What to throw at the hub's clients.
        meter: Which bytes went out.
    """

    root: Path
    hub: HubServer
    faults: Faults
    meter: Meter
    environment: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = PROGRAM

    @property
    def registry(self) -> Path:
        return self.root / "registry"

    @property
    def weights(self) -> Path:
        return self.root / "weights"

    @property
    def attic(self) -> Path:
        """A second location."""
        return self.root / "attic"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def target(self) -> Path:
        """Where the model of ``declare()`` goes."""
        return self.weights / REPO

    @property
    def head(self) -> str:
        return git(self.registry, "rev-parse", "HEAD").strip()

    # --- the user's side ---

    def declare(
        self, name: str = NAME, *, repo: str = REPO, revision: str = "main", extra: str = "", **fields: str
    ) -> str:
        """Write and commit a manifest; returns its text."""
        values = {"backend": "vllm", "location": "linux_wsl", **fields}
        lines = "".join(f"{key}: {value}\n" for key, value in values.items())
        text = f'schema_version: 1\nsource:\n  huggingface: {repo}\n  revision: "{revision}"\n{lines}{extra}'
        self.write_manifest(name, text)
        return text

    def write_manifest(self, name: str, text: str | None) -> None:
        """Write (or with ``None`` delete) a manifest and commit it."""
        file = self.registry / "models" / f"{name}.yaml"
        if text is None:
            file.unlink()
        else:
            file.write_text(text, encoding="utf-8")
        git(self.registry, "add", "--", f"models/{name}.yaml")
        git(self.registry, "commit", "-q", "-m", f"Declare {name}", "--", f"models/{name}.yaml")

    def publish(self, name: str, files: Mapping[str, bytes]) -> HubRepository:
        """Put a repository on the hub."""
        return HubRepository(self.root / "hub", name, files)

    def heal(self) -> None:
        """End all faults."""
        self.faults._planned.clear()

    # --- the program ---

    def start(self, *words: str, **variables: str) -> "subprocess.Popen[str]":
        """Start the program in a process group of its own."""
        return subprocess.Popen(
            [*self.program, *words],
            env={**self.environment, **variables},
            cwd=self.registry if self.registry.is_dir() else self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, **variables: str) -> Ran:
        """Run the program to its end."""
        folder = self.registry if self.registry.is_dir() else self.root
        if self.program == PROGRAM and (done := WARM.run(words, self.environment | variables, folder, RUN_SECONDS)):
            return Ran(*done)
        with self.start(*words, **variables) as child:
            return ended(child)

    def reconcile(self, *words: str, **variables: str) -> Ran:
        """Run ``reconcile --yes``."""
        return self.run("reconcile", "--yes", *words, **variables)

    def assert_settled(self) -> None:
        """Run once: there must be nothing to do, and nothing left of earlier runs."""
        again = self.reconcile("--detailed-exitcode")
        assert again.code == 0, again
        assert "No changes" in again.stdout, again
        assert not list(self.root.rglob(".imageworks/staging")), "staging is left"
        assert not list(self.state.glob("intents/*/*.json")), "an intent is left"
        assert git(self.registry, "status", "--porcelain", "--", "discovered", "snapshot") == ""

    def converge(self) -> Ran:
        """Run to the end, then once more, which must find nothing to do; returns the first of the two."""
        first = self.reconcile()
        assert first.code == 0, first
        self.assert_settled()
        return first

    # --- what a test saves and puts back ---

    def save(self, label: str) -> None:
        """Keep everything but the hub's folder as it is now."""
        self._copy(self.root, self.root.with_name(f"{self.root.name}.{label}"))

    def restore(self, label: str) -> None:
        """Put everything back to how it was saved; the hub is at full speed again."""
        self._copy(self.root.with_name(f"{self.root.name}.{label}"), self.root)
        self.program = PROGRAM
        self.meter.served.clear()
        self.meter.rate = self.meter.most = None
        self.hub.requests.clear()

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for old in target.iterdir():
            if old.name != "hub":
                shutil.rmtree(old)
        for new in source.iterdir():
            if new.name != "hub":
                shutil.copytree(new, target / new.name, symlinks=True)


def ended(child: "subprocess.Popen[str]", *, timeout: float = RUN_SECONDS) -> Ran:
    """Return what a child ended with."""
    try:
        stdout, stderr = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGABRT)
        stdout, stderr = child.communicate(timeout=60)
        raise AssertionError(f"the program hangs:\n{stdout}\n{stderr}") from None
    return Ran(child.returncode, stdout, stderr, child.pid)


@contextmanager
def world(
    root: Path, template: Path | None = None, *, initialised: bool = True, **hub_options: object
) -> Iterator[World]:
    """Make a world in an empty folder and serve its hub; yields it with an empty registry.

    Args:
        root: The folder.
        template: A registry that ``init`` made, to copy instead of running it again.
        initialised: Whether ``init`` has been run.
        hub_options: What else the hub is to be, as ``HubServer`` takes it.
    """
    for name in ("hub", "weights", "attic", "home", "config/imageworks"):
        (root / name).mkdir(parents=True)
    with ExitStack() as stack:
        server = stack.enter_context(HubServer(root / "hub", **hub_options))  # type: ignore[arg-type]
        faults, meter = Faults.install(server), Meter()
        server.intercept = lambda request: faults(request) or meter(server, request)
        made = World(root, server, faults, meter)
        made.environment = _environment(made)
        _write_user_config(made)
        if template is not None:
            shutil.copytree(template, made.registry, symlinks=True)
            _declare_attic(made)
        elif initialised:
            done = made.run("init", str(made.registry))
            assert done.code == 0, done
        yield made


def _environment(made: World) -> dict[str, str]:
    root = made.root
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "HOME": str(root / "home"),
        "XDG_CONFIG_HOME": str(root / "config"),
        "XDG_STATE_HOME": str(root / "xdg-state"),
        "XDG_CACHE_HOME": str(root / "xdg-cache"),
        "IMAGEWORKS_REGISTRY_DIR": str(made.registry),
        "IMAGEWORKS_MODEL_ROOT": str(made.weights),
        "IMAGEWORKS_STATE_DIR": str(made.state),
        "IMAGEWORKS_CACHE_DIR": str(root / "cache"),
        "IMAGEWORKS_HOST": HOST,
        "HF_ENDPOINT": made.hub.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
    }


def _write_user_config(made: World) -> None:
    config = made.root / "config/imageworks/config.toml"
    config.write_text(f"roots = [{json.dumps(str(made.attic))}]\n", encoding="utf-8")


def _declare_attic(made: World) -> None:
    """Give the registry its second location."""
    settings = made.registry / "registry.yaml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(
        text.replace("locations:\n", f"locations:\n  attic: {{path: {made.attic}}}\n", 1), encoding="utf-8"
    )
    commit_all(made.registry, "Name the attic")


def tree(folder: Path) -> dict[str, str]:
    """Return every file below a folder with its content's digest, but for the marker of a location."""
    found = {}
    for path in sorted(folder.rglob("*")):
        marker = path == folder / ".imageworks/location.json"
        if path.is_file() and not path.is_symlink() and not marker:
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return what ``tree`` says of a folder with these files."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}


def footprint(folder: Path, *, but: tuple[str, ...] = ()) -> dict[str, tuple[int, ...]]:
    """Return what tells a folder from one that anything was written to: every inode, its size, mode and time."""
    found: dict[str, tuple[int, ...]] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        relative = path.relative_to(folder).as_posix()
        if not relative.startswith(but or ("\0",)):
            seen = path.lstat()
            found[relative] = (seen.st_ino, seen.st_size, seen.st_mode, seen.st_mtime_ns)
    return found


def aria2_of(pid: int) -> list[int]:
    """Return the aria2c processes that a program of ours started, alive after it or not."""
    wanted = f"--stop-with-process={pid}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                state = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
                if wanted in (process / "cmdline").read_bytes().split(b"\0") and state not in {"Z", "X"}:
                    found.append(int(process.name))
    return found


def noted_bytes(folder: Path) -> int:
    """Return how many bytes of parts below a folder aria2 has noted as complete pieces, as a kill leaves them."""
    total = 0
    for control in folder.rglob("*.part.aria2"):
        data = control.read_bytes()
        piece, count = int.from_bytes(data[10:14]), int.from_bytes(data[30:34])
        total += piece * int.from_bytes(data[34 : 34 + count]).bit_count()
    return total


def written_bytes(folder: Path) -> int:
    """Return how many bytes of parts below a folder were written: what is only reserved reads as a hole."""
    return sum(_written(path) for path in folder.rglob("*.part"))


def _written(path: Path) -> int:
    total = end = 0
    with path.open("rb") as file, suppress(OSError):  # the last answer is that no data follows
        while True:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            total += end - start
    return total


def wait_for(condition: Callable[[], object], *, seconds: float = 120.0) -> None:
    """Return as soon as a condition holds; fail when it does not for too long.

    A file that goes while a condition looks at it is no answer yet.
    """
    deadline = time.monotonic() + seconds
    while True:
        with suppress(FileNotFoundError):
            if condition():
                return
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
