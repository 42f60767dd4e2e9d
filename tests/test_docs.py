"""The documentation is true: its commands run, its links lead somewhere, its tables name what exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.hub.server import HubServer
from support.hub import HubRepository

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
NAME = "all-minilm-l6-v2-vllm"
MANIFEST = """\
schema_version: 1
source: {huggingface: sentence-transformers/all-MiniLM-L6-v2}
backend: vllm
location: linux_wsl
"""
FILES = {"model.safetensors": b"weights", "config.json": b"{}", "tokenizer.json": b"{}", "README.md": b"# It\n"}


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def program(*words: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imageworks", *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.timeout(600)  # some fifty programs, one after the other
def test_every_command_of_the_how_to_runs(tmp_path: Path) -> None:
    HubRepository(tmp_path / "hub", "sentence-transformers/all-MiniLM-L6-v2", FILES)
    registry = tmp_path / "registry"
    with HubServer(tmp_path / "hub") as hub:
        env = {**os.environ, "HF_ENDPOINT": hub.url, "IMAGEWORKS_MODEL_ROOT": str(tmp_path / "weights")}
        assert program("init", str(registry), cwd=tmp_path, env=env).returncode == 0
        (registry / "models" / f"{NAME}.yaml").write_text(MANIFEST, encoding="utf-8")
        git = ["git", "-c", "user.name=Someone", "-c", "user.email=someone@localhost"]
        subprocess.run([*git, "add", "models"], cwd=registry, check=True)
        subprocess.run([*git, "commit", "-q", "-m", "Declare it"], cwd=registry, check=True)
        shown = commands(ROOT / "docs/howto.md")
        assert len(shown) > 5
        for command in shown:
            words = command.split()
            assert words[0] == "imageworks-models"
            done = program(*words[1:], cwd=registry, env=env)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "weights/sentence-transformers/all-MiniLM-L6-v2/model.safetensors").read_bytes() == b"weights"


def test_every_promise_names_tests_that_there_are() -> None:
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| ([^|]*`[^|]*) \|$", page, re.MULTILINE)
    modules = list((ROOT / "tests").rglob("test_*.py"))
    known = {path.name for path in modules}
    everything = "\n".join(path.read_text(encoding="utf-8") for path in modules)
    assert len(rows) > 20
    for row in rows:
        names = re.findall(r"`([^`]+)`", row)
        assert names
        for name in names:
            assert name in known or f"def {name}" in everything, name


def test_the_readme_names_every_command_and_no_other(tmp_path: Path) -> None:
    helped = program("--help", cwd=tmp_path, env=dict(os.environ)).stdout
    existing = set(re.findall(r"^  ([a-z-]+)  ", helped.split("Commands:")[1], re.MULTILINE))
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Commands")[1].split("##")[0]
    assert {words.split()[0] for words in re.findall(r"^\| `([a-z][^`]*)`", text, re.MULTILINE)} == existing


def test_the_readme_shows_exactly_the_two_commands_first() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:16])
    assert re.findall(r"^make ([a-z]+)", first_screen, re.MULTILINE) == ["quickstart", "test"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
