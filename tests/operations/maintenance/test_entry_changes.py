"""Maintenance as pure functions: laws that hold for every registry, without one."""

from pathlib import Path

import pytest

from imageworks.operations.maintenance.entry_changes import (
    DetectedFormat,
    EntryAction,
    EntryChange,
    Kept,
    normalize,
    prune_duplicates,
    purge_deprecated,
)
from imageworks.registry.entries.entry import ArtifactFile, Entry
from imageworks.registry.manifests.manifest import read_manifest

FILES = (ArtifactFile("model.safetensors", 10, "0" * 64),)


def entry(name: str = "a", *, files: tuple[ArtifactFile, ...] = FILES, **fields: object) -> Entry:
    told = {"family": "llama-7b", "backend": "vllm", "download_format": "safetensors", "managed": False, **fields}
    return Entry(name, {"name": name, "download_path": f"/nowhere/{name}", **told}, files)


def after(entries: list[Entry], found: list[EntryChange | Kept]) -> list[Entry]:
    """Return the entries after a plan was applied."""
    changes = {change.name: change.entry for change in found if isinstance(change, EntryChange)}
    kept = [changes.get(one.name, one) for one in entries]
    return [one for one in kept if one is not None]


def deeds(found: list[EntryChange | Kept]) -> dict[str, EntryAction | None]:
    return {one.name: one.deed if isinstance(one, EntryChange) else None for one in found}


SEEN = {
    "same": DetectedFormat(exists=True, download_format="safetensors"),
    "nothing-known": DetectedFormat(exists=True),
    "other": DetectedFormat(exists=True, download_format="gguf", quantization="q4_k_m"),
    "files": DetectedFormat(exists=True, files=(*FILES, ArtifactFile("b", 1, "1" * 64))),
    "bytes": DetectedFormat(exists=True, files=(ArtifactFile("model.safetensors", 10, "2" * 64),)),
    "gone": DetectedFormat(exists=False),
    "unmounted": DetectedFormat(exists=False, reachable=False),
}


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("managed", [False, True])
@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
def test_normalizing_twice_changes_nothing_more(seen: DetectedFormat, managed: bool, prune: bool) -> None:
    entries = [entry(managed=managed)]
    once = after(entries, normalize(entries, {"a": seen}, prune_missing=prune))
    assert after(once, normalize(once, {"a": seen}, prune_missing=prune)) == once
    assert {EntryAction.CHANGE, EntryAction.REMOVE, EntryAction.DEPRECATE}.isdisjoint(
        deeds(normalize(once, {"a": seen}, prune_missing=prune)).values()
    )


@pytest.mark.parametrize(
    ("seen", "prune", "deed"),
    [
        ("other", False, EntryAction.CHANGE),
        ("files", False, EntryAction.CHANGE),
        ("bytes", False, EntryAction.CHANGE),
        ("gone", False, EntryAction.DEPRECATE),
        ("gone", True, EntryAction.REMOVE),
        ("unmounted", True, None),
    ],
)
def test_what_normalizing_does(seen: str, prune: bool, deed: EntryAction | None) -> None:
    assert deeds(normalize([entry()], {"a": SEEN[seen]}, prune_missing=prune)) == {"a": deed}


def test_evidence_that_is_missing_takes_nothing_away() -> None:
    known = entry(quantization="awq")
    assert normalize([known], {"a": SEEN["nothing-known"]}, prune_missing=True) == []
    assert normalize([known], {}, prune_missing=True) == []


def test_no_maintenance_removes_what_is_declared() -> None:
    managed = [entry(name, managed=True, deprecated=True) for name in ("a", "b")]
    manifests = {one.name: read_manifest(f"models/{one.name}.yaml", {}) for one in managed}
    for found in (
        purge_deprecated(managed, manifests),
        prune_duplicates(managed, manifests),
        normalize(managed, {one.name: SEEN["gone"] for one in managed}, prune_missing=True),
    ):
        assert after(managed, found) == managed


def test_one_of_each_kind_stays_whatever_the_order() -> None:
    entries = [entry("a"), entry("b", license="mit"), entry("c"), entry("d", quantization="awq")]
    left = {one.name for one in after(entries, prune_duplicates(entries, {}))}
    assert left == {"b", "d"}
    entries.reverse()
    assert {one.name for one in after(entries, prune_duplicates(entries, {}))} == left


def test_what_people_say_decides_who_is_alike() -> None:
    entries = [entry("a", managed=True, backend="unassigned"), entry("b")]
    manifests = {"a": read_manifest("models/a.yaml", {"backend": "vllm"})}
    assert deeds(prune_duplicates(entries, manifests)) == {"a": None, "b": EntryAction.REMOVE}
    assert prune_duplicates(entries, {}) == []
    assert prune_duplicates(entries, manifests, backend="ollama") == []


def test_the_same_files_under_two_names_are_duplicates_and_other_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    shared = {"download_path": str(tmp_path / "one"), "download_files": ["model.safetensors"]}
    entries = [
        entry("a", **shared, license="mit"),  # type: ignore[arg-type]
        entry("b", **shared),  # type: ignore[arg-type]
        entry("c", download_path=str(tmp_path / "two"), download_files=["model.safetensors"]),
    ]
    assert deeds(prune_duplicates(entries, {})) == {"a": None, "b": EntryAction.REMOVE, "c": None}


def test_placeholders_are_those_of_the_older_importer() -> None:
    entries = [entry(name, deprecated=True) for name in ("model-ollama-gguf", "model-ollama-gguf-2", "my-model")]
    entries.append(entry("model-ollama-gguf-3"))
    found = purge_deprecated(entries, (), placeholders_only=True)
    assert deeds(found) == {
        "model-ollama-gguf": EntryAction.REMOVE,
        "model-ollama-gguf-2": EntryAction.REMOVE,
        "my-model": None,
    }
