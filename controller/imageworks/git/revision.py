"""From what a person types (an id, a branch, ``HEAD~2``, a date, ``2 days ago``) to a commit."""

import re
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from imageworks.git import libgit2
from imageworks.git.libgit2 import pygit2
from imageworks.git.trailers import MIGRATED, read_trailers
from imageworks.git.values import UnknownRevisionError

if TYPE_CHECKING:
    from pygit2 import Commit, Repository

SECONDS: Final = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 604_800,
    "month": 2_629_800,
    "year": 31_557_600,
}
WHOLE: Final = "This clone is shallow, and earlier commits are not in it; `git fetch --unshallow` brings them."
_AGO: Final = re.compile(rf"(\d+|an?)\s+({'|'.join(SECONDS)})s?\s+ago", re.IGNORECASE)
_DATE_ONLY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def resolve(repository: "Repository", revision: str) -> str:
    """Return the full id of the commit that a text means.

    A date means the state at its end, an instant (``2026-11-01T12:00``, ``2 days ago``, ``yesterday``) the state then:
    the last commit on the checked-out branch's first-parent line that is not younger. A ref of that name comes first.
    """
    text = revision.strip()
    try:
        return str(repository.revparse_single(text).peel(pygit2.Commit).id)
    except (KeyError, ValueError, libgit2.git_error()):
        pass
    moment = instant(text, time.time())
    if moment is None:
        raise UnknownRevisionError(
            f"{revision!r}: names no commit, branch, tag or date of the registry's repository",
            remedy=WHOLE
            if repository.is_shallow
            else "Use an id from `imageworks-models history`, a branch or tag, HEAD~2, 2026-11-01, or '2 days ago'.",
        )
    if repository.head_is_unborn:
        raise UnknownRevisionError(f"{revision!r}: the registry has no commit yet")
    commit: Commit | None = repository[repository.head.target].peel(pygit2.Commit)
    while commit is not None and _made(commit) > moment:
        commit = commit.parents[0] if commit.parent_ids else None
    if commit is None:
        raise UnknownRevisionError(
            f"{revision!r}: the registry's first commit is younger",
            remedy=WHOLE if repository.is_shallow else "Look with `imageworks-models history`.",
        )
    return str(commit.id)


def _made(commit: "Commit") -> int:
    """Return when a commit's state came to be: by its committer, but for what a migration brought in by its author."""
    if commit.author.time != commit.commit_time and MIGRATED in read_trailers(commit.message):
        return commit.author.time
    return commit.commit_time


def instant(text: str, now: float) -> float | None:
    """Return the time that a date or age means, in seconds since 1970; ``None`` when it is neither."""
    words = {"now": now, "yesterday": now - SECONDS["day"]}
    if text.lower() in words:
        return words[text.lower()]
    ago = _AGO.fullmatch(text)
    if ago:
        count = int(ago[1]) if ago[1].isdigit() else 1
        return now - count * SECONDS[ago[2].lower()]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if _DATE_ONLY.fullmatch(text):
        moment += timedelta(days=1, seconds=-1)
    try:
        return moment.astimezone().timestamp()
    except (OverflowError, ValueError):
        return None
