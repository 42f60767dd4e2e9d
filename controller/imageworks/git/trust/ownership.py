"""Whether a repository that belongs to somebody else may be trusted: git itself decides, by `safe.directory`.

libgit2 knows only some of the places where that can be said. So it is not asked: what belongs to the user needs no
word, and of anything else the git program says whether its settings, from files and from the environment, allow it.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imageworks.git.values import RegistryGitError

if TYPE_CHECKING:
    from imageworks.git.program import GitProgram


def is_trusted(
    worktree: Path, git_dir: Path, program: Callable[[Mapping[str, str]], "GitProgram"], environment: Mapping[str, str]
) -> bool:
    """Return whether git would work in a repository; its program is made where it has to be asked."""
    if all(_is_own(path, environment) for path in (worktree, worktree / ".git", git_dir)):
        return True
    try:
        return program(environment).run("rev-parse", "--git-dir").code == 0
    except RegistryGitError:
        return False


def _is_own(path: Path, environment: Mapping[str, str]) -> bool:
    user = os.geteuid()
    own = {user}
    if user == 0 and environment.get("SUDO_UID", "").isdecimal():  # as git: root may work for whoever called sudo
        own.add(int(environment["SUDO_UID"]))
    try:
        return path.lstat().st_uid in own
    except OSError:
        return False
