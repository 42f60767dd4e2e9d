"""O14: what fills Ollama's store and belongs to no model is found, and only what is safe is removed."""

import json
import os
import time
from pathlib import Path

import pytest

from imageworks.providers.ollama.errors import OllamaStoreError
from imageworks.providers.ollama.leftovers import (
    Leftover,
    LeftoverKind,
    find_leftovers,
    leftovers_here,
    remove_leftovers,
)
from support.ollama_content import Store, hex_sha256, model

HOUR = 3600.0
NOW = time.time()
OLD = NOW - 3 * HOUR
YOUNG = NOW - HOUR / 2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def aged(path: Path, when: float) -> Path:
    os.utime(path, (when, when))
    return path


def orphan(store: Store, words: bytes = b"nobody's", when: float = OLD) -> Path:
    store.write_blob(hex_sha256(words), words)
    return aged(store.blob(hex_sha256(words)), when)


def broken_off(store: Store, words: bytes, *, when: float = OLD, piece: float | None = None) -> Path:
    """Leave a sparse partial blob with its record, as a pull does that is broken off."""
    path = store.blob(hex_sha256(words)).with_name(f"sha256-{hex_sha256(words)}-partial")
    with path.open("wb") as file:
        file.write(words)
        file.truncate(5_000_000)
    record = path.with_name(f"{path.name}-0")
    record.write_text(json.dumps({"N": 0, "Offset": 0, "Size": 5_000_000, "Completed": len(words)}))
    aged(record, when if piece is None else piece)
    return aged(path, when)


def found(store: Store) -> dict[str, Leftover]:
    return {one.path.name: one for one in find_leftovers(store.folder, now=NOW)}


def test_o14_only_what_no_manifest_names_is_found_with_its_size_and_age(store: Store) -> None:
    for blob in (store.install("used", model()), *(store.folder / "blobs").iterdir()):
        aged(blob, OLD)
    mine, partial = orphan(store), broken_off(store, b"x" * 100_000)
    temporary = store.folder / "blobs" / "COPY17"
    temporary.write_bytes(b"t" * 10)
    aged(temporary, OLD)
    leftovers = found(store)
    assert {one.path: one.kind for one in leftovers.values()} == {
        mine: LeftoverKind.ORPHAN,
        partial: LeftoverKind.PARTIAL,
        temporary: LeftoverKind.TEMPORARY,
    }
    assert all(one.safe for one in leftovers.values())
    assert leftovers[mine.name].size == len(b"nobody's")
    assert 100_000 <= leftovers[partial.name].size < 5_000_000
    assert leftovers[partial.name].files == (partial, partial.with_name(f"{partial.name}-0"))
    assert leftovers[mine.name].modified == pytest.approx(OLD)


def test_o14_removing_takes_what_is_safe_and_nothing_else(store: Store) -> None:
    content = model()
    store.install("used", content)
    for blob in (store.folder / "blobs").iterdir():
        aged(blob, OLD)
    old, young = orphan(store), orphan(store, b"just uploaded", YOUNG)
    left, coming = broken_off(store, b"left"), broken_off(store, b"coming", when=YOUNG)
    result = remove_leftovers(find_leftovers(store.folder, now=NOW), now=NOW)
    assert {one.path for one in result.removed} == {old, left}
    assert {one.path for one, _ in result.kept} == {young, coming}
    assert result.freed >= len(b"nobody's") + len(b"left")
    assert not old.exists()
    assert not list(left.parent.glob(f"{left.name}*"))
    assert young.is_file()
    assert len(list(coming.parent.glob(f"{coming.name}*"))) == 2
    assert all(store.blob(digest).is_file() for digest in content.blobs)


def test_o14_a_pull_is_one_thing_and_its_youngest_file_tells_whether_it_goes_on(store: Store) -> None:
    path = broken_off(store, b"slow", when=OLD, piece=YOUNG)
    assert not found(store)[path.name].safe
    path = broken_off(store, b"slow", when=YOUNG, piece=OLD)
    assert not found(store)[path.name].safe


def test_o14_a_blob_that_a_pull_under_way_brought_hours_ago_stays(store: Store) -> None:
    earlier, before = orphan(store, b"first layer", OLD + 60), orphan(store, b"unrelated", OLD - 24 * HOUR)
    broken_off(store, b"second layer", when=YOUNG, piece=OLD + 90)
    leftovers = found(store)
    assert not leftovers[earlier.name].safe
    assert leftovers[before.name].safe


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b'{"layers": [{"digest": "sha256:zz"}]}'])
def test_o14_a_manifest_that_cannot_be_read_makes_everything_unsafe(store: Store, bad: bytes) -> None:
    mine = orphan(store)
    bad_manifest = store.write_manifest("broken", bad)
    (leftover,) = find_leftovers(store.folder, now=NOW)
    assert not leftover.safe
    assert str(bad_manifest) in (leftover.kept_because or "")
    assert remove_leftovers([leftover], now=NOW).removed == ()
    assert mine.is_file()


def test_o14_what_became_a_models_since_it_was_found_stays(store: Store) -> None:
    content = model(b"soon used")
    mine = orphan(store, b"soon used")
    leftovers = find_leftovers(store.folder, now=NOW)
    store.install("now-used", content)
    result = remove_leftovers(leftovers, now=NOW)
    assert [one.path for one, _ in result.kept] == [mine]
    assert mine.is_file()


def test_o14_what_was_written_to_since_it_was_found_stays(store: Store) -> None:
    path = broken_off(store, b"resumed")
    leftovers = find_leftovers(store.folder, now=NOW)
    aged(path, OLD + 5)
    assert remove_leftovers(leftovers, now=NOW).removed == ()
    assert path.is_file()


def test_o14_what_is_not_ollamas_is_passed_over(store: Store, tmp_path: Path) -> None:
    blobs = store.folder / "blobs"
    for name in ("notes.txt", ".DS_Store", "sha256-abc", "model.gguf", "COPYRIGHT"):
        (blobs / name).write_text("mine")
        aged(blobs / name, OLD)
    (blobs / "ollama-safetensors1").mkdir()
    elsewhere = tmp_path / "weights.gguf"
    elsewhere.write_text("linked by hand")
    (blobs / f"sha256-{'a' * 64}").symlink_to(elsewhere)
    assert find_leftovers(store.folder, now=NOW) == ()


def test_o14_a_blob_with_another_link_gives_nothing_back(store: Store, tmp_path: Path) -> None:
    mine = orphan(store)
    os.link(mine, tmp_path / "also here")
    assert found(store)[mine.name].size == 0


def test_o14_blobs_by_their_older_name_count_as_named(store: Store) -> None:
    content = model()
    store.install("used", content)
    for path in list((store.folder / "blobs").iterdir()):
        aged(path.rename(path.with_name(path.name.replace("-", ":"))), OLD)
    assert find_leftovers(store.folder, now=NOW) == ()


def test_o14_a_folder_that_we_may_not_write_is_told_and_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = orphan(store)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and not mode & os.W_OK)
    (leftover,) = find_leftovers(store.folder, now=NOW)
    assert not leftover.safe
    assert remove_leftovers([leftover], now=NOW).kept == ((leftover, leftover.kept_because),)
    assert mine.is_file()


def test_o14_a_store_that_cannot_be_listed_is_no_empty_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OllamaStoreError):
        find_leftovers(store.folder, now=NOW)
    assert leftovers_here({"OLLAMA_MODELS": str(store.folder)}, now=NOW) == ()


def test_o14_the_stores_of_this_host_are_those_of_its_environment(store: Store, tmp_path: Path) -> None:
    mine = orphan(store)
    (tmp_path / "other name").symlink_to(store.folder)
    (leftover,) = leftovers_here({"OLLAMA_MODELS": str(tmp_path / "other name")}, now=NOW)
    assert leftover.path == mine
    assert leftover.store == store.folder
    assert leftovers_here({"OLLAMA_MODELS": str(tmp_path / "none")}, now=NOW) == ()
