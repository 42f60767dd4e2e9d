"""Making commits: what they contain, on which branch, by whom, and what is refused."""

from pathlib import Path

import pytest

from imageworks.git.repository import RegistryRepository
from imageworks.git.trailers import read_trailers, with_trailers
from imageworks.git.values import (
    BranchMovedError,
    DetachedHeadError,
    OperationInProgressError,
    UnsafePathError,
)
from support.git import assert_sound, git, make_registry


def test_the_first_commit_makes_an_unborn_branch(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {})
    result = repository.commit({"models/a.yaml": b"a\n"}, message="First", expected=None, trailers={"Host": "h"})
    assert result.created
    assert repository.head() == result.id == git(tmp_path, "rev-parse", "main").strip()
    assert git(tmp_path, "log", "--format=%s|%(trailers:key=Host,valueonly)") == "First|h\n\n"
    assert git(tmp_path, "status", "--porcelain") == ""
    assert (tmp_path / "models/a.yaml").read_bytes() == b"a\n"
    assert_sound(tmp_path)


def test_a_commit_adds_changes_and_deletes_and_leaves_the_rest(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a": b"a", "models/b": b"b", "gone/c": b"c", "run": b"r"})
    (tmp_path / "run").chmod(0o755)
    git(tmp_path, "commit", "-qam", "executable")
    result = repository.commit(
        {"models/a": b"A", "gone/c": None, "new/deep/d": b"d", "run": b"R", "never/there": None},
        message="x",
        expected=repository.head(),
    )
    assert result.changed == ("gone/c", "models/a", "new/deep/d", "run")
    assert git(tmp_path, "ls-tree", "-r", "--format=%(objectmode) %(path)", "HEAD").splitlines() == [
        "100644 models/a",
        "100644 models/b",
        "100644 new/deep/d",
        "100755 run",
    ]
    assert git(tmp_path, "status", "--porcelain") == ""
    assert git(tmp_path, "diff-files") == ""  # the index knows the files' times: nothing need be read again
    assert not (tmp_path / "gone").exists()
    assert_sound(tmp_path)


def test_i4_a_commit_that_changes_nothing_is_not_made(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a": b"a"})
    head = repository.head()
    result = repository.commit({"models/a": b"a", "missing": None}, message="x", expected=head)
    assert not result.created
    assert result.id == repository.head() == head
    assert git(tmp_path, "count-objects").startswith("4 objects")


def test_deleting_everything_leaves_an_empty_commit_tree(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a": b"a"})
    assert repository.commit({"models/a": None}, message="x", expected=repository.head()).created
    assert git(tmp_path, "ls-tree", "HEAD") == ""
    assert_sound(tmp_path)


def test_a_registry_in_a_subfolder_touches_nothing_outside(tmp_path: Path) -> None:
    git(tmp_path, "init", "-qb", "main")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/code.py").write_text("1")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "code")
    folder = tmp_path / "deploy/registry"
    folder.mkdir(parents=True)
    repository = RegistryRepository.open(folder)
    assert repository.prefix == "deploy/registry"
    result = repository.commit({"models/a.yaml": b"a"}, message="x", expected=repository.head())
    assert result.changed == ("models/a.yaml",)
    assert git(tmp_path, "show", "--name-only", "--format=", "HEAD") == "deploy/registry/models/a.yaml\n"
    assert list(repository.list_files(repository.head())) == ["models/a.yaml"]
    assert [record.changed for record in repository.log()] == [("models/a.yaml",)]
    assert git(tmp_path, "status", "--porcelain") == ""


def test_a_linked_work_tree_commits_on_its_own_branch(tmp_path: Path) -> None:
    main = make_registry(tmp_path / "main")
    git(tmp_path / "main", "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = RegistryRepository.open(tmp_path / "side")
    assert side.branch() == "side"
    assert side.layout.common_dir == main.layout.common_dir
    side.commit({"models/b.yaml": b"b"}, message="On the side", expected=side.head())
    assert git(tmp_path / "main", "log", "--format=%s", "side").splitlines() == ["On the side", "First"]
    assert main.head() == git(tmp_path / "main", "rev-parse", "side~1").strip()
    for place in ("main", "side"):
        assert git(tmp_path / place, "status", "--porcelain") == ""
        assert_sound(tmp_path / place)


def test_a_detached_head_is_refused_with_the_remedy(tmp_path: Path) -> None:
    repository = make_registry(tmp_path)
    git(tmp_path, "checkout", "-q", "--detach")
    assert repository.branch() is None
    with pytest.raises(DetachedHeadError, match="detached") as caught:
        repository.commit({"models/a": b"x"}, message="x", expected=repository.head())
    assert "git switch" in caught.value.render()


@pytest.mark.parametrize("operation", ["merge", "rebase", "cherry-pick"])
def test_an_operation_of_the_user_in_progress_is_refused(tmp_path: Path, operation: str) -> None:
    repository = make_registry(tmp_path, {"f": b"1\n"})
    git(tmp_path, "switch", "-qc", "other")
    repository.commit({"f": b"2\n"}, message="2", expected=repository.head())
    git(tmp_path, "switch", "-q", "main")
    repository.commit({"f": b"3\n"}, message="3", expected=repository.head())
    git(tmp_path, operation, "other", check=False)
    before = git(tmp_path, "status", "--porcelain=v2", "--branch")
    error = DetachedHeadError if operation == "rebase" else OperationInProgressError
    with pytest.raises((error, OperationInProgressError), match=operation):
        repository.commit({"models/a": b"x"}, message="x", expected=repository.head())
    assert git(tmp_path, "status", "--porcelain=v2", "--branch") == before


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/x",
        "../x",
        "a/../b",
        "a//b",
        "./a",
        ".git/config",
        "a/.GIT/x",
        "a\\b",
        "a\nb",
        "c:x",
        "a\u202eb",
        "git~1",
    ],
)
def test_i8_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    repository = make_registry(tmp_path)
    head = repository.head()
    with pytest.raises(UnsafePathError):
        repository.commit({path: b"x"}, message="x", expected=head)
    assert repository.head() == head


def test_links_submodules_and_folders_are_never_written_over(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a": b"a"})
    (tmp_path / "link").symlink_to("models")
    git(tmp_path, "add", "link")
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{repository.head()},sub")
    git(tmp_path, "commit", "-qm", "odd things")
    head = repository.head()
    for path in ("link", "link/x", "sub", "sub/x", "models", "models/a/x"):
        with pytest.raises(UnsafePathError, match=r"stands there|at once"):
            repository.commit({path: b"x"}, message="x", expected=head)
    with pytest.raises(UnsafePathError, match="at once"):
        repository.commit({"n": b"x", "n/m": b"x"}, message="x", expected=head)
    assert repository.head() == head


def test_a_moved_branch_is_built_upon_when_it_touched_nothing_of_ours(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"models/a": b"a"})
    planned_on = repository.head()
    repository.commit({"other": b"o"}, message="theirs", expected=planned_on)
    result = repository.commit(
        {"models/b": b"b"}, message="ours", expected=planned_on, depends_on=("models", "registry.yaml")
    )
    assert list(repository.list_files(result.id)) == ["models/a", "models/b", "other"]
    assert len(list(repository.log())) == 3


@pytest.mark.parametrize("touched", ["models/a", "models/new"])
def test_i2_a_branch_that_moved_below_our_plan_is_handed_back(tmp_path: Path, touched: str) -> None:
    repository = make_registry(tmp_path, {"models/a": b"a", "snapshot/h": b"s"})
    planned_on = repository.head()
    tip = repository.commit({touched: b"theirs"}, message="theirs", expected=planned_on).id
    with pytest.raises(BranchMovedError) as caught:
        repository.commit({"snapshot/h": b"S"}, message="ours", expected=planned_on, depends_on=("models",))
    assert caught.value.paths == ("models",)
    assert caught.value.tip == tip == repository.head()


def test_a_first_commit_by_somebody_else_in_between_is_noticed(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {})
    repository.commit({"models/a": b"theirs"}, message="theirs", expected=None)
    with pytest.raises(BranchMovedError):
        repository.commit({"models/a": b"ours"}, message="ours", expected=None)


def test_the_identity_is_the_repositorys_else_the_users_else_the_controllers(
    tmp_path: Path, isolated_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_registry(tmp_path, {})

    def author_of_next(text: bytes) -> str:
        repository.commit({"f": text}, message="x", expected=repository.head())
        return git(tmp_path, "log", "-1", "--format=%an <%ae> %cn <%ce>").strip()

    own = "imageworks controller <controller@testhost>"
    assert author_of_next(b"1") == f"{own} {own}"
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    (isolated_environment / ".gitconfig").write_text("[user]\n name = Ada\n email = ada@example.org\n")
    repository = RegistryRepository.open(tmp_path)  # the home is looked up again in the same process
    assert author_of_next(b"2").startswith("Ada <ada@example.org> Ada")
    (tmp_path / "named").write_text("[user]\n name = Eve\n email = eve@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "named"))
    repository = RegistryRepository.open(tmp_path)
    assert author_of_next(b"3").startswith("Eve <eve@example.org>")
    git(tmp_path, "config", "user.name", "Bob")
    git(tmp_path, "config", "user.email", "bob@example.org")
    repository = RegistryRepository.open(tmp_path)
    assert author_of_next(b"4").startswith("Bob <bob@example.org>")


def test_trailers_are_written_and_read_back() -> None:
    message = with_trailers("Install a\n\n+ a\n", {"Reconciled-Revision": "abc", "Host": "my\nhost"})
    assert message == "Install a\n\n+ a\n\nReconciled-Revision: abc\nHost: my host\n"
    assert read_trailers(message) == {"Reconciled-Revision": "abc", "Host": "my host"}
    assert read_trailers("Host: only a subject") == {}
    assert read_trailers("Subject\n\nHost: a\nnot a trailer") == {}


def test_only_trees_on_the_changed_paths_are_written(tmp_path: Path) -> None:
    files = {f"discovered/{host}/{n}.json": b"{}" + str(n).encode() for host in "abc" for n in range(30)}
    repository = make_registry(tmp_path, files)
    before = int(git(tmp_path, "count-objects").split()[0])
    repository.commit({"discovered/a/7.json": b"new"}, message="x", expected=repository.head())
    assert int(git(tmp_path, "count-objects").split()[0]) - before == 5  # blob, three trees, commit
