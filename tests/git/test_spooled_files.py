"""A file of many megabytes is committed in pieces, and compared in pieces with what the work tree has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imageworks.git.repository import RegistryRepository
from imageworks.git.values import CommitFailedError
from support.git import assert_sound, git, make_registry

SNAPSHOT = "snapshot/h.json"
LINE = b'{"name": "x", "conditions": []},\n'
LARGE = LINE * 60_000
NEXT = LARGE.replace(b"x", b"y")
PIECE = 1 << 18


def spooled(repository: RegistryRepository, data: bytes, message: str) -> tuple[str, ...]:
    """Commit a snapshot line by line; returns why it was left alone."""
    with repository.lock(), repository.spooled(data.splitlines(keepends=True)) as stored:
        result = repository.commit({SNAPSHOT: stored}, message=message, expected=repository.head())
    return tuple(one.reason for one in result.left_alone)


@pytest.mark.parametrize("data", [LARGE, LINE, b""], ids=["large", "small", "empty"])
def test_what_is_committed_in_pieces_is_as_git_has_it(tmp_path: Path, data: bytes) -> None:
    repository = make_registry(tmp_path, {SNAPSHOT: b"[]\n"})
    assert spooled(repository, data, "x") == ()
    assert (tmp_path / SNAPSHOT).read_bytes() == data
    assert git(tmp_path, "show", f"HEAD:{SNAPSHOT}").encode() == data
    assert git(tmp_path, "status", "--porcelain") == ""
    assert not list((tmp_path / ".git/objects").rglob("tmp_*"))
    head = repository.head()
    spooled(repository, data, "the same again")
    assert repository.head() == head
    assert_sound(tmp_path)


def test_its_bytes_are_to_be_had_as_often_as_asked(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {SNAPSHOT: b"[]\n"})
    with repository.spooled(iter([LARGE])) as stored:
        assert stored.spool is not None
        assert list(stored.spool.lines()) == [LINE] * 60_000
        assert b"".join(stored.spool.pieces()) == b"".join(stored.spool.pieces()) == LARGE


def test_an_error_while_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {SNAPSHOT: b"[]\n"})
    before = sorted((tmp_path / ".git/objects").rglob("*"))

    def full() -> Iterator[bytes]:
        yield LARGE
        raise OSError(28, "No space left on device")

    with pytest.raises(CommitFailedError, match="No space left"), repository.spooled(full()):
        pytest.fail("nothing was stored")
    assert sorted((tmp_path / ".git/objects").rglob("*")) == before


def test_where_an_open_file_keeps_its_name_it_is_taken_away_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_registry(tmp_path, {SNAPSHOT: b"[]\n"})
    unlink, refused = Path.unlink, list[str]()

    def as_windows_drives_do(file: Path, missing_ok: bool = False) -> None:  # noqa: FBT002 # pathlib's own
        if file.parent.name == "objects" and not refused:
            refused.append(file.name)
            raise PermissionError(13, "Permission denied")
        unlink(file, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", as_windows_drives_do)
    assert spooled(repository, LARGE, "x") == ()
    assert len(refused) == 1
    assert not list((tmp_path / ".git/objects").rglob("tmp_*"))
    assert git(tmp_path, "show", f"HEAD:{SNAPSHOT}").encode() == LARGE


TORN = {
    "empty": b"",
    "cut": LARGE[: len(LARGE) // 2 + 7],
    "cut between pieces": LARGE[:PIECE],
    "all but the last byte": LARGE[:-1],
    "zeros from the middle": LARGE[: PIECE + 7] + bytes(len(LARGE) - PIECE - 7),
    "zeros beyond the end": LARGE + bytes(9),
    "zeros alone": bytes(PIECE),
}
EDITED = {
    "another beginning": b"mine" + LARGE[4:],
    "another end": LARGE[:-1] + b"!",
    "more lines": LARGE + LINE,
    "another piece": LARGE[:PIECE] + b"mine" + LARGE[PIECE:],
    "a note": b"a note of mine",
}


@pytest.mark.parametrize("how", TORN)
def test_f2_a_large_file_that_was_torn_is_put_back(tmp_path: Path, how: str) -> None:
    make_registry(tmp_path, {SNAPSHOT: LARGE})
    (tmp_path / SNAPSHOT).write_bytes(TORN[how])
    with RegistryRepository.open(tmp_path, host="h").lock() as recovery:
        assert [SNAPSHOT in note for note in recovery.notes] == [True]
    assert (tmp_path / SNAPSHOT).read_bytes() == LARGE


@pytest.mark.parametrize("how", EDITED)
def test_f2_i6_an_edit_of_a_large_file_is_never_taken_for_torn(tmp_path: Path, how: str) -> None:
    repository = make_registry(tmp_path, {SNAPSHOT: LARGE})
    (tmp_path / SNAPSHOT).write_bytes(EDITED[how])
    assert len(spooled(repository, NEXT, "x")) == 1
    assert (tmp_path / SNAPSHOT).read_bytes() == EDITED[how]
    assert git(tmp_path, "show", f"HEAD:{SNAPSHOT}").encode() == NEXT


def test_a_large_file_checked_out_with_crlf_is_not_an_edit(tmp_path: Path) -> None:
    repository = make_registry(tmp_path, {SNAPSHOT: LARGE})
    (tmp_path / SNAPSHOT).write_bytes(LARGE.replace(b"\n", b"\r\n"))
    assert spooled(repository, NEXT, "x") == ()
    assert (tmp_path / SNAPSHOT).read_bytes() == NEXT
