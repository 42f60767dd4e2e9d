"""Reading a registry at a commit."""

import os
import subprocess
from pathlib import Path

import pytest

from imageworks.git.repository import RegistryRepository
from imageworks.git.values import (
    BlobRefusedError,
    UnknownRevisionError,
    UnsafePathError,
    UnsupportedRepositoryError,
)
from imageworks.registry.commit_reader import RevisionReader
from imageworks.registry.documents.diagnostic import Refusal
from imageworks.registry.reader import RegistryReader, WorkTreeReader
from support.git import git, make_registry


def test_files_of_a_folder_are_listed_with_sizes_and_read_back(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/b.yaml": b"bb", "models/a.yaml": b"a", "x.txt": b""})
    listed = repository.list_files(repository.head(), "models")
    assert [(path, blob.size) for path, blob in listed.items()] == [("models/a.yaml", 1), ("models/b.yaml", 2)]
    assert [data for _, data in repository.read_blobs(listed.values())] == [b"a", b"bb"]


def test_an_earlier_commit_still_reads_as_it_was(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a.yaml": b"old"})
    first = repository.head()
    repository.commit({"models/a.yaml": b"new"}, message="x", expected=first)
    assert RevisionReader(repository, first).file("models/a.yaml") == b"old"
    assert RevisionReader(repository, repository.head()).file("models/a.yaml") == b"new"


def test_both_readers_agree_on_a_clean_registry(tmp_path: Path) -> None:
    repository = make_registry(
        tmp_path, {"models/a.yaml": b"a", "models/deep/er.yaml": b"b", "models/.hidden": b"c", "registry.yaml": b"d"}
    )
    at_head: RegistryReader = RevisionReader(repository, repository.head())
    on_disk: RegistryReader = WorkTreeReader(tmp_path)
    assert at_head.files("models") == on_disk.files("models") == {"models/a.yaml": b"a", "models/deep/er.yaml": b"b"}
    assert at_head.file("registry.yaml") == on_disk.file("registry.yaml") == b"d"
    assert at_head.file("models") is None
    assert at_head.file("nothing") is None


def test_links_are_listed_as_refused_and_never_followed(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a.yaml": b"a", "elsewhere/b.yaml": b"b"})
    (tmp_path / "models/link.yaml").symlink_to("/etc/passwd")
    (tmp_path / "discovered").symlink_to("elsewhere")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "links")
    head = repository.head()
    link = repository.list_files(head, "models")["models/link.yaml"]
    assert link.refusal == "a symbolic link"
    assert RevisionReader(repository, head).files("models")["models/link.yaml"] == Refusal("a symbolic link")
    assert isinstance(RevisionReader(repository, head).files("discovered")["discovered"], Refusal)
    with pytest.raises(BlobRefusedError, match="symbolic link"):
        list(repository.read_blobs([link]))
    with pytest.raises(UnsafePathError, match="discovered"):
        repository.list_files(head, "discovered")


def nested(folder: Path, *, levels: int, width: int) -> None:
    """Commit folders that hold one another, each so many times."""
    tree = git(folder, "rev-parse", "HEAD:models").strip()
    for _ in range(levels):
        rows = "".join(f"040000 tree {tree}\t{'d' * (9 if width > 1 else 250)}{number}\n" for number in range(width))
        done = subprocess.run(["git", "mktree"], cwd=folder, input=rows, capture_output=True, text=True, check=True)
        tree = done.stdout.strip()
    root = f"040000 tree {tree}\tmodels\n"
    done = subprocess.run(["git", "mktree"], cwd=folder, input=root, capture_output=True, text=True, check=True)
    commit = git(folder, "commit-tree", "-m", "bomb", "-p", "HEAD", done.stdout.strip()).strip()
    git(folder, "update-ref", "HEAD", commit)


@pytest.mark.parametrize(("levels", "width"), [(8, 20), (20, 1)], ids=["wide", "deep"])
def test_a_tree_that_holds_billions_of_files_is_refused(tmp_path: Path, levels: int, width: int) -> None:
    repository = make_registry(tmp_path / "r", {"models/a.yaml": b"a"})
    nested(tmp_path / "r", levels=levels, width=width)
    with pytest.raises(UnsupportedRepositoryError, match="holds more than"):
        repository.list_files(repository.head(), "models")


def test_a_submodule_is_refused_as_a_file_and_not_entered(tmp_path: Path) -> None:
    repository = make_registry(tmp_path / "r", {"models/a.yaml": b"a"})
    identifier = repository.head()
    git(tmp_path / "r", "update-index", "--add", "--cacheinfo", f"160000,{identifier},models/sub")
    git(tmp_path / "r", "commit", "-qm", "sub")
    assert repository.list_files(repository.head(), "models")["models/sub"].refusal == "a submodule"
    assert repository.list_files(repository.head(), "models/sub") == {}


def test_a_huge_blob_is_refused_by_its_header(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a.yaml": b"0" * 70_000})
    reference = repository.list_files(repository.head(), "models")["models/a.yaml"]
    with pytest.raises(BlobRefusedError, match="70000 bytes"):
        repository.read_blob(reference.id, limit=65_536)
    with pytest.raises(BlobRefusedError, match="70000 bytes"):
        list(repository.read_blobs([reference], limit=65_536))
    with pytest.raises(BlobRefusedError, match="70000 bytes"):
        repository.is_made_of(reference.id, [b"0"], limit=65_536)


def test_a_stored_file_is_known_by_its_bytes_in_pieces(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a.yaml": b"abc"})
    identifier = repository.list_files(repository.head(), "models")["models/a.yaml"].id
    assert repository.is_made_of(identifier, [b"a", b"", b"bc"])
    assert not repository.is_made_of(identifier, [b"a", b"bd"])
    assert not repository.is_made_of(identifier, [b"abc", b"d"])
    folder = repository.tree_id(repository.head(), "models")
    assert folder is not None
    assert not repository.is_made_of(folder, [b"abc"])


def test_a_missing_object_is_a_message(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a.yaml": b"a"})
    with pytest.raises(BlobRefusedError, match="missing or damaged"):
        repository.read_blob("0" * 39 + "1")
    with pytest.raises(BlobRefusedError, match="missing or damaged"):
        repository.is_made_of("0" * 39 + "1", [b""])
    with pytest.raises(UnknownRevisionError, match="no such commit"):
        repository.list_files("0" * 39 + "1", "models")


def test_the_tree_id_says_whether_anything_changed(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a.yaml": b"a", "other/b": b"b"})
    first = repository.head()
    second = repository.commit({"other/b": b"c"}, message="x", expected=first).id
    assert repository.tree_id(first, "models") == repository.tree_id(second, "models") is not None
    assert repository.tree_id(first, "other") != repository.tree_id(second, "other")
    assert repository.tree_id(first) != repository.tree_id(second)
    assert repository.tree_id(first, "missing/folder") is None


def test_an_unborn_branch_reads_as_empty(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {})
    assert repository.head() is None
    assert repository.list_files(None, "models") == {}
    assert repository.tree_id(None) is None
    assert list(repository.log()) == []
    assert RevisionReader(repository, None).files("models") == {}


def test_uncommitted_files_are_found_whether_staged_or_not(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a.yaml": b"a", "models/b.yaml": b"b", "other": b"o"})
    assert repository.uncommitted("models") == ()
    (tmp_path / "models/a.yaml").write_bytes(b"changed")
    (tmp_path / "models/new.yaml").write_bytes(b"n")
    (tmp_path / "other").write_bytes(b"x")
    git(tmp_path, "rm", "-q", "--cached", "models/b.yaml")
    assert repository.uncommitted("models") == ("models/a.yaml", "models/b.yaml", "models/new.yaml")


@pytest.mark.parametrize(
    ("text", "back"),
    [("HEAD", 0), ("main", 0), ("HEAD~1", 1), ("v1", 2), ("2020-01-02", 1), ("2020-01-01T12:30+00:00", 2)],
)
def test_revisions_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, back: int) -> None:
    monkeypatch.setenv("TZ", "UTC")
    git(tmp_path, "init", "-qb", "main")
    commits: list[str] = []
    for day in (1, 2, 3):
        date = f"2020-01-0{day}T12:00:00+0000"
        monkeypatch.setenv("GIT_COMMITTER_DATE", date)
        git(tmp_path, "commit", "-q", "--allow-empty", "-m", "x", f"--date={date}")
        commits.insert(0, git(tmp_path, "rev-parse", "HEAD").strip())
    git(tmp_path, "tag", "-a", "-m", "annotated", "v1", commits[2])
    repository = RegistryRepository.open(tmp_path)
    assert repository.resolve(text) == commits[back]
    assert repository.resolve(commits[back][:10]) == commits[back]
    assert repository.resolve("1 day ago") == commits[0]


@pytest.mark.parametrize("text", ["", "nonsense", "1999-01-01", "HEAD~9", "900000 years ago", "0001-01-01"])
def test_a_revision_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    repository = make_registry(tmp_path)
    with pytest.raises(UnknownRevisionError):
        repository.resolve(text)


def test_crlf_settings_do_not_change_what_is_read(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a.yaml": b"a: 1\n", ".gitattributes": b"* text eol=crlf\n"})
    os.remove(tmp_path / "models/a.yaml")  # noqa: PTH107 # so that git writes it again, with CRLF
    git(tmp_path, "checkout", "--", "models/a.yaml")
    assert (tmp_path / "models/a.yaml").read_bytes() == b"a: 1\r\n"
    assert RevisionReader(repository, repository.head()).file("models/a.yaml") == b"a: 1\n"
