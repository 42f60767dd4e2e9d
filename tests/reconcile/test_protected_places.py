"""No model goes into a registry, a git folder or this program's own folders, and none is made of a registry's files."""

import stat

import pytest

from support.git import git
from support.reconcile import MODEL, NAME, World


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


@pytest.mark.parametrize("target", [".git", ".git/hooks", ".GIT/x", "models", "", "discovered/testhost"])
def test_x1_no_model_goes_into_a_registry(inside: World, target: str) -> None:
    inside.serve()
    inside.declare(location=str(inside.root / target))
    result = inside.reconcile(code=1)
    assert "root-not-allowed" in result.out
    assert not (inside.root / target / "model.safetensors").exists()
    assert inside.entries() == []


@pytest.mark.parametrize("source", ["payload", ".git", "models"])
def test_x1_no_model_is_made_of_a_registry(inside: World, source: str) -> None:
    git(inside.git_root, "add", "--all")
    inside.commit("Payload")
    inside.declare(source={"path": str(inside.root / source)}, location=str(inside.folder / "elsewhere"))
    assert "is no place for a model" in inside.reconcile(code=1).out
    assert not (inside.folder / "elsewhere").exists()


def test_x1_a_link_leads_nowhere_else(inside: World) -> None:
    inside.serve()
    (inside.folder / "innocent").symlink_to(inside.root / ".git", target_is_directory=True)
    inside.declare(location=str(inside.folder / "innocent"))
    assert "is no place for a model" in inside.reconcile(code=1).out


def test_x1_another_registry_and_our_own_folder_of_a_location_are_no_places(inside: World) -> None:
    inside.serve()
    other = inside.folder / "other registry"
    other.mkdir()
    (other / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
    for place in (other, inside.folder / ".imageworks"):
        inside.declare(location=str(place))
        assert "is no place for a model" in inside.reconcile(code=1).out


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
