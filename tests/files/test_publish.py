"""Publishing: whole directories appear, are replaced and are recovered; what is not ours stays (I1, I5, I8)."""

import os
from pathlib import Path

import pytest

from imageworks.files import publish as publishing
from imageworks.files import renames
from imageworks.files.errors import PublishError, StagingError
from imageworks.files.publish import PublishMethod, publish, recover
from imageworks.files.staging import StagingArea
from support.transfer import stage, tree, write

METHODS = [PublishMethod.EXCHANGE, PublishMethod.TWO_RENAMES]
OLD = {"config.json": b"old", "model.safetensors": b"old weights", "gone.bin": b"gone"}
NEW = {"config.json": b"new", "model.safetensors": b"new weights", "sub/deep/extra.bin": b"extra"}
OWNED = frozenset(OLD)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def target(root: Path) -> Path:
    return root / "owner" / "repo"


def opened(root: Path, target: Path, files: dict[str, bytes] = NEW) -> StagingArea:
    area = StagingArea.open(root, "key", target=target)
    stage(area, files)
    return area


def test_an_absent_target_appears_whole_and_the_area_is_gone(root: Path, target: Path) -> None:
    area = opened(root, target)
    report = publish(area, target, owned=frozenset())
    assert report.method is PublishMethod.RENAME
    assert tree(target) == NEW
    assert not area.path.exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_present_target_is_replaced_and_only_what_is_ours_goes(
    root: Path, target: Path, method: PublishMethod
) -> None:
    write(target, OLD)
    write(target, {"notes.txt": b"mine", "sub/mine.txt": b"also mine"})
    (target / "empty").mkdir(mode=0o750)
    (target / "link").symlink_to("notes.txt")
    (target / "folder-link").symlink_to("sub")
    (target / "notes.txt").chmod(0o640)
    os.utime(target / "notes.txt", ns=(1_000_000_000, 2_000_000_000))
    before = (target / "notes.txt").stat()
    report = publish(opened(root, target), target, owned=OWNED, method=method)
    after = (target / "notes.txt").stat()
    assert report.method is method
    assert tree(target) == NEW | {
        "notes.txt": b"mine",
        "sub/mine.txt": b"also mine",
        "link": b"mine",
    }
    assert (after.st_mode, after.st_mtime_ns, after.st_nlink) == (before.st_mode, before.st_mtime_ns, 1)
    assert (target / "link").is_symlink()
    assert (target / "folder-link").is_symlink()
    assert (target / "empty").stat().st_mode & 0o777 == 0o750
    assert set(report.carried) == {"notes.txt", "sub/mine.txt", "link", "folder-link"}
    assert not (root / ".imageworks/staging/key").exists()


def test_a_filesystem_that_cannot_exchange_gets_two_renames(
    root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_one: Path, _other: Path) -> None:
        raise renames.RenameUnsupportedError

    monkeypatch.setattr(renames, "exchange", unsupported)
    write(target, OLD)
    assert publish(opened(root, target), target, owned=OWNED).method is PublishMethod.TWO_RENAMES
    assert tree(target) == NEW


@pytest.mark.parametrize("method", METHODS)
def test_a_filesystem_without_hard_links_moves_foreign_files(
    root: Path, target: Path, method: PublishMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    write(target, OLD | {"notes/mine.txt": b"mine"})
    publish(opened(root, target), target, owned=OWNED, method=method)
    assert tree(target) == NEW | {"notes/mine.txt": b"mine"}


def test_a_foreign_file_in_the_way_stops_the_publish_and_changes_nothing(root: Path, target: Path) -> None:
    write(target, {"config.json": b"written by hand", "other": b"x"})
    with pytest.raises(PublishError, match=r"config\.json is not ours"):
        publish(opened(root, target), target, owned=frozenset())
    assert tree(target) == {"config.json": b"written by hand", "other": b"x"}
    assert recover(root) == ()


def test_a_foreign_file_of_equal_content_stays_the_same_file(root: Path, target: Path) -> None:
    write(target, {"config.json": NEW["config.json"]})
    before = (target / "config.json").stat()
    publish(opened(root, target), target, owned=frozenset())
    after = (target / "config.json").stat()
    assert tree(target) == NEW
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("foreign", "new"), [({"a/b": b"mine"}, {"a": b"new"}), ({"a": b"mine"}, {"a/b": b"new"})], ids=["folder", "file"]
)
def test_a_foreign_folder_and_a_new_file_of_one_name_clash(
    root: Path, target: Path, foreign: dict[str, bytes], new: dict[str, bytes]
) -> None:
    write(target, foreign)
    with pytest.raises(PublishError):
        publish(opened(root, target, new), target, owned=frozenset())
    assert tree(target) == foreign


def test_files_that_appear_between_the_look_and_the_exchange_are_carried_too(
    root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(target, OLD | {"edited.txt": b"first"})

    def late(name: str) -> None:
        if name == "publish.before-rename":
            write(target, {"late.txt": b"late", "sub/deep/extra.bin": b"in the way"})
            (target / "edited.new").write_bytes(b"second")
            (target / "edited.new").replace(target / "edited.txt")

    monkeypatch.setattr(publishing, "failpoint", late)
    report = publish(opened(root, target), target, owned=OWNED)
    assert tree(target) == NEW | {
        "late.txt": b"late",
        "edited.txt": b"second",
        "sub-deep-extra.bin.kept-1": b"in the way",
    }
    assert report.kept_aside == ("sub-deep-extra.bin.kept-1",)


def test_a_link_where_the_target_belongs_is_refused(root: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target.parent.mkdir()
    area = opened(root, target)
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PublishError, match="not a directory"):
        publish(area, target, owned=frozenset())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_parent_that_links_outside_the_root_is_refused(root: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (root / "owner").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StagingError, match="outside its root"):
        StagingArea.open(root, "key", target=target)
    area = StagingArea.open(root, "key")
    stage(area, NEW)
    with pytest.raises(StagingError, match="outside its root"):
        publish(area, target, owned=frozenset())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_hard_link_reused_from_the_old_directory_survives_it(root: Path, target: Path) -> None:
    from support.transfer import remote

    write(target, OLD)
    area = opened(root, target)
    area.link_or_copy(target / "gone.bin", remote("kept.bin", OLD["gone.bin"]))
    publish(area, target, owned=OWNED)
    assert tree(target) == NEW | {"kept.bin": b"gone"}
    assert (target / "kept.bin").stat().st_nlink == 1


def test_a_journal_that_cannot_be_read_stops_only_its_own_model(root: Path, target: Path) -> None:
    opened(root, target)
    for key, text in (("a", "{}"), ("b", "not json"), ("c", '{"target": "../../etc"}')):
        StagingArea.open(root, key).journal.write_text(text)
    seen: list[str] = []
    assert recover(root, on_error=lambda error: seen.append(error.reason)) == ()
    assert seen == ["journal-unreadable", "journal-unreadable", "outside-root"]
    with pytest.raises(PublishError, match="cannot be read"):
        recover(root)


def test_recover_with_nothing_to_do_leaves_a_resumable_area_alone(root: Path, target: Path) -> None:
    area = opened(root, target)
    assert recover(root) == ()
    assert tree(area.tree) == NEW
