"""An entry as a value: what is recorded, and what is refused in a record."""

import hashlib
import json
from pathlib import Path

import pytest

from imageworks.registry.entries.entry import (
    ArtifactFile,
    Entry,
    InvalidEntryError,
    aggregate_sha256,
    directory_checksum,
    entry_file,
    read_entry,
    render_entry,
)

FILE = "discovered/testhost/tiny.json"
DIGEST = hashlib.sha256(b"x").hexdigest()


def read(**fields: object) -> Entry:
    return read_entry(FILE, json.dumps({"name": "tiny", **fields}).encode())


def with_files(*files: object) -> Entry:
    return read(download_path="/weights/tiny", artifacts={"files": list(files)})


def test_files_are_read_with_their_digests() -> None:
    entry = with_files({"path": "a/b.json", "size": 3, "sha256": DIGEST})
    assert entry.files == (ArtifactFile("a/b.json", 3, DIGEST),)
    assert entry.size == 3


def test_what_is_not_recorded_is_absent() -> None:
    entry = read()
    assert (entry.path, entry.revision, entry.ref, entry.repo) == (None, None, None, None)
    assert (entry.files, entry.managed, entry.installed_by_us, dict(entry.selection)) == ((), False, False, {})


def test_what_is_recorded_is_read() -> None:
    entry = read(
        managed=True,
        download_path="/weights/tiny",
        resolved={"repo": "acme/tiny", "revision": "a" * 40, "ref": "main"},
        metadata={"acquisition": "installed", "selection": {"format": "gguf"}},
    )
    assert (entry.path, entry.revision, entry.ref, entry.repo) == (Path("/weights/tiny"), "a" * 40, "main", "acme/tiny")
    assert (entry.managed, entry.installed_by_us, dict(entry.selection)) == (True, True, {"format": "gguf"})


def test_only_what_says_so_was_installed_by_us() -> None:
    """I5: doubt protects."""
    assert not read(metadata={"acquisition": "adopted"}).installed_by_us
    assert not read(metadata={}).installed_by_us


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/passwd", "a\\b", "..", "a\0b"],
    ids=["up", "inner", "absolute", "backslash", "dots", "nul"],
)
def test_a_path_that_leads_out_of_the_folder_is_refused(path: str) -> None:
    """I8."""
    with pytest.raises(InvalidEntryError) as caught:
        with_files({"path": path, "size": 1, "sha256": DIGEST})
    assert FILE in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    "file",
    [
        "a.json",
        {"path": "a.json", "size": "3", "sha256": DIGEST},
        {"path": "a.json", "size": -1, "sha256": DIGEST},
        {"path": "a.json", "size": 3},
        {"size": 3, "sha256": DIGEST},
    ],
)
def test_a_file_record_of_another_form_is_refused(file: object) -> None:
    with pytest.raises(InvalidEntryError):
        with_files(file)


@pytest.mark.parametrize("data", [b"{", b"[]", b'"x"', b"\xff", b'{"name": "other"}', b"{}", b"[" * 100_000])
def test_what_is_no_entry_of_that_name_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEntryError, match=FILE):
        read_entry(FILE, data)


def test_a_single_file_lies_in_its_folder_and_a_folder_is_its_own() -> None:
    one = ArtifactFile("x.gguf", 1, DIGEST)
    single = Entry("x", {"download_path": "/m/x.gguf", "metadata": {"single_file": True}}, (one,))
    folder = Entry("x", {"download_path": "/m/x"}, (one,))
    assert (single.base, folder.base) == (Path("/m"), Path("/m/x"))


def test_an_entry_without_a_path_has_no_folder() -> None:
    with pytest.raises(ValueError, match="tiny has no files"):
        _ = read().base


def test_the_aggregate_is_the_digest_of_sorted_lines_of_digest_and_path() -> None:
    files = [ArtifactFile("b", 1, "1" * 64), ArtifactFile("a", 2, "2" * 64)]
    lines = f"{'1' * 64}  b\n{'2' * 64}  a"
    assert aggregate_sha256(files) == hashlib.sha256(lines.encode()).hexdigest()
    assert aggregate_sha256(reversed(files)) == aggregate_sha256(files)


def test_the_quick_checksum_is_sixteen_digits_over_paths_and_sizes() -> None:
    files = [ArtifactFile("b", 1, "1" * 64), ArtifactFile("a", 2, "2" * 64)]
    other = [ArtifactFile("b", 1, "3" * 64), ArtifactFile("a", 2, "4" * 64)]
    assert directory_checksum(files) == directory_checksum(reversed(other))
    assert len(directory_checksum(files)) == 16
    assert directory_checksum(files) != directory_checksum(files[:1])


def test_an_entry_is_written_sorted_with_one_field_a_line() -> None:
    assert render_entry({"b": 1, "a": {"d": "ü", "c": []}}) == (
        '{\n  "a": {\n    "c": [],\n    "d": "ü"\n  },\n  "b": 1\n}\n'.encode()
    )
    assert entry_file("testhost", "tiny") == FILE
