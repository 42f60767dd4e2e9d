"""The registry's models as Python values: read, found by role, changed, and never against a manifest."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from imageworks.host.settings import load_host_settings
from imageworks.model_loader.download_adapter import record_download, remove_download
from imageworks.model_loader.entries import changes_of
from imageworks.model_loader.registry import (
    RegistryEntry,
    UnknownModelError,
    find_by_role,
    get_entry,
    load_registry,
    save_registry,
    update_entries,
)
from imageworks.operations.amend_entry import AmendError
from imageworks.registry.version_lock import VersionLock
from imageworks.serving.last_used import touch
from support.found import put
from support.reconcile import NAME, World

FOUND = "tiny-7b-vllm-awq"


@pytest.fixture(autouse=True)
def registry(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("IMAGEWORKS_REGISTRY_DIR", str(world.root))
    return world


@pytest.fixture
def found(world: World) -> RegistryEntry:
    """A model that no manifest declares."""
    return record_download(backend="vllm", path=put(world.folder / "my models/tiny-7b-awq"))


@pytest.fixture
def declared(world: World) -> RegistryEntry:
    world.serve()
    world.declare(
        backend="vllm",
        roles=["caption", "keywords"],
        role_priority={"caption": 5},
        backend_config={"port": 8001, "extra_args": ["--tensor-parallel-size", "2"]},
        model_aliases=["tiny"],
    )
    world.reconcile()
    return get_entry(NAME)


def test_the_documented_fields_are_attributes(declared: RegistryEntry, world: World) -> None:
    model = world.snapshot()[NAME]
    assert declared.managed
    assert (declared.backend, declared.roles, declared.model_aliases) == ("vllm", ("caption", "keywords"), ("tiny",))
    assert declared.backend_config.port == 8001
    assert declared.backend_config.extra_args == ("--tensor-parallel-size", "2")
    assert declared.backend_config.model_path == str(declared.path) == str(world.weights / "acme/tiny-1b")
    assert model["artifacts"] == {
        "aggregate_sha256": declared.artifacts.aggregate_sha256,
        "count": len(declared.artifacts.files),
    }
    recorded = world.entry(NAME)["artifacts"]
    assert isinstance(recorded, dict)
    assert recorded["files"] == [file._asdict() for file in declared.artifacts.files]
    assert declared.download_directory_checksum == model["download_directory_checksum"]
    assert declared.version_lock == VersionLock()
    assert declared.title == "tiny 1b"
    assert changes_of(declared) == {}


def test_an_unknown_name_says_what_was_meant(declared: RegistryEntry) -> None:
    with pytest.raises(UnknownModelError) as refused:
        get_entry(f"{declared.name}s")
    assert refused.value.remedy == f"Did you mean {NAME!r}?"


def test_a_role_chooses_by_priority_then_by_name(declared: RegistryEntry, world: World) -> None:
    for name, priority in (("other", 9), ("b-model", 5), ("old", 99)):
        fields = {"roles": ["caption"], "role_priority": {"caption": priority}, "deprecated": name == "old"}
        world.write(f"models/{name}.yaml", json.dumps({"schema_version": 1, **fields}))
    world.reconcile()
    assert [model.name for model in find_by_role("caption")] == ["other", "b-model", declared.name]
    assert find_by_role("caption", include_deprecated=True)[0].name == "old"
    assert [model.name for model in find_by_role("keywords")] == [declared.name]
    assert find_by_role("nobody") == []


def test_a_change_is_one_commit_of_what_differs(found: RegistryEntry, world: World) -> None:
    before = world.head()
    commit = update_entries([replace(found, display_name="Tiny, ours", model_aliases=("t",), deprecated=True)])
    assert commit == world.head() != before
    assert world.message().startswith(f"Update {FOUND}\n\n~ {FOUND}: deprecated, display_name, model_aliases")
    world.check()
    changed = get_entry(FOUND)
    assert (changed.display_name, changed.model_aliases, changed.deprecated) == ("Tiny, ours", ("t",), True)
    assert changed.artifacts == found.artifacts
    assert update_entries([changed]) is None
    assert update_entries([replace(changed, deprecated=False)]) is not None
    assert "deprecated" not in world.entry(FOUND)


def test_what_another_process_changed_meanwhile_stays(found: RegistryEntry) -> None:
    update_entries([replace(found, display_name="Theirs")])
    update_entries([replace(found, model_aliases=("ours",))])
    assert (get_entry(FOUND).display_name, get_entry(FOUND).model_aliases) == ("Theirs", ("ours",))


def test_what_another_process_purged_is_not_brought_back(found: RegistryEntry, world: World) -> None:
    remove_download(FOUND, keep_entry=False)
    before = world.head()
    with pytest.raises(AmendError, match="is not recorded any more"):
        update_entries([replace(found, display_name="Back again")])
    assert world.head() == before


def test_when_a_model_was_last_used_is_shown_and_never_written(found: RegistryEntry, world: World) -> None:
    assert found.last_accessed is None
    touch(load_host_settings().state_dir, FOUND)
    used = get_entry(FOUND)
    assert used.last_accessed is not None
    assert used == found
    assert update_entries([used]) is None
    assert "last_accessed" not in world.entry(FOUND)


def test_changes_are_saved_together_later(found: RegistryEntry, world: World) -> None:
    before = world.head()
    assert update_entries([replace(found, display_name="Later")], save=False) is None
    assert update_entries([replace(get_entry(FOUND), family="tiny")], save=False) is None
    assert (get_entry(FOUND).display_name, get_entry(FOUND).family) == ("Later", "tiny")
    assert world.head() == before
    assert save_registry() == world.head() != before
    assert world.entry(FOUND)["display_name"] == "Later"
    assert save_registry() is None


def test_force_forgets_what_was_not_saved(found: RegistryEntry) -> None:
    update_entries([replace(found, display_name="Never")], save=False)
    assert load_registry(force=True)[FOUND].display_name == found.display_name
    assert save_registry() is None


def test_what_others_commit_is_seen_without_force(found: RegistryEntry, world: World) -> None:
    assert set(load_registry()) == {FOUND}
    record_download(backend="lmdeploy", path=found.download_path or "")
    assert set(load_registry()) == {FOUND, "tiny-7b-lmdeploy-awq"}
    load_registry().clear()
    assert len(load_registry()) == len(world.entries())


def test_a_model_without_files_can_be_made(world: World) -> None:
    served = RegistryEntry(
        "qwen2.5vl-7b-ollama-gguf",
        backend="ollama",
        served_model_id="qwen2.5vl:7b",
        source_provider="ollama",
        download_path="ollama://qwen2.5vl:7b",
    )
    assert update_entries([served]) == world.head()
    world.check()
    assert get_entry(served.name) == served
    assert get_entry(served.name).path is None


@pytest.mark.parametrize(
    ("changes", "problem", "remedy"),
    [
        ({"roles": ("caption",)}, "roles is for people to declare", "imageworks-models promote"),
        ({"download_path": "/elsewhere"}, "download_path is what a look at the files found", "record_download"),
        ({"resolved": {"repo": "a/b"}}, "resolved is what a look", "record_download"),
        ({"backend": "tgi"}, "backend", ""),
        ({"name": "../x"}, "name", ""),
    ],
)
def test_what_is_not_the_callers_to_write_is_refused(
    found: RegistryEntry, world: World, changes: dict[str, object], problem: str, remedy: str
) -> None:
    before = world.head()
    for save in (True, False):
        with pytest.raises(AmendError, match=problem) as refused:
            update_entries([replace(found, **changes)], save=save)  # type: ignore[arg-type] # wrong on purpose
        assert remedy in str(refused.value.remedy)
    assert world.head() == before
    assert save_registry() is None


def test_a_manifest_is_never_overwritten_silently(declared: RegistryEntry, found: RegistryEntry, world: World) -> None:
    before = world.head()
    with pytest.raises(AmendError, match=f"{NAME} is declared by models/{NAME}.yaml") as refused:
        update_entries([replace(found, display_name="Not this one either"), replace(declared, display_name="Mine")])
    assert f"Change models/{NAME}.yaml and commit it" in str(refused.value.remedy)
    with pytest.raises(AmendError) as refused:
        update_entries([replace(declared, version_lock=VersionLock(locked=True))])
    assert "imageworks-model-registry verify" in str(refused.value.remedy)
    assert world.head() == before


def test_a_new_entry_cannot_claim_files(tmp_path: Path) -> None:
    with pytest.raises(AmendError, match="download_path"):
        update_entries([RegistryEntry("x-vllm", backend="vllm", download_path=str(tmp_path))])
    with pytest.raises(AmendError, match="artifacts"):
        update_entries(
            [RegistryEntry("x-vllm", artifacts=replace(RegistryEntry("y").artifacts, aggregate_sha256="0" * 64))]
        )
    assert load_registry() == {}
