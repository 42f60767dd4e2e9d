"""Loading a registry at a commit: what is valid, what is not, and what the cache may remember."""

import json
from pathlib import Path

import pytest

from imageworks.registry.documents.cache import ParsedDocuments, cache_file
from imageworks.registry.load import RegistryState, load_registry
from support.git import make_registry

MANIFEST = b"schema_version: 1\nroles: [caption]\n"
ENTRY = b'{"schema_version": 1, "name": "good", "managed": true}'


class Fixture:
    """A registry whose first commit has some files, and a cache beside it."""

    def __init__(self, folder: Path, **files: bytes) -> None:
        first = {"registry.yaml": b"schema_version: 1\n"}
        for path, data in files.items():
            first[path.replace("__", "/").replace("_yaml", ".yaml").replace("_json", ".json")] = data
        self.repository = make_registry(folder / "registry", first)
        self.cache_file = cache_file(folder / "cache", folder / "registry")

    def load(self, host: str = "testhost") -> RegistryState:
        cache = ParsedDocuments(self.cache_file)
        state = load_registry(self.repository, host, revision=self.repository.head(), cache=cache)
        cache.save()
        return state


def test_an_unborn_branch_is_an_empty_registry(tmp_path: Path) -> None:
    repository = make_registry(tmp_path / "registry", {})
    state = load_registry(repository, "testhost", revision=None, cache=ParsedDocuments(tmp_path / "cache"))
    assert (state.manifests, state.entries, state.diagnostics, state.declared) == ({}, {}, (), 0)


def test_manifests_entries_and_settings_are_read_at_the_commit(tmp_path: Path) -> None:
    made = Fixture(tmp_path, models__good_yaml=MANIFEST, discovered__testhost__good_json=ENTRY)
    (tmp_path / "registry/models/good.yaml").write_bytes(b"edited: and not committed\n")
    state = made.load()
    assert list(state.manifests) == ["good"]
    assert list(state.entries) == ["good"]
    assert state.diagnostics == ()
    assert state.revision == made.repository.head()


def test_entries_of_other_hosts_are_not_ours(tmp_path: Path) -> None:
    made = Fixture(tmp_path, discovered__elsewhere__good_json=ENTRY)
    assert made.load().entries == {}


def test_one_bad_manifest_blocks_only_itself(tmp_path: Path) -> None:
    """I9."""
    made = Fixture(tmp_path, models__good_yaml=MANIFEST, models__bad_yaml=b"schema_version: 1\nquantisation: q4\n")
    state = made.load()
    assert list(state.manifests) == ["good"]
    assert list(state.blocked) == ["bad"]
    assert state.declared == 2
    assert [(item.file, item.line) for item in state.diagnostics] == [("models/bad.yaml", 2)]


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"name": "other"}', b'{"name": "bad", "artifacts": {"files": [1]}}'])
def test_one_bad_entry_blocks_only_its_model(tmp_path: Path, data: bytes) -> None:
    """I9."""
    made = Fixture(
        tmp_path,
        models__good_yaml=MANIFEST,
        models__bad_yaml=MANIFEST,
        discovered__testhost__good_json=ENTRY,
        discovered__testhost__bad_json=data,
    )
    state = made.load()
    assert list(state.manifests) == ["good"]
    assert list(state.entries) == ["good"]
    assert [item.file for item in state.blocked["bad"]] == ["discovered/testhost/bad.json"]


def test_a_manifest_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    made = Fixture(tmp_path, models__large_yaml=b"# " + b"x" * (64 * 1024) + b"\n" + MANIFEST)
    assert "larger than 64 KiB" in made.load().blocked["large"][0].message


def test_what_lies_deeper_or_has_another_suffix_is_no_manifest(tmp_path: Path) -> None:
    made = Fixture(tmp_path, models__deeper__m_yaml=MANIFEST, **{"models__notes.txt": b"x"})
    assert made.load().declared == 0


def test_the_same_is_loaded_from_the_cache_as_without_it(tmp_path: Path) -> None:
    recorded = {"name": "good", "artifacts": {"files": [{"path": "a b.gguf", "size": 3, "sha256": "0" * 64}]}}
    made = Fixture(
        tmp_path,
        models__good_yaml=MANIFEST,
        models__bad_yaml=b"schema_version: 2\n",
        discovered__testhost__good_json=json.dumps(recorded).encode(),
        discovered__testhost__worse_json=b"{",
    )
    first = made.load()
    assert made.cache_file.is_file()
    again = made.load()
    assert (again.manifests, again.blocked, again.diagnostics) == (first.manifests, first.blocked, first.diagnostics)
    assert again.entries == first.entries
    assert [file.path for file in again.entries["good"].files] == ["a b.gguf"]


def test_what_two_cached_manifests_say_against_each_other_still_has_its_place(tmp_path: Path) -> None:
    made = Fixture(tmp_path, models__a_yaml=MANIFEST, models__b_yaml=MANIFEST + b"previously: [a]\n")
    first = made.load().diagnostics
    assert [(item.file, item.line) for item in first] == [("models/b.yaml", 3)]
    assert made.load().diagnostics == first


def documents(cache: Path) -> dict[str, object]:
    """Return what a cache file holds as values: its format, then some documents a line."""
    _, *lines = cache.read_bytes().split(b"\n")
    return {blob: value for line in lines if line.startswith(b'{"') for blob, value in json.loads(line).items()}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"old"\n{"id": {}}\n', b'{"documents": 1}'])
def test_a_cache_that_cannot_be_used_is_none(tmp_path: Path, content: bytes) -> None:
    made = Fixture(tmp_path, models__good_yaml=MANIFEST)
    made.cache_file.parent.mkdir(parents=True)
    made.cache_file.write_bytes(content)
    assert list(made.load().manifests) == ["good"]
    assert documents(made.cache_file)


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    made = Fixture(tmp_path, models__good_yaml=MANIFEST)
    made.cache_file.parent.parent.write_text("a file where the folder should be", encoding="utf-8")
    assert list(made.load().manifests) == ["good"]


def test_only_what_is_used_stays_in_the_cache(tmp_path: Path) -> None:
    made = Fixture(tmp_path, models__good_yaml=MANIFEST)
    made.load()
    head = made.repository.head()
    made.repository.commit({"models/good.yaml": MANIFEST + b"backend: vllm\n"}, message="Edit", expected=head)
    made.load()
    kept = documents(made.cache_file).values()
    assert [value for value in kept if isinstance(value, dict) and "roles" in value] == [
        {"schema_version": 1, "roles": ["caption"], "backend": "vllm"}
    ]


def test_that_manifests_agreed_before_says_nothing_of_another_one(tmp_path: Path) -> None:
    made = Fixture(tmp_path, models__a_yaml=MANIFEST)
    assert made.load().diagnostics == ()
    assert list(made.load().manifests) == ["a"]
    head = made.repository.head()
    made.repository.commit({"models/b.yaml": MANIFEST + b"previously: [a]\n"}, message="Add", expected=head)
    assert [(item.file, item.line) for item in made.load().diagnostics] == [("models/b.yaml", 3)]
    head = made.repository.head()
    made.repository.commit({"models/b.yaml": MANIFEST}, message="Mend", expected=head)
    assert list(made.load().manifests) == ["a", "b"]
