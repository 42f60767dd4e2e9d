"""A whole world for the real program: a hub with models, a registry in git, weights on disk, and the command line.

Every run that may write is followed by the invariant that matters most: the branch's tip validates, the entries and the
snapshot keep to their schemas, and the snapshot is what manifests and entries give (I2).
"""

import io
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import typer

from imageworks.cli.app import run
from imageworks.foundation.http_messages import Request, Response
from imageworks.foundation.log import LOGGER
from imageworks.git.libgit2 import make_repository
from imageworks.loopback_hub.server import HubServer
from imageworks.registry.documents.schema import check
from support.git import commit_all, git
from support.hub import HubRepository, body_of
from support.transfer import content, gguf_content

HOST = "testhost"
SETTINGS: Mapping[str, object] = {
    "schema_version": 1,
    "locations": {
        "linux_wsl": {"path": "~/unused: the environment says where it is on this host"},
        "second": {"path": "{folder}/second"},
        "flat": {"path": "{folder}/flat", "layout": "flat"},
    },
    "routing": {"default": "linux_wsl"},
    "hosts": {HOST: {"labels": {"gpu": "rtx4090"}}, "elsewhere": {"labels": {"gpu": "none"}}},
}
REPO = "acme/tiny-1b"
NAME = "tiny-1b"
MODEL: Mapping[str, bytes] = {
    "README.md": b"# Tiny\n",
    "config.json": b'{"model_type": "llama"}\n',
    "tokenizer.json": b'{"version": "1.0"}\n',
    "model.safetensors": content("tiny-1b weights", 60_000),
}
QUANTS: Mapping[str, bytes] = {
    "README.md": b"# Many quantizations\n",
    "LICENSE": b"Apache License 2.0\n",
    "many-7b-Q4_K_M.gguf": gguf_content("Q4_K_M", 40_000),
    "many-7b-Q8_0.gguf": gguf_content("Q8_0", 70_000),
}


@dataclass(frozen=True)
class Result:
    """What one command printed and ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.out)
        return document

    @property
    def changes(self) -> dict[str, tuple[object, object]]:
        """Each model's action and reason in a JSON plan."""
        listed = self.json["changes"]
        assert isinstance(listed, list)
        return {change["name"]: (change["action"], change["reason"]) for change in listed}

    @property
    def planned(self) -> dict[str, tuple[str, str]]:
        """Each model's action and reason in a plan that was printed for people."""
        lines = re.findall(r"^[!~>=*+-] (\w+) +(\S+) +(?:[+-]\S+(?: \w*B)? +)?([a-z-]+)", self.out, re.MULTILINE)
        return {name: (action, reason) for action, name, reason in lines}


def command(*words: str | Path, application: typer.Typer | None = None) -> Result:
    """Run one command in this process and return what it printed and ended with."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run([str(word) for word in words], application=application)
    return Result(int(code), out.getvalue(), err.getvalue())


@contextmanager
def closed_log() -> Iterator[None]:
    """Close the log file that commands open, so that each test has its own."""
    try:
        yield
    finally:
        for handler in list(LOGGER.handlers):
            LOGGER.removeHandler(handler)
            handler.close()
        LOGGER.setLevel(logging.NOTSET)
        LOGGER.propagate = True


@dataclass
class Served:
    """Counts what a hub sends; give it to the hub as its intercept."""

    hub: HubServer
    bytes_by_file: Counter[str] = field(default_factory=Counter)
    requests: int = 0

    def __call__(self, request: Request) -> Response:
        self.requests += 1
        response = self.hub.respond(request)
        if request.method == "GET" and response.status in (200, 206) and "/api/" not in request.path:
            self.bytes_by_file[request.path.rpartition("/")[2]] += len(body_of(response))
        return response

    @property
    def files(self) -> dict[str, int]:
        """Bytes sent of each file since the last forgetting."""
        return dict(self.bytes_by_file)

    def forget(self) -> None:
        self.bytes_by_file.clear()
        self.requests = 0


class World:
    """One host with its registry and a hub.

    Args:
        folder: Where everything of it lies.
        hub: The hub, already serving ``folder / "hub"``.
        prefix: The registry's folder within its git repository; empty when it is the whole.
    """

    def __init__(self, folder: Path, hub: HubServer, *, prefix: str = "") -> None:
        self.folder = folder
        self.hub = hub
        self.served = Served(hub)
        hub.intercept = self.served
        self.git_root = folder / "registry"
        self.root = self.git_root / prefix if prefix else self.git_root
        self.weights = folder / "weights"
        self.weights.mkdir()
        self.root.mkdir(parents=True)
        make_repository(self.git_root, "main")
        (self.root / ".gitignore").write_text("model_registry.json\n", encoding="utf-8")
        self.configure()

    def serve(self, files: Mapping[str, bytes] = MODEL, name: str = REPO) -> HubRepository:
        """Put a model on the hub."""
        return HubRepository(self.folder / "hub", name, files)

    def configure(self, **settings: object) -> None:
        """Write registry.yaml and commit it."""
        text = json.dumps({**SETTINGS, **settings})
        self.write("registry.yaml", text.replace("{folder}", str(self.folder)))

    def write(self, file: str, text: str, *, commit: bool = True) -> None:
        """Write a file of the registry, as a person would."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if commit:
            self.commit(f"Write {file}")

    def commit(self, message: str) -> None:
        commit_all(self.git_root, message)

    def declare(self, name: str = NAME, *, source: object = None, commit: bool = True, **fields: object) -> None:
        """Write a model's manifest; the source is the served repository's main branch unless said otherwise."""
        source = source or {"huggingface": REPO}
        self.write(f"models/{name}.yaml", json.dumps({"schema_version": 1, "source": source, **fields}), commit=commit)

    def delete(self, *names: str) -> None:
        """Delete manifests."""
        for name in names:
            (self.root / f"models/{name}.yaml").unlink()
        self.commit(f"Delete {', '.join(names)}")

    def reconcile(self, *words: str | Path, code: int = 0, valid: bool = True) -> Result:
        """Run ``reconcile`` and check its exit code and, where manifests are valid, what it left behind (I2)."""
        result = command("reconcile", *words, "--yes", "--registry", self.root, "--no-progress")
        assert result.code == code, result
        if valid:
            self.check()
        return result

    def plan(self, *words: str, code: int = 0) -> Result:
        """Return a dry run's JSON plan."""
        return self.reconcile("--dry-run", "--json", *words, code=code, valid=False)

    def status(self, *words: str) -> dict[str, tuple[str, str, str]]:
        """Return each model's sync, health and reason's first word."""
        listed = command("status", *words, "--registry", self.root, "--json").json["models"]
        assert isinstance(listed, list)
        return {one["name"]: (one["sync"], one["health"], one["reason"].partition(":")[0]) for one in listed}

    def check(self) -> None:
        """Fail unless everything that stands in the registry is valid and the snapshot follows from it."""
        validated = command("validate", "--registry", self.root)
        assert validated.code == 0, validated
        checked = command("snapshot", "check", "--registry", self.root)
        assert checked.code == 0, checked
        for file in (self.root / "discovered").rglob("*.json"):
            assert check("entry", json.loads(file.read_bytes())) == [], file.read_text(encoding="utf-8")
        for file in (self.root / "snapshot").glob("*.json"):
            assert check("snapshot", json.loads(file.read_bytes())) == [], file.read_text(encoding="utf-8")

    def entry(self, name: str = NAME, host: str = HOST) -> dict[str, object]:
        entry: dict[str, object] = json.loads((self.root / f"discovered/{host}/{name}.json").read_bytes())
        return entry

    def entries(self, host: str = HOST) -> list[str]:
        return sorted(file.stem for file in (self.root / f"discovered/{host}").glob("*.json"))

    def snapshot(self, host: str = HOST) -> dict[str, dict[str, object]]:
        """Return the merged models by name."""
        return {model["name"]: model for model in json.loads((self.root / f"snapshot/{host}.json").read_bytes())}

    def head(self) -> str:
        return git(self.git_root, "rev-parse", "HEAD").strip()

    def message(self) -> str:
        """Return the last commit's message."""
        return git(self.git_root, "log", "-1", "--format=%B").strip()

    def user_config(self, home: Path, text: str) -> None:
        """Write the user's config.toml."""
        file = home / ".config/imageworks/config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
