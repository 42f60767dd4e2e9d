"""The story of ``tests/on_ray`` on a real Ray, in a network namespace that has only the loopback interface."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

STORIES = Path(__file__).parents[1] / "on_ray"
SECONDS = 600.0
AT_NIGHT = os.environ.get("IMAGEWORKS_NIGHTLY")  # before a test takes it away


def namespace() -> list[str]:
    """Return what runs a program where only loopback is, and ends all that it started when it ends."""
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *own, "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def why_not() -> str:
    if find_spec("ray") is None:
        return "Ray is not installed here"
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "there are no network namespaces here"
    tried = subprocess.run([*namespace(), "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return f"no namespace can be made: {tried.stderr.decode().strip()}" if tried.returncode else ""


@pytest.mark.timeout(SECONDS)
def test_the_story_on_a_real_ray() -> None:
    tell("short_story.py", SECONDS - 30)


@pytest.mark.timeout(3 * SECONDS)
def test_the_long_story_on_a_real_ray() -> None:
    if not AT_NIGHT:
        pytest.skip("scripts/nightly.py tells it")
    tell("long_story.py", 3 * SECONDS - 30)


def tell(story: str, seconds: float) -> None:
    if reason := why_not():
        pytest.skip(reason)
    inside = f'ip link set lo up && "{sys.executable}" -m pytest "$@"; exit $?'
    words = ["sh", "-c", inside, "sh", str(STORIES / story), "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    told = subprocess.run([*namespace(), *words], capture_output=True, text=True, timeout=seconds, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    if "skipped" in told.stdout:
        pytest.skip(told.stdout.splitlines()[-1])
