"""I1 and I3: a run killed at a named point of stage, publish, entry or commit leaves old or new, and converges."""

import pytest

from support.kills import Stage, kill_at
from support.mutants import no_exchange, program

GIT = ("git.objects-written", "git.journal-written", "git.ref-moved", "git.worktree-updated", "git.index-updated")
BRINGING = (
    "transfer.verified:3",
    "apply.announced",
    "publish.before-rename",
    "publish.after-rename",
    "apply.published",
)
REPLACING = ("publish.foreign-carried", "publish.old-removed")
POINTS = {
    "install": ("transfer.part-written", *BRINGING, "git.objects-written", "git.ref-moved"),
    "update": (
        "transfer.part-written",
        "transfer.verified:2",
        "publish.after-rename",
        *REPLACING,
        "apply.published",
        *GIT,
    ),
    "repair": ("transfer.verified", "publish.after-rename", "git.ref-moved"),
    "move": ("apply.moved", "git.journal-written", "git.ref-moved"),
    "move-between-notes": ("publish.before-rename", "publish.after-rename", *REPLACING, "apply.moved"),
    "prune": ("apply.removed", "git.journal-written", "git.ref-moved"),
}
CASES = [(story, point) for story, points in POINTS.items() for point in points]


@pytest.mark.parametrize(("name", "point"), CASES, ids=[f"{story}-{point}" for story, point in CASES])
def test_i3_a_kill_at_a_named_point_leaves_old_or_new_and_converges(stage: Stage, name: str, point: str) -> None:
    story = stage.set(name)
    killed = kill_at(stage.world, story, point)
    story.assert_converges(stage.world, killed)


@pytest.mark.parametrize("point", ["publish.before-rename", "publish.between-renames", "publish.after-rename"])
def test_i3_a_kill_where_directories_cannot_be_exchanged_is_completed(stage: Stage, point: str) -> None:
    """Between its two renames such a filesystem has no directory of that name: the next run puts the new one there."""
    story = stage.set("update")
    stage.world.program = program(no_exchange)
    killed = kill_at(stage.world, story, point)
    if point == "publish.between-renames":
        assert not stage.world.target.exists()
        assert stage.world.reconcile(*story.words).code == 0
    story.assert_converges(stage.world, killed)


def test_i3_two_kills_in_a_row_converge(stage: Stage) -> None:
    story = stage.set("update")
    kill_at(stage.world, story, "publish.after-rename")
    killed = kill_at(stage.world, story, "git.ref-moved")
    story.assert_converges(stage.world, killed)
