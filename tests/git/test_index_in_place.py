"""An index in which nothing moves is written without git, and git finds in it what it would have written itself."""

import stat
from pathlib import Path

import pytest

from imageworks.git.repository import RegistryRepository
from imageworks.registry.commit_reader import RevisionReader
from support.git import assert_sound, git, make_registry

OURS = "discovered/h/a.json"
SNAPSHOT = "snapshot/h.json"
FILES = {OURS: b"old", SNAPSHOT: b"[]\n", "discovered/h/b.json": b"b", "models/a.yaml": b"a: 1\n"}
LARGE = b'{"name": "x", "files": []},\n' * 60_000


def stat_of(folder: Path, path: str) -> dict[str, str]:
    """Return how git's index says that a file looks."""
    lines = git(folder, "ls-files", "--debug", "--", path).splitlines()[1:]
    return dict(part.strip().split(": ") for line in lines for part in line.split("\t") if ": " in part)


def without_git(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let no git program be found."""
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))


def test_entries_and_folders_are_as_git_would_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = tmp_path / "registry"
    repository = make_registry(registry, FILES)
    git(registry, "reset", "--quiet")
    known = git(registry, "write-tree")  # the index knows all trees now
    with monkeypatch.context() as patch:
        without_git(patch, tmp_path / "nothing")
        result = repository.commit({OURS: b"new", SNAPSHOT: LARGE}, message="x", expected=repository.head())
    assert (result.notes, result.left_alone) == ((), ())
    looks, seen = (registry / OURS).lstat(), stat_of(registry, OURS)
    assert seen["mtime"] == f"{looks.st_mtime_ns // 10**9}:{looks.st_mtime_ns % 10**9}"
    assert (seen["ino"], seen["size"]) == (str(looks.st_ino & 0xFFFFFFFF), "3")
    assert git(registry, "write-tree") == git(registry, "rev-parse", "HEAD^{tree}") != known
    assert git(registry, "status", "--porcelain") == ""
    git(registry, "update-index", "--really-refresh")
    assert git(registry, "diff-files", "--name-only") == ""
    assert_sound(registry)


def test_of_files_that_come_and_go_git_knows_how_they_look(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, FILES)
    git(tmp_path, "reset", "--quiet")
    git(tmp_path, "write-tree")
    changes = {OURS: None, SNAPSHOT: LARGE, "discovered/h/a-new.json": b"new", "discovered/other/b.json": b"new"}
    repository.commit(changes, message="x", expected=repository.head())
    for path in (SNAPSHOT, "discovered/h/a-new.json"):
        assert stat_of(tmp_path, path)["ino"] == str((tmp_path / path).lstat().st_ino & 0xFFFFFFFF)
    assert git(tmp_path, "diff-files", "--name-only") == ""
    assert git(tmp_path, "status", "--porcelain") == ""
    assert git(tmp_path, "write-tree") == git(tmp_path, "rev-parse", "HEAD^{tree}")


def test_a_large_file_is_stored_as_git_stores_it(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, FILES)
    result = repository.commit({SNAPSHOT: LARGE}, message="x", expected=repository.head())
    assert RevisionReader(repository, result.id).file(SNAPSHOT) == LARGE
    name = git(tmp_path, "hash-object", SNAPSHOT).strip()
    file = tmp_path / ".git/objects" / name[:2] / name[2:]
    small = git(tmp_path, "rev-parse", f"HEAD:{OURS}").strip()
    like = tmp_path / ".git/objects" / small[:2] / small[2:]
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(like.stat().st_mode)
    assert [one.name for one in file.parent.iterdir() if one.name.startswith("tmp_")] == []
    again = repository.commit({SNAPSHOT: b"[]\n"}, message="y", expected=result.id)
    repository.commit({SNAPSHOT: LARGE}, message="z", expected=again.id)
    assert git(tmp_path, "status", "--porcelain") == ""
    assert_sound(tmp_path)


@pytest.mark.parametrize("known", [True, False], ids=["its tree is known", "its tree is not known"])
def test_i6_what_is_staged_beside_ours_is_in_the_next_tree(tmp_path: Path, *, known: bool) -> None:
    repository = make_registry(tmp_path, FILES)
    (tmp_path / "discovered/h/b.json").write_bytes(b"mine")
    git(tmp_path, "add", "discovered/h/b.json")
    if known:
        git(tmp_path, "write-tree")
    repository.commit({OURS: b"new", SNAPSHOT: b"[{}]\n"}, message="x", expected=repository.head())
    assert git(tmp_path, "status", "--porcelain") == "M  discovered/h/b.json\n"
    tree = git(tmp_path, "write-tree").strip()
    assert git(tmp_path, "show", f"{tree}:{OURS}") == "new"
    assert git(tmp_path, "show", f"{tree}:discovered/h/b.json") == "mine"
    assert git(tmp_path, "show", f"{tree}:{SNAPSHOT}") == "[{}]\n"


KINDS = {
    "split": ("update-index", "--split-index"),
    "untracked-cache": ("update-index", "--force-untracked-cache"),
    "version 4": ("update-index", "--index-version", "4"),
    "assumed": ("update-index", "--assume-unchanged", OURS),
    "left out": ("update-index", "--skip-worktree", OURS),
    "executable": ("update-index", "--chmod=+x", OURS),
    "many threads": ("-c", "index.threads=4", "update-index", "--force-write-index"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_of_any_kind_has_what_was_committed(tmp_path: Path, kind: str) -> None:
    repository = make_registry(tmp_path, {**FILES, "models/é ü.yaml": b"a: 1\n", f"models/{'n' * 240}.yaml": b"a: 1\n"})
    git(tmp_path, "reset", "--quiet")
    git(tmp_path, *KINDS[kind])
    git(tmp_path, "write-tree")
    git(tmp_path, "status")
    changes = {OURS: b"new", SNAPSHOT: LARGE, "models/é ü.yaml": b"a: 2\n", f"models/{'n' * 240}.yaml": b"a: 2\n"}
    repository.commit(changes, message="x", expected=repository.head())
    for path, data in changes.items():
        assert git(tmp_path, "show", f":{path}").encode() == data
    assert git(tmp_path, "ls-files", "-v", "--", "discovered/h/b.json") == "H discovered/h/b.json\n"
    modes = {line.split()[0] for line in git(tmp_path, "ls-files", "--stage").splitlines()}
    if kind != "executable":
        assert modes == {"100644"}
        assert git(tmp_path, "write-tree") == git(tmp_path, "rev-parse", "HEAD^{tree}")
        assert git(tmp_path, "status", "--porcelain") == ""
    assert_sound(tmp_path)


def test_a_commit_of_many_files_is_as_one_of_few(tmp_path: Path) -> None:
    many = {f"discovered/h/model-{number:03d}.json": b"old" for number in range(100)}
    repository = make_registry(tmp_path, {**FILES, **many})
    git(tmp_path, "write-tree")
    repository.commit(dict.fromkeys(many, b"new"), message="x", expected=repository.head())
    assert git(tmp_path, "status", "--porcelain") == ""
    assert git(tmp_path, "write-tree") == git(tmp_path, "rev-parse", "HEAD^{tree}")


def test_an_index_of_a_linked_work_tree_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, linked = tmp_path / "main", tmp_path / "linked"
    make_registry(main, FILES)
    git(main, "worktree", "add", "-q", "-b", "other", str(linked))
    git(linked, "reset", "--quiet")
    before = (main / ".git/index").read_bytes()
    repository = RegistryRepository.open(linked, host="h")
    with monkeypatch.context() as patch:
        without_git(patch, tmp_path / "nothing")
        repository.commit({OURS: b"new", SNAPSHOT: LARGE}, message="x", expected=repository.head())
    assert git(linked, "status", "--porcelain") == ""
    assert (main / ".git/index").read_bytes() == before
    assert repository.git_folder.samefile(main / ".git")
    assert_sound(linked)
