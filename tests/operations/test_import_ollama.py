"""What an import of Ollama's models changes, as a pure function: names, renames, what goes and what stays."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from imageworks.operations.import_ollama import ImportOptions, OllamaInventory, look, plan_import, plan_rebuild
from imageworks.operations.maintenance.entry_changes import EntryAction, EntryChange, Kept
from imageworks.providers.ollama.errors import OllamaUnreachableError
from imageworks.providers.ollama.model import OllamaLayer, OllamaModel, OllamaObservation, ShownModel
from imageworks.registry.documents.diagnostic import whole_file
from imageworks.registry.entries.entry import Entry
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import read_manifest

STORE = Path("/o/models of ollama")
OPTIONS = ImportOptions(host="host.docker.internal")


def model(name: str, words: str = "w", **fields: object) -> OllamaModel:
    layers = (OllamaLayer("application/vnd.ollama.image.model", f"{words:0<64.64}".replace("w", "a"), 10),)
    told = {
        "digest": "d" * 64,
        "size": 12,
        "config_digest": "c" * 64,
        "layers": layers,
        "modified_at": "2026-08-01T12:00:00Z",
        "details": {"format": "gguf", "parameter_size": "8.3B", "quantization_level": "Q4_K_M"},
        "store": STORE,
        **fields,
    }
    return OllamaModel(name, **told)  # type: ignore[arg-type]


def seen(
    *models: OllamaModel, origin: str = "api", damaged: tuple[str, ...] = (), shown: bool = True
) -> OllamaInventory:
    observed = OllamaObservation(
        models,
        origin=origin,  # type: ignore[arg-type]
        damaged=tuple((STORE / "manifests" / path, "not JSON") for path in damaged),
    )
    told = {
        one.name: ShownModel(one.name, capabilities=("completion", "vision"), template="{{ .P }}") for one in models
    }
    return OllamaInventory(observed, told if shown and origin == "api" else {}, frozenset({str(STORE)}))


def legacy(name: str, served: str | None = None, **fields: object) -> Entry:
    told: dict[str, object] = {"schema_version": 1, "name": name, "managed": False, "backend": "ollama", **fields}
    return Entry(name, told | ({"served_model_id": served} if served else {}))


def registry(*entries: Entry, blocked: tuple[str, ...] = (), **manifests: dict[str, object]) -> RegistryState:
    declared = {name: read_manifest(f"models/{name}.yaml", fields) for name, fields in manifests.items()}
    wrong = {name: (whole_file(f"models/{name}.yaml", "wrong"),) for name in blocked}
    return RegistryState("0" * 40, "here", manifests=declared, entries={e.name: e for e in entries}, blocked=wrong)


def deeds(found: list[EntryChange | Kept]) -> dict[str, str]:
    """Return each change's sign and, where it is another, the new name; ``=`` for what stays."""
    told = {}
    for one in found:
        renamed = isinstance(one, EntryChange) and one.entry is not None and one.entry.name != one.name
        new = f" {one.entry.name}" if isinstance(one, EntryChange) and one.entry is not None and renamed else ""
        told[one.name] = f"{one.deed.value}{new}" if isinstance(one, EntryChange) else "="
    return told


def after(state: RegistryState, found: list[EntryChange | Kept]) -> RegistryState:
    """Return the registry once a plan was carried out."""
    entries = dict(state.entries)
    for one in found:
        if isinstance(one, EntryChange):
            entries.pop(one.name, None)
            if one.entry is not None:
                entries[one.entry.name] = one.entry
    return replace(state, entries=entries)


@pytest.mark.parametrize(
    ("name", "variant", "family", "quantization"),
    [
        ("qwen2.5vl:7b", "qwen2.5vl-7b-ollama-gguf", "qwen2.5vl-7b", None),
        ("llava:7b", "llava-7b-ollama-gguf", "llava-7b", None),
        ("pixtral-local:latest", "pixtral-local-latest-ollama-gguf", "pixtral-local-latest", None),
        ("hf.co/a/B-GGUF:Q6_K", "hf.co-a-b-gguf-ollama-gguf-q6_k", "hf.co-a-b-gguf", "q6_k"),
        ("llama3:q4_k_m", "llama3-ollama-gguf-q4_k_m", "llama3", "q4_k_m"),
    ],
)
def test_strategy_a_names_what_is_new(name: str, variant: str, family: str, quantization: str | None) -> None:
    (change,) = plan_import(registry(), seen(model(name)), OPTIONS)
    assert isinstance(change, EntryChange)
    assert change.entry is not None
    fields = change.entry.fields
    assert (change.name, change.deed, fields["family"]) == (variant, EntryAction.ADD, family)
    assert fields.get("quantization") == quantization
    assert fields["served_model_id"] == name
    assert (fields["source_provider"], fields["backend"], fields["download_format"]) == ("ollama", "ollama", "gguf")
    assert (fields["download_path"], fields["download_location"]) == (str(STORE), "linux_wsl")
    assert fields["backend_config"] == {"host": "host.docker.internal"}
    assert (fields["managed"], fields["downloaded_at"]) == (False, "2026-08-01T12:00:00Z")
    assert change.entry.part("capabilities")["vision"] is True
    assert change.entry.part("metadata")["acquisition"] == "adopted"


def test_a_store_that_is_elsewhere_has_a_path_that_only_stands_for_it() -> None:
    (change,) = plan_import(registry(), seen(model("m:7b", store=None, layers=(), config_digest=None)), OPTIONS)
    assert isinstance(change, EntryChange)
    assert change.entry is not None
    assert change.entry.fields["download_path"] == "ollama://m:7b"


def test_a_second_import_changes_nothing_in_any_order() -> None:
    models = [model("a:7b", "a"), model("b:q4_k_m", "b"), model("a/b:7b", "e"), model("a-b:7b", "f")]
    state = registry()
    first = after(state, plan_import(state, seen(*models), OPTIONS))
    assert len(first.entries) == 4
    random.shuffle(models)
    assert plan_import(first, seen(*models), OPTIONS) == []
    assert plan_import(first, seen(*models, origin="store"), OPTIONS) == []
    assert plan_rebuild(first, seen(*models), OPTIONS) == []


def test_a_name_without_its_quant_becomes_the_one_with_it() -> None:
    old = legacy("llama3-ollama-gguf", "llama3:q4_k_m", model_aliases=["mine"], display_name="Ours")
    state = registry(old, legacy("phi-ollama-gguf"))
    found = plan_import(state, seen(model("llama3:q4_k_m"), model("phi:Q8_0", "p")), OPTIONS)
    assert deeds(found) == {
        "llama3-ollama-gguf": "> llama3-ollama-gguf-q4_k_m",
        "phi-ollama-gguf": "> phi-ollama-gguf-q8_0",
    }
    entry = after(state, found).entries["llama3-ollama-gguf-q4_k_m"]
    assert (entry.fields["model_aliases"], entry.fields["display_name"]) == (["mine"], "Ours")


def test_the_old_name_beside_the_new_one_goes() -> None:
    both = [legacy("llama3-ollama-gguf", "llama3:q4_k_m"), legacy("llama3-ollama-gguf-q4_k_m", "llama3:q4_k_m")]
    found = plan_import(registry(*both), seen(model("llama3:q4_k_m")), OPTIONS)
    assert deeds(found) == {"llama3-ollama-gguf": "-", "llama3-ollama-gguf-q4_k_m": "~"}


def test_a_name_that_somebody_gave_stays_and_a_rebuild_forgets_it() -> None:
    state = registry(legacy("mine", "LLAMA3:q4_k_m"))
    assert deeds(plan_import(state, seen(model("llama3:q4_k_m")), OPTIONS)) == {"mine": "~"}
    rebuilt = plan_rebuild(state, seen(model("llama3:q4_k_m")), OPTIONS)
    assert deeds(rebuilt) == {"llama3-ollama-gguf-q4_k_m": "+", "mine": "-"}


def test_what_left_ollama_leaves_the_registry_and_what_is_declared_stays() -> None:
    state = registry(
        legacy("gone", "gone:7b"),
        legacy("path-only", download_path="ollama://gone:8b"),
        legacy("unknown"),
        legacy("emptied", "gone:11b", conditions=[{"type": "Ready", "status": "False", "reason": "Removed"}]),
        legacy("locked", "gone:9b", version_lock={"locked": True}),
        legacy("broken", "gone:10b"),
        legacy("declared", "kept:7b", managed=True, source_provider="ollama"),
        legacy("half-read", "bad:7b"),
        legacy("of-a-hub", "x", source_provider="huggingface", backend="vllm"),
        declared={"source": {"ollama": "kept:7b"}},
        blocked=("broken",),
    )
    found = plan_import(state, seen(damaged=("registry.ollama.ai/library/bad/7b",)), OPTIONS)
    assert deeds(found) == {
        "gone": "-",
        "path-only": "-",
        "unknown": "=",
        "emptied": "=",
        "locked": "=",
        "declared": "=",
        "half-read": "=",
    }


def test_without_a_daemon_only_what_its_store_would_show_goes() -> None:
    state = registry(
        legacy("here", "a:7b", download_path=str(STORE)),
        legacy("on-a-drive-that-is-away", "b:7b", download_path="/mnt/away/models"),
        legacy("told-by-a-daemon", "c:7b", download_path="ollama://c:7b"),
    )
    assert deeds(plan_import(state, seen(origin="store"), OPTIONS)) == {
        "here": "-",
        "on-a-drive-that-is-away": "=",
        "told-by-a-daemon": "=",
    }


def test_what_a_manifest_stands_for_is_told_and_not_recorded_again() -> None:
    offered = Entry("from-hub", {"name": "from-hub", "managed": True, "metadata": {"ollama": {"name": "mine:latest"}}})
    state = registry(offered, own={"source": {"ollama": "Declared:7B"}})
    found = plan_import(state, seen(model("declared:7b"), model("mine:latest", "m")), OPTIONS)
    assert deeds(found) == {"declared:7b": "=", "mine:latest": "="}


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (model("m:7b", complete=False), "ollama pull m:7b"),
        (model("testzzz:7b"), "--include-testing"),
    ],
)
def test_what_is_not_recorded_is_told(one: OllamaModel, why: str) -> None:
    (kept,) = plan_import(registry(), seen(one), OPTIONS)
    assert isinstance(kept, Kept)
    assert why in kept.why


def test_tests_are_recorded_when_asked_for_and_known_as_such() -> None:
    (change,) = plan_import(registry(), seen(model("testzzz:7b")), replace(OPTIONS, include_testing=True))
    assert isinstance(change, EntryChange)
    assert change.entry is not None
    assert change.entry.part("metadata")["testing"] is True


def test_what_a_killed_run_of_ours_kept_is_no_model_of_its_own() -> None:
    assert plan_import(registry(), seen(model("imageworks-kept/0123456789abcdef:7b")), OPTIONS) == []


def test_a_locked_version_is_not_taken_for_another() -> None:
    first = after(registry(), plan_import(registry(), seen(model("m:7b")), OPTIONS))
    (entry,) = first.entries.values()
    locked = replace(entry, fields={**entry.fields, "version_lock": {"locked": True}})
    state = registry(locked)
    assert plan_import(state, seen(model("m:7b")), OPTIONS) == []
    (kept,) = plan_import(state, seen(model("m:7b", digest="e" * 64)), OPTIONS)
    assert isinstance(kept, Kept)
    assert "locked" in kept.why


def test_another_content_under_the_same_tag_is_recorded_with_its_own_time() -> None:
    first = after(registry(), plan_import(registry(), seen(model("m:7b")), OPTIONS))
    newer = model("m:7b", "z", digest="e" * 64, size=99, modified_at="2026-09-01T00:00:00Z")
    (change,) = plan_import(first, seen(newer), OPTIONS)
    assert isinstance(change, EntryChange)
    times = "2026-08-01T12:00:00Z→2026-09-01T00:00:00Z"
    assert change.differences == ("download_size_bytes:12→99", f"downloaded_at:{times}")
    assert change.entry is not None
    assert change.entry.fields["downloaded_at"] == "2026-09-01T00:00:00Z"


@pytest.mark.parametrize("served", [None, "gone:7b", "m:7b"])
def test_placeholders_are_deprecated_when_asked_for_and_once(served: str | None) -> None:
    state = registry(legacy("model-ollama-gguf-2", served))
    options = replace(OPTIONS, deprecate_placeholders=True)
    found = plan_import(state, seen(model("m:7b")), options)
    assert deeds(found) == {"m-7b-ollama-gguf": "+", "model-ollama-gguf-2": "!"}
    assert plan_import(after(state, found), seen(model("m:7b")), options) == []
    left = deeds(plan_import(state, seen(model("m:7b")), OPTIONS))
    assert left["model-ollama-gguf-2"] == ("-" if served == "gone:7b" else "=")


def test_one_that_came_back_is_deprecated_no_more_and_one_that_people_deprecated_is() -> None:
    missing = [{"type": "Ready", "status": "False", "reason": "Missing", "message": "gone"}]
    state = registry(
        legacy("a-7b-ollama-gguf", "a:7b", deprecated=True, conditions=missing),
        legacy("b-7b-ollama-gguf", "b:7b", deprecated=True),
    )
    entries = after(state, plan_import(state, seen(model("a:7b", "a"), model("b:7b", "b")), OPTIONS)).entries
    assert {name: entry.fields.get("deprecated") for name, entry in entries.items()} == {
        "a-7b-ollama-gguf": None,
        "b-7b-ollama-gguf": True,
    }


def test_backend_and_location_are_as_asked_and_a_recorded_location_stays() -> None:
    state = registry(legacy("m-7b-ollama-gguf", "m:7b", download_location="shelf"))
    entry = after(state, plan_import(state, seen(model("m:7b")), OPTIONS)).entries["m-7b-ollama-gguf"]
    assert entry.fields["download_location"] == "shelf"
    asked = replace(OPTIONS, location="here", backend="gguf")
    entry = after(state, plan_import(state, seen(model("m:7b")), asked)).entries["m-7b-ollama-gguf"]
    assert (entry.fields["download_location"], entry.fields["backend"]) == ("here", "gguf")


def test_what_is_asked_for_is_recorded_though_the_model_is_known() -> None:
    first = after(registry(), plan_import(registry(), seen(model("m:7b")), OPTIONS))
    asked = replace(OPTIONS, location="here", host="gpu-box")
    found = plan_import(first, seen(model("m:7b"), shown=False), asked)
    entry, before = after(first, found).entries["m-7b-ollama-gguf"], first.entries["m-7b-ollama-gguf"]
    changed = {"download_location": "here", "backend_config": {"host": "gpu-box"}}
    assert entry.fields == {**before.fields, **changed}
    assert entry.files == before.files


class Silent:
    """A provider that finds neither a daemon nor a store."""

    def observe(self) -> OllamaObservation:
        return OllamaObservation(problem="nobody is there", remedy="Start it.")


def test_nothing_that_tells_anything_is_an_error_and_no_empty_ollama() -> None:
    with pytest.raises(OllamaUnreachableError, match="nobody is there"):
        look(Silent(), [STORE])  # type: ignore[arg-type]
