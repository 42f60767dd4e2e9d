"""Which names lead to which folders, which files are seen, and git repositories."""

import os
import subprocess
from pathlib import Path

import pytest

from imageworks.loopback_hub.content import Snapshot, StoragePolicy
from imageworks.loopback_hub.model_card import parse_card
from imageworks.loopback_hub.repositories import Repositories
from support.hub import HubRepository

WHO = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "init.defaultBranch=main")


def catalogue(root: Path) -> Repositories:
    return Repositories(root, StoragePolicy())


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *WHO, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def snapshot(root: Path, name: str, revision: str = "main") -> Snapshot:
    repository = catalogue(root).find(name)
    assert repository is not None
    found = repository.resolve(revision)
    assert found is not None
    return found


def read(found: Snapshot, path: str) -> bytes:
    return found.files[path].content.read()


@pytest.fixture
def git_repository(tmp_path: Path) -> Path:
    """A git repository with a branch, an annotated tag, a pull request and files of both kinds."""
    folder = tmp_path / "acme" / "versioned"
    (folder / "sub").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "sub" / "config.json").write_bytes(b"one")
    (folder / "model.gguf").write_bytes(b"GGUF")
    (folder / "link").symlink_to("/etc/passwd")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "First\n\nWith a body")
    git(folder, "tag", "-a", "v1", "-m", "One")
    (folder / "sub" / "config.json").write_bytes(b"two")
    git(folder, "commit", "-q", "-am", "Second")
    git(folder, "branch", "dev", "v1")
    git(folder, "update-ref", "refs/pr/1", "HEAD~1")
    (folder / "uncommitted.txt").write_bytes(b"nobody's business")
    return folder


def test_names_lead_to_folders_by_one_rule(tmp_path: Path) -> None:
    HubRepository(tmp_path, "acme/tiny", {"a": b""}).branch("dev")
    HubRepository(tmp_path, "gpt2", {"a": b"", "sub/b": b""})
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache" / "x").mkdir(parents=True)
    found = catalogue(tmp_path)

    assert found.names() == ["acme/tiny", "gpt2"]
    for name in (
        "acme",
        "gpt2/sub",
        "acme/none",
        "acme/tiny@dev",
        "..",
        "acme/..",
        "acme/.git",
        "",
        "/",
        "a/b/c",
        "a\0b",
    ):
        assert found.find(name) is None, name


def test_nothing_outside_the_root_or_hidden_is_seen(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    HubRepository(
        root, "acme/tiny", {"a": b"a", ".env": b"x", ".gitattributes": b"*", ".cache/b": b"x", "sub/.c": b"x"}
    )
    folder = root / "acme" / "tiny"
    (folder / "escape").symlink_to(outside / "secret")
    (folder / "folder").symlink_to(outside)
    (folder / "hidden").symlink_to(folder / ".env")
    (folder / "dangling").symlink_to(root / "none")
    (folder / "inside").symlink_to("a")
    os.mkfifo(folder / "pipe")
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff"))).write_bytes(b"")
    (root / "acme" / "linked").symlink_to(outside)
    (root / "owner").symlink_to(root / "acme")

    assert sorted(snapshot(root, "acme/tiny").files) == [".gitattributes", "a", "inside"]
    assert read(snapshot(root, "acme/tiny"), "inside") == b"a"
    assert catalogue(root).find("acme/linked") is None
    assert catalogue(root).find("owner/tiny") is None


def test_the_trees_and_the_digests_are_those_of_git(tmp_path: Path) -> None:
    files = {"a": b"1", "a.b/c": b"2", "a0": b"3", "a-b": b"4", "d/e/f": b"5"}
    HubRepository(tmp_path, "acme/tiny", files)
    found = snapshot(tmp_path, "acme/tiny")
    git(tmp_path / "acme/tiny", "init", "-q")
    git(tmp_path / "acme/tiny", "add", "-A")
    tree = git(tmp_path / "acme/tiny", "write-tree")

    assert {path: file.oid for path, file in found.files.items()} == {
        path: git(tmp_path / "acme/tiny", "rev-parse", f":{path}") for path in files
    }
    for path, oid in found.folders.items():
        assert git(tmp_path / "acme/tiny", "rev-parse", f"{tree}:{path}") == oid


def test_the_same_content_is_the_same_commit_and_another_is_not(tmp_path: Path) -> None:
    first = HubRepository(tmp_path, "acme/one", {"a": b"1"})
    second = HubRepository(tmp_path, "acme/two", {"a": b"1"})
    assert first.commit_id == second.commit_id

    changed = second.commit({"a": b"2"})
    assert changed != first.commit_id
    assert second.commit({"a": b"1"}) == first.commit_id
    assert read(snapshot(tmp_path, "acme/two", changed), "a") == b"2"


def test_a_folder_named_by_a_commit_is_that_commit(tmp_path: Path) -> None:
    HubRepository(tmp_path, "acme/tiny", {"a": b"1"})
    (tmp_path / "acme" / f"tiny@{'c' * 40}").mkdir()
    (tmp_path / "acme" / f"tiny@{'c' * 40}" / "a").write_bytes(b"copied")

    assert read(snapshot(tmp_path, "acme/tiny", "c" * 40), "a") == b"copied"
    found = catalogue(tmp_path).find("acme/tiny")
    assert found is not None
    assert [reference.name for reference in found.references().branches] == ["main"]


@pytest.mark.parametrize("bare", [False, True])
def test_git_repositories_serve_branches_tags_and_commits(tmp_path: Path, git_repository: Path, bare: bool) -> None:
    name = "acme/versioned"
    if bare:
        git(tmp_path, "clone", "-q", "--mirror", str(git_repository), "acme/mirror.git")
        name = "acme/mirror"
    first, second = git(git_repository, "rev-parse", "v1^{}"), git(git_repository, "rev-parse", "main")

    now = snapshot(tmp_path, name)
    assert (now.commit, now.title, sorted(now.files)) == (second, "Second", ["model.gguf", "sub/config.json"])
    assert read(now, "sub/config.json") == b"two"
    assert now.files["model.gguf"].sha256 is not None
    for revision in ("dev", "v1", "refs/pr/1", first):
        assert read(snapshot(tmp_path, name, revision), "sub/config.json") == b"one"
    repository = catalogue(tmp_path).find(name)
    assert repository is not None
    references = repository.references()
    assert {reference.name: reference.commit for reference in references.branches} == {"dev": first, "main": second}
    assert [(reference.name, reference.commit) for reference in references.tags] == [("v1", first)]
    assert [reference.name for reference in references.pull_requests] == ["pr/1"]
    for revision in ("HEAD", "none", "../main", "0" * 40, git(git_repository, "rev-parse", "main^{tree}"), "a b~1"):
        assert repository.resolve(revision) is None, revision


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ("---\nlicense: mit\n---\n", {"license": "mit"}),
        ("---\r\nlicense: 'mit'\r\n---\r\n", {"license": "mit"}),
        ('---\nlanguage:\n- en\n- "no"\n---\n', {"language": ["en", "no"]}),
        ("---\ntags: [a, 'b', ]\nlicense: mit # free\n---\n", {"tags": ["a", "b"], "license": "mit"}),
        ("---\nmodel-index:\n- name: x\n  results: []\nwidget:\n  tags: no\nlicense: {a: b}\n---\n", {}),
        ("license: mit\n", {}),
        ("---\nlicense: mit\n", {"license": "mit"}),
        ("", {}),
    ],
)
def test_the_front_matter_of_a_card(text: str, card: dict[str, object]) -> None:
    assert parse_card(text) == card
