"""What libgit2 says of a repository that a power cut or a failing disk damaged, with the git command that helps."""

import re
from typing import Final

from imageworks.git.values import DamagedRepositoryError

_REFERENCE: Final = re.compile(r"corrupted loose reference file: (\S+)")
_LOOSE: Final = re.compile(r"loose object|object not found|invalid (?:header|checksum)|inflate|zlib", re.IGNORECASE)
_FSCK: Final = "`git fsck --full` in the registry's repository says what is missing; another clone has it."


def git_damage(error: Exception) -> DamagedRepositoryError | None:
    """Return what an error of libgit2 that nobody foresaw means; ``None`` for any other error."""
    if type(error).__module__.partition(".")[0] not in {"_pygit2", "pygit2"}:
        return None
    text = " ".join(str(error).split())
    return DamagedRepositoryError(f"git cannot work with the registry's repository: {text}", remedy=_remedy(text))


def index_damage(said: str) -> DamagedRepositoryError | None:
    """Return what git's own words mean where its index is damaged; ``None`` for any other words."""
    if "index file" not in said:
        return None
    return DamagedRepositoryError(f"git cannot work with the registry's repository: {said}", remedy=_remedy(said))


def _remedy(text: str) -> str:
    if text == "'HEAD'":
        return "Its .git/HEAD is gone: where its drive went away, mount it again; then run the same command again."
    if "index" in text:
        return "Its index is damaged. In the repository: `rm .git/index && git reset`; no file of yours is touched."
    broken = _REFERENCE.search(text)
    if broken is not None and broken[1] == "HEAD":
        return "The name of the checked-out branch is lost. For main: `echo ref: refs/heads/main > .git/HEAD`."
    if broken is not None:
        file, log = f".git/{broken[1]}", f".git/logs/{broken[1]}"
        return (
            "The branch is damaged, and git's log of it knows its last commit. In the repository: "
            f"`rm {file} && git update-ref {broken[1]} $(tail -n 1 {log} | cut -d ' ' -f 2)`."
        )
    if _LOOSE.search(text):
        return (
            "An object is damaged. In the repository: `find .git/objects -type f -empty -delete`, then "
            f"`git fetch --refetch`. {_FSCK}"
        )
    return _FSCK
