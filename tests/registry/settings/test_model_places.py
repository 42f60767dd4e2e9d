"""No model goes into a registry, a git folder or this program's own folders, and none is made of a registry's files."""

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.found import awq, put
from support.git import git
from support.reconcile import MODEL, NAME, Result, World, command


@pytest.fixture
def inside(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Let this host allow the folder that the registry lies in, as the default settings do."""
    monkeypatch.setenv("IMAGEWORKS_MODEL_ROOT", str(world.folder))
    payload = world.root / "payload"
    (payload / "hooks").mkdir(parents=True)
    (payload / "config.json").write_text("{}", encoding="utf-8")
    (payload / "hooks" / "post-commit").write_text("#!/bin/sh\n", encoding="utf-8")
    (payload / "hooks" / "post-commit").chmod(0o755)
    return world


def blocked(world: World) -> Result:
    """Reconcile what is not to be carried out; such manifests are invalid, so nothing is checked by ``validate``."""
    return world.reconcile(code=1, valid=False)


def only_change(plan: Result) -> dict[str, Any]:
    listed = plan.json["changes"]
    assert isinstance(listed, list)
    assert len(listed) == 1
    change: dict[str, Any] = listed[0]
    return change


def problems(world: World) -> list[dict[str, object]]:
    listed = command("validate", "--registry", world.root, "--json").json["diagnostics"]
    assert isinstance(listed, list)
    return listed


@pytest.mark.parametrize("target", [".git", ".git/hooks", ".GIT/x", "models", "", "discovered/testhost"])
def test_x1_no_model_goes_into_a_registry(inside: World, target: str) -> None:
    inside.serve()
    inside.declare(location=str(inside.root / target))
    assert [one["file"] for one in problems(inside)] == [f"registry/models/{NAME}.yaml"]
    assert "root-not-allowed" in blocked(inside).out
    assert not (inside.root / target / "model.safetensors").exists()
    assert not (inside.root / "discovered").exists()


@pytest.mark.parametrize("source", ["payload", ".git", "models"])
def test_x1_no_model_is_made_of_a_registry(inside: World, source: str) -> None:
    git(inside.git_root, "add", "--all")
    inside.commit("Payload")
    inside.declare(source={"path": str(inside.root / source)}, location=str(inside.folder / "elsewhere"))
    assert len(problems(inside)) == 1
    assert "is no place for a model" in blocked(inside).out
    assert not (inside.folder / "elsewhere").exists()


def test_x1_what_lies_beside_a_registry_in_its_work_tree_is_a_strangers_too(inside: World) -> None:
    repository = inside.folder / "monorepo"
    git(inside.folder, "init", "--quiet", str(repository))
    (repository / "registry").mkdir()
    (repository / "registry" / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
    payload = put(repository / "payload", awq())
    inside.declare(source={"path": str(payload)}, location=str(inside.folder / "elsewhere"))
    assert "work tree of a registry" in blocked(inside).out
    inside.serve()
    inside.declare(location=str(repository / "tools"))
    assert "work tree of a registry" in blocked(inside).out


LINKS: dict[str, str] = {"git folder": "registry/.git", "hooks": "registry/.git/hooks", "registry": "registry"}


@pytest.mark.parametrize("leads", LINKS)
def test_x1_a_link_leads_nowhere_else(inside: World, leads: str) -> None:
    inside.serve()
    (inside.folder / "innocent").symlink_to(inside.folder / LINKS[leads], target_is_directory=True)
    inside.declare(location=str(inside.folder / "innocent"))
    assert "is no place for a model" in blocked(inside).out


def test_x1_a_link_made_while_bytes_arrive_is_seen_when_they_are_put_in_place(inside: World) -> None:
    inside.serve()
    inside.declare(location=str(inside.folder))
    hooks = inside.root / ".git" / "hooks"
    served = inside.hub.intercept
    assert served is not None

    def swapping(request: object) -> object:
        if not (inside.folder / "acme").is_symlink():
            (inside.folder / "acme").symlink_to(hooks, target_is_directory=True)
        return served(request)  # type: ignore[arg-type]

    planned = inside.plan()
    assert planned.changes == {NAME: ("install", "missing")}

    def on_bytes(request: object) -> object:
        path = getattr(request, "path", "")
        return swapping(request) if path.endswith("model.safetensors") else served(request)  # type: ignore[arg-type]

    inside.hub.intercept = on_bytes  # type: ignore[assignment]
    result = inside.reconcile(code=1, valid=False)
    assert "is no place for a model" in result.out + result.err
    assert not list(hooks.rglob("*.safetensors"))
    assert not (inside.root / "discovered").exists()


def test_x1_another_registry_and_our_own_folder_of_a_location_are_no_places(inside: World) -> None:
    inside.serve()
    other = inside.folder / "other registry"
    other.mkdir()
    (other / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
    for place in (other, inside.folder / ".imageworks"):
        inside.declare(location=str(place))
        assert "is no place for a model" in blocked(inside).out


def a_bare_repository(world: World, _: Path) -> Path:
    git(world.folder, "init", "--quiet", "--bare", str(world.folder / "bare"))
    return world.folder / "bare" / "hooks"


def a_bare_repository_itself(world: World, _: Path) -> Path:
    """Return the root whose model's folder would be the repository."""
    git(world.folder, "init", "--quiet", "--bare", str(world.folder / "root/acme/tiny-1b"))
    return world.folder / "root"


def a_git_folder_elsewhere(world: World, _: Path) -> Path:
    git(world.folder, "init", "--quiet", f"--separate-git-dir={world.folder / 'apart'}", str(world.folder / "code"))
    return world.folder / "apart" / "hooks"


def the_hub_cache(_: World, home: Path) -> Path:
    return home / ".cache/huggingface/hub"


def ollamas_store(_: World, home: Path) -> Path:
    return home / ".ollama/models/blobs"


def the_state_folder(_: World, home: Path) -> Path:
    return home / ".local/state/imageworks/intents"


def above_the_state_folder_by_a_link(world: World, home: Path) -> Path:
    """Return a folder in which the state is, once the link that stands for it is followed."""
    (world.folder / "data").mkdir()
    (home / ".local").mkdir()
    (home / ".local/state").symlink_to(world.folder / "data")
    return world.folder / "data" / "imageworks"


def by_the_kernel(world: World, _: Path) -> Path:
    return Path("/proc/self/cwd") / (world.root / ".git").relative_to(world.folder)


PLACES: dict[str, Callable[[World, Path], Path]] = {
    "a bare repository": a_bare_repository,
    "a bare repository itself": a_bare_repository_itself,
    "a git folder elsewhere": a_git_folder_elsewhere,
    "the hub's cache": the_hub_cache,
    "Ollama's store": ollamas_store,
    "the state folder": the_state_folder,
    "above the state folder, by a link": above_the_state_folder_by_a_link,
    "by the kernel": by_the_kernel,
}


@pytest.mark.parametrize("place", PLACES)
def test_x1_nothing_goes_where_other_programs_or_this_one_keep_things(
    inside: World, isolated_environment: Path, place: str
) -> None:
    inside.serve()
    inside.user_config(isolated_environment, f'roots = ["{inside.folder}", "{isolated_environment}", "/proc"]\n')
    inside.declare(location=str(PLACES[place](inside, isolated_environment)))
    assert "is no place for a model" in blocked(inside).out


def test_x1_a_folder_of_our_own_that_the_environment_moved_is_protected(
    inside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside.serve()
    for variable, folder in (("IMAGEWORKS_STATE_DIR", "s"), ("XDG_CACHE_HOME", "c"), ("IMAGEWORKS_LOG_DIR", "l")):
        monkeypatch.setenv(variable, str(inside.folder / folder))
    for place in ("s", "s/logs", "c/imageworks", "l/x"):
        inside.declare(location=str(inside.folder / place))
        assert "is no place for a model" in blocked(inside).out, place


@pytest.mark.parametrize("kind", ["registry.yaml", ".git/HEAD"])
def test_x1_a_folder_that_holds_a_registry_or_a_repository_is_not_replaced(inside: World, kind: str) -> None:
    inside.serve()
    kept = inside.weights / "acme/tiny-1b/notes" / kind
    kept.parent.mkdir(parents=True)
    kept.write_text("schema_version: 1\n", encoding="utf-8")
    inside.declare(location=str(inside.weights))
    result = inside.reconcile(code=1)
    assert "it holds" in result.out
    assert kept.read_text(encoding="utf-8") == "schema_version: 1\n"
    assert not (inside.weights / "acme/tiny-1b/model.safetensors").exists()


def test_x1_a_cloned_model_with_its_git_folder_is_still_taken_over(inside: World) -> None:
    inside.serve()
    cloned = put(inside.weights / "acme/tiny-1b", MODEL)
    git(inside.folder, "init", "--quiet", str(cloned))
    inside.declare(location=str(inside.weights))
    assert inside.plan().changes == {NAME: ("adopt", "found")}
    inside.reconcile()


NAMED = [
    "~/ai-models/registry/.git",
    "~/ai-models/registry",
    "~/.config/imageworks",
    "~/.local/state/imageworks/intents",
    "/home/somebody/.cache/imageworks/hub",
    "~/code/.GIT/hooks",
    "~/code/.\uff47\uff49\uff54",
    "~/code/.g\u200cit",
    "~/code/.git. /hooks",
    "~/code/git~1/hooks",
    "~/code/.git::$INDEX_ALLOCATION",
    "~/weights/.imageworks/staging",
    "~/weights/./x/../../ai-models/registry/models",
    "/proc/self/cwd/.git",
]


@pytest.mark.parametrize("path", NAMED)
def test_x1_validate_refuses_a_place_by_what_the_files_say(world: World, path: str) -> None:
    world.declare(location=path)
    found = problems(world)
    assert [one["file"] for one in found] == [f"registry/models/{NAME}.yaml"]
    assert command("validate", "--registry", world.root).code == 1
    assert command("validate", world.root / f"models/{NAME}.yaml").code == 1


FIELDS: dict[str, dict[str, object]] = {
    "source": {"source": {"path": "~/ai-models/registry/payload"}},
    "source in git": {"source": {"path": "~/code/.git/lfs"}},
    "base": {"source": {"ollama": "own:1b", "modelfile": {"from": "~/ai-models/registry/evil.gguf"}}},
    "adapter": {"source": {"ollama": "own:1b", "modelfile": {"from": "qwen:7b", "adapters": ["~/x/.git/a.gguf"]}}},
    "base by a way round": {"source": {"ollama": "own:1b", "modelfile": {"from": "~/x/../ai-models/registry/a.gguf"}}},
    "template": {"chat_template": {"source": "external", "path": ".git/config"}},
    "own settings": {"chat_template": {"source": "external", "path": "~/.config/imageworks/config.toml"}},
}


@pytest.mark.parametrize("field", FIELDS)
def test_x1_validate_refuses_every_field_that_names_a_path(world: World, field: str) -> None:
    world.declare(**FIELDS[field])  # type: ignore[arg-type]
    assert [one["file"] for one in problems(world)] == [f"registry/models/{NAME}.yaml"]


@pytest.mark.parametrize("override", ['"~/x/.git"', '{"path": "~/x/.git"}'])
def test_x1_validate_refuses_locations_and_what_hosts_say_instead(world: World, override: str) -> None:
    hosts = {"testhost": {"locations": {"second": json.loads(override)}}}
    world.configure(hosts=hosts)
    assert [one["file"] for one in problems(world)] == ["registry/registry.yaml"]
    world.configure(locations={"second": {"path": str(world.root / "models")}}, routing={"default": "second"})
    assert [one["file"] for one in problems(world)] == ["registry/registry.yaml"]


def test_x1_a_chat_template_of_the_registry_and_ordinary_places_are_fine(world: World) -> None:
    world.declare(location="~/ai-models/weights", chat_template={"source": "external", "path": "templates/chat.jinja"})
    world.declare("other", location="~/ai-models/registry-of-models/weights", source={"huggingface": "acme/other"})
    assert problems(world) == []


@pytest.mark.parametrize("place", [".git", "models", ".git/hooks"])
def test_x1_download_neither_puts_a_model_there_nor_allows_the_folder(
    inside: World, isolated_environment: Path, place: str
) -> None:
    inside.serve()
    inside.user_config(isolated_environment, "")
    inside.commit("Payload")
    before = inside.head()
    result = command(
        "download",
        "acme/tiny-1b",
        "--location",
        inside.root / place,
        "--registry",
        inside.root,
        "--yes",
        "--no-progress",
    )
    assert result.code in {1, 64}
    assert "is no place for a model" in result.err
    assert inside.head() == before
    assert str(place) not in (isolated_environment / ".config/imageworks/config.toml").read_text(encoding="utf-8")
    allowed = command("config", "--allow", inside.root / place)
    assert allowed.code in {1, 64}
    assert "is no place for a model" in allowed.err


def test_x1_download_does_not_open_the_whole_home(inside: World, isolated_environment: Path) -> None:
    inside.serve()
    result = command("download", "acme/tiny-1b", "--location", "~", "--registry", inside.root, "--yes", "--no-progress")
    assert result.code == 64
    assert f'"{isolated_environment}"' not in (isolated_environment / ".config/imageworks/config.toml").read_text()


def test_x1_scan_records_nothing_of_a_registry(inside: World) -> None:
    put(inside.root / "payload" / "acme" / "llama", awq())
    put(inside.root / ".git" / "acme" / "llama", awq())
    inside.commit("Payload")
    for base in ("payload", ".git"):
        result = command("scan", "--base", inside.root / base, "--registry", inside.root)
        assert result.code == 1, result
    result = command("scan", "--base", inside.folder, "--registry", inside.root)
    assert not (inside.root / "discovered").exists(), result


def test_x1_python_records_nothing_of_a_registry(inside: World) -> None:
    from imageworks.model_loader.download_adapter import RecordError, record_download

    folder = put(inside.root / "payload" / "llama", awq())
    inside.commit("Payload")
    with pytest.raises(RecordError, match="is no place for a model"):
        record_download(path=folder, backend="vllm", registry=inside.root)
    link = inside.folder / "link"
    link.symlink_to(folder)
    with pytest.raises(RecordError, match="is no place for a model"):
        record_download(path=link, backend="vllm", registry=inside.root)


def test_x1_what_is_published_is_no_program(inside: World) -> None:
    source = inside.folder / "given" / "model"
    source.mkdir(parents=True)
    for path, data in MODEL.items():
        (source / path).write_bytes(data)
        (source / path).chmod(0o755)
    inside.declare(source={"path": str(source)}, location=str(inside.folder / "elsewhere"))
    inside.reconcile()
    published = [path for path in (inside.folder / "elsewhere").rglob("*") if path.is_file()]
    published = [path for path in published if ".imageworks" not in path.parts]
    assert published
    assert not [path for path in published if stat.S_IMODE(path.stat().st_mode) & 0o111]
    assert all((source / path).stat().st_mode & 0o111 for path in MODEL)  # theirs is left alone
    assert inside.entries() == [NAME]


@pytest.mark.parametrize("source", ["hub", "path"])
def test_x1_what_is_adopted_keeps_its_modes_and_is_told(inside: World, source: str) -> None:
    inside.serve()
    there = put(inside.weights / "acme/tiny-1b", MODEL)
    (there / "config.json").chmod(0o755)
    inside.declare(source={"path": str(there)} if source == "path" else None)
    if source == "hub":
        inside.declare(location=str(inside.weights))
    plan = inside.plan()
    change = only_change(plan)
    assert change["action"] == "adopt"
    assert any("config.json" in warning and "executable" in warning for warning in change["warnings"])
    inside.reconcile()
    assert (there / "config.json").stat().st_mode & 0o111


def test_x1_the_target_is_shown_in_text_json_and_comment(world: World) -> None:
    world.serve()
    world.declare(location="second")
    target = str(world.folder / "second/acme/tiny-1b")
    assert target in world.reconcile("--dry-run").out
    change = only_change(world.plan())
    assert change["path"]["to"] == target
    assert target in world.reconcile("--dry-run", "--format", "markdown", "--base", "HEAD~1").out


def test_x1_promote_declares_nothing_of_a_registry(inside: World) -> None:
    put(inside.weights / "acme" / "llama", awq())
    assert command("scan", "--registry", inside.root, "--base", inside.weights).code == 0
    (name,) = inside.entries()
    file = inside.root / f"discovered/testhost/{name}.json"
    entry = json.loads(file.read_bytes())
    entry["download_path"] = str(put(inside.root / "payload" / "llama", awq()))
    file.write_text(json.dumps(entry), encoding="utf-8")
    inside.commit("Lead elsewhere")
    promoted = command("promote", name, "--registry", inside.root)
    assert promoted.code == 1, promoted
    assert not (inside.root / f"models/{name}.yaml").exists()


def test_x1_a_chat_template_in_a_git_folder_is_not_handed_to_a_server(inside: World) -> None:
    inside.serve()
    inside.declare(chat_template={"source": "external", "path": ".git/description"}, backend="vllm")
    inside.reconcile(valid=False)
    launched = command("launch", "vllm", NAME, "--print", "--registry", inside.root)
    assert launched.code != 0
    assert ".git/description" not in launched.out


def test_x1_removing_reaches_into_no_registry(inside: World) -> None:
    inside.serve()
    inside.declare(location=str(inside.weights))
    inside.reconcile()
    file = inside.root / f"discovered/testhost/{NAME}.json"
    entry = json.loads(file.read_bytes())
    entry["download_path"] = str(put(inside.root / "payload", MODEL))
    file.write_text(json.dumps(entry), encoding="utf-8")
    inside.commit("Lead elsewhere")
    command("remove", NAME, "--delete-files", "--yes", "--registry", inside.root)
    assert (inside.root / "payload/model.safetensors").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_x1_a_git_folder_that_is_mounted_elsewhere_is_known(inside: World) -> None:
    inside.serve()
    at = inside.folder / "mounted"
    at.mkdir()
    mounted = subprocess.run(["mount", "--bind", inside.root / ".git/hooks", at], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        inside.declare(location=str(at))
        assert "is no place for a model" in blocked(inside).out
    finally:
        subprocess.run(["umount", at], check=True)
