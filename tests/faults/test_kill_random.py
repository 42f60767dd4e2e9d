"""I1 and I3 at random instants: what no failpoint stands at is killed too, within calls of libgit2 and of aria2c."""

import random

import pytest

from support.kills import Stage, kill_within

MIB = 1 << 20
KILLS = {"install": 13, "update": 10, "move-between-notes": 7}
CASES = [(story, number) for story, count in KILLS.items() for number in range(count)]


@pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{story}-{number}" for story, number in CASES])
def test_i3_a_kill_at_a_random_time_leaves_old_or_new_and_converges(
    stage: Stage, name: str, number: int, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("randomly_seed", default=0)
    print(f"seed {seed}, kill {number}: --randomly-seed={seed} draws the same")  # noqa: T201 - shown when it fails
    chance = random.Random(f"{seed} {name} {number}")  # noqa: S311 - no secret
    story, killed = kill_within(stage, name, chance, rate=2 * MIB if name == "install" else None)
    story.assert_converges(stage.world, killed)
