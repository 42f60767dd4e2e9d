"""Names of revisions, and what every kind of repository can answer."""

import re
from dataclasses import dataclass
from typing import Final, Protocol

from imageworks.hub.content import Snapshot

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


class Repository(Protocol):
    """One served repository."""

    def resolve(self, revision: str) -> Snapshot | None:
        """Return the files at a branch, tag or commit id, or ``None``."""

    def references(self) -> References:
        """Return the branches, tags and pull requests."""

    def forget(self) -> None:
        """Look again on the next use: something on disk has changed."""
