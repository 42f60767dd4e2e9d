"""The host's memory of verified files: what changed is unknown again, and losing it never breaks anything."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageworks.files.state import LaterStateError, StateDatabase, StateError
from support.transfer import git_blob, sha256


@pytest.fixture
def database(tmp_path: Path) -> Iterator[StateDatabase]:
    with StateDatabase.open(tmp_path / "state" / "state.sqlite3") as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "model.bin"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def test_a_verified_file_is_known_until_it_changes(database: StateDatabase, file: Path) -> None:
    assert database.verified_digest(file, file.stat()) is None
    database.remember(file, file.stat(), sha256(b"weights"))
    assert database.verified_digest(file, file.stat()) == sha256(b"weights").value
    file.write_bytes(b"weights and more")
    assert database.verified_digest(file, file.stat()) is None


@pytest.mark.parametrize("change", ["mtime", "inode", "size"])
def test_each_sign_of_change_counts(database: StateDatabase, file: Path, change: str) -> None:
    database.remember(file, file.stat(), sha256(b"weights"))
    before = file.stat()
    if change == "mtime":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    elif change == "inode":
        twin = file.with_name("twin")
        twin.write_bytes(b"weighty")
        os.utime(twin, ns=(before.st_atime_ns, before.st_mtime_ns))
        twin.replace(file)
    else:
        file.write_bytes(b"w")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert database.verified_digest(file, file.stat()) is None


def test_content_is_located_where_it_still_is(database: StateDatabase, file: Path) -> None:
    other, gone, link = (file.with_name(name) for name in ("other", "gone", "link"))
    for path in (other, gone):
        path.write_bytes(b"weights")
    link.symlink_to(file)
    digest = sha256(b"weights")
    database.remember_all([(path, path.stat(), digest) for path in (file, other, gone, link)])
    gone.unlink()
    other.write_bytes(b"changed")
    assert database.locate(digest.value) == [file]
    assert database.locate("0" * 64) == []


def test_both_digests_of_a_file_are_kept_while_it_is_the_same(database: StateDatabase, file: Path) -> None:
    database.remember(file, file.stat(), sha256(b"weights"))
    database.remember(file, file.stat(), git_blob(b"weights"))
    known = database.fingerprint(file)
    assert known is not None
    assert (known.sha256, known.git_blob) == (sha256(b"weights").value, git_blob(b"weights").value)
    file.write_bytes(b"new weights")
    database.remember(file, file.stat(), git_blob(b"new weights"))
    known = database.fingerprint(file)
    assert known is not None
    assert known.sha256 is None


def test_loading_below_a_folder_takes_that_folder_alone(database: StateDatabase, file: Path) -> None:
    stat, digest = file.stat(), sha256(b"weights")
    paths = [Path("/m/a/1"), Path("/m/a/b/2"), Path("/m/ab/3"), Path("/m/a.d/4"), Path(os.fsdecode(b"/m/a/\xff"))]
    database.remember_all([(path, stat, digest) for path in paths])
    loaded = database.load_below(Path("/m/a"))
    assert set(loaded) == {"/m/a/1", "/m/a/b/2", os.fsdecode(b"/m/a/\xff")}
    assert loaded["/m/a/1"].matches(stat)
    database.forget([Path("/m/a/1")])
    assert "/m/a/1" not in database.load_below(Path("/m/a"))


def test_many_files_below_a_folder_are_all_loaded(database: StateDatabase, file: Path) -> None:
    digest = sha256(b"weights")
    paths = [Path(f"/m/a/{number:04d}") for number in range(2001)]
    database.remember_all((path, file.stat(), digest) for path in (*paths, Path("/m/b")))
    assert list(database.load_below(Path("/m/a"))) == [str(path) for path in paths]


def test_last_use_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    with StateDatabase.open(path) as database:
        assert database.last_accessed("m") is None
        database.set_last_accessed("m", "2026-11-20T10:00:00Z")
        database.set_last_accessed("m", "2026-11-21T10:00:00Z")
    with StateDatabase.open(path, read_only=True) as database:
        assert database.last_accessed("m") == "2026-11-21T10:00:00Z"
        assert database.all_last_accessed() == {"m": "2026-11-21T10:00:00Z"}


def test_reading_leaves_no_trace(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "s" / "state.sqlite3"
    with StateDatabase.open(path, read_only=True) as database:
        assert database.load_below(tmp_path) == {}
    assert not path.parent.exists()
    with StateDatabase.open(path) as database:
        database.remember(file, file.stat(), sha256(b"weights"))
    before = {entry.name: entry.stat().st_mtime_ns for entry in path.parent.iterdir()}
    with StateDatabase.open(path, read_only=True) as database:
        assert list(database.load_below(tmp_path)) == [str(file)]
    assert {entry.name: entry.stat().st_mtime_ns for entry in path.parent.iterdir()} == before


@pytest.mark.parametrize("garbage", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_corrupt_database_is_set_aside_and_begun_anew(tmp_path: Path, file: Path, garbage: bytes) -> None:
    path = tmp_path / "state.sqlite3"
    path.write_bytes(garbage)
    with StateDatabase.open(path, read_only=True) as database:
        assert database.load_below(tmp_path) == {}
    assert path.read_bytes() == garbage
    with StateDatabase.open(path) as database:
        assert "state.sqlite3.corrupt" in database.notes[0]
        database.remember(file, file.stat(), sha256(b"weights"))
        assert database.locate(sha256(b"weights").value) == [file]
    assert path.with_name("state.sqlite3.corrupt").read_bytes() == garbage


def test_pages_found_corrupt_later_cost_the_memory_and_nothing_else(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "state.sqlite3"
    with StateDatabase.open(path) as database:
        database.remember_all([(Path(f"/m/{n}"), file.stat(), sha256(b"%d" % n)) for n in range(2000)])
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    with StateDatabase.open(path) as database:
        assert database.load_below(Path("/m")) == {}
        database.remember(file, file.stat(), sha256(b"weights"))
        assert database.notes
        assert database.locate(sha256(b"weights").value) == [file]


@pytest.mark.parametrize("read_only", [False, True])
def test_w6_what_a_later_version_remembers_of_disks_is_not_thrown_away(tmp_path: Path, *, read_only: bool) -> None:
    path = tmp_path / "state.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LaterStateError, match="later version"):
        StateDatabase.open(path, read_only=read_only)
    assert {entry.name for entry in tmp_path.iterdir()} == {"state.sqlite3"}
    assert path.read_bytes() == before


def test_f3_a_database_that_lacks_tables_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    StateDatabase.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE locations")
    connection.close()
    with StateDatabase.open(path, read_only=True) as database:
        assert database.notes
        assert database.locations() == []
    with StateDatabase.open(path) as database:
        assert database.notes
        assert database.locations() == []


def test_f6_a_pipe_in_place_of_the_database_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    os.mkfifo(path)
    with StateDatabase.open(path, read_only=True) as database:
        assert database.notes
    with pytest.raises(StateError, match="not a plain file"):
        StateDatabase.open(path)


def test_a_place_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError, match=r"state\.sqlite3"):
        StateDatabase.open(tmp_path / "file" / "state.sqlite3")


def test_threads_share_a_database(database: StateDatabase, file: Path) -> None:
    stat = file.stat()
    workers = [
        threading.Thread(target=database.remember, args=(Path(f"/m/{number}"), stat, sha256(b"%d" % number)))
        for number in range(16)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(database.load_below(Path("/m"))) == 16
