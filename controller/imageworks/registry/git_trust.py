"""Whether what a registry declares is vouched for by a signature of an allowed key, as git itself verifies them.

A commit's signature covers all its files. So manifests and settings are vouched for by any signed commit that has just
these, whatever else changed since: entries and snapshots, which controllers commit without a key, decide nothing alone.
"""

import os
from collections import deque
from pathlib import Path
from typing import Final

from imageworks.registry.git import RegistryRepository
from imageworks.registry.git_program import GitProgram
from imageworks.registry.git_values import UntrustedRegistryError
from imageworks.registry.manifest import FOLDER as MODELS
from imageworks.registry.settings import FILE as SETTINGS_FILE

LONGEST_SEARCH_COMMITS: Final = 100_000
ALLOWED_KEYS: Final = "gpg.ssh.allowedSignersFile"
GOOD: Final = "G"  # of git's %G?: U is a good signature of a key that nobody allowed
MEANINGS: Final = {
    "N": "is not signed",
    "B": "has a bad signature",
    "U": "is signed with a key that is not among the allowed ones",
    "E": "has a signature that cannot be checked: the key is missing, or no allowed keys are configured",
    "X": "has a signature that has expired",
    "Y": "is signed with a key that has expired",
    "R": "is signed with a key that was revoked",
}


def check_signed(repository: RegistryRepository, git: GitProgram, revision: str) -> str:
    """Return the commit whose signature vouches for what a commit declares.

    Args:
        repository: The registry.
        git: The git program in its work tree, which knows the user's allowed keys.
        revision: The commit.

    Raises:
        UntrustedRegistryError: No commit with exactly these manifests and settings is signed by an allowed key.
    """
    _refuse_own_keys(repository, git)
    found = ""
    for commit in _alike(repository, revision):
        if not repository.is_signed(commit):
            continue
        verdict = git.run("log", "-1", "--no-show-signature", "--format=%G?", commit).out.strip() or "E"
        if verdict == GOOD:
            return commit
        found = found or f"{commit[:10]} {MEANINGS.get(verdict, MEANINGS['E'])}"
    raise UntrustedRegistryError(
        f"{repository.root}: manifests and settings as of {revision[:10]} are not signed by an allowed key: "
        f"{found or f'neither {revision[:10]} nor an earlier commit with the same ones is signed'}",
        remedy="After a review: git commit --allow-empty -S -m 'Vouch for the registry'. Allowed keys are those of "
        "gpg.ssh.allowedSignersFile in git's settings, or trusted gpg keys.",
    )


def refuse_older(repository: RegistryRepository, git: GitProgram, vouched: str, before: str) -> None:
    """Refuse manifests that were signed once and replaced by later signed ones: a merge can bring them back unsigned.

    Args:
        repository: The registry.
        git: The git program in its work tree.
        vouched: The commit whose signature counts now.
        before: The one whose signature counted before; empty or unknown when there is none.

    Raises:
        UntrustedRegistryError: The signature is older, and of other manifests.
    """
    if not before or before == vouched or git.run("merge-base", "--is-ancestor", vouched, before).code:
        return
    if _declared(repository, vouched) == _declared(repository, before):
        return
    raise UntrustedRegistryError(
        f"{repository.root}: manifests and settings are those of {vouched[:10]} again, which {before[:10]} replaced",
        remedy="If that is meant, sign it anew: git commit --allow-empty -S -m 'Go back'",
    )


def _refuse_own_keys(repository: RegistryRepository, git: GitProgram) -> None:
    """Refuse a list of allowed keys that the registry's own repository holds: its unsigned commits could change it."""
    named = git.run("config", "--type=path", "--get", ALLOWED_KEYS).out.strip()
    worktree = repository.layout.worktree
    if named and Path(os.path.realpath(worktree / named)).is_relative_to(os.path.realpath(worktree)):
        raise UntrustedRegistryError(
            f"{named}: the list of allowed keys ({ALLOWED_KEYS}) lies in the repository whose commits it is to judge",
            remedy=f"Copy it out of there and name that: git config --global {ALLOWED_KEYS} ~/.ssh/allowed_signers",
        )


def _declared(repository: RegistryRepository, commit: str) -> tuple[str | None, ...]:
    return tuple(repository.tree_id(commit, path) for path in (MODELS, SETTINGS_FILE))


def _alike(repository: RegistryRepository, revision: str) -> "deque[str]":
    """Return a commit and those before it that declare exactly the same, nearest first."""
    wanted = _declared(repository, revision)
    found: deque[str] = deque([revision])
    waiting, seen = deque([revision]), {revision}
    while waiting and len(seen) < LONGEST_SEARCH_COMMITS:
        for parent in repository.parents(waiting.popleft()):
            if parent not in seen and repository.has(parent) and _declared(repository, parent) == wanted:
                seen.add(parent)
                found.append(parent)
                waiting.append(parent)
    return found
