"""What somebody else does in the moment before a commit is made."""

from collections.abc import Callable

import pytest

from imageworks.git.repository import RegistryRepository
from imageworks.git.values import CommitResult


def meanwhile(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], object]) -> None:
    """Let somebody do something in the moment before the next commit is made, once."""
    commit, waiting = RegistryRepository.commit, [deed]

    def late(self: RegistryRepository, *args: object, **options: object) -> CommitResult:
        if waiting:
            waiting.pop()()
        return commit(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(RegistryRepository, "commit", late)
