"""Staging areas: on the right filesystem, found again, never outside their root; bytes already here are taken over."""

import errno
import os
from pathlib import Path

import pytest

from imageworks.files import staging
from imageworks.files.errors import DigestMismatchError, SizeMismatchError, StagingError
from imageworks.files.safe_names import UnsafeNameError
from imageworks.files.safe_paths import check_below, filesystem_key, free_bytes
from imageworks.files.staging import Reuse, StagingArea, staging_areas, staging_key, sweep_stale
from support.transfer import remote, stage, tree

DATA = b"weights" * 1000
FILE = remote("sub/model.bin", DATA)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "here").write_bytes(DATA)
    return tmp_path / "here"


def test_an_area_is_found_again_with_what_is_in_it(root: Path) -> None:
    stage(StagingArea.open(root, "key"), {"sub/model.bin": DATA})
    area = StagingArea.open(root, "key")
    assert area.has(FILE)
    assert area.missing([FILE, remote("other", b"1")]) == [remote("other", b"1")]
    assert area.bytes_to_write([FILE, remote("other", b"12345")]) == 5
    assert [each.key for each in staging_areas(root)] == ["key"]


def test_keys_are_safe_and_tell_commits_apart() -> None:
    keys = {staging_key("Qwen/Weird Name..", commit) for commit in ("a", "b")}
    assert len(keys) == 2
    assert all(key.startswith("qwen-weird-name-") and "/" not in key for key in keys)
    assert staging_key("a", "bc") != staging_key("ab", "c")


@pytest.mark.parametrize("key", ["", "..", "a/b", "A", ".hidden", "x" * 200])
def test_what_is_no_key_is_refused(root: Path, key: str) -> None:
    with pytest.raises(StagingError, match="not a staging key"):
        StagingArea.open(root, key)


def test_a_target_on_another_filesystem_is_refused(small_disk: Path) -> None:
    root = small_disk.parent
    with pytest.raises(StagingError, match="another filesystem"):
        StagingArea.open(root, "key", target=small_disk / "model")
    assert filesystem_key(root) != filesystem_key(small_disk / "not" / "yet")


@pytest.mark.parametrize("target", ["", "..", "../other", "a/../../b"])
def test_a_target_outside_the_root_is_refused(root: Path, target: str) -> None:
    with pytest.raises(StagingError, match="outside its root"):
        check_below(root, root / target)


def test_a_link_inside_the_root_may_lead_to_another_place_inside(root: Path) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    assert check_below(root, root / "link" / "model") == root / "real" / "model"


@pytest.mark.parametrize("planted", [".imageworks", ".imageworks/staging", ".imageworks/staging/key/tree"])
def test_a_link_planted_where_our_folders_belong_is_refused(root: Path, tmp_path: Path, planted: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / planted).parent.mkdir(parents=True, exist_ok=True)
    (root / planted).symlink_to(elsewhere)
    with pytest.raises(StagingError, match="a link or a file"):
        StagingArea.open(root, "key")
    assert list(elsewhere.iterdir()) == []


def test_a_link_planted_in_the_tree_is_not_followed(root: Path, tmp_path: Path) -> None:
    area = StagingArea.open(root, "key")
    (area.tree / "sub").symlink_to(tmp_path)
    with pytest.raises(StagingError, match="a link or a file"):
        stage(area, {"sub/model.bin": DATA})
    assert not (tmp_path / "model.bin").exists()


def test_an_unsafe_name_has_no_place(root: Path) -> None:
    with pytest.raises(UnsafeNameError):
        StagingArea.open(root, "key").place(remote("../x", b""))


def test_bytes_already_here_are_taken_over(root: Path, source: Path) -> None:
    area = StagingArea.open(root, "key")
    how = area.link_or_copy(source, FILE)
    assert how in {Reuse.REFLINK, Reuse.HARD_LINK}
    assert tree(area.tree) == {"sub/model.bin": DATA}
    assert (area.place(FILE).stat().st_ino == source.stat().st_ino) == (how is Reuse.HARD_LINK)


def test_where_links_do_not_work_bytes_are_copied(root: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(staging, "_reflink", lambda _source, _target: False)
    area = StagingArea.open(root, "key")
    assert area.link_or_copy(source, FILE) is Reuse.COPY
    assert tree(area.tree) == {"sub/model.bin": DATA}
    assert source.stat().st_nlink == 1


def test_a_link_to_the_bytes_is_followed(root: Path, source: Path) -> None:
    link = source.with_name("link")
    link.symlink_to(source)
    area = StagingArea.open(root, "key")
    area.link_or_copy(link, FILE)
    assert not area.place(FILE).is_symlink()
    assert tree(area.tree) == {"sub/model.bin": DATA}


def test_bytes_that_are_not_the_files_are_refused(root: Path, source: Path) -> None:
    area = StagingArea.open(root, "key")
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    source.write_bytes(wrong)
    with pytest.raises(DigestMismatchError):
        area.link_or_copy(source, FILE)
    source.write_bytes(b"short")
    with pytest.raises(SizeMismatchError):
        area.link_or_copy(source, FILE)
    assert tree(area.tree) == {}
    assert list(area.parts.iterdir()) == []


def test_a_source_that_changed_since_it_was_verified_is_hashed_again(root: Path, source: Path) -> None:
    area = StagingArea.open(root, "key")
    known = source.stat()
    source.write_bytes(bytes([DATA[0] ^ 1]) + DATA[1:])
    os.utime(source, ns=(1, 1))
    with pytest.raises(DigestMismatchError):
        area.link_or_copy(source, FILE, known=known)


def test_areas_that_no_one_wants_are_swept_and_interrupted_publishes_are_not(root: Path) -> None:
    for key in ("kept", "stale", "pending"):
        stage(StagingArea.open(root, key), {"model.bin": DATA})
    (StagingArea(root.resolve(), "pending").journal).write_text("{}")
    assert sweep_stale(root, {"kept"}) == ["stale"]
    assert [area.key for area in staging_areas(root)] == ["kept", "pending"]
    with pytest.raises(StagingError, match="interrupted"):
        StagingArea.open(root, "pending")
    with pytest.raises(StagingError, match="interrupted"):
        StagingArea(root.resolve(), "pending").discard()


def test_sweeping_the_last_area_leaves_nothing_of_ours(root: Path) -> None:
    StagingArea.open(root, "stale")
    sweep_stale(root, set())
    assert list(root.iterdir()) == []
    assert staging_areas(root) == []
    assert sweep_stale(root, set()) == []


def test_free_space_is_told_of_a_path_that_is_not_there_yet(root: Path) -> None:
    assert (free_bytes(root / "not" / "yet") or 0) > 0


def test_only_areas_of_the_owner_are_swept_and_spared_ones_stay(root: Path) -> None:
    for key, owner in (("mine", "host/a/model"), ("spared", "host/a/held"), ("other", "host/b/model"), ("silent", "")):
        StagingArea.open(root, key, owner=owner)
    assert sweep_stale(root, (), owner="host/a/", spare={"host/a/held"}) == ["mine"]
    assert sorted(area.key for area in staging_areas(root)) == ["other", "silent", "spared"]
