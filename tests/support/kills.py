"""Stories in which the program is killed: a world before a change, what may stand afterwards, and the judge of both."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from support.git import assert_sound, git
from support.registry import HOST, NAME, REPO, SHARDS, Ran, World, aria2_of, digests, ended, model, tree, wait_for

KILLED: Final = -signal.SIGKILL
THERE: Final = f"weights/{REPO}"
MOVED: Final = f"attic/{REPO}"
FOREIGN: Final = {"notes.txt": b"a note of the user's"}
OLD: Final = digests(model("1"))
NEW: Final = digests(model("2"))
NOTE: Final = digests(FOREIGN)


@dataclass(frozen=True)
class Story:
    """One change that a run makes.

    Args:
        before: What stands in each folder of the world until the change is made.
        after: What stands there then.
        words: What ``reconcile`` is told besides.
    """

    before: dict[str, dict[str, str]]
    after: dict[str, dict[str, str]]
    words: tuple[str, ...] = ()

    def assert_intact(self, world: World) -> None:
        """I1: each folder is exactly as it was, or exactly as it is to be, and not all of them are empty."""
        found = {place: tree(world.root / place) for place in self.before | self.after}
        for place, files in found.items():
            allowed = (self.before.get(place, {}), self.after.get(place, {}))
            assert files in allowed, f"{place} is neither as before nor as after: {sorted(files)}"
        needed = [files for files in self.after.values() if SHARDS[0] in files]
        if needed and any(SHARDS[0] in files for files in self.before.values()):
            assert any(SHARDS[0] in files for files in found.values()), "the model is nowhere"

    def assert_converges(self, world: World, killed: Ran) -> Ran:
        """After a kill: I1, a sound repository, one clean run, then nothing to do, and no aria2c left."""
        self.assert_intact(world)
        git(world.registry, "fsck", "--strict", "--no-dangling")
        # Where the removal was committed, no model has the name any more that was confirmed: that is refused as a slip.
        gone = not git(world.registry, "ls-tree", "--name-only", "HEAD", f"discovered/{HOST}/{NAME}.json")
        done = world.reconcile(*(word for word in self.words if not gone or word not in {"--confirm", NAME}))
        assert done.code == 0, done
        world.assert_settled()
        for place, files in self.after.items():
            assert tree(world.root / place) == files, f"{place} is not as it is to be"
        assert_sound(world.registry)
        assert "Traceback" not in killed.output + done.output
        wait_for(lambda: not aria2_of(killed.pid))
        return done


STORIES: Final = {
    "install": Story({THERE: {}}, {THERE: OLD}),
    "update": Story({THERE: OLD | NOTE}, {THERE: NEW | NOTE}),
    "repair": Story({THERE: OLD | NOTE | {SHARDS[0]: digests({"": b"damaged"})[""]}}, {THERE: OLD | NOTE}),
    "move": Story({THERE: OLD}, {THERE: {}, MOVED: OLD}),
    "move-between-notes": Story({THERE: OLD | NOTE, MOVED: NOTE}, {THERE: NOTE, MOVED: OLD | NOTE}),
    "prune": Story({THERE: OLD | NOTE}, {THERE: NOTE}, ("--prune", "--allow-empty", "--confirm", NAME)),
}


@dataclass
class Stage:
    """A world that is put into the state before any of the stories; each state is made once.

    Args:
        world: The world, just initialised.
        commits: The model's two revisions.
        seconds: How long a run of each story takes here, once one outlived the time to its kill.
    """

    world: World
    commits: tuple[str, str] = ("", "")
    seconds: dict[str, float] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)

    def set(self, name: str) -> Story:
        """Put the world where a story begins."""
        if not self._made:
            repository = self.world.publish(REPO, model("1"))
            first = repository.commit_id
            changes = {name: model("2").get(name) for name in model("1") | model("2")}
            self.commits = (first, repository.commit(changes))
            self.world.declare(revision=first)
            self._keep("install")
        if name not in self._made:
            self._make(name)
        self.world.restore(name)
        return STORIES[name]

    def _make(self, name: str) -> None:
        world = self.world
        if name != "move" and "installed" not in self._made:
            self.set("install")
            assert world.reconcile().code == 0
            self._keep("installed")
        world.restore("installed" if "installed" in self._made else "install")
        if name == "move":
            assert world.reconcile().code == 0
        else:
            self._write_note(THERE)
        if name == "update":
            world.declare(revision=self.commits[1])
        elif name == "repair":
            (world.target / SHARDS[0]).write_bytes(b"damaged")
        elif name == "prune":
            world.write_manifest(NAME, None)
        else:
            world.declare(revision=self.commits[0], location="attic")
        if name == "move-between-notes":
            self._write_note(MOVED)
        self._keep(name)

    def _write_note(self, place: str) -> None:
        folder = self.world.root / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in FOREIGN.items():
            (folder / name).write_bytes(data)

    def _keep(self, name: str) -> None:
        self.world.save(name)
        self._made.add(name)


def kill_at(world: World, story: Story, point: str) -> Ran:
    """Run into a failpoint."""
    done = world.reconcile(*story.words, IMAGEWORKS_FAILPOINT=point)
    assert done.code == KILLED, f"{point} was not reached: {done}"
    return done


def kill_within(stage: Stage, name: str, chance: random.Random, *, rate: int | None) -> tuple[Story, Ran]:
    """Kill a run of a story at a random time before its end, however quick this machine is today.

    Args:
        stage: The world.
        name: The story.
        chance: Which time.
        rate: Bytes per second that the hub sends on a connection until the kill.
    """
    while True:
        story = stage.set(name)
        stage.world.meter.rate = rate
        began = time.monotonic()
        child = stage.world.start("reconcile", "--yes", *story.words)
        with suppress(subprocess.TimeoutExpired):
            child.wait(chance.uniform(0.15, stage.seconds.get(name, 1.2)))
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        done = ended(child)
        stage.world.meter.rate = None
        if done.code == KILLED:
            return story, done
        assert done.code == 0, done
        stage.seconds[name] = 0.9 * (time.monotonic() - began)
