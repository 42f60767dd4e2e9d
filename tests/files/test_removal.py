"""Removing and moving: only what is ours, and never a moment without a complete copy (I5)."""

import os
from pathlib import Path

import pytest

from imageworks.files import removal
from imageworks.files.errors import PublishError, StagingError
from imageworks.files.removal import move_directory, remove_owned
from imageworks.files.safe_names import UnsafeNameError
from support.transfer import tree, write

FILES = {"config.json": b"{}", "sub/deep/model.bin": b"weights"}
OWNED = frozenset(FILES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def target(root: Path) -> Path:
    write(root / "owner" / "repo", FILES)
    return root / "owner" / "repo"


def test_all_of_ours_goes_and_empty_folders_with_it_but_not_the_root(root: Path, target: Path) -> None:
    assert remove_owned(target, OWNED, root) == sum(map(len, FILES.values()))
    assert list(root.iterdir()) == []


def test_what_is_not_ours_stays_with_its_folders(root: Path, target: Path) -> None:
    write(target, {"sub/mine.txt": b"mine"})
    (root / "owner" / "other").mkdir()
    remove_owned(target, OWNED, root)
    assert tree(root) == {"owner/repo/sub/mine.txt": b"mine"}
    assert (root / "owner" / "other").is_dir()
    assert not (target / "sub" / "deep").exists()


def test_bytes_with_another_name_elsewhere_are_not_freed(root: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").hardlink_to(target / "sub/deep/model.bin")
    (target / "twin.json").hardlink_to(target / "config.json")
    assert remove_owned(target, OWNED | {"twin.json"}, root) == len(FILES["config.json"])
    assert (tmp_path / "elsewhere").read_bytes() == b"weights"


def test_what_is_gone_already_is_no_trouble(root: Path, target: Path) -> None:
    assert remove_owned(target, {"never/was"}, root) == 0
    assert remove_owned(root / "nowhere" / "at all", OWNED, root) == 0
    assert tree(target) == FILES


def test_a_link_of_ours_is_removed_and_not_what_it_leads_to(root: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (target / "link").symlink_to(tmp_path / "precious")
    assert remove_owned(target, {"link"}, root) == 0
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_nothing_is_removed_through_a_linked_folder(root: Path, target: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside", {"model.bin": b"precious"})
    (target / "out").symlink_to(tmp_path / "outside")
    with pytest.raises(StagingError, match="a link or a file"):
        remove_owned(target, {"out/model.bin"}, root)
    (root / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(StagingError):
        remove_owned(root / "linked", {"model.bin"}, root)
    assert tree(tmp_path / "outside") == {"model.bin": b"precious"}


def test_a_name_that_leads_outside_is_refused(root: Path, target: Path) -> None:
    write(root, {"precious": b"precious"})
    with pytest.raises(UnsafeNameError):
        remove_owned(target, {"../../precious"}, root)
    with pytest.raises(StagingError, match="outside its root"):
        remove_owned(root, {"precious"}, root)
    assert (root / "precious").read_bytes() == b"precious"


def moved(root: Path, target: Path, new: Path, owned: frozenset[str] = OWNED, new_root: Path | None = None) -> int:
    report = move_directory(target, new, owned=owned, old_root=root, new_root=new_root or root, key="moving")
    assert report.target == new
    return report.bytes_copied


def test_a_directory_that_is_all_ours_is_renamed(root: Path, target: Path) -> None:
    inode = (target / "config.json").stat().st_ino
    assert moved(root, target, root / "a" / "b") == 0
    assert tree(root) == {f"a/b/{name}": data for name, data in FILES.items()}
    assert (root / "a/b/config.json").stat().st_ino == inode
    assert not (root / "owner").exists()


def test_of_a_shared_directory_only_ours_moves_and_joins_what_is_there(root: Path, target: Path) -> None:
    write(target, {"mine.txt": b"mine"})
    write(root / "new", {"there.txt": b"there"})
    assert moved(root, target, root / "new") == 0
    assert tree(target) == {"mine.txt": b"mine"}
    assert tree(root / "new") == FILES | {"there.txt": b"there"}
    assert not (root / ".imageworks/staging/moving").exists()


def test_to_another_filesystem_bytes_are_copied_and_checked(root: Path, target: Path, small_disk: Path) -> None:
    os.utime(target / "config.json", ns=(5, 6_000_000_000))
    (target / "config.json").chmod(0o640)
    copied = moved(root, target, small_disk / "new", new_root=small_disk)
    assert copied == sum(map(len, FILES.values()))
    assert tree(small_disk / "new") == FILES
    assert (small_disk / "new/config.json").stat().st_mtime_ns == 6_000_000_000
    assert (small_disk / "new/config.json").stat().st_mode & 0o777 == 0o640
    assert not target.exists()


def test_without_links_a_shared_directory_is_copied(root: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    write(target, {"mine.txt": b"mine"})
    assert moved(root, target, root / "new") == sum(map(len, FILES.values()))
    assert tree(root / "new") == FILES
    assert tree(target) == {"mine.txt": b"mine"}


def test_a_file_that_is_not_there_stops_the_move_before_it_begins(root: Path, target: Path) -> None:
    with pytest.raises(PublishError, match="not there to be moved"):
        moved(root, target, root / "new", OWNED | {"missing"})
    assert tree(target) == FILES


def test_a_move_onto_files_that_are_not_ours_changes_nothing(root: Path, target: Path) -> None:
    write(root / "new", {"config.json": b"by hand"})
    with pytest.raises(PublishError, match="not ours"):
        moved(root, target, root / "new")
    assert tree(target) == FILES
    assert tree(root / "new") == {"config.json": b"by hand"}


def test_the_system_refusing_is_one_clear_error(root: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_root: Path, _parts: tuple[str, ...]) -> None:
        raise OSError(30, "Read-only file system", "config.json")

    monkeypatch.setattr(removal, "_unlink", refused)
    with pytest.raises(PublishError, match=r"config\.json: Read-only file system") as caught:
        remove_owned(target, OWNED, root)
    assert caught.value.reason == "read-only"
