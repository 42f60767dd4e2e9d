"""Simple names as pure functions: what models are called, who clashes, and that nothing is lost on the way."""

import random

import pytest

from imageworks.operations.maintenance.entry_changes import EntryAction, EntryChange, Kept
from imageworks.operations.maintenance.simple_names import (
    Disambiguation,
    SlugCollisionError,
    SlugOptions,
    apply_slugs,
    propose,
)
from imageworks.registry.documents.diagnostic import whole_file
from imageworks.registry.entries.entry import ArtifactFile, Entry
from imageworks.registry.entries.merge import load_owners, merge
from imageworks.registry.load import RegistryState
from imageworks.registry.manifests.manifest import read_manifest

FILES = (ArtifactFile("model.safetensors", 10, "0" * 64),)
RENAME = SlugOptions(rename=True)
BACKEND, FORMAT, PRODUCER, NONE = Disambiguation


def entry(name: str, family: str = "llama-7b", **fields: object) -> Entry:
    told = {"backend": "vllm", "download_format": "safetensors", "quantization": "awq", "managed": False, **fields}
    kept = {key: value for key, value in told.items() if value is not None}
    return Entry(name, {"name": name, "family": family, **kept}, FILES)


def registry(*entries: Entry, blocked: tuple[str, ...] = (), **manifests: dict[str, object]) -> RegistryState:
    declared = {name: read_manifest(f"models/{name}.yaml", fields) for name, fields in manifests.items()}
    return RegistryState(
        revision="0" * 40,
        host="here",
        manifests=declared,
        entries={one.name: one for one in entries},
        blocked={name: (whole_file(f"models/{name}.yaml", "wrong"),) for name in blocked},
    )


def models(state: RegistryState) -> list[dict[str, object]]:
    return merge(state.applied, state.entries.values(), load_owners())


def applied(state: RegistryState, options: SlugOptions = RENAME) -> list[EntryChange | Kept]:
    return apply_slugs(state, models(state), options)


def names(found: list[EntryChange | Kept]) -> dict[str, str | None]:
    """Return each model's new name, ``None`` where it stays for a reason."""
    return {one.name: None if isinstance(one, Kept) else one.entry.name if one.entry else one.name for one in found}


def test_a_preview_tells_who_would_be_called_the_same_whoever_is_chosen() -> None:
    state = registry(
        entry("a"),
        entry("b", backend="ollama"),
        entry("c", quantization=None),
        entry("old", deprecated=True),
        entry("unknown", family=""),
    )
    found = propose(models(state), SlugOptions(stores=False))
    assert [(one.name, one.slug, one.clashing, one.chosen) for one in found] == [
        ("a", "llama-7b-awq", ("b",), True),
        ("b", "llama-7b-awq", ("a",), False),
        ("c", "llama-7b", (), True),
    ]


CLASHING = (entry("a", producer="meta"), entry("b", producer="TheBloke"), entry("c", backend="ollama"))


@pytest.mark.parametrize(
    ("how", "called"),
    [
        ((NONE,), {"a": None, "b": None, "c": None}),
        ((), {"a": None, "b": None, "c": None}),
        ((FORMAT,), {"a": None, "b": None, "c": None}),
        ((BACKEND,), {"a": None, "b": None, "c": "llama-7b-ollama-awq"}),
        ((PRODUCER,), {"a": "llama-7b-meta-awq", "b": "llama-7b-thebloke-awq", "c": None}),
        (
            (BACKEND, FORMAT, PRODUCER),
            {"a": "llama-7b-vllm-meta-awq", "b": "llama-7b-vllm-thebloke-awq", "c": "llama-7b-ollama-awq"},
        ),
    ],
)
def test_clashing_names_are_told_apart_as_asked(how: tuple[Disambiguation, ...], called: dict[str, str | None]) -> None:
    state = registry(*CLASHING)
    assert names(applied(state, SlugOptions(rename=True, disambiguate=how))) == called
    if None in called.values():
        with pytest.raises(SlugCollisionError, match="would be"):
            applied(state, SlugOptions(rename=True, disambiguate=how, skip=False))


def test_who_is_chosen_does_not_change_what_a_model_is_called() -> None:
    state = registry(*CLASHING)
    everything = names(applied(state))
    assert names(applied(state, SlugOptions(rename=True, others=False))) == {"c": everything["c"]}


def test_the_order_does_not_matter_and_a_second_time_changes_nothing() -> None:
    entries = [entry(f"m{i}", f"family-{i % 4}", backend=("vllm", "ollama")[i % 2]) for i in range(9)]
    options = SlugOptions(rename=True, disambiguate=(BACKEND, PRODUCER))
    found = names(applied(registry(*entries), options))
    random.shuffle(entries)
    assert names(applied(registry(*entries), options)) == found
    changes = [one for one in applied(registry(*entries), options) if isinstance(one, EntryChange)]
    renamed = {one.name: one.entry for one in changes if one.entry}
    after = registry(*(renamed.get(one.name, one) for one in entries))
    assert [one for one in applied(after, options) if isinstance(one, EntryChange)] == []


def test_nothing_of_an_entry_is_lost_by_its_new_name() -> None:
    old = entry(
        "long-name",
        model_aliases=["mine"],
        version_lock={"locked": True},
        capabilities={"vision": True},
        download_path="/w s/llama",
        served_model_id="kept",
    )
    (change,) = applied(registry(old))
    assert isinstance(change, EntryChange)
    assert change.entry is not None
    assert change.deed is EntryAction.RENAME
    new = {"name": "llama-7b-awq", "display_name": "llama 7b (AWQ)"}
    assert change.entry.fields == {**old.fields, **new}
    assert change.entry.files == old.files


def test_a_model_that_was_asked_for_by_its_name_is_asked_for_by_the_new_one() -> None:
    (change,) = applied(registry(entry("long-name", served_model_id="long-name")))
    assert isinstance(change, EntryChange)
    assert change.entry is not None
    assert change.entry.fields["served_model_id"] == "llama-7b-awq"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (registry(entry("a"), entry("llama-7b-awq", "phi")), "taken by llama-7b-awq"),
        (registry(entry("a"), blocked=("LLAMA-7b-awq",)), "taken by LLAMA-7b-awq"),
        (registry(entry("a"), other={"previously": ["llama-7b-awq"], "backend": "vllm"}), "taken by other"),
        (registry(entry("a", "c++-coder")), "can be no name"),
    ],
    ids=["another's", "of a broken one", "another's former", "no name"],
)
def test_a_name_that_cannot_be_had_is_not_taken(state: RegistryState, why: str) -> None:
    (kept,) = [one for one in applied(state) if one.name == "a"]
    assert isinstance(kept, Kept)
    assert why in kept.why


def test_two_that_are_told_apart_into_one_name_stay() -> None:
    state = registry(entry("a", producer="x"), entry("b", producer="y"), entry("c", "llama-7b-x"))
    found = names(applied(state, SlugOptions(rename=True, disambiguate=(PRODUCER,))))
    assert found == {"a": None, "b": "llama-7b-y-awq", "c": None}


def test_tests_alone_and_they_stay_known_as_tests() -> None:
    state = registry(entry("model-awq-1"), entry("real", "phi-3b"))
    found = applied(state, SlugOptions(rename=True, tests_only=True))
    assert names(found) == {"model-awq-1": "llama-7b-awq"}
    (change,) = found
    assert isinstance(change, EntryChange)
    assert change.entry is not None
    assert change.entry.part("metadata")["testing"] is True


def test_what_people_declare_is_changed_where_they_declare_it() -> None:
    state = registry(entry("mine", managed=True, display_name="Old"), mine={"previously": ["older"], "backend": "vllm"})
    (shown,) = applied(state, SlugOptions())
    assert isinstance(shown, EntryChange)
    assert shown.entry == state.entries["mine"]
    assert shown.manifest is not None
    assert (shown.manifest.becomes, shown.manifest.changes) == (
        "models/mine.yaml",
        {("display_name",): "llama 7b (AWQ)"},
    )
    (renamed,) = applied(state)
    assert isinstance(renamed, EntryChange)
    assert renamed.manifest is not None
    assert renamed.manifest.becomes == "models/llama-7b-awq.yaml"
    assert renamed.manifest.changes["previously",] == ["older", "mine"]


def test_a_former_name_may_come_back() -> None:
    state = registry(entry("mine", managed=True), mine={"previously": ["llama-7b-awq", "older"], "backend": "vllm"})
    (renamed,) = applied(state)
    assert isinstance(renamed, EntryChange)
    assert renamed.manifest is not None
    assert renamed.manifest.changes["previously",] == ["older", "mine"]


def test_what_is_declared_for_others_or_wrongly_stays() -> None:
    state = registry(entry("mine"), entry("broken", "phi"), blocked=("broken",), mine={"hosts": ["elsewhere"]})
    found = applied(state)
    assert names(found) == {"mine": None, "broken": None}
