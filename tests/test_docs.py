"""The documentation is true: its commands run, its links lead somewhere, its tables name what exists."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imageworks.cli.command_table import ALIASES, BY_NAME, COMMANDS
from imageworks.cli.explanations import rows
from imageworks.foundation.errors import ImageworksError
from imageworks.loopback_hub.server import HubServer
from imageworks.plan.plan import Reason
from imageworks.providers.ollama.reasons import OllamaReason
from support.hub import HubRepository
from support.warm import WARM, run_program

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
    return run_program(*words, folder=cwd, environment=env)


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


def test_the_table_of_commands_names_every_command_and_no_other() -> None:
    existing = {row.name for row in COMMANDS}
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8").split("## Commands")[1].split("##")[0]
    assert {words.split()[0] for words in re.findall(r"^\| `([a-z][^`]*)`", text, re.MULTILINE)} == existing


def test_the_readme_shows_exactly_the_two_commands_first() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:16])
    assert re.findall(r"^make ([a-z]+)", first_screen, re.MULTILINE) == ["quickstart", "test"]


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.timeout(600)  # some thirty programs, one after the other
def test_the_tutorial_runs_from_nothing_to_a_merged_change(tmp_path: Path) -> None:
    HubRepository(tmp_path / "hub", "sentence-transformers/all-MiniLM-L6-v2", FILES)
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/imageworks-models"
    WARM.write_starter(program)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Someone\n\temail = someone@localhost\n", encoding="utf-8")
    with HubServer(tmp_path / "hub") as hub:
        env = {**os.environ, "HOME": str(home), "HF_ENDPOINT": hub.url}
        env |= {"PATH": f"{program.parent}{os.pathsep}{env['PATH']}", "GIT_CONFIG_GLOBAL": str(home / ".gitconfig")}
        words = ["sh", "-ec", script]
        done = subprocess.run(words, cwd=home, env=env, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    weights = home / "ai-models/weights/sentence-transformers/all-MiniLM-L6-v2/model.safetensors"
    assert weights.read_bytes() == b"weights"
    manifest = (home / "ai-models/registry/models/minilm.yaml").read_text(encoding="utf-8")
    assert "roles: [embedding, search]" in manifest
    assert re.search(r"revision: \"?[0-9a-f]{40}", manifest)


def test_the_site_has_a_reference_of_every_command_and_a_place_for_every_page(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from docs_reference import main; main(Path(sys.argv[1]))"
    words = [sys.executable, "-c", code, str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT / "scripts", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site/reference/commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (\S+)$", reference, re.MULTILINE)) == set(BY_NAME)
    for page in sorted((tmp_path / "site").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_calls_a_command_is_one(page: Path) -> None:
    named = re.findall(r"^(?:\$ )?imageworks-models ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    named += re.findall(r"`imageworks-models ([a-z][a-z-]*)", page.read_text(encoding="utf-8"))
    assert set(named) <= {*BY_NAME, *ALIASES}


def reasons(page: str) -> set[str]:
    return set(
        re.findall(r"^\| (?:<a id=[^>]*></a>)?`([a-z-]+)` \|", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    )


def test_every_reason_of_a_plan_is_explained_and_no_other() -> None:
    assert reasons("docs/reasons.md") == {reason.value for reason in (*Reason, *OllamaReason)}
    first = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").partition("## Errors by their code")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", first, re.MULTILINE)) < reasons("docs/reasons.md")


def errors() -> dict[str, bool]:
    """Return the source's kinds of errors by name, each with whether any of it gets a remedy."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "controller").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.Call)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    helped = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call) and has_remedy(node)}
    found: dict[str, ast.ClassDef] = {}
    for _ in range(6):  # as deep as errors are derived from one another
        bases = {"ImageworksError", *found}
        found |= {one.name: one for one in classes if bases & {ast.unparse(base) for base in one.bases}}
    return {name: name in helped or any(map(has_remedy, ast.walk(one))) for name, one in found.items()}


def has_remedy(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and any(keyword.arg == "remedy" for keyword in node.keywords)


def test_every_error_with_a_remedy_is_explained_by_its_code_and_every_code_is_one_of_an_error() -> None:
    kinds = {name: helped for name, helped in errors().items() if not name.startswith("_")}
    codes = {type(name, (ImageworksError,), {})("").help_code: helped for name, helped in kinds.items()}
    assert len(codes) > 100
    explained = {code for code, _, _ in rows("troubleshooting.md")}
    assert {code for code, helped in codes.items() if helped} <= explained
    assert explained <= codes.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
