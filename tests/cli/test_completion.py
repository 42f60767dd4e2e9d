"""What shells offer behind a word: names, roles, locations, backends, hosts, revisions; asked in the real shells."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from support.git import git
from support.reconcile import World

PROGRAM = "imageworks-models"
VARIABLE = "_IMAGEWORKS_MODELS_COMPLETE"
CASES: Mapping[str, set[str]] = {
    "show ti": {"tiny-1b"},
    "show tiny-1b@re": {"tiny-1b@release"},
    "remove ti": {"tiny-1b"},
    "reconcile ti": {"tiny-1b"},
    "pull x --role ca": {"caption", "captions-long"},
    "resolve --role ": {"caption", "captions-long", "keywords"},
    "download x --location d": {"data-disk"},
    "list --backend v": {"vllm"},
    "hosts retire o": {"old-box"},
    "history --host o": {"old-box"},
    "restore --from re": {"release"},
    "diff rel": {"release"},
    "hosts re": {"rename", "retire"},
    "purge-": {"purge-deprecated", "purge-hf", "purge-logical-only"},
    "pu": {"pull", "purge-deprecated", "purge-hf", "purge-logical-only"},
    "verify --rep": {"--repair"},
}
SETTINGS = """\
schema_version: 1
locations:
  data-disk: {path: /data/models, layout: owner/repo}   # where there is room
hosts:
  old-box: {labels: {}, locations: {}}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("registry")
    git(root, "init", "-q", "-b", "main")
    (root / "models").mkdir()
    (root / "registry.yaml").write_text(SETTINGS, encoding="utf-8")
    flow = "schema_version: 1\nroles: [caption, keywords]\n"
    block = "schema_version: 1\nroles:\n  - captions-long   # slow\n"
    (root / "models/tiny-1b.yaml").write_text(flow, encoding="utf-8")
    (root / "models/other.yaml").write_text(block, encoding="utf-8")
    (root / "models/$(touch hit)`touch hit`'\";touch hit;'.yaml").write_text(flow, encoding="utf-8")
    (root / "models/t*.yaml").write_text(flow, encoding="utf-8")
    (root / "discovered/old-box").mkdir(parents=True)
    (root / "discovered/old-box/found-7b.json").write_text("{}", encoding="utf-8")
    git(root, "add", ".")
    git(root, "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-q", "-m", "Start")
    git(root, "tag", "release")
    git(root, "branch", "other")
    return root


def environment(registry: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "IMAGEWORKS_REGISTRY_DIR": str(registry), **more}


def script(shell: str, registry: Path, folder: Path) -> Path:
    """Write the script that a shell completes by, as a person installs it."""
    file = folder / f"completion.{shell}"
    done = subprocess.run(
        [PROGRAM],
        env=environment(registry, **{VARIABLE: f"source_{shell}"}),
        capture_output=True,
        text=True,
        check=True,
    )
    file.write_text(done.stdout, encoding="utf-8")
    return file


def in_bash(line: str, registry: Path, folder: Path) -> set[str]:
    words = [PROGRAM, *line.split(" ")]
    code = (
        f"source {script('bash', registry, folder)}; COMP_WORDS=({' '.join(map(repr, words))}); "
        f"COMP_CWORD={len(words) - 1}; _imageworks_models_completion {PROGRAM}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    return ran(["bash", "--norc", "-c", code], registry, folder)


def in_fish(line: str, registry: Path, folder: Path) -> set[str]:
    code = f"source {script('fish', registry, folder)}; complete -C '{PROGRAM} {line}'"
    return {word.partition("\t")[0] for word in ran(["fish", "--no-config", "-c", code], registry, folder)}


def in_zsh(line: str, registry: Path, folder: Path) -> set[str]:
    words = [PROGRAM, *line.split(" ")]
    said = " ".join(f"'{word}'" for word in words)
    code = (
        "compdef() { : }; _files() { print -r -- FILES }; "  # what the line editor gives when it completes
        '_arguments() { local spec=${1#*\\(\\(}; eval "print -rl -- ${spec%%\\)\\)*}" }; '
        f"source {script('zsh', registry, folder)}; words=({said}); CURRENT={len(words)}; _imageworks_models_completion"
    )
    return ran(["zsh", "-f", "-c", code], registry, folder)


def ran(command: list[str], registry: Path, folder: Path) -> set[str]:
    done = subprocess.run(
        command, env=environment(registry), cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""
    return set(done.stdout.splitlines()) - {""}


SHELLS: Mapping[str, Callable[[str, Path, Path], set[str]]] = {"bash": in_bash, "fish": in_fish, "zsh": in_zsh}


@pytest.mark.parametrize("shell", SHELLS)
def test_u15_each_shell_offers_what_there_is(shell: str, registry: Path, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for line in ("show ti", "resolve --role ", "hosts retire o", "restore --from re", "pu"):
        assert SHELLS[shell](line, registry, tmp_path) == CASES[line], line
    assert not list(tmp_path.rglob("hit"))


@pytest.mark.parametrize(("line", "offered"), CASES.items())
def test_u15_every_kind_of_word_is_completed(
    line: str, offered: set[str], registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(line, monkeypatch, IMAGEWORKS_REGISTRY_DIR=str(registry)) == offered


def asked(line: str, monkeypatch: pytest.MonkeyPatch, **variables: str) -> set[str]:
    """Ask as bash does, in this process."""
    import io

    from imageworks.cli.program import make_application

    words = [PROGRAM, *line.split(" ")]
    for name, value in {**variables, VARIABLE: "complete_bash", "COMP_WORDS": " ".join(words)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit):
        make_application()(args=[], prog_name=PROGRAM)
    return set(out.getvalue().split())


def test_u15_the_registry_that_was_named_is_asked(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMAGEWORKS_REGISTRY_DIR", raising=False)
    for line in (f"-C {registry} show ti", f"show -C {registry} ti", f"show --registry={registry} ti"):
        assert asked(line, monkeypatch) == {"tiny-1b"}
    assert asked("show ti", monkeypatch) == set()  # no registry is no error


def test_u15_what_a_shell_would_expand_is_not_offered(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked("show ", monkeypatch, IMAGEWORKS_REGISTRY_DIR=str(registry)) == {"tiny-1b", "other", "found-7b"}


def test_u15_completion_loads_nothing_heavy(registry: Path) -> None:
    probe = (
        "import atexit, sys; "
        "heavy = {'pygit2', 'rich', 'ruamel', 'jsonschema', 'huggingface_hub', 'httpx2', 'sqlite3'}; "
        "atexit.register(lambda: sys.stderr.write(' '.join(heavy & sys.modules.keys()))); "
        f"sys.argv[:] = [{PROGRAM!r}]; from imageworks.cli.app import main; main()"
    )
    words = {"COMP_WORDS": f"{PROGRAM} show ti", "COMP_CWORD": "2", VARIABLE: "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", probe], env=environment(registry, **words), capture_output=True, text=True, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["tiny-1b"], "")


def test_u15_a_registry_that_cannot_be_read_offers_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("models", "discovered"):
        shutil.rmtree(world.root / folder, ignore_errors=True)
    (world.root / "models").write_text("no folder", encoding="utf-8")
    (world.root / "registry.yaml").write_bytes(b"\xff\xfe: [")
    for line in ("show ti", "resolve --role ", "hosts retire ", "download x --location q"):
        assert asked(line, monkeypatch, IMAGEWORKS_REGISTRY_DIR=str(world.root)) == set()
