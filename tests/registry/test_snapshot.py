"""Reading snapshots, and finding those that somebody edited."""

from pathlib import Path

import pytest

from imageworks.git.repository import RegistryRepository
from imageworks.registry.documents.cache import ParsedDocuments
from imageworks.registry.load import load_registry
from imageworks.registry.snapshot import expected_snapshot
from imageworks.registry.snapshot_check import check_snapshots, render
from support.git import make_registry

FILES = {
    "registry.yaml": b"schema_version: 1\nhosts: {testhost: {}, elsewhere: {}}\n",
    "models/m.yaml": b"schema_version: 1\nroles: [caption]\n",
}


def problems(repository: RegistryRepository, folder: Path) -> list[str]:
    found = check_snapshots(repository, "testhost", cache(folder))
    assert found.hidden == ()
    return list(render(found.problems))


def cache(folder: Path) -> ParsedDocuments:
    return ParsedDocuments(folder / "cache.json")


@pytest.fixture
def repository(tmp_path: Path) -> RegistryRepository:
    """A registry whose snapshot is as it should be."""
    made = make_registry(tmp_path / "registry", dict(FILES))
    state = load_registry(made, "testhost", revision=made.head(), cache=cache(tmp_path))
    made.commit({"snapshot/testhost.json": expected_snapshot(state)}, message="Snapshot", expected=made.head())
    return made


def test_manifests_for_other_hosts_are_left_out(tmp_path: Path) -> None:
    files = FILES | {
        "registry.yaml": b"schema_version: 1\nhosts: {elsewhere: {}}\n",
        "models/m.yaml": FILES["models/m.yaml"] + b"hosts: [elsewhere]\n",
    }
    made = make_registry(tmp_path / "registry", files)
    state = load_registry(made, "testhost", revision=made.head(), cache=cache(tmp_path))
    assert expected_snapshot(state) == b"[]\n"


def test_a_right_snapshot_has_no_problem(repository: RegistryRepository, tmp_path: Path) -> None:
    assert problems(repository, tmp_path) == []


def test_a_manifest_committed_later_does_not_make_it_wrong(repository: RegistryRepository, tmp_path: Path) -> None:
    repository.commit({"models/n.yaml": FILES["models/m.yaml"]}, message="More", expected=repository.head())
    assert problems(repository, tmp_path) == []


def test_a_committed_edit_is_found(repository: RegistryRepository, tmp_path: Path) -> None:
    repository.commit({"snapshot/testhost.json": b"[]\n"}, message="Edit", expected=repository.head())
    (problem,) = problems(repository, tmp_path)
    assert problem.startswith("snapshot/testhost.json:1:1: not what manifests and entries give")


def test_an_uncommitted_edit_is_found(repository: RegistryRepository, tmp_path: Path) -> None:
    (repository.root / "snapshot/testhost.json").write_bytes(b"[]\n")
    (problem,) = problems(repository, tmp_path)
    assert problem.startswith("snapshot/testhost.json:1:1: edited by hand")
    assert "`git checkout -- snapshot/testhost.json`" in problem


def test_the_snapshots_of_all_hosts_are_checked(repository: RegistryRepository, tmp_path: Path) -> None:
    repository.commit({"snapshot/elsewhere.json": b"[1]\n"}, message="Another", expected=repository.head())
    (problem,) = problems(repository, tmp_path)
    assert problem.startswith("snapshot/elsewhere.json:1:1:")
