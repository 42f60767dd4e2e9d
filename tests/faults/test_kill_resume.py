"""I3: what came before a kill is not fetched again; and the judge of it, held against a program that forgets."""

import pytest

from support.kills import Stage, kill_at
from support.mutants import forget_what_came, no_recovery, program, record_nothing, write_in_place
from support.registry import LARGE_BYTES, REPO, SHARDS, World, aria2_of, ended, model, noted_bytes, wait_for

MIB = 1 << 20
SIZE = 3 * LARGE_BYTES
LOST_BY_A_KILL = 12 * MIB
"""Of the bytes that were sent, what aria2 has not noted as complete pieces, and what is on its way; of 27 MiB."""


def bytes_sent_after_a_kill(world: World) -> int:
    """Kill an install when two thirds of its large file have come, run again, and return what the hub then sent."""
    world.publish(REPO, model("1", large=SIZE))
    world.declare()
    world.meter.most = SIZE * 2 // 3
    child = world.start("reconcile", "--yes")
    wait_for(
        lambda: noted_bytes(world.weights) >= SIZE * 2 // 3 - 9 * MIB
    )  # each of eight connections has a piece of 1 MiB begun
    child.kill()
    killed = ended(child)
    assert killed.code < 0, killed
    world.meter.most, world.meter.rate = (
        None,
        4 * MIB,
    )  # a quicker server fills buffers with bytes that nobody asks for any more
    world.meter.served.clear()
    done = world.reconcile()
    assert done.code == 0, done
    wait_for(lambda: not aria2_of(killed.pid))
    return world.meter.total()


def test_i3_after_a_kill_only_unfinished_pieces_are_fetched(fresh: World) -> None:
    assert bytes_sent_after_a_kill(fresh) < SIZE / 3 + LOST_BY_A_KILL
    assert set(fresh.meter.served) == {SHARDS[0]}, "a finished file was fetched twice"


def test_the_judge_catches_a_program_that_forgets_what_came(fresh: World) -> None:
    fresh.program = program(forget_what_came)
    assert bytes_sent_after_a_kill(fresh) >= SIZE
    assert set(fresh.meter.served) == set(model("1"))


def test_the_judge_catches_a_program_that_writes_in_place(stage: Stage) -> None:
    story = stage.set("update")
    stage.world.program = program(write_in_place)
    kill_at(stage.world, story, "mutant.one-file-written")
    with pytest.raises(AssertionError, match="neither as before nor as after"):
        story.assert_intact(stage.world)


def test_the_judge_catches_a_program_that_does_not_recover(stage: Stage) -> None:
    story = stage.set("update")
    stage.world.program = program(no_recovery)
    killed = kill_at(stage.world, story, "publish.after-rename")
    with pytest.raises(AssertionError, match="interrupted"):
        story.assert_converges(stage.world, killed)


def test_the_judge_catches_a_program_that_never_settles(stage: Stage) -> None:
    story = stage.set("update")
    stage.world.program = program(record_nothing)
    killed = kill_at(stage.world, story, "publish.before-rename")
    with pytest.raises(AssertionError, match="exit 1"):
        story.assert_converges(stage.world, killed)
