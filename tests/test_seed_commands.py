"""Every row of docs/seed-commands.md runs as it stands there, in a home folder whose name has spaces."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imageworks.loopback_hub.server import HubServer
from support.git import git
from support.hub import HubRepository
from support.ollama import LoopbackOllama
from support.ollama_content import model as ollama_model
from support.weights import STRING, gguf_file, safetensors_file

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/seed-commands.md"
VARIANT = "mistral-7b-instruct-awq"
SHIMS = {
    "uv": '#!/bin/sh\ntest "$1" = run && shift\nexec "$@"\n',
    "python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
    "vllm": '#!/bin/sh\necho vllm "$@"\n',
}
OTHERS = ("sudo ", "brew ", "ollama ", "huggingface-cli ", "uv run imageworks-personal-tagger ")
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}
Setup = Callable[["Shell"], None]


@dataclass(frozen=True)
class Row:
    """One row of a table: a command and what it prints."""

    command: str
    prints: tuple[str, ...]
    fails: bool

    @property
    def runnable(self) -> str:
        """The command with placeholders filled in; a usage line asks for help."""
        usage = re.split(r" (?:MODEL|URL|MODEL_NAME|\[)", self.command)[0]
        return f"{usage} --help" if "[OPTIONS]" in self.command else self.command.replace("<variant>", "testzzz-tiny")


def read_page() -> dict[str, list[Row]]:
    sections: dict[str, list[Row]] = {}
    title = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            title = line[3:].lower()
        found = re.fullmatch(r"\| `(.+?)` \|(.*)\|(.*)\|", line.replace("\\|", "\0"))
        if found:
            texts = tuple(text.strip(" `").replace("\0", "|") for text in found[3].split(" · ") if text.strip(" `"))
            wanted = tuple(text for text in texts if text != "fails")
            sections.setdefault(title, []).append(Row(found[1].replace("\0", "|"), wanted, "fails" in texts))
    return sections


@dataclass
class Shell:
    """A person's shell: a home, a hub, a daemon of Ollama, and the programs on its path."""

    home: Path
    hub: HubServer
    ollama: LoopbackOllama
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def registry(self) -> Path:
        return self.home / "ai-models/registry"

    @property
    def weights(self) -> Path:
        return self.home / "ai-models/weights"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.home / "work",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def must(self, command: str) -> str:
        done = self.run(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def declare(self, name: str, repository: str | None = None, **fields: object) -> None:
        """Write a manifest and commit it."""
        source = {"source": {"huggingface": repository}} if repository else {}
        manifest = {"schema_version": 1, **source, **fields}
        (self.registry / f"models/{name}.yaml").write_text(json.dumps(manifest), encoding="utf-8")
        git(self.registry, "add", "models")
        git(self.registry, "commit", "--quiet", "--message", f"Declare {name}")

    def record(self, name: str, **fields: object) -> None:
        """Leave an entry as an earlier version of the tool would have."""
        file = self.registry / f"discovered/testhost/{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps({"schema_version": 1, "name": name, "managed": False, **fields}, indent=2) + "\n",
            encoding="utf-8",
        )
        self.must("imageworks-models snapshot rebuild")
        git(self.registry, "add", "discovered", "snapshot")
        git(self.registry, "commit", "--quiet", "--message", f"Record {name}")


def weights_files(config: Mapping[str, object]) -> dict[str, bytes]:
    tensors: dict[str, tuple[str, Sequence[int], int]] = {"model.layers.0.q.weight": ("F16", (16, 16), 512)}
    if "quantization_config" in config:
        packed: dict[str, tuple[str, Sequence[int], int]] = {
            "model.layers.0.q.qweight": ("I32", (128, 2), 1024),
            "model.layers.0.q.qzeros": ("I32", (1, 2), 8),
            "model.layers.0.q.scales": ("F16", (1, 16), 32),
        }
        tensors = packed
    return {
        "README.md": b"# A model\n\nLicence: apache-2.0\n",
        "LICENSE": b"Apache License 2.0\n",
        "config.json": json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], **config}).encode(),
        "generation_config.json": b"{}",
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
        "model.safetensors": safetensors_file(tensors),
        "docs/example.png": b"picture",
    }


def gguf(name: str) -> bytes:
    return gguf_file([("general.architecture", STRING, "llama"), ("general.name", STRING, name)], data=b"x" * 4096)


def fill_hub(root: Path) -> None:
    HubRepository(root, "microsoft/DialoGPT-medium", weights_files({})).branch("dev", {"NEW.md": b"dev\n"})
    for name in (
        "casperhansen/llama-7b-instruct-awq",
        "liuhaotian/llava-v1.5-13b",
        "TheBloke/Mistral-7B-Instruct-v0.2-AWQ",
        "qwen-vl/Qwen2.5-VL-7B-Instruct-AWQ",
    ):
        HubRepository(root, name, weights_files({"quantization_config": AWQ, "vision_config": {"depth": 2}}))
    for name in ("llava-hf/llava-v1.6-mistral-7b-hf", "acme/old-model", "acme/testzzz-tiny"):
        HubRepository(root, name, weights_files({"vision_config": {"depth": 2}}))
    quants = {f"llama-2-7b-chat.{quant}.gguf": gguf(quant) for quant in ("Q4_K_M", "Q8_0")}
    HubRepository(root, "TheBloke/Llama-2-7B-Chat-GGUF", {"README.md": b"# GGUF\n", "config.json": b"{}", **quants})


@contextmanager
def closing_daemon(folder: Path) -> Iterator[LoopbackOllama]:
    ollama = LoopbackOllama(folder)
    try:
        yield ollama
    finally:
        ollama.stop()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    home = tmp_path / "home of ada"
    programs = home / "bin"
    for folder in (programs, home / "work"):
        folder.mkdir(parents=True)
    for name, text in SHIMS.items():
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    (home / "work/scripts").symlink_to(ROOT / "scripts")
    fill_hub(home / "hub")
    with HubServer(home / "hub") as hub, closing_daemon(home / "store of ollama") as ollama:
        for name in ("qwen2.5vl:7b", "llava:7b", "pixtral-local:latest", "qwen2.5-coder:7b-instruct", "deepseek-r1:7b"):
            ollama.install(name, ollama_model(f"weights of {name}".encode()))
        own = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        environment = {
            **own,
            **ollama.environment,
            "HOME": str(home),
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HF_ENDPOINT": hub.url,
            "IMAGEWORKS_LMSTUDIO_ROOT": str(home / "ai stuff/models/llm models"),
        }
        yield Shell(home, hub, ollama, environment)


def nothing(shell: Shell) -> None:
    """Start as a new user does."""
    assert not shell.registry.exists()


def found_on_disk(shell: Shell) -> None:
    """Start with folders that nobody recorded, and an entry whose files are gone."""
    shell.must("imageworks-models init ~/ai-models/registry")
    for name in ("casperhansen/llama-7b-instruct-awq", "acme/model-awq"):
        for file, data in weights_files({"quantization_config": AWQ}).items():
            path = shell.weights / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    gone = str(shell.weights / "acme/gone")
    shell.record("gone-vllm", backend="vllm", family="gone", download_path=gone, download_files=["model.safetensors"])


def with_ollama(shell: Shell) -> None:
    """Start with entries of an earlier importer, and models in Ollama."""
    found_on_disk(shell)
    shell.record("model-ollama-gguf", backend="ollama", family="model", download_format="gguf")


def installed(shell: Shell) -> None:
    """Start with declared models of every kind in place."""
    shell.must("imageworks-models init ~/ai-models/registry")
    shell.declare("llava-v1.5-13b-vllm-awq", "liuhaotian/llava-v1.5-13b", backend="vllm", roles=["caption"])
    shell.declare(VARIANT, "TheBloke/Mistral-7B-Instruct-v0.2-AWQ", backend="vllm")
    roles: dict[str, object] = {"roles": ["caption", "keywords"], "role_priority": {"caption": 90}}
    shell.declare("qwen2.5-vl-7b-awq", "qwen-vl/Qwen2.5-VL-7B-Instruct-AWQ", backend="vllm", **roles)
    shell.declare("only-a-role", backend="ollama", roles=["description"])
    shell.declare("old-model", "acme/old-model", backend="vllm", deprecated=True)
    shell.declare("testzzz-tiny", "acme/testzzz-tiny", backend="vllm")
    shell.must("imageworks-models reconcile --yes --no-progress && imageworks-models import-ollama")


def in_disorder(shell: Shell) -> None:
    """Start with what upkeep is for: logical, deprecated and placeholder entries."""
    with_ollama(shell)
    shell.must("imageworks-models import-ollama --deprecate-placeholders")
    shell.record("old-model", backend="vllm", family="old", deprecated=True)
    shell.record("logical-ollama", backend="ollama", family="logical", served_model_id="logical:7b")


def existing_folder(shell: Shell) -> None:
    installed(shell)
    folder = shell.weights / "existing/Qwen2.5-VL-7B-Instruct-AWQ"
    for file, data in weights_files({"quantization_config": AWQ}).items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


SECTIONS: Mapping[str, Setup] = {
    "downloads": nothing,
    "lists": installed,
    "scans": found_on_disk,
    "ollama": with_ollama,
    "upkeep": in_disorder,
    "removals": installed,
    "serving": existing_folder,
}


def test_every_section_has_its_test() -> None:
    page = read_page()
    assert list(page) == list(SECTIONS)
    assert sum(len(rows) for rows in page.values()) > 100


def test_every_behaviour_of_the_prose_names_what_holds_it() -> None:
    prose = PAGE.read_text(encoding="utf-8").split("## The prose, behaviour by behaviour")[1]
    rows = [line.strip("| ").split(" | ") for line in prose.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 80
    for *said, held in rows:
        assert all(said)
        for named in held.split(" · "):
            file, _, test = named.partition("::")
            source = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert not test or re.search(rf"^def {test}\(", source, re.MULTILINE), named


@pytest.mark.parametrize("section", SECTIONS)
def test_section(section: str, shell: Shell) -> None:
    SECTIONS[section](shell)
    problems = []
    for row in read_page()[section]:
        if row.command.startswith(OTHERS) or ("| jq" in row.command and shutil.which("jq") is None):
            continue
        done = shell.run(row.runnable)
        shown = done.stdout + done.stderr
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
        missing = [text for text in row.prints if text not in plain]
        rude = "Traceback" in plain and "IMAGEWORKS_DEBUG" not in row.command
        if done.returncode != (1 if row.fails else 0) or missing or rude:
            problems.append(f"$ {row.runnable}\n{plain}exit code {done.returncode}; not printed: {missing}")
    if (shell.registry / "registry.yaml").exists():
        problems += [line for line in [shell.run("imageworks-models validate").stdout.strip()] if line]
    assert not problems, "\n\n".join(problems)
