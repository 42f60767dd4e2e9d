"""Names of revisions, and what every kind of repository can answer."""

import re
from dataclasses import dataclass
from typing import Final, Protocol

from imageworks.loopback_hub.content import Snapshot

COMMIT_ID: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that leads to a commit."""

    name: str
    full_name: str
    """As git spells it, with ``refs/heads/`` or the like."""
    commit: str


@dataclass(frozen=True, slots=True)
class References:
    """All names of one repository."""

    branches: tuple[Reference, ...]
    tags: tuple[Reference, ...]
    pull_requests: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class ServedCommit:
    """One commit of a branch's history."""

    commit: str
    title: str
    when: str
    """ISO 8601 in UTC."""


class Repository(Protocol):
    """One served repository."""

    def resolve(self, revision: str) -> Snapshot | None:
        """Return the files at a branch, tag or commit id, or ``None``."""

    def references(self) -> References:
        """Return the branches, tags and pull requests."""

    def history(self, revision: str) -> tuple[ServedCommit, ...] | None:
        """Return a revision's commits, newest first, as far as they are known; ``None`` when there is no such one."""

    def forget(self) -> None:
        """Look again on the next use: something on disk has changed."""
