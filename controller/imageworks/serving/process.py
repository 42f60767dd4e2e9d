"""Starting a server's program: in place of this process, or beside it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from imageworks.serving.command_line import LaunchError

_INSTALL: Final = {
    "vllm": "Install it with `pip install vllm`",
    "lmdeploy": "Install it with `pip install lmdeploy`",
    "ollama": "Install it from https://ollama.com/download",
}


_NOT_FOR_SERVERS: Final = frozenset(
    {"IMAGEWORKS_GIT_TOKEN", "GH_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN", "CI_JOB_TOKEN"}
)


def find_program(name: str) -> str:
    """Return the path of a server's program."""
    found = shutil.which(name)
    if found is None:
        raise LaunchError(
            f"{name} not found on PATH",
            remedy=f"{_INSTALL.get(name, 'Install it')}, or start it elsewhere: --print shows the command line.",
        )
    return found


def _environment() -> dict[str, str]:
    """Return a server's environment: the user's own, for what its options read, but not what pushes to a git remote."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_SERVERS}


def become(words: Sequence[str]) -> NoReturn:
    """Turn this process into a server, which then gets its signals and its exit code."""
    program = find_program(words[0])
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(program, list(words), _environment())  # noqa: S606 # the whole point: no shell, words as they are
    except OSError as error:
        raise LaunchError(f"{program}: cannot be run: {error.strerror}") from error


def start(words: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a server beside this process and return it, running."""
    program = find_program(words[0])
    try:
        return subprocess.Popen([program, *words[1:]], env=_environment())  # noqa: S603 # no shell, words as they are
    except OSError as error:
        raise LaunchError(f"{program}: cannot be run: {error.strerror}") from error
