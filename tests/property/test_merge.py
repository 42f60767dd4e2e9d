"""Laws of the merge: idempotent, order-free, stable in bytes, and what was deleted never comes back."""

import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from imageworks.registry.entries.entry import Entry
from imageworks.registry.entries.merge import (
    ENTRY,
    MANIFEST,
    MANIFEST_OVER_ENTRY,
    load_owners,
    merge,
    merge_one,
    render_snapshot,
)
from imageworks.registry.manifests.manifest import Manifest, read_manifest

OWNERS = load_owners()
NAMES = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3))
KEYS = st.sampled_from(["one", "two", "three"])
OBJECTS = st.dictionaries(KEYS, SCALARS, max_size=2)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), OBJECTS, st.dictionaries(KEYS, OBJECTS, max_size=2))
# Some fields of each owner: all of them would only draw more of the same.
SOME = ["roles", "state", "source_provider", "download_path", "artifacts", "backend_config", "metadata", "family"]
FIELDS = st.dictionaries(st.sampled_from(SOME), VALUES, max_size=5)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    name = draw(NAMES)
    fields = {key: value for key, value in draw(FIELDS).items() if key != "source"}
    return read_manifest(f"models/{name}.yaml", fields)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    return Entry(draw(NAMES), draw(FIELDS))


few = settings(max_examples=60, deadline=None)
some_manifests = st.lists(manifests(), unique_by=lambda manifest: manifest.name, max_size=3)
some_entries = st.lists(entries(), unique_by=lambda entry: entry.name, max_size=3)


@few
@given(some_manifests, some_entries, st.randoms(use_true_random=False))
def test_the_order_of_manifests_and_entries_means_nothing(
    declared: list[Manifest], found: list[Entry], order: random.Random
) -> None:
    mixed = merge(order.sample(declared, len(declared)), order.sample(found, len(found)), OWNERS)
    assert render_snapshot(mixed) == render_snapshot(merge(declared, found, OWNERS))


@few
@given(some_manifests, some_entries)
def test_every_name_stands_once_and_in_order(declared: list[Manifest], found: list[Entry]) -> None:
    names = [model["name"] for model in merge(declared, found, OWNERS)]
    assert names == sorted({manifest.name for manifest in declared} | {entry.name for entry in found})


@few
@given(manifests(), entries())
def test_merging_what_was_merged_changes_nothing(declared: Manifest, found: Entry) -> None:
    once = merge_one(declared, found, OWNERS)
    assert merge_one(declared, Entry(declared.name, once), OWNERS) == once


@few
@given(manifests(), entries())
def test_each_field_comes_from_its_owner_alone(declared: Manifest, found: Entry) -> None:
    merged = merge_one(declared, found, OWNERS)
    for field, owner in OWNERS.items():
        if owner == ENTRY:
            assert (field in merged, merged.get(field)) == (field in found.fields, found.fields.get(field))
        elif owner == MANIFEST:
            assert (field in merged, merged.get(field)) == (field in declared.fields, declared.fields.get(field))


@few
@given(manifests(), entries())
def test_people_win_wherever_they_say_something(declared: Manifest, found: Entry) -> None:
    merged = merge_one(declared, found, OWNERS)
    for field, owner in OWNERS.items():
        if owner == MANIFEST_OVER_ENTRY and declared.fields.get(field) is not None:
            assert holds(merged[field], declared.fields[field])


def holds(merged: object, said: object) -> bool:
    """Return whether everything that people said stands in what was merged, at any depth."""
    if isinstance(said, dict) and isinstance(merged, dict):
        return all(value is None or holds(merged.get(key), value) for key, value in said.items())
    return merged == said


@few
@given(some_manifests, some_entries, st.data())
def test_a_deleted_manifest_never_comes_back_out_of_the_snapshot(
    declared: list[Manifest], found: list[Entry], data: st.DataObject
) -> None:
    before = merge(declared, found, OWNERS)
    kept = [manifest for manifest in declared if data.draw(st.booleans(), label=f"keep {manifest.name}")]
    deleted = {manifest.name for manifest in declared} - {manifest.name for manifest in kept}
    after = {str(model["name"]): model for model in merge(kept, found, OWNERS)}
    recorded = {entry.name: entry for entry in found}
    for name in deleted:
        assert (name in after) is (name in recorded)
        if name in recorded:
            assert after[name] == merge_one(None, recorded[name], OWNERS)
            assert after[name]["managed"] is False
    assert len(after) <= len(before)


@few
@given(some_manifests, some_entries)
def test_a_snapshot_is_json_with_one_model_a_line(declared: list[Manifest], found: list[Entry]) -> None:
    merged = merge(declared, found, OWNERS)
    data = render_snapshot(merged)
    assert json.loads(data) == merged
    # JSON keeps line ends of its texts as escapes, so that a line is a model whatever people write.
    assert data.count(b"\n") == (len(merged) + 2 if merged else 1)
