"""Reading a hub's JSON: what can be checked offline is checked, what is malformed is named."""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from huggingface_hub import ModelInfo

from imageworks.files.safe_names import UnsafeNameError
from imageworks.providers.huggingface.cache import HubCache
from imageworks.providers.huggingface.errors import (
    InconsistentListingError,
    RepositoryNotFoundError,
    UnexpectedReplyError,
)
from imageworks.providers.huggingface.records import (
    checked_repository,
    git_blob_id,
    pointer_of,
    read_listing,
    read_revision,
)
from imageworks.providers.repository import Listing, ResolvedRevision
from support.providers import COMMIT
from support.selection import select_files

SHA256 = hashlib.sha256(b"weights").hexdigest()
POINTER = git_blob_id(pointer_of(SHA256, 7))
LENGTH = len(pointer_of(SHA256, 7))
LFS = {"oid": SHA256, "size": 7, "pointerSize": LENGTH}
LARGE = {"path": "m.bin", "size": 7, "oid": POINTER, "lfs": LFS}
SMALL = {"path": "b/c.json", "size": 2, "oid": "9" * 40}


def listing(*entries: Mapping[str, object]) -> Listing:
    return read_listing("o/m", COMMIT, entries, url="http://hub/tree")


def revision(**answer: object) -> ResolvedRevision:
    return read_revision(ModelInfo(**answer), ref="main", url="http://hub/x")  # type: ignore[no-untyped-call]


def test_a_pointer_has_the_id_that_git_gives_it() -> None:
    # the example of the git-lfs specification
    oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
    pointer = pointer_of(oid, 12345)
    assert pointer.decode() == f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n"
    told = subprocess.run(["git", "hash-object", "--stdin"], input=pointer, capture_output=True, check=True)
    assert git_blob_id(pointer) == told.stdout.decode().strip()


def test_files_are_sorted() -> None:
    found = listing(LARGE, SMALL)
    assert [(file.path, file.large, file.digest.value) for file in found.files] == [
        ("b/c.json", False, "9" * 40),
        ("m.bin", True, SHA256),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"oid": "7" * 40},
        {"size": 8},
        {"lfs": {**LFS, "size": 8}},
        {"lfs": {**LFS, "oid": hashlib.sha256(b"other").hexdigest()}},
    ],
)
def test_a_large_file_that_contradicts_its_pointer_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InconsistentListingError, match="inconsistent listing") as caught:
        listing({**LARGE, **change})
    assert caught.value.reason == "inconsistent-listing"


def test_an_old_tools_pointer_cannot_be_rebuilt_and_is_believed() -> None:
    assert listing({**LARGE, "oid": "7" * 40, "lfs": {**LFS, "pointerSize": 200}}).files


@pytest.mark.parametrize(
    "entry",
    [
        {**SMALL, "size": -1},
        {**SMALL, "size": True},
        {**SMALL, "size": "2"},
        {**SMALL, "oid": "xyz"},
        {**SMALL, "path": 3},
        {**LARGE, "lfs": {**LFS, "oid": "short"}},
        {**LARGE, "lfs": {"oid": SHA256, "size": 7}},
        {**LARGE, "lfs": "yes"},
    ],
)
def test_a_malformed_entry_is_named(entry: Mapping[str, object]) -> None:
    with pytest.raises(UnexpectedReplyError, match="http://hub/tree"):
        listing(entry)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "CON", "a\\b", ".git/config", "x.aria2", "a:b"])
def test_i8_a_name_that_leads_out_is_never_chosen(path: str) -> None:
    listed = listing(LARGE, {**SMALL, "path": path})
    with pytest.raises(UnsafeNameError) as caught:
        select_files(listed.files, include=["*"])
    remedy = json.loads(caught.value.remedy.partition("exclude: ")[2].partition("`")[0])  # type: ignore[union-attr]
    chosen = select_files(listed.files, include=["*"], exclude=remedy)
    assert [file.path for file in chosen.files] == [LARGE["path"]]


def test_i8_of_twins_only_one_can_be_chosen() -> None:
    listed = listing(LARGE, {**SMALL, "path": "config.json"}, {**SMALL, "path": "CONFIG.json"})
    with pytest.raises(UnsafeNameError):
        select_files(listed.files)
    chosen = select_files(listed.files, exclude=["CONFIG.json"])
    assert "config.json" in {file.path for file in chosen.files}


@pytest.mark.parametrize("answer", [{"id": "o/m"}, {"id": "o/m", "sha": "main"}, {"id": 7, "sha": COMMIT}])
def test_a_malformed_revision_is_refused(answer: dict[str, object]) -> None:
    with pytest.raises(UnexpectedReplyError):
        revision(**answer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"cardData": {"license": "mit"}}, "mit"),
        ({"cardData": {"license": ["apache-2.0", "mit"]}}, "apache-2.0, mit"),
        ({"cardData": {"license": "other", "license_name": "qwen-research"}}, "qwen-research"),
        ({"tags": ["x", "license:bigscience-openrail-m"]}, "bigscience-openrail-m"),
        ({"cardData": None, "tags": None}, None),
    ],
)
def test_the_licence_is_the_cards(answer: dict[str, object], expected: str | None) -> None:
    assert revision(**{"id": "o/m", "sha": COMMIT, **answer}).license == expected


@pytest.mark.parametrize(
    "repo", ["", "/", "a/b/c", "a/", "/b", "..", "a/..", "a b", "a/b.git", "a/b?x", "a/.b", "-a/b"]
)
def test_a_name_that_cannot_be_one_is_refused(repo: str) -> None:
    with pytest.raises(RepositoryNotFoundError):
        checked_repository(repo)


def test_the_cache_forgets_what_is_damaged_and_knows_its_hub(tmp_path: Path) -> None:
    cache = HubCache(tmp_path, "https://hub")
    known = listing(LARGE, SMALL)
    cache.remember_listing(known)
    assert cache.listing("o/m", COMMIT) == known
    assert HubCache(tmp_path, "https://other").listing("o/m", COMMIT) is None
    assert cache.listing("O/m", COMMIT) is None
    (file,) = tmp_path.rglob("*.listing.json")
    data = file.read_bytes()
    for damaged in (data[:-5], data.replace(b"m.bin", b"n.bin"), b"", b"[]", b"\x00" * 50, b'{"about": 1}'):
        file.write_bytes(damaged)
        assert cache.listing("o/m", COMMIT) is None
    cache.remember_listing(known)
    assert cache.listing("o/m", COMMIT) == known
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("in the way")
    cache = HubCache(tmp_path, "https://hub")
    cache.remember_listing(listing(SMALL))
    assert cache.listing("o/m", COMMIT) is None
