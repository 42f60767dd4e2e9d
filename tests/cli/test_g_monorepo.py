"""G6: registries as folders of larger repositories, checked by hooks that know nothing of other registries."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from support.git import git
from support.reconcile import Result, closed_log, command

ROOT = Path(__file__).resolve().parents[2]
LOGICAL = "schema_version: 1\nbackend: vllm\nroles: [caption]\n"


@pytest.fixture(autouse=True)
def _closed_log() -> Iterator[None]:
    with closed_log():
        yield


@pytest.fixture
def mono(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two registries and other things; beside it, in the home, another registry."""
    assert command("init", Path.home() / "ai-models/registry").code == 0
    folder = tmp_path / "monorepo"
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(folder))
    for registry in ("ml/reg", "teams/nlp models/reg"):
        assert command("init", folder / registry).code == 0
        write(folder, f"{registry}/models/right.yaml", LOGICAL)
        assert command("reconcile", "--yes", "--no-progress", "--registry", folder / registry).code == 0
    write(folder, "dbt/models/schema.yml", "version: 2\nmodels: [{name: orders}]\n")
    write(folder, "charts/registry.yaml", "image: registry:2\nport: 5000\n")
    write(folder, "app/models/user.yaml", "table: users\n")
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, file: str, text: str) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", f"Write {file}")


def spoil_snapshot(folder: Path, registry: str) -> str:
    file = next((folder / registry / "snapshot").glob("*.json"))
    write(folder, file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8").replace("right", "wrong"))
    return file.relative_to(folder).as_posix()


def hook(name: str, *files: str) -> Result:
    """Run a hook as pre-commit does: at the top of the repository, with those of the files that it asks for."""
    hooks = {one["id"]: one for one in YAML(typ="safe").load(ROOT / ".pre-commit-hooks.yaml")}
    program, *words = shlex.split(hooks[name]["entry"])
    assert program == "imageworks-models"
    assert hooks[name]["pass_filenames"] is True
    return command(*words, *files)


def test_g6_files_of_other_things_are_passed_over(mono: Path) -> None:
    others = ("dbt/models/schema.yml", "charts/registry.yaml", "app/models/user.yaml")
    for name in ("imageworks-validate", "imageworks-snapshot-check"):
        result = hook(name, *others)
        assert (result.code, result.out) == (0, "")
    write(mono, "registry.yaml", "schema_version: 1\n")  # now the whole is a registry as well
    result = hook("imageworks-validate", *others)
    assert (result.code, result.out) == (0, "")


@pytest.mark.parametrize("registry", ["ml/reg", "teams/nlp models/reg"])
def test_g6_the_registry_of_the_changed_files_is_checked(mono: Path, registry: str) -> None:
    manifest = f"{registry}/models/bad.yaml"
    write(mono, manifest, LOGICAL.replace("vllm", "vlm"))
    result = hook("imageworks-validate", manifest, "dbt/models/schema.yml")
    assert result.code == 1
    assert result.out.startswith(f"{manifest}:2:10: ")
    spoiled = spoil_snapshot(mono, registry)
    result = hook("imageworks-snapshot-check", manifest)
    assert result.code == 1
    assert result.out.startswith(f"{spoiled}:2:1: ")
    other = next(one for one in ("ml/reg", "teams/nlp models/reg") if one != registry)
    assert hook("imageworks-snapshot-check", f"{other}/models/right.yaml").code == 0
    assert hook("imageworks-snapshot-check", f"{other}/models/right.yaml", spoiled).code == 1


def test_g6_without_files_all_registries_of_the_repository_are_checked(mono: Path) -> None:
    assert command("validate").code == 0
    assert json.loads(command("validate", "--json").out)["files"] == 4
    assert command("snapshot", "check").code == 0
    write(mono, "teams/nlp models/reg/models/bad.yaml", LOGICAL.replace("vllm", "vlm"))
    result = command("validate")
    assert result.code == 1
    assert result.out.startswith("teams/nlp models/reg/models/bad.yaml:2:10: ")
    spoiled = spoil_snapshot(mono, "ml/reg")
    result = command("snapshot", "check")
    assert result.code == 1
    assert result.out.startswith(f"{spoiled}:2:1: ")


def test_g6_in_a_folder_of_a_registry_that_one_is_checked(mono: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_snapshot(mono, "ml/reg")
    monkeypatch.chdir(mono / "ml/reg/models")
    assert command("snapshot", "check").code == 1
    monkeypatch.chdir(mono / "teams/nlp models")
    assert command("snapshot", "check").code == 1  # above no registry: all of the repository
    monkeypatch.chdir(mono / "teams/nlp models/reg")
    assert command("snapshot", "check").code == 0


@pytest.mark.parametrize("words", [("validate",), ("snapshot", "check")])
def test_g6_nothing_outside_of_the_repository_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    home = Path.home() / "ai-models/registry"
    assert command("init", home).code == 0
    repository = home / "another repository"
    git(tmp_path, "init", "--quiet", str(repository))
    write(repository, "models/schema.yml", "version: 2\n")
    monkeypatch.chdir(repository)
    result = command(*words)
    assert result.code == 1
    assert "--registry" in result.err
    assert str(home) not in result.err.replace(str(repository), "")
    assert command(*words, "models/schema.yml").code == 0
    assert command(*words, "--registry", home).code == 0
    monkeypatch.chdir(tmp_path)  # in no repository at all, the usual one is meant
    assert command(*words).code == 0


def test_g6_a_manifest_that_is_in_no_registry_is_still_checked(mono: Path) -> None:
    write(mono, "drafts/mine.yaml", LOGICAL.replace("vllm", "vlm"))
    result = command("validate", "drafts/mine.yaml")
    assert result.code == 1
    assert result.out.startswith("drafts/mine.yaml:2:10: ")
