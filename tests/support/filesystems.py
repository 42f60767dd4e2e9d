"""Real filesystems with limits, mounted for one test: what cannot be had on a machine skips the test and says why."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

FUSE_PROGRAM = Path(__file__).with_name("refusing_fuse.py")
MOUNT_SECONDS = 60.0
LIFE_SECONDS = 240.0
"""What waits for a FUSE takes no signal but the last: without its server it is answered."""


class Mount:
    """A mounted filesystem; what a FUSE of ours refuses can be changed while it is mounted."""

    def __init__(self, path: Path, rules: Path | None = None, backing: Path | None = None) -> None:
        self.path = path
        self.server: subprocess.Popen[str] | None = None
        self._rules = rules
        self.backing = backing or path

    def refuse(self, **rules: int) -> None:
        """Refuse these operations from now on, and no others."""
        assert self._rules is not None
        draft = self._rules.with_suffix(".new")
        draft.write_text(json.dumps(rules), encoding="utf-8")
        draft.rename(self._rules)

    def die(self) -> None:
        """Kill the program behind a FUSE of ours; its mount stays and answers nothing any more."""
        assert self.server is not None
        self.server.kill()
        self.server.wait(MOUNT_SECONDS)


def is_mounted(path: Path) -> bool:
    """Whether something is mounted at a path; asks the kernel, since a dead mount answers nothing itself."""
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def run_mount(*words: str | Path) -> None:
    """Run ``mount`` or skip the test with what it says."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux")
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False, timeout=MOUNT_SECONDS)
    if done.returncode:
        pytest.skip(f"mount {' '.join(map(str, words))}: {done.stderr.strip()}")


def unmount(path: Path) -> None:
    """Take a filesystem out of the tree at once, whoever still has files of it open."""
    words: list[str | Path] = ["umount", "--lazy", path] if os.geteuid() == 0 else ["fusermount3", "-u", "-z", path]
    subprocess.run(words, capture_output=True, check=False, timeout=MOUNT_SECONDS)


@contextmanager
def mounted(path: Path, *words: str | Path) -> Iterator[Mount]:
    """Mount with the system's own ``mount``, such as ``-t tmpfs -o size=8m tmpfs``."""
    path.mkdir(parents=True, exist_ok=True)
    run_mount(*words, path)
    try:
        yield Mount(path)
    finally:
        unmount(path)


@contextmanager
def refusing(
    folder: Path, rules: Mapping[str, int] | None = None, *, at: Path | None = None, kind: str = "refusing"
) -> Iterator[Mount]:
    """Mount a FUSE that refuses what the rules say; skips where there is no FUSE.

    Args:
        folder: Where it keeps its files and rules.
        at: Where it is mounted; below the folder when absent.
        kind: What the system calls it after ``fuse.``.
        rules: As ``refusing_fuse.py`` has them.
    """
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/fuse that this user may open")
    path, backing = at or folder / "mount", folder / "backing"
    for each in (folder, path, backing):
        each.mkdir(parents=True, exist_ok=True)
    mount = Mount(path, folder / "rules.json", backing)
    mount.refuse(**(rules or {}))
    with subprocess.Popen(
        [sys.executable, FUSE_PROGRAM, backing, path, folder / "rules.json", kind],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FUSE_LIBRARY_NAME": "fuse3"},  # libfuse 2, which the library prefers, keeps what it saw
    ) as child:
        mount.server = child
        limit = threading.Timer(LIFE_SECONDS, child.kill)
        limit.daemon = True
        limit.start()
        try:
            deadline = time.monotonic() + MOUNT_SECONDS
            while not is_mounted(path):
                if child.poll() is not None or time.monotonic() > deadline:
                    child.kill()
                    said = child.stderr.read().strip().splitlines() if child.stderr else []
                    pytest.skip(f"no FUSE can be mounted here: {said[-1] if said else 'it did not appear in time'}")
                time.sleep(0.01)
            yield mount
        finally:
            limit.cancel()
            child.kill()  # it would stay as long as anybody has a file of it open, in whatever namespace
            unmount(path)


@contextmanager
def vfat(path: Path, image: Path, megabytes: int = 120) -> Iterator[Mount]:
    """Mount a fresh FAT filesystem, as memory cards and shared drives have."""
    with image.open("wb") as stream:
        stream.truncate(megabytes << 20)
    try:
        made = subprocess.run(["mkfs.vfat", image], capture_output=True, check=False, timeout=MOUNT_SECONDS)
    except FileNotFoundError:
        pytest.skip("mkfs.vfat (dosfstools) is not installed")
    assert made.returncode == 0, made.stderr
    with mounted(path, "-t", "vfat", "-o", "loop,utf8", image) as mount:
        yield mount


def without_power(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program as somebody for whom the modes of folders hold; skips where root cannot be made that."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed, and nothing refuses root")
    dropped = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner")
    return subprocess.run(
        [*(dropped if os.geteuid() == 0 else ()), sys.executable, "-m", "imageworks", *words],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=60,
    )
