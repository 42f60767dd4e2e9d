"""What one declared model needs, as a table: each action and each reason with the case that gives it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from imageworks.plan.facts import Blocker, DeclaredModel, FileState, TargetContents
from imageworks.plan.plan import SYMBOLS, Action, Change, Reason, reason_of
from imageworks.providers.dispatch import decide
from imageworks.providers.folder.decide import needs_upstream
from imageworks.registry.entries.entry import Entry, aggregate_sha256
from imageworks.registry.manifests.manifest import Manifest
from support.plans import (
    FILES,
    REPO,
    A,
    B,
    artifacts,
    entry,
    files,
    installed,
    lying,
    manifest,
    observed,
    place,
    upstream,
)

NEW: Mapping[str, bytes] = {**FILES, "config.json": b'{"new": 1}', "extra.json": b"{}"}
BRANCH = {"huggingface": REPO, "revision": "main"}
LOCAL = {"path": "/data/mine"}


def pinned(revision: str, **fields: object) -> Manifest:
    return manifest("m", source={"huggingface": REPO, "revision": revision}, **fields)


def absent() -> DeclaredModel:
    return DeclaredModel(manifest(), place=place(), upstream=upstream())


def damaged(offer: object = None, **states: FileState) -> DeclaredModel:
    record = entry()
    return installed(record=record, observation=observed(record, **states), upstream=offer or upstream())


def moved(**more: object) -> DeclaredModel:
    return replace(installed(place=place(root=Path("/second"))), **more)  # type: ignore[arg-type]


def local(**more: object) -> DeclaredModel:
    declared = manifest(source=LOCAL)
    record = entry(declared, commit=None)
    return replace(installed(declared, record=record, upstream=upstream(commit=None, repo=None)), **more)  # type: ignore[arg-type]


def locked() -> DeclaredModel:
    lock = {"locked": True, "expected_aggregate_sha256": aggregate_sha256(artifacts())}
    return installed(pinned(B, version_lock=lock), record=entry(), upstream=upstream(NEW, commit=B))


def nothing_recorded_of(record: Entry) -> Entry:
    return Entry(record.name, {**record.fields, "download_path": None}, ())


CASES: Mapping[str, tuple[Callable[[], DeclaredModel], Action, Reason]] = {
    "nothing is there": (absent, Action.INSTALL, Reason.MISSING),
    "the entry has no files": (
        lambda: installed(record=nothing_recorded_of(entry()), upstream=upstream()),
        Action.INSTALL,
        Reason.MISSING,
    ),
    "part of it lies at the target": (
        lambda: DeclaredModel(manifest(), place=place(), upstream=upstream(), occupant=lying({"config.json": b"{}"})),
        Action.INSTALL,
        Reason.MISSING,
    ),
    "all of it lies at the target": (
        lambda: DeclaredModel(manifest(), place=place(), upstream=upstream(), occupant=lying()),
        Action.ADOPT,
        Reason.FOUND,
    ),
    "another pin": (
        lambda: installed(pinned(B), record=entry(), upstream=upstream(NEW, commit=B)),
        Action.UPDATE,
        Reason.REVISION_CHANGED,
    ),
    "a branch instead of the pin": (
        lambda: installed(manifest(source=BRANCH), record=entry(), upstream=upstream(NEW, commit=B)),
        Action.UPDATE,
        Reason.REVISION_CHANGED,
    ),
    "another repository": (
        lambda: installed(
            manifest(source={"huggingface": "acme/fork", "revision": A}),
            record=entry(),
            upstream=upstream(NEW, repo="acme/fork"),
        ),
        Action.UPDATE,
        Reason.SOURCE_CHANGED,
    ),
    "another quantization": (
        lambda: installed(manifest(quantization="q8_0"), record=entry(), upstream=upstream(NEW)),
        Action.UPDATE,
        Reason.SELECTION_CHANGED,
    ),
    "a local folder that changed": (
        lambda: local(upstream=upstream(NEW, commit=None, repo=None)),
        Action.ADOPT,
        Reason.SOURCE_CHANGED,
    ),
    "a copied local folder that changed": (
        lambda: installed(
            manifest(source=LOCAL, location="second"),
            record=entry(manifest(source=LOCAL, location="second"), commit=None),
            upstream=upstream(NEW, commit=None, repo=None),
        ),
        Action.UPDATE,
        Reason.SOURCE_CHANGED,
    ),
    "a file is missing": (lambda: damaged(config_json=FileState.MISSING), Action.REPAIR, Reason.FILE_MISSING),
    "a file has another size": (lambda: damaged(config_json=FileState.SIZE), Action.REPAIR, Reason.SIZE_MISMATCH),
    "a file has other bytes": (
        lambda: damaged(config_json=FileState.MISSING, model_safetensors=FileState.DIGEST),
        Action.REPAIR,
        Reason.DIGEST_MISMATCH,
    ),
    "the folder is gone": (
        lambda: damaged(config_json=FileState.MISSING, model_safetensors=FileState.MISSING),
        Action.REPAIR,
        Reason.FILE_MISSING,
    ),
    "another location": (moved, Action.MOVE, Reason.LOCATION_CHANGED),
    "moved by a run that was killed": (
        lambda: moved(
            observation=observed(entry(), config_json=FileState.MISSING, model_safetensors=FileState.MISSING),
            occupant=lying(),
        ),
        Action.MOVE,
        Reason.LOCATION_CHANGED,
    ),
    "a former name": (
        lambda: installed(manifest("new"), record=entry(), previous_name="m"),
        Action.MOVE,
        Reason.RENAMED,
    ),
    "declared absent": (
        lambda: installed(manifest(state="absent"), record=entry()),
        Action.REMOVE,
        Reason.DECLARED_ABSENT,
    ),
    "other bytes lie at the target": (
        lambda: DeclaredModel(manifest(), place=place(), upstream=upstream(), occupant=lying({"config.json": b"mine"})),
        Action.BLOCKED,
        Reason.UNOWNED_FILES,
    ),
    "other bytes lie where it is to move": (
        lambda: moved(occupant=lying({"config.json": b"mine"})),
        Action.BLOCKED,
        Reason.UNOWNED_FILES,
    ),
    "other bytes lie where the update is to go": (
        lambda: installed(
            manifest(source={"huggingface": "acme/fork", "revision": A}),
            record=entry(),
            upstream=upstream(NEW, repo="acme/fork"),
            place=place("acme/fork"),
            occupant=lying({"config.json": b"mine"}),
        ),
        Action.BLOCKED,
        Reason.UNOWNED_FILES,
    ),
    "the lock holds the installed files": (locked, Action.BLOCKED, Reason.LOCKED),
    "damaged, and its commit is no longer offered": (
        lambda: damaged(upstream(NEW, commit=B), config_json=FileState.MISSING),
        Action.BLOCKED,
        Reason.UPSTREAM_GONE,
    ),
    "an Ollama source": (
        lambda: DeclaredModel(manifest(source={"ollama": "qwen2.5vl:7b"})),
        Action.BLOCKED,
        Reason.PROVIDER_UNAVAILABLE,
    ),
    "a source that nobody looked at": (
        lambda: DeclaredModel(manifest(), place=place()),
        Action.BLOCKED,
        Reason.SOURCE_MISSING,
    ),
    "an update whose source nobody looked at": (
        lambda: installed(pinned(B), record=entry()),
        Action.BLOCKED,
        Reason.SOURCE_MISSING,
    ),
    "damaged, and its source was not looked at": (
        lambda: installed(observation=observed(entry(), config_json=FileState.SIZE)),
        Action.BLOCKED,
        Reason.SIZE_MISMATCH,
    ),
}


def decided(case: DeclaredModel) -> Change:
    change = decide(case)
    assert change is not None
    return change


@pytest.mark.parametrize("title", CASES)
def test_each_case_gets_its_action_and_reason(title: str) -> None:
    make, action, reason = CASES[title]
    change = decided(make())
    assert (change.action, change.reason) == (action, reason)
    assert change.message


@pytest.mark.parametrize(
    "make",
    [
        installed,
        local,
        lambda: installed(manifest(source={}), record=entry()),
        lambda: DeclaredModel(manifest(source={}, roles=["caption"])),
        lambda: installed(manifest(state="suspended"), record=entry(), observation=None),
        lambda: DeclaredModel(manifest(state="absent")),
        lambda: DeclaredModel(manifest(state="absent"), entry=nothing_recorded_of(entry())),
        lambda: installed(manifest(source={"huggingface": REPO.upper(), "revision": A}), record=entry()),
        lambda: local(upstream=Blocker(Reason.SOURCE_MISSING, "the disk is away")),
    ],
    ids=[
        "as declared",
        "local",
        "logical with files",
        "logical",
        "suspended",
        "absent",
        "emptied",
        "case",
        "disk away",
    ],
)
def test_nothing_happens_to_what_is_as_declared(make: Callable[[], DeclaredModel]) -> None:
    assert decide(make()) is None


@pytest.mark.parametrize(
    "reason",
    [
        Reason.OFFLINE,
        Reason.GATED,
        Reason.UNAUTHORISED,
        Reason.REPOSITORY_NOT_FOUND,
        Reason.REVISION_NOT_FOUND,
        Reason.RATE_LIMITED,
        Reason.HUB_UNREACHABLE,
        Reason.UNSAFE_NAME,
        Reason.INCONSISTENT_LISTING,
        Reason.SELECTION,
        Reason.DISABLED,
        Reason.UNEXPECTED_REPLY,
        Reason.SOURCE_MISSING,
        Reason.SOURCE_INCOMPLETE,
        Reason.SOURCE_UNUSABLE,
        Reason.UNSAFE_LINK,
    ],
)
@pytest.mark.parametrize("recorded", [False, True])
def test_what_the_source_answers_instead_blocks_with_its_reason(reason: Reason, recorded: bool) -> None:
    obstacle = Blocker(reason, "so it says")
    case = (
        damaged(obstacle, config_json=FileState.MISSING)
        if recorded
        else DeclaredModel(manifest(), place=place(), upstream=obstacle)
    )
    change = decided(case)
    assert (change.action, change.reason, change.message) == (Action.BLOCKED, reason, "so it says")


@pytest.mark.parametrize("reason", [Reason.LOCATION_UNKNOWN, Reason.LOCATION_UNAVAILABLE, Reason.ROOT_NOT_ALLOWED])
def test_a_place_that_cannot_be_had_blocks_with_its_reason(reason: Reason) -> None:
    change = decided(installed(place=Blocker(reason, "not here")))
    assert (change.action, change.reason, change.message) == (Action.BLOCKED, reason, "not here")


def test_an_intact_model_asks_nothing_of_an_unreachable_hub() -> None:
    assert not needs_upstream(installed())


@pytest.mark.parametrize(
    ("make", "asks"),
    [
        (absent, True),
        (local, True),
        (lambda: damaged(config_json=FileState.SIZE), True),
        (lambda: installed(pinned(B), record=entry()), True),
        (lambda: installed(manifest(source=BRANCH), record=entry(manifest(source=BRANCH))), True),
        (lambda: installed(manifest(state="absent"), record=entry()), False),
        (lambda: installed(manifest(state="suspended"), record=entry()), False),
        (lambda: DeclaredModel(manifest(source={})), False),
    ],
)
def test_a_source_is_asked_only_where_the_answer_matters(make: Callable[[], DeclaredModel], asks: bool) -> None:
    assert needs_upstream(make()) is asks


def test_an_install_counts_what_it_fetches_and_what_lies_there() -> None:
    change = decided(
        DeclaredModel(manifest(), place=place(), upstream=upstream(), occupant=lying({"config.json": b"{}"}))
    )
    assert (change.fetch, change.keep, change.bytes_to_fetch) == (("model.safetensors",), 1, 1000)
    assert change.path == (None, f"/weights/{REPO}")


def test_bytes_of_this_host_are_reused_and_not_fetched() -> None:
    case = DeclaredModel(
        manifest(), place=place(), upstream=upstream(), reuse={"model.safetensors": Path("/elsewhere/same.bin")}
    )
    change = decided(case)
    assert dict(change.reuse) == {"model.safetensors": "/elsewhere/same.bin"}
    assert (change.fetch, change.bytes_to_fetch, change.bytes_reused) == (("config.json",), 2, 1000)


def test_an_update_keeps_what_did_not_change_and_drops_what_is_no_longer_wanted() -> None:
    new = {"config.json": b'{"new": 1}', "model.safetensors": FILES["model.safetensors"]}
    record = entry(contents={**FILES, "old.json": b"{}"})
    change = decided(installed(pinned(B), record=record, upstream=upstream(new, commit=B)))
    assert (change.fetch, change.keep, change.drop) == (("config.json",), 1, ("old.json",))
    assert change.revision == (A, B)
    assert change.message == f"{A[:12]} -> {B[:12]}"


def test_an_update_does_not_drop_what_another_model_shares() -> None:
    record = entry(contents={**FILES, "old.json": b"{}"})
    case = installed(pinned(B), record=record, upstream=upstream(commit=B), shared=frozenset({"old.json"}))
    assert decided(case).drop == ()


def test_a_damaged_file_is_not_kept_by_an_update() -> None:
    record = entry()
    case = installed(
        pinned(B),
        record=record,
        observation=observed(record, model_safetensors=FileState.DIGEST),
        upstream=upstream(commit=B),
    )
    assert decided(case).fetch == ("model.safetensors",)


def test_a_repair_fetches_only_the_damaged_files() -> None:
    change = decided(damaged(config_json=FileState.MISSING))
    assert (change.fetch, change.keep) == (("config.json",), 1)
    assert "config.json" in change.message


def test_a_repair_names_three_files_and_counts_the_others() -> None:
    contents = {f"{letter}.json": b"{}" for letter in "abcde"}
    record = entry(contents=contents)
    states = {f"{letter}_json": FileState.MISSING for letter in "abcde"}
    case = installed(record=record, observation=observed(record, **states), upstream=upstream(contents))
    assert decided(case).message.endswith("a.json, b.json, c.json and 2 more")


def test_other_bytes_are_named_with_how_many_more_there_are() -> None:
    occupant = TargetContents(exists=True, differing=frozenset(file.path for file in files()))
    change = decided(DeclaredModel(manifest(), place=place(), upstream=upstream(), occupant=occupant))
    assert change.message.startswith(f"/weights/{REPO}/config.json and 1 more: other bytes than declared")


def test_a_rename_says_both_names() -> None:
    change = decided(installed(manifest("new"), record=entry(), previous_name="m"))
    assert (change.name, change.previous_name, change.message) == ("new", "m", "m is now new")


def test_files_that_we_found_stay_when_declared_absent() -> None:
    """I5."""
    record = entry(acquisition="adopted")
    change = decided(installed(manifest(state="absent"), record=record))
    assert (change.drop, change.keep, change.bytes_freed) == ((), 2, 0)


def test_shared_files_stay_when_declared_absent() -> None:
    case = installed(manifest(state="absent"), record=entry(), shared=frozenset({"config.json"}))
    assert decided(case).drop == ("model.safetensors",)


def test_a_removal_counts_only_the_bytes_that_are_there() -> None:
    record = entry()
    case = installed(
        manifest(state="absent"), record=record, observation=observed(record, model_safetensors=FileState.MISSING)
    )
    change = decided(case)
    assert (change.drop, change.bytes_freed) == (("config.json",), 2)


def test_every_action_has_its_own_symbol_and_a_case_here() -> None:
    assert set(SYMBOLS) == set(Action)
    assert len(set(SYMBOLS.values())) == len(Action)
    assert {action for _, action, _ in CASES.values()} == set(Action)


def test_words_of_lower_rooms_become_reasons_and_unknown_ones_what_the_caller_says() -> None:
    assert reason_of("gated", Reason.UNEXPECTED_REPLY) is Reason.GATED
    assert reason_of("teapot", Reason.UNEXPECTED_REPLY) is Reason.UNEXPECTED_REPLY
