"""Which folders are a registry's repository, and what is said about those that are not."""

import os
import subprocess
from pathlib import Path

import pytest

from imageworks.git import writer as git_writer
from imageworks.git.repository import RegistryRepository, init_repository
from imageworks.git.values import NotARegistryRepositoryError, RegistryGitError, UnsupportedRepositoryError
from support.git import git, make_registry


def test_a_folder_without_git_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(NotARegistryRepositoryError, match="not in a git repository") as caught:
        RegistryRepository.open(tmp_path)
    assert f"imageworks-models init '{tmp_path}'" in caught.value.render()
    with pytest.raises(NotARegistryRepositoryError, match="no such folder"):
        RegistryRepository.open(tmp_path / "missing")


def test_a_folder_that_the_surrounding_repository_ignores_is_not_in_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("/ai-models/\n")
    (tmp_path / "ai-models").mkdir()
    with pytest.raises(NotARegistryRepositoryError, match="ignores this folder"):
        RegistryRepository.open(tmp_path / "ai-models")
    repository = init_repository(tmp_path / "ai-models")
    assert repository.prefix == ""


def test_init_makes_a_repository_once_and_joins_one_that_is_there(tmp_path: Path) -> None:
    fresh = init_repository(tmp_path / "deep/registry", branch="trunk")
    assert (fresh.branch(), fresh.prefix, fresh.head()) == ("trunk", "", None)
    assert init_repository(tmp_path / "deep/registry").branch() == "trunk"
    inner = init_repository(tmp_path / "deep/registry/models-registry")
    assert inner.prefix == "models-registry"


def test_init_takes_the_users_default_branch(
    tmp_path: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert init_repository(tmp_path / "a").branch() == "main"
    settings = isolated_environment / "settings"
    settings.write_text("[init]\n defaultBranch = dev\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert init_repository(tmp_path / "b").branch() == "dev"


def test_a_bare_repository_is_refused_and_a_work_tree_of_it_is_not(tmp_path: Path) -> None:
    make_registry(tmp_path / "r")
    git(tmp_path, "clone", "-q", "--bare", "r", "bare.git")
    with pytest.raises(UnsupportedRepositoryError, match="bare repository") as caught:
        RegistryRepository.open(tmp_path / "bare.git")
    assert "worktree add" in caught.value.render()
    git(tmp_path / "bare.git", "worktree", "add", "-q", str(tmp_path / "tree"), "main")
    repository = RegistryRepository.open(tmp_path / "tree")
    assert repository.commit({"models/b": b"b"}, message="x", expected=repository.head()).created
    assert git(tmp_path / "tree", "status", "--porcelain") == ""


def test_a_linked_git_folder_is_refused(tmp_path: Path) -> None:
    make_registry(tmp_path / "r")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/.git").symlink_to(tmp_path / "r/.git")
    with pytest.raises(UnsupportedRepositoryError, match="symbolic link"):
        RegistryRepository.open(tmp_path / "other")


def test_a_partial_clone_is_refused(tmp_path: Path) -> None:
    make_registry(tmp_path / "r")
    git(tmp_path / "r", "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{tmp_path}/r", "partial")
    with pytest.raises(UnsupportedRepositoryError, match="partial clone"):
        RegistryRepository.open(tmp_path / "partial")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("[extensions]\n objectformat = sha256\n", "SHA-256"),
        ("[extensions]\n refstorage = reftable\n", "reftable"),
        ("[extensions]\n somethingnew = 1\n", "cannot open"),
    ],
)
def test_an_unknown_repository_format_is_refused_clearly(tmp_path: Path, settings: str, message: str) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".git/config").write_text(f"[core]\n repositoryformatversion = 1\n bare = false\n{settings}")
    with pytest.raises(UnsupportedRepositoryError, match=message):
        RegistryRepository.open(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_another_user_is_refused_clearly(tmp_path: Path) -> None:
    make_registry(tmp_path / "r")
    subprocess.run(["chown", "-R", "12345", str(tmp_path / "r")], check=True)
    with pytest.raises(UnsupportedRepositoryError, match="another user") as caught:
        RegistryRepository.open(tmp_path / "r")
    assert "safe.directory" in caught.value.render()


def test_a_registry_reached_through_a_link_is_the_same_registry(tmp_path: Path) -> None:
    repository = make_registry(tmp_path / "r")
    (tmp_path / "alias").symlink_to("r")
    assert RegistryRepository.open(tmp_path / "alias").layout == repository.layout


def test_i7_a_remotes_password_appears_in_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_writer, "RACE_SECONDS", 0)
    repository = make_registry(tmp_path)
    git(tmp_path, "remote", "add", "origin", "https://user:s3cret@example.org/r.git")
    (tmp_path / ".git/refs/heads/main.lock").mkdir()
    with pytest.raises(RegistryGitError) as caught:
        repository.commit({"models/b": b"b"}, message="x", expected=repository.head())
    assert "s3cret" not in repr(caught.value)
