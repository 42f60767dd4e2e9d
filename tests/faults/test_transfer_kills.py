"""Killed at any instant, a transfer converges on the next run, refetches unfinished pieces only, mixes nothing: I1, I3.

What kills is SIGKILL, at named points of fetching and publishing and at random moments.
"""

import json
import os
import random
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from imageworks.files.publish import PublishMethod
from support.registry import noted_bytes, wait_for
from support.transfer import MIB, Fault, FaultServer, child_command, content, remote, tree, write

CONTENTS = {
    "config.json": b'{"model_type": "new"}',
    "tokenizer.json": content("tokenizer", 300_000),
    "model-00001-of-00002.safetensors": content("one", 6 * MIB + 1),
    "model-00002-of-00002.safetensors": content("two", 4 * MIB),
}
FILES = [remote(name, data, large=len(data) > MIB) for name, data in CONTENTS.items()]
OLD = {"config.json": b"old", "model.safetensors": b"old weights"}
FOREIGN = {"notes.txt": b"mine", "own/deep.txt": b"also mine"}
NEW_POINTS = [
    "transfer.part-written:1",
    "transfer.verified:2",
    "transfer.arrived:1",
    "publish.before-rename:1",
    "publish.after-rename:1",
]
REPLACING_POINTS = [
    "transfer.part-written:3",
    "transfer.verified:1",
    "transfer.verified:4",
    "transfer.arrived:1",
    "publish.before-rename:1",
    "publish.after-rename:1",
    "publish.foreign-carried:1",
    "publish.old-removed:1",
]


class World:
    """A location with a model in it, a server with a newer one, and a program that brings the one to the other."""

    def __init__(
        self, folder: Path, server: FaultServer, *, present: bool, method: PublishMethod = PublishMethod.EXCHANGE
    ) -> None:
        self.root = folder / "weights"
        self.target = self.root / "owner" / "repo"
        self.server = server
        self.before = OLD | FOREIGN if present else {}
        self.after = CONTENTS | (FOREIGN if present else {})
        self.root.mkdir()
        write(self.target, self.before)
        self.command = child_command(server.base, self.root, self.target, FILES, sorted(OLD), method)

    def start(self, failpoint: str | None = None) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if name != "IMAGEWORKS_FAILPOINT"}
        if failpoint is not None:
            environment["IMAGEWORKS_FAILPOINT"] = failpoint
        return subprocess.Popen(
            self.command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, failpoint: str | None = None) -> tuple[int, str]:
        with self.start(failpoint) as process:
            out, err = process.communicate(timeout=60)
            return process.returncode, out + err

    def check_nothing_is_mixed(self) -> None:
        """The target is wholly the old directory or wholly the new one; what is not ours is in it or in the area."""
        found = tree(self.target) if self.target.exists() else {}
        ours = {name: data for name, data in found.items() if name not in FOREIGN}
        assert ours in (CONTENTS, {name: data for name, data in self.before.items() if name not in FOREIGN})
        if self.before:
            everywhere = {path.name: path.read_bytes() for path in self.root.rglob("*.txt") if path.is_file()}
            assert everywhere == {"notes.txt": b"mine", "deep.txt": b"also mine"}

    def check_converges(self) -> None:
        code, said = self.run()
        assert (code, said) == (0, "done\n")
        assert tree(self.target) == self.after
        assert [path for path in self.root.rglob("*") if ".imageworks" in path.parts and path.is_file()] == []
        assert all(path.stat().st_nlink == 1 for path in self.target.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("failpoint", "present"),
    [(point, False) for point in NEW_POINTS] + [(point, True) for point in REPLACING_POINTS],
)
def test_killed_at_a_named_point_the_next_run_converges(tmp_path: Path, failpoint: str, *, present: bool) -> None:
    with FaultServer(dict(CONTENTS)) as server:
        world = World(tmp_path, server, present=present)
        code, said = world.run(failpoint)
        assert code == -signal.SIGKILL, said
        world.check_nothing_is_mixed()
        verified = {"publish": set(CONTENTS), "transfer.arrived": {"config.json", "tokenizer.json"}}
        whole = next((names for point, names in verified.items() if failpoint.startswith(point)), set())
        fetched = {name: server.served[name] for name in whole}
        world.check_converges()
        assert {name: server.served[name] for name in whole} == fetched  # nothing that was verified came twice


@pytest.mark.parametrize("point", ["publish.before-rename", "publish.between-renames", "publish.after-rename"])
def test_killed_where_the_filesystem_cannot_exchange_the_next_run_converges(tmp_path: Path, point: str) -> None:
    with FaultServer(dict(CONTENTS)) as server:
        world = World(tmp_path, server, present=True, method=PublishMethod.TWO_RENAMES)
        code, said = world.run(point)
        assert code == -signal.SIGKILL, said
        assert world.target.exists() == (point != "publish.between-renames")
        world.check_converges()


@pytest.mark.parametrize("point", ["publish.before-rename", "publish.after-rename", "publish.foreign-carried"])
@pytest.mark.parametrize("shown", ["neither", "target", "tree"])
def test_w7_killed_where_inode_numbers_change_with_each_mount_the_next_run_converges(
    tmp_path: Path, point: str, shown: str
) -> None:
    with FaultServer(dict(CONTENTS)) as server:
        world = World(tmp_path, server, present=True)
        code, said = world.run(point)
        assert code == -signal.SIGKILL, said
        (journal,) = world.root.glob(".imageworks/staging/*/publish.json")
        fields = json.loads(journal.read_bytes())
        seen = {"neither": None, "target": world.target, "tree": journal.parent / "tree"}[shown]
        fields["inode"] = seen.stat().st_ino if seen is not None and seen.exists() else 1
        journal.write_text(json.dumps(fields), encoding="ascii")
        world.check_converges()


@pytest.mark.parametrize("point", ["publish.before-emptying", "publish.emptied", "publish.after-rename"])
def test_w4_killed_where_the_old_folder_cannot_be_renamed_the_next_run_converges(tmp_path: Path, point: str) -> None:
    with FaultServer(dict(CONTENTS)) as server:
        world = World(tmp_path, server, present=True, method=PublishMethod.EMPTIED)
        code, said = world.run(point)
        assert code == -signal.SIGKILL, said
        assert world.target.exists() == (point != "publish.emptied")
        world.check_converges()


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_a_random_moment_again_and_again_it_converges(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - which moment, nothing more
    with FaultServer(dict(CONTENTS)) as server:
        world = World(tmp_path, server, present=bool(seed % 2))
        for _ in range(3):
            process = world.start()
            threading.Event().wait(chance.uniform(0.1, 0.7))
            process.kill()
            process.communicate()
            world.check_nothing_is_mixed()
        world.check_converges()


def test_after_a_kill_only_unfinished_pieces_are_fetched_again(tmp_path: Path) -> None:
    name = "model-00001-of-00002.safetensors"
    release = threading.Event()
    with FaultServer(dict(CONTENTS)) as server:
        world = World(tmp_path, server, present=False)
        server.fault = lambda path, _number: Fault(hold=release, hold_after=2 * MIB) if path == name else None
        process = world.start()
        assert server.holding.wait(30)
        held = next(file for file in FILES if file.path == name)
        control = f"{held.digest.short_name}.part.aria2"
        wait_for(lambda: noted_bytes(world.root) >= MIB)
        process.kill()
        process.communicate()
        release.set()
        (saved,) = world.root.rglob(control)
        assert saved.stat().st_size > 0
        server.fault = lambda _path, _number: None
        server.starts.clear()
        world.check_converges()
        resumed = server.starts["signature=1"]
        assert resumed.count(0) <= 1  # with which aria2 learns the size
        assert max(resumed) >= MIB
