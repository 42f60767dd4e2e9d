"""When a repository's loose objects are packed: by git's own rule, and where a few of them hold many bytes.

Commits are made without the git program, which packs now and then by itself. A commit that changes one model of ten
thousand writes the list of all entries and the snapshot anew, so git's count of objects comes far too late.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imageworks.git.values import RegistryGitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pygit2 import Repository

    from imageworks.git.program import GitProgram

LOOSE_BYTES: Final = 64 * 1024 * 1024
"""Loose objects of more bytes are packed however few they are."""

_USUAL: Final = {"gc.auto": 6700, "gc.autopacklimit": 50}
_AS_GIT_DOES: Final = ("-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")
_LOOSE_ONLY: Final = ("repack", "-d", "-l", "-q")


def pack_when_due(repository: "Repository", objects: Path, git: "Callable[[], GitProgram]") -> tuple[str, ...]:
    """Pack what is loose where it is time to and git's configuration allows it; returns what a user should know."""
    most = {key: _setting(repository, key) for key in _USUAL}
    if most["gc.auto"] <= 0:
        return ()
    count, size = _loose(objects)
    packs = len(list((objects / "pack").glob("*.pack")))
    by_git = count > most["gc.auto"] or packs > most["gc.autopacklimit"] > 0
    if not by_git and size <= LOOSE_BYTES:
        return ()
    words = _AS_GIT_DOES if by_git else _LOOSE_ONLY
    try:
        answer = git().run("-c", f"gc.auto={most['gc.auto']}", *words)
    except RegistryGitError as error:
        return (f"git could not pack the registry's repository: {error}",)
    if answer.code:
        return (f"git could not pack the registry's repository: {answer.reason}",)
    packed = count - _loose(objects)[0]
    if packed <= 0:  # git counts by a sample, and may see it otherwise
        return ()
    return (f"git packed {packed} loose objects of the registry's repository ({size // 2**20} MiB)",)


def _setting(repository: "Repository", key: str) -> int:
    try:
        return repository.config.get_int(key) if key in repository.config else _USUAL[key]
    except ValueError:
        return _USUAL[key]


def _loose(objects: Path) -> tuple[int, int]:
    count = size = 0
    for number in range(256):
        try:
            with os.scandir(objects / f"{number:02x}") as files:
                sizes = [file.stat().st_size for file in files]
        except OSError:  # there is none, or another git is at it
            continue
        count, size = count + len(sizes), size + sum(sizes)
    return count, size
