"""init: one commit of exactly its own files, in a repository of its own or in a part of another; nothing lost."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from imageworks.cli.program import make_application
from imageworks.git.values import DetachedHeadError
from imageworks.host.settings import load_host_settings
from imageworks.operations.init_registry import (
    EXAMPLE_FILE,
    ScaffoldConflictError,
    make_registry,
    render_files,
)
from imageworks.providers.libraries import locations_here
from imageworks.registry.documents.schema import schema_text
from imageworks.registry.manifests.manifest import State
from imageworks.registry.reader import WorkTreeReader
from imageworks.registry.validate import validate_registry
from support.reconcile import command

WHOLE = [
    ".gitattributes",
    ".gitignore",
    ".pre-commit-config.yaml",
    ".schemas/manifest.schema.json",
    ".schemas/registry.schema.json",
    "README.md",
    "discovered/.gitattributes",
    "models/example.yaml.sample",
    "registry.yaml",
    "snapshot/.gitattributes",
]
PART = [name for name in WHOLE if name != ".pre-commit-config.yaml"]
ROOT = Path(__file__).resolve().parents[2]


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.name", "Someone")
    git(folder, "config", "user.email", "someone@example.org")
    return folder


def tracked(folder: Path) -> list[str]:
    return sorted(git(folder, "ls-tree", "-r", "--name-only", "HEAD").splitlines())


def contents(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(".git/") and path.is_file():
            found[name] = path.read_bytes()
    return found


def test_a_fresh_registry_is_a_valid_repository_with_one_commit(tmp_path: Path) -> None:
    root = tmp_path / "new" / "registry"
    made = make_registry(root, load_host_settings())
    assert list(made.files) == WHOLE
    assert made.prefix == ""
    assert tracked(root) == WHOLE
    assert git(root, "rev-list", "--count", "HEAD").strip() == "1"
    assert git(root, "rev-parse", "HEAD").strip() == made.commit
    assert git(root, "status", "--porcelain") == ""
    result = validate_registry(WorkTreeReader(root))
    assert result.diagnostics == ()
    assert result.manifests == {}


def test_p14_the_example_is_a_manifest_only_under_another_name(tmp_path: Path) -> None:
    root = tmp_path / "r"
    made = make_registry(root, load_host_settings())
    assert command("list-roles", "--registry", root).out.count("\n") <= 1
    for words in (("status",), ("reconcile", "--dry-run"), ("list", "--include-logical"), ("snapshot", "show")):
        shown = command(*words, "--registry", root)
        assert shown.code == 0
        assert "example" not in shown.out.lower()
    (root / "models/mine.yaml").write_bytes((root / EXAMPLE_FILE).read_bytes())
    assert command("validate", "--registry", root).code == 0
    result = validate_registry(WorkTreeReader(root))
    assert result.manifests["mine"].manifest.state is State.PRESENT
    assert made.files.count(EXAMPLE_FILE) == 1


def test_p14_the_example_of_an_older_registry_still_works(tmp_path: Path) -> None:
    root = tmp_path / "r"
    make_registry(root, load_host_settings())
    text = (root / EXAMPLE_FILE).read_text(encoding="utf-8").replace("state: present", "state: suspended")
    (root / "models/example.yaml").write_text(text, encoding="utf-8")
    git(root, "add", "models")
    identity = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    git(root, *identity, "commit", "-q", "-m", "As init once made it")
    assert command("validate", "--registry", root).code == 0
    assert command("status", "--registry", root).code == 0
    assert command("reconcile", "--dry-run", "--registry", root).code == 0


def test_the_settings_name_this_host_and_what_it_has(tmp_path: Path) -> None:
    (Path.home() / ".lmstudio/models").mkdir(parents=True)
    settings = load_host_settings()
    locations = locations_here(settings)
    assert {name: location.path for name, location in locations.items()} == {
        "linux_wsl": "~/ai-models/weights",
        "lmstudio": "~/.lmstudio/models",
    }
    assert all(settings.allows(Path(location.path).expanduser()) for location in locations.values())
    make_registry(tmp_path / "r", settings)
    document = validate_registry(WorkTreeReader(tmp_path / "r")).settings
    assert document is not None
    assert isinstance(document.value, dict)
    assert document.value["routing"] == {"gguf": "lmstudio", "default": "linux_wsl"}
    assert document.value["hosts"] == {"testhost": {"labels": {}, "locations": {}}}


def test_nothing_is_invented_that_this_machine_does_not_have() -> None:
    assert list(locations_here(load_host_settings())) == ["linux_wsl"]


def test_folders_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "ai stuff" / 'with "quotes": #1'
    odd.mkdir(parents=True)
    monkeypatch.setenv("IMAGEWORKS_LMSTUDIO_ROOT", str(odd))
    monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", "~/custom/weights")
    make_registry(tmp_path / "r", load_host_settings())
    result = validate_registry(WorkTreeReader(tmp_path / "r"))
    assert result.diagnostics == ()
    assert result.settings is not None
    assert isinstance(result.settings.value, dict)
    assert result.settings.value["locations"] == {
        "linux_wsl": {"path": "~/custom/weights", "layout": "owner/repo", "kind": "weights"},
        "windows_lmstudio": {"path": str(odd), "layout": "publisher/repo", "kind": "lmstudio"},
    }


def test_a_folder_of_an_existing_repository_leaves_the_rest_alone(tmp_path: Path) -> None:
    mono = repository(tmp_path / "mono")
    (mono / "code.py").write_text("one\n")
    git(mono, "add", "code.py")
    git(mono, "commit", "-qm", "code")
    (mono / "code.py").write_text("two\n")
    (mono / "staged.py").write_text("staged\n")
    git(mono, "add", "staged.py")
    (mono / "untracked.py").write_text("untracked\n")
    before = git(mono, "status", "--porcelain")
    made = make_registry(mono / "ml" / "my registry", load_host_settings())
    assert made.prefix == "ml/my registry"
    assert list(made.files) == PART
    assert tracked(mono) == sorted(["code.py", *(f"ml/my registry/{name}" for name in PART)])
    assert git(mono, "status", "--porcelain") == before
    assert git(mono, "rev-list", "--count", "HEAD").strip() == "2"
    assert not (mono / "ml/my registry/.git").exists()
    readme = (mono / "ml/my registry/README.md").read_text()
    assert "entry: imageworks-models snapshot check --registry 'ml/my registry'" in readme
    hooks = YAML(typ="safe").load(readme.partition("```yaml\n")[2].partition("```")[0])["repos"][0]["hooks"]
    assert re.match(hooks[0]["files"], "ml/my registry/models/x.yaml")
    assert not re.match(hooks[0]["files"], "other/models/x.yaml")


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    make_registry(tmp_path / "r", load_host_settings())
    before = contents(tmp_path / "r")
    with pytest.raises(ScaffoldConflictError, match="already is a registry"):
        make_registry(tmp_path / "r", load_host_settings())
    assert contents(tmp_path / "r") == before
    assert git(tmp_path / "r", "rev-list", "--count", "HEAD").strip() == "1"


@pytest.mark.parametrize(
    "obstacle",
    ["models/example.yaml.sample", ".schemas/manifest.schema.json", "models", ".schemas", "registry.yaml"],
)
def test_what_is_in_the_way_is_named_and_kept(tmp_path: Path, obstacle: str) -> None:
    root = tmp_path / "r"
    path = root / obstacle
    path.parent.mkdir(parents=True)
    path.write_text("mine\n")
    with pytest.raises(ScaffoldConflictError) as caught:
        make_registry(root, load_host_settings())
    assert caught.value.remedy
    assert any(name.startswith(obstacle) for name in caught.value.paths)
    assert contents(root) == {obstacle: b"mine\n"}
    assert not (root / ".git").exists()


def test_links_are_in_the_way_too(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "r", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "models").symlink_to(elsewhere)
    with pytest.raises(ScaffoldConflictError):
        make_registry(root, load_host_settings())
    assert list(elsewhere.iterdir()) == []


def test_a_file_where_the_folder_would_be(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("mine\n")
    with pytest.raises(ScaffoldConflictError):
        make_registry(tmp_path / "r", load_host_settings())
    assert (tmp_path / "r").read_text() == "mine\n"


def test_files_of_the_same_purpose_stay_as_they_are(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    for name in ("README.md", ".gitignore", ".pre-commit-config.yaml"):
        (root / name).write_text("mine\n")
    made = make_registry(root, load_host_settings())
    assert sorted(made.kept) == [".gitignore", ".pre-commit-config.yaml", "README.md"]
    assert (root / "README.md").read_text() == "mine\n"
    assert "README.md" not in tracked(root)


def test_a_detached_head_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    git(root, "commit", "-q", "--allow-empty", "-m", "start")
    git(root, "checkout", "-q", "--detach")
    with pytest.raises(DetachedHeadError):
        make_registry(root / "registry", load_host_settings())
    assert contents(root) == {}


def test_modelines_lead_to_schemas_of_the_registry(tmp_path: Path) -> None:
    make_registry(tmp_path, load_host_settings())
    for file in ("registry.yaml", "models/example.yaml.sample"):
        first = (tmp_path / file).read_text().splitlines()[0]
        target = first.removeprefix("# yaml-language-server: $schema=")
        assert target != first
        schema = Path(os.path.normpath((tmp_path / file).parent / target))
        assert schema.read_text() == schema_text(schema.name.removesuffix(".schema.json"))


@pytest.mark.parametrize("host", ["workstation", "my host", "12", "h\u00f4te"])
def test_every_host_name_gives_valid_settings(tmp_path: Path, host: str) -> None:
    files = render_files(locations_here(load_host_settings()), host=host)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert validate_registry(WorkTreeReader(tmp_path)).diagnostics == ()


def test_the_hooks_we_offer_match_what_is_validated() -> None:
    offered = YAML(typ="safe").load((ROOT / ".pre-commit-hooks.yaml").read_text())
    hooks = {hook["id"]: hook for hook in offered}
    assert hooks["imageworks-validate"]["entry"] == "imageworks-models validate"
    assert hooks["imageworks-validate"]["pass_filenames"] is True
    assert hooks["imageworks-snapshot-check"]["entry"] == "imageworks-models snapshot check"
    assert hooks["imageworks-snapshot-check"]["pass_filenames"] is True  # G6: a repository may hold several registries
    pattern = hooks["imageworks-validate"]["files"]
    for path in ("models/a.yaml", "registry/models/a.yml", "registry.yaml", "x/registry.yaml"):
        assert re.search(pattern, path), path
    for path in ("models/a.md", "my-registry.yaml", "x.yaml"):
        assert not re.search(pattern, path), path
    own = YAML(typ="safe").load(render_files({}, host="h")[".pre-commit-config.yaml"])
    assert {hook["id"] for hook in own["repos"][0]["hooks"]} == set(hooks)


def test_the_command_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_application()(args=["init", str(tmp_path / "r")], standalone_mode=False)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(tmp_path / "r" / name) for name in WHOLE]
    assert "as a git repository of its own" in printed.err
    assert "imageworks-models plan" in printed.err
