"""What concerns several models at once: removals, space, counts, drift."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import pytest

from imageworks.plan.facts import Blocker, DeclaredModel, FileState, Observation, PruneOptions
from imageworks.plan.plan import Action, Plan, Reason
from imageworks.registry.manifests.manifest import Prune
from support.plans import FILES, A, entry, installed, manifest, observed, orphan, place, plan_of, upstream

PRUNE = PruneOptions(enabled=True)
NEEDED = sum(map(len, FILES.values()))


def arriving(name: str) -> DeclaredModel:
    return DeclaredModel(manifest(name), place=place(f"acme/{name}"), upstream=upstream())


def actions(plan: Plan) -> dict[str, tuple[Action, StrEnum]]:
    return {change.name: (change.action, change.reason) for change in plan.changes}


def standing(count: int) -> tuple[DeclaredModel, ...]:
    return tuple(installed(manifest(f"kept-{number}")) for number in range(count))


def leaving(count: int) -> tuple[object, ...]:
    return tuple(orphan(f"gone-{number}") for number in range(count))


# --- removals ----------------------------------------------------------------------------------------------------


def test_nothing_is_pruned_unless_it_is_asked_for() -> None:
    plan = plan_of(installed(), orphans=(orphan(),))
    assert plan.changes == ()
    assert [(item.name, item.reason) for item in plan.drift] == [("gone", Reason.UNDECLARED)]


def test_pruning_removes_what_we_installed_once_it_is_confirmed_by_name() -> None:
    plan = plan_of(installed(), orphans=(orphan(),), prune=PRUNE)
    assert actions(plan) == {"gone": (Action.REMOVE, Reason.UNDECLARED)}
    change = plan.changes[0]
    assert change.needs_confirmation
    assert set(change.drop) == set(FILES)
    assert change.bytes_freed == NEEDED


@pytest.mark.parametrize(("said", "asks"), [(None, True), (Prune.CONFIRM, True), (Prune.ENABLED, False)])
def test_only_a_manifest_that_enabled_pruning_spares_the_question(said: Prune | None, asks: bool) -> None:
    plan = plan_of(installed(), orphans=(orphan(prune=said),), prune=PRUNE)
    assert plan.changes[0].needs_confirmation is asks


def test_a_manifest_that_enabled_pruning_needs_no_option() -> None:
    plan = plan_of(installed(), orphans=(orphan(prune=Prune.ENABLED),))
    assert actions(plan) == {"gone": (Action.REMOVE, Reason.UNDECLARED)}


def test_a_manifest_that_forbade_pruning_protects_its_model() -> None:
    plan = plan_of(installed(), orphans=(orphan(prune=Prune.DISABLED),), prune=PRUNE)
    assert plan.changes == ()
    assert "`prune: disabled`" in plan.drift[0].message


def test_what_we_did_not_install_loses_its_record_and_no_file() -> None:
    """I5."""
    plan = plan_of(installed(), orphans=(orphan(acquisition="adopted"),), prune=PRUNE)
    assert (plan.changes[0].drop, plan.changes[0].bytes_freed) == ((), 0)


def test_a_model_that_leaves_this_host_out_says_so() -> None:
    plan = plan_of(installed(), orphans=(orphan(excluded=True),), prune=PRUNE)
    assert actions(plan) == {"gone": (Action.REMOVE, Reason.HOST_EXCLUDED)}


def test_nothing_is_pruned_while_a_document_is_invalid() -> None:
    plan = plan_of(installed(), orphans=(orphan(),), prune=PRUNE, diagnostics=("models/x.yaml:1:1: broken",))
    assert plan.changes == ()
    assert "while a document is invalid" in plan.drift[0].message


def test_a_registry_that_declares_nothing_prunes_nothing() -> None:
    plan = plan_of(orphans=(orphan(),), prune=PRUNE)
    assert actions(plan) == {"gone": (Action.BLOCKED, Reason.PRUNE_REFUSED)}
    assert "--allow-empty" in plan.changes[0].message


def test_a_registry_that_declares_nothing_prunes_when_that_is_meant() -> None:
    plan = plan_of(orphans=(orphan(),), prune=replace(PRUNE, allow_empty=True))
    assert actions(plan) == {"gone": (Action.REMOVE, Reason.UNDECLARED)}


@pytest.mark.parametrize(
    ("kept", "gone", "refused"), [(7, 3, False), (6, 4, True), (5, 4, False), (13, 6, True), (14, 6, False)]
)
def test_more_than_thirty_percent_of_ten_or_more_needs_force(kept: int, gone: int, refused: bool) -> None:
    plan = plan_of(*standing(kept), orphans=leaving(gone), prune=PRUNE)  # type: ignore[arg-type]
    assert {change.action for change in plan.changes} == {Action.BLOCKED if refused else Action.REMOVE}
    forced = plan_of(*standing(kept), orphans=leaving(gone), prune=replace(PRUNE, force=True))  # type: ignore[arg-type]
    assert forced.count(Action.REMOVE) == gone


def test_a_shared_file_stays_with_the_model_that_keeps_it() -> None:
    plan = plan_of(installed(), orphans=(orphan(shared={"config.json": frozenset({"m"})}),), prune=PRUNE)
    assert plan.changes[0].drop == ("model.safetensors",)


def test_a_file_that_only_removed_models_share_goes_with_the_last() -> None:
    one = orphan("one", shared={"config.json": frozenset({"two"})})
    two = orphan("two", shared={"config.json": frozenset({"one"})})
    plan = plan_of(installed(), orphans=(one, two), prune=PRUNE)
    assert [change.drop for change in plan.changes] == [("model.safetensors",), ("config.json", "model.safetensors")]


# --- space -------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_blocked_with_five_percent_in_reserve() -> None:
    assert plan_of(arriving("a"), free=NEEDED * 105 // 100 + 1).count(Action.INSTALL) == 1
    plan = plan_of(arriving("a"), free=NEEDED * 105 // 100 - 1)
    assert actions(plan) == {"a": (Action.BLOCKED, Reason.INSUFFICIENT_SPACE)}
    assert "/weights" in plan.changes[0].message


def test_models_are_let_in_by_name_until_the_filesystem_is_full() -> None:
    plan = plan_of(arriving("b"), arriving("a"), free=NEEDED * 2)
    assert {name: action for name, (action, _) in actions(plan).items()} == {"a": Action.INSTALL, "b": Action.BLOCKED}


def test_another_filesystem_has_room_of_its_own() -> None:
    there = replace(arriving("b"), place=place("acme/b", root=Path("/second"), filesystem="other"))
    plan = plan_of(arriving("a"), there, free_bytes={"disk": ("/weights", NEEDED * 2), "other": ("/second", 10)})
    assert {name: action for name, (action, _) in actions(plan).items()} == {"a": Action.INSTALL, "b": Action.BLOCKED}


def test_bytes_of_an_interrupted_run_need_no_room_again() -> None:
    plan = plan_of(arriving("a"), free=10, staged_bytes={"a": NEEDED})
    assert plan.count(Action.INSTALL) == 1


def test_the_plan_says_what_is_free_before_and_after_by_filesystem() -> None:
    plan = plan_of(arriving("a"), free=10_000)
    total = plan.filesystems[0]
    assert (total.name, total.free_before, total.free_after) == ("/weights", 10_000, 10_000 - NEEDED)


# --- the whole ---------------------------------------------------------------------------------------------------


def test_changes_come_sorted_by_name() -> None:
    plan = plan_of(arriving("c"), arriving("a"), blocked={"b": Blocker(Reason.INVALID_MANIFEST, "broken")})
    assert [change.name for change in plan.changes] == ["a", "b", "c"]


@pytest.mark.parametrize("reason", [Reason.INVALID_MANIFEST, Reason.INVALID_ENTRY, Reason.INVALID_SETTINGS])
def test_a_document_that_cannot_be_read_blocks_its_model(reason: Reason) -> None:
    plan = plan_of(installed(), blocked={"b": Blocker(reason, "models/b.yaml:1:1: broken")})
    assert actions(plan) == {"b": (Action.BLOCKED, reason)}
    assert plan.has_errors


def test_suspended_models_are_counted_apart_from_unchanged_ones() -> None:
    plan = plan_of(installed(), installed(manifest("s", state="suspended")), DeclaredModel(manifest("l", source={})))
    assert (plan.unchanged, plan.suspended, plan.changes) == (2, 1, ())


def test_damage_to_what_nobody_declared_is_drift() -> None:
    record = entry(manifest("stray"))
    damaged = observed(record, config_json=FileState.DIGEST)
    assert record.path is not None
    gone = Observation(path=record.path, exists=False, damaged=dict.fromkeys(FILES, FileState.MISSING))
    lost = entry(manifest("lost"))
    plan = plan_of(unmanaged=((record, damaged), (lost, gone), (entry(manifest("fine")), observed(lost))))
    assert [(item.name, item.reason) for item in plan.drift] == [
        ("lost", Reason.FILE_MISSING),
        ("stray", Reason.DIGEST_MISMATCH),
    ]
    assert all(item.message for item in plan.drift)


def test_the_summary_counts_what_is_added_changed_and_destroyed() -> None:
    update = installed(manifest("u", source={"huggingface": "acme/x", "revision": A}), record=entry(manifest("u")))
    plan = plan_of(
        arriving("a"), replace(update, upstream=upstream(repo="acme/x")), orphans=(orphan(prune=Prune.ENABLED),)
    )
    assert plan.summary == {"add": 1, "change": 1, "destroy": 1}


def test_records_that_are_stale_are_a_change_without_any_model() -> None:
    plan = plan_of(installed(), records_stale=True)
    assert (plan.has_changes, plan.has_errors, plan.effective) == (True, False, ())


def test_two_plans_of_the_same_have_the_same_fingerprint_and_another_file_changes_it() -> None:
    one, same = plan_of(arriving("a")), plan_of(arriving("a"))
    other = plan_of(replace(arriving("a"), upstream=upstream({**FILES, "more.json": b"{}"})))
    assert one.fingerprint() == same.fingerprint()
    assert one.fingerprint() != other.fingerprint()


def test_reasons_are_counted() -> None:
    assert dict(plan_of(arriving("a"), arriving("b")).reasons()) == {"missing": 2}
