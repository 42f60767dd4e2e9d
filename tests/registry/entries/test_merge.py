"""Merging, field by field: who owns what, as the table of owners says."""

import json

import pytest

from imageworks.registry.documents.schema import load_schema
from imageworks.registry.entries.entry import Entry
from imageworks.registry.entries.merge import (
    ENTRY,
    MANIFEST,
    MANIFEST_OVER_ENTRY,
    load_owners,
    merge,
    merge_one,
    render_snapshot,
    snapshot_file,
)
from imageworks.registry.manifests.manifest import read_manifest

OWNERS = load_owners()


def merged(declared: dict[str, object] | None, found: dict[str, object] | None) -> dict[str, object]:
    manifest = None if declared is None else read_manifest("models/m.yaml", declared)
    return merge_one(manifest, None if found is None else Entry("m", found), OWNERS)


def test_every_field_of_manifest_and_entry_has_exactly_one_owner() -> None:
    fields: set[str] = set()
    for name in ("manifest", "entry"):
        properties = load_schema(name)["properties"]
        assert isinstance(properties, dict)
        fields |= set(properties)
    assert fields - {"schema_version", "name", "managed"} == set(OWNERS)
    assert set(OWNERS.values()) == {MANIFEST, ENTRY, MANIFEST_OVER_ENTRY}


@pytest.mark.parametrize("field", ["artifacts", "resolved", "conditions", "downloaded_at", "download_path", "producer"])
def test_what_the_controller_found_cannot_be_declared(field: str) -> None:
    assert merged({field: "declared"}, {field: "found"})[field] == "found"
    assert field not in merged({field: "declared"}, {})


@pytest.mark.parametrize("field", ["roles", "labels", "hosts", "previously", "state", "location"])
def test_what_people_own_comes_from_the_manifest_alone(field: str) -> None:
    assert merged({field: "declared"}, {field: "found"})[field] == "declared"
    assert field not in merged({}, {field: "found"})


@pytest.mark.parametrize("field", ["family", "quantization", "display_name", "license", "backend"])
def test_where_detection_proposes_the_manifest_wins(field: str) -> None:
    assert merged({field: "declared"}, {field: "found"})[field] == "declared"
    assert merged({}, {field: "found"})[field] == "found"


def test_objects_are_merged_deeply_and_the_manifest_wins_each_field() -> None:
    declared = {"backend_config": {"port": 1, "nested": {"a": 1}}, "capabilities": {"vision": False}}
    found = {
        "backend_config": {"model_path": "/m", "port": 2, "nested": {"b": 2}},
        "capabilities": {"vision": True, "audio": True},
    }
    model = merged(declared, found)
    assert model["backend_config"] == {"model_path": "/m", "port": 1, "nested": {"a": 1, "b": 2}}
    assert model["capabilities"] == {"vision": False, "audio": True}


def test_lists_are_replaced_and_not_joined() -> None:
    assert merged({"model_aliases": ["a"]}, {"model_aliases": ["b"]})["model_aliases"] == ["a"]


def test_name_and_managed_follow_from_what_there_is() -> None:
    assert merged({}, {"name": "lies", "managed": False}) == {"name": "m", "managed": True}
    assert merged(None, {"name": "m", "managed": True}) == {"name": "m", "managed": False}


def test_an_entry_without_a_manifest_speaks_for_itself() -> None:
    assert merged(None, {"roles": ["caption"]})["roles"] == ["caption"]


def test_a_snapshot_has_one_model_a_line_and_is_sorted() -> None:
    data = render_snapshot(merge([read_manifest("models/b.yaml", {}), read_manifest("models/a.yaml", {})], [], OWNERS))
    assert data == b'[\n{"managed":true,"name":"a"},\n{"managed":true,"name":"b"}\n]\n'
    assert json.loads(data)[0]["name"] == "a"
    assert snapshot_file("testhost") == "snapshot/testhost.json"


def test_an_empty_snapshot_is_an_empty_list() -> None:
    assert render_snapshot([]) == b"[]\n"
