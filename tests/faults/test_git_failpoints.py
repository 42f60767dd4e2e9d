"""The failpoints themselves, and that opening the git door costs nothing until it is used."""

import os
import subprocess
import sys

import pytest

from imageworks.foundation.failpoints import FailpointReached, arm, failpoint

CHILD = (
    "from imageworks.foundation.failpoints import failpoint; failpoint('x'); print('one', flush=True); failpoint('x')"
)


def test_an_unset_failpoint_does_nothing() -> None:
    failpoint("git.ref-moved")
    arm("", "kill")("git.ref-moved")


def test_a_failpoint_acts_at_the_time_asked_for_and_at_no_other_name() -> None:
    act = arm("a.b:2", "raise")
    act("a.b")
    act("a.c")
    with pytest.raises(FailpointReached):
        act("a.b")
    act("a.b")


@pytest.mark.parametrize(("specification", "printed"), [("x", ""), ("x:2", "one\n")])
def test_a_process_dies_at_the_point_named_in_its_environment(specification: str, printed: str) -> None:
    environment = {**os.environ, "IMAGEWORKS_FAILPOINT": specification}
    done = subprocess.run([sys.executable, "-c", CHILD], env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-9, printed)


def test_importing_the_git_side_does_not_load_pygit2() -> None:
    code = (
        "import sys, imageworks.git.repository, imageworks.cli.commands.look_back.history; "
        "print([m for m in ('pygit2', '_pygit2', 'cffi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
