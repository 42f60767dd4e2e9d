"""Digests agree with the tools that people have."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from imageworks.files import digests
from imageworks.files.digests import Algorithm, Digest, Hasher, hash_file, hash_files
from imageworks.files.progress import Progress
from support.transfer import MIB, content, git_blob, sha256

CONTENTS = [b"", b"x", content("some", 3 * MIB + 17)]


@pytest.mark.parametrize("data", CONTENTS, ids=len)
def test_a_file_hashes_to_what_the_library_says(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    seen: list[int] = []
    assert hash_file(path, Algorithm.SHA256, progress=seen.append) == sha256(data)
    assert hash_file(path, Algorithm.GIT_BLOB) == git_blob(data)
    assert sum(seen) == len(data)


def test_a_blob_id_is_the_one_that_git_computes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENTS[2])
    said = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True, check=True).stdout.strip()
    assert hash_file(path, Algorithm.GIT_BLOB) == Digest(Algorithm.GIT_BLOB, said)


def test_pieces_make_no_difference() -> None:
    hasher = Hasher(Algorithm.SHA256, 6)
    hasher.update(b"abc")
    hasher.update(memoryview(b"def"))
    assert hasher.received == 6
    assert hasher.digest() == Digest(Algorithm.SHA256, hashlib.sha256(b"abcdef").hexdigest())


def test_many_files_come_back_in_order_with_what_cannot_be_read(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(9)]
    for path in paths[:-1]:
        path.write_bytes(path.name.encode())
    results = dict(hash_files(paths, Algorithm.SHA256, threads=3))
    assert list(results) == paths
    assert results[paths[0]] == sha256(b"0")
    assert isinstance(results[paths[8]], FileNotFoundError)


@pytest.mark.parametrize("value", ["", "ab", "g" * 64, "A" * 64, "../" + "a" * 61])
def test_what_is_no_digest_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="not a lower-case sha256"):
        Digest(Algorithm.SHA256, value)


def test_no_more_files_are_begun_than_somebody_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Begun(Progress):
        def start(self, label: str, total_bytes: int, work: str = "fetching") -> None:
            del total_bytes, work
            begun.append(label)

    begun: list[str] = []
    monkeypatch.setattr(digests, "MOST_AHEAD", 4)
    paths = [tmp_path / f"{number:02d}" for number in range(20)]
    for path in paths:
        path.write_bytes(path.name.encode())
    found = hash_files(paths, Algorithm.SHA256, progress=Begun())
    taken = [next(found), next(found)]
    assert len(begun) <= 5
    taken += found
    assert [path for path, _ in taken] == paths
    assert {str(path) for path in paths} == {*begun}
