"""I6: what the user has uncommitted is never committed, staged, reverted or lost."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imageworks.git import index
from imageworks.git.recovery import stale_locks as git_stale
from imageworks.git.repository import RegistryRepository
from imageworks.registry.commit_reader import RevisionReader
from support.git import USER, assert_sound, git, make_registry, user_work

OURS = "discovered/h/a.json"


def test_i6_staged_stashed_edited_and_untracked_work_stays(tmp_path: Path) -> None:
    repository = make_registry(
        tmp_path, {OURS: b"old", "models/a": b"a", "models/b": b"b", "models/c": b"c", "models/d": b"d"}
    )
    (tmp_path / "models/a").write_bytes(b"stashed")
    git(tmp_path, "stash")
    (tmp_path / "models/a").write_bytes(b"staged")
    git(tmp_path, "add", "models/a")
    (tmp_path / "models/a").write_bytes(b"staged and edited")
    (tmp_path / "models/b").write_bytes(b"edited")
    (tmp_path / "models/new").write_bytes(b"untracked")
    (tmp_path / "models/c").unlink()
    git(tmp_path, "rm", "-q", "models/d")
    git(tmp_path, "add", "-N", "models/new")
    before = user_work(tmp_path, without=(OURS,))
    result = repository.commit({OURS: b"new"}, message="ours", expected=repository.head())
    assert result.left_alone == ()
    assert user_work(tmp_path, without=(OURS,)) == before
    assert git(tmp_path, "show", "--name-only", "--format=", "HEAD") == f"{OURS}\n"
    assert git(tmp_path, "status", "--porcelain", "--", OURS) == ""
    assert (tmp_path / OURS).read_bytes() == b"new"


def test_i6_an_edited_file_of_ours_keeps_the_users_bytes(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {OURS: b"old"})
    (tmp_path / OURS).write_bytes(b"by hand")
    result = repository.commit({OURS: b"new"}, message="ours", expected=repository.head())
    assert [(item.path, item.reason) for item in result.left_alone] == [(OURS, "you have changed its file")]
    assert (tmp_path / OURS).read_bytes() == b"by hand"
    assert RevisionReader(repository, result.id).file(OURS) == b"new"
    assert git(tmp_path, "status", "--porcelain") == f" M {OURS}\n"  # an edit on top of ours, not a staged revert


@pytest.mark.parametrize("note", [None, "broken"])
def test_i6_an_edit_of_a_large_file_that_a_commit_wrote_is_seen(tmp_path: Path, note: str | None) -> None:
    """It is not read again while it looks as it did, also where an edit left size and time as they were."""
    snapshot = "snapshot/h.json"
    repository = make_registry(tmp_path, {snapshot: b"[]\n"})
    for name in (b"a", b"b"):
        done = repository.commit({snapshot: name * (1 << 20)}, message="ours", expected=repository.head())
        assert done.left_alone == ()
        assert (tmp_path / snapshot).read_bytes() == name * (1 << 20)
    kept = tmp_path / ".git/imageworks/stat-cache.json"
    assert list(json.loads(kept.read_text())) == [str(tmp_path / snapshot)]
    if note is not None:
        kept.write_text(note)
    before = (tmp_path / snapshot).stat()
    with (tmp_path / snapshot).open("r+b") as stream:
        stream.write(b"by hand")
    os.utime(tmp_path / snapshot, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = repository.commit({snapshot: b"c" * (1 << 20)}, message="ours", expected=repository.head())
    assert [(item.path, item.reason) for item in result.left_alone] == [(snapshot, "you have changed its file")]
    assert (tmp_path / snapshot).read_bytes().startswith(b"by handb")


def test_i6_a_staged_version_of_ours_stays_staged(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {OURS: b"old"})
    (tmp_path / OURS).write_bytes(b"by hand")
    git(tmp_path, "add", OURS)
    result = repository.commit({OURS: b"new"}, message="ours", expected=repository.head())
    assert [item.path for item in result.left_alone] == [OURS]
    assert git(tmp_path, "show", f":{OURS}") == "by hand"
    assert (tmp_path / OURS).read_bytes() == b"by hand"


def test_i6_a_file_that_the_user_deleted_stays_deleted(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {OURS: b"old"})
    (tmp_path / OURS).unlink()
    result = repository.commit({OURS: b"new"}, message="ours", expected=repository.head())
    assert [item.reason for item in result.left_alone] == ["you have deleted it"]
    assert not (tmp_path / OURS).exists()
    assert git(tmp_path, "status", "--porcelain") == f" D {OURS}\n"


def test_i6_a_deletion_spares_a_file_that_the_user_changed(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {OURS: b"old", "x": b"x"})
    (tmp_path / OURS).write_bytes(b"by hand")
    result = repository.commit({OURS: None}, message="ours", expected=repository.head())
    assert [item.path for item in result.left_alone] == [OURS]
    assert (tmp_path / OURS).read_bytes() == b"by hand"


def test_i6_an_untracked_file_in_our_way_is_kept(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {"x": b"x"})
    (tmp_path / "discovered/h").mkdir(parents=True)
    (tmp_path / OURS).write_bytes(b"by hand")
    result = repository.commit({OURS: b"new"}, message="ours", expected=repository.head())
    assert [item.path for item in result.left_alone] == [OURS]
    assert (tmp_path / OURS).read_bytes() == b"by hand"


def test_i6_a_conflict_in_the_index_is_not_resolved(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {OURS: b"1\n", "other": b"o"})
    (tmp_path / OURS).write_bytes(b"2\n")
    git(tmp_path, "stash")
    repository.commit({OURS: b"3\n"}, message="3", expected=repository.head())
    git(tmp_path, "stash", "pop", check=False)
    before = git(tmp_path, "ls-files", "--unmerged")
    assert before
    result = repository.commit({OURS: b"4\n", "new": b"n"}, message="4", expected=repository.head())
    assert [item.path for item in result.left_alone] == [OURS]
    assert git(tmp_path, "ls-files", "--unmerged") == before


def test_i8_a_linked_folder_in_the_work_tree_is_not_written_through(tmp_path: Path) -> None:
    repository = make_registry(tmp_path / "r", {OURS: b"old"})
    outside = tmp_path / "outside/h"
    outside.mkdir(parents=True)
    (outside / "a.json").write_bytes(b"old")
    subprocess.run(["rm", "-r", str(tmp_path / "r/discovered")], check=True)
    (tmp_path / "r/discovered").symlink_to(tmp_path / "outside")
    result = repository.commit({OURS: b"new", "discovered/h/b.json": b"b"}, message="x", expected=repository.head())
    assert len(result.left_alone) == 2
    assert (outside / "a.json").read_bytes() == b"old"
    assert not (outside / "b.json").exists()


def test_i8_a_planted_hard_link_is_not_written_through(tmp_path: Path) -> None:
    repository = make_registry(tmp_path / "r", {OURS: b"old"})
    victim = tmp_path / "victim"
    os.link(tmp_path / "r" / OURS, victim)
    repository.commit({OURS: b"new"}, message="x", expected=repository.head())
    assert victim.read_bytes() == b"old"


def test_a_file_checked_out_with_crlf_is_not_an_edit(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {OURS: b"1\n2\n"})
    git(tmp_path, "config", "core.autocrlf", "true")
    (tmp_path / OURS).unlink()
    git(tmp_path, "checkout", "--", OURS)
    assert b"\r\n" in (tmp_path / OURS).read_bytes()
    result = repository.commit({OURS: b"1\n3\n"}, message="x", expected=repository.head())
    assert result.left_alone == ()
    assert (tmp_path / OURS).read_bytes() == b"1\n3\n"
    assert git(tmp_path, "status", "--porcelain") == ""


def test_a_sparse_checkout_gets_our_files_and_keeps_the_rest_away(tmp_path: Path) -> None:
    make_registry(tmp_path, {OURS: b"old", "far/away": b"x", "models/a": b"a"})
    git(tmp_path, "sparse-checkout", "set", "--no-cone", "/models/")
    repository = RegistryRepository.open(tmp_path)
    assert not (tmp_path / OURS).exists()
    result = repository.commit({OURS: b"new", "models/a": b"A"}, message="x", expected=repository.head())
    assert result.left_alone == ()
    assert git(tmp_path, "status", "--porcelain") == ""
    assert not (tmp_path / "far/away").exists()


def test_a_git_that_holds_the_index_for_a_moment_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_registry(tmp_path, {OURS: b"old"})
    repository = RegistryRepository.open(tmp_path, index_wait=60)
    lock = tmp_path / ".git/index.lock"
    lock.touch()
    waits: list[float] = []

    def other_git_finishes(seconds: float) -> None:
        waits.append(seconds)
        lock.unlink(missing_ok=True)

    waiting = SimpleNamespace(sleep=other_git_finishes, monotonic=time.monotonic)
    monkeypatch.setattr(index, "time", waiting)  # not everybody's: git's own end is waited for too
    monkeypatch.setattr(git_stale, "_has_holder", lambda *_: True)
    result = repository.commit({OURS: b"new"}, message="x", expected=repository.head())
    assert len(waits) == 1
    assert result.notes == ()
    assert git(tmp_path, "status", "--porcelain") == ""


def test_an_index_held_for_long_costs_neither_the_commit_nor_the_lock(tmp_path: Path) -> None:
    make_registry(tmp_path, {OURS: b"old"})
    repository = RegistryRepository.open(tmp_path, index_wait=0)
    (tmp_path / OURS).write_bytes(b"by hand")
    editor = subprocess.Popen(
        ["git", *USER, "-c", "core.editor=echo ready; read x; false", "commit", "-a"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert editor.stdout is not None
    assert any(b"ready" in line for line in iter(editor.stdout.readline, b""))
    assert (tmp_path / ".git/index.lock").exists()
    result = repository.commit({"discovered/h/b.json": b"new"}, message="x", expected=repository.head())
    assert result.created
    assert "index.lock" in result.notes[0]
    assert (tmp_path / ".git/index.lock").exists()
    editor.communicate(b"\n")
    with repository.lock() as recovery:
        assert recovery.notes == ("completed a commit that was interrupted",)
    assert git(tmp_path, "status", "--porcelain") == f" M {OURS}\n"
    assert_sound(tmp_path)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_i6_an_edit_in_the_second_of_its_staging_stays_visible(tmp_path: Path, version: int) -> None:
    """Git tells by time and size whether to read a file; what it would have read, it must still read."""
    repository = make_registry(tmp_path, {OURS: b"old", "models/a": b"a\n", "models/ab": b"a\n"})
    git(tmp_path, "config", "core.trustctime", "false")  # else the time of change, which no test can set, gives it away
    second = 1_700_000_000
    (tmp_path / "models/a").write_bytes(b"b\n")
    git(tmp_path, "add", "models/a")
    if version == 3:  # its only reason to be
        (tmp_path / "models/later").write_bytes(b"x\n")
        git(tmp_path, "add", "--intent-to-add", "models/later")
    git(tmp_path, "update-index", "--index-version", str(max(version, 2)))
    os.utime(tmp_path / "models/a", (second, second))
    git(tmp_path, "update-index", "--refresh", check=False)
    (tmp_path / "models/a").write_bytes(b"c\n")
    os.utime(tmp_path / "models/a", (second, second))
    os.utime(tmp_path / ".git/index", (second, second))
    assert int((tmp_path / ".git/index").read_bytes()[7]) == version
    assert "\n-b\n+c\n" in git(tmp_path, "diff", "models/a")
    repository.commit({OURS: b"new"}, message="x", expected=repository.head())
    assert "\n-b\n+c\n" in git(tmp_path, "diff", "models/a")
    assert git(tmp_path, "diff", "models/ab") == ""
    assert_sound(tmp_path)


STATES = st.dictionaries(
    st.sampled_from(["models/a", "models/b", "new", "models/new"]),
    st.tuples(
        st.sampled_from([None, b"a\n", b"b\n", b"\r\n", b""]), st.booleans(), st.sampled_from([None, b"x\n", b""])
    ),
    max_size=4,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=STATES, deletes=st.booleans())
def test_i6_any_uncommitted_work_is_the_same_after_a_commit(
    *, state: dict[str, tuple[bytes | None, bool, bytes | None]], deletes: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = make_registry(folder, {OURS: b"old", "models/a": b"a\n", "models/b": b"b\n"})
        for path, (content, staged, then) in state.items():
            for data, stage in ((content, staged), (then, False)):
                if data is None:
                    (folder / path).unlink(missing_ok=True)
                else:
                    (folder / path).parent.mkdir(exist_ok=True)
                    (folder / path).write_bytes(data)
                if stage:
                    git(folder, "add", "--all", "--", path, check=False)
        before = user_work(folder, without=(OURS,))
        changes = {OURS: None if deletes else b"new"}
        result = repository.commit(changes, message="x", expected=repository.head())
        assert result.created
        assert result.left_alone == ()
        assert user_work(folder, without=(OURS,)) == before
