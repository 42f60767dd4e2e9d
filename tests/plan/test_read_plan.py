"""A plan is shown elsewhere as it was made."""

import pytest

from imageworks.plan.plan import Action, Change, Drift, FilesystemTotal, Plan, Reason
from imageworks.plan.read_plan import read_plan
from imageworks.providers.ollama.reasons import OllamaReason

PLAN = Plan(
    "gpu01",
    "a" * 40,
    changes=(
        Change(
            "first",
            Action.INSTALL,
            Reason.MISSING,
            "not here",
            revision=(None, "b" * 40),
            path=(None, "/models/first"),
            fetch=("a", "b"),
            reuse={"c": ""},
            bytes_to_fetch=7,
            bytes_reused=1,
            warnings=("look",),
        ),
        Change("second", Action.REMOVE, Reason.UNDECLARED, drop=("d",), bytes_freed=9, needs_confirmation=True),
        Change("third", Action.MOVE, Reason.RENAMED, previous_name="old", size_known=False, keep=3),
        Change("fourth", Action.BLOCKED, next(iter(OllamaReason))),
    ),
    unchanged=2,
    suspended=1,
    drift=(Drift("stray", Reason.UNOWNED_FILES, "somebody's"),),
    filesystems=(FilesystemTotal("/models", 10, 3, 7),),
    diagnostics=("models/x.yaml:1:1: wrong",),
    notes=("one",),
    records_stale=True,
)


def test_a_plan_comes_back_from_its_document() -> None:
    read = read_plan(PLAN.document())
    assert read is not None
    assert read.document() == PLAN.document()
    assert (read.has_changes, read.has_errors, read.summary) == (True, True, PLAN.summary)


@pytest.mark.parametrize(
    "wrong",
    [
        {"format_version": 2},
        {"changes": 7},
        {"changes": [{}]},
        {"totals": []},
        {"unchanged": "many"},
        {"drift": ["x"]},
        {"changes": [{**PLAN.changes[0].document(), "action": "explode"}]},
    ],
)
def test_what_is_no_plan_is_none(wrong: dict[str, object]) -> None:
    assert read_plan({**PLAN.document(), **wrong}) is None
