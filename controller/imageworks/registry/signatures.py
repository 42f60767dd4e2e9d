"""Whether what a registry declares is vouched for by signatures of allowed keys, commit by commit.

A commit that changes manifests or registry.yaml must be signed, merges too: one on top vouches for itself alone. A
signed commit that changes nothing at all has no other meaning than to vouch for everything before it. Commits that
leave what is declared as each of their parents has it, as those in which controllers record entries, decide nothing.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from imageworks.git.program import GitProgram
from imageworks.git.repository import RegistryRepository
from imageworks.git.trust.commit_header import CommitHeader
from imageworks.git.trust.signature_check import UNSIGNED, signature_problems
from imageworks.git.values import UntrustedRegistryError
from imageworks.registry.manifests.manifest import FOLDER as MODELS
from imageworks.registry.settings.settings import FILE as SETTINGS_FILE

DECLARED: Final = (MODELS, SETTINGS_FILE)


class SignedHistory:
    """The commits of a registry as far as signatures are concerned."""

    def __init__(self, repository: RegistryRepository, git: GitProgram) -> None:
        self._repository = repository
        self._git = git
        self._headers: dict[str, CommitHeader] = {}
        self._problems: dict[str, str] = {}
        self._is_cut = False

    def vouching(self, tip: str, *, accepted: str = "", trusted: Collection[str] = ()) -> str:
        """Return the commit whose signature vouches for what a commit declares."""
        start = accepted or self._first_signed(tip)
        if start is None:
            raise self._refusal(tip, f"neither {tip[:10]} nor an earlier commit is signed")
        found, judged = self._walk(tip, start, known=bool(accepted))
        bad = self._judge(commit for commit in judged if commit not in trusted)
        if bad is not None:
            raise self._refusal(tip, f"{bad[:10]} {self._problems[bad]}")
        return found

    def nearest_of(self, tip: str, commits: Collection[str]) -> str | None:
        """Return which of some commits a commit is or follows, the nearest one; ``None`` when it follows none."""
        return next((one for one in self._ancestors(tip) if one in commits), None)

    def vouches_for(self, tip: str, folder: str) -> bool:
        """Return whether a folder is what an allowed key signed; a merge does not bring back what it was once."""
        waiting, seen = deque([tip]), {tip}
        while waiting:
            commit = waiting.popleft()
            if self._header(commit).signatures and self._judge([commit]) is None:
                return True
            if self._changes_nothing(commit, (folder,)):
                waiting += self._unseen(commit, seen)
        return False

    @property
    def hint(self) -> str:
        """What helps where a part of the history is not in this clone."""
        return "First bring the whole history: git fetch --unshallow. " if self._is_cut else ""

    def _walk(self, tip: str, start: str, *, known: bool) -> tuple[str, Sequence[str]]:
        """Return the nearest commit that changed what is declared, or vouches, and all whose signatures decide."""
        old = self._before(tip, start)
        nearest, judged = "", []
        waiting, seen = deque([tip]), {tip}
        while waiting:
            commit = waiting.popleft()
            header = self._header(commit)
            vouches = self._is_empty(header) and self._judge([commit]) is None
            if commit == start or vouches or not self._changes_nothing(commit, DECLARED):
                if commit != start or not known or not nearest:
                    judged.append(commit)
                nearest = nearest or commit
                if commit == start or vouches:
                    continue
                if not header.signatures:
                    raise self._refusal(tip, f"{commit[:10]} {UNSIGNED}")
            waiting += [parent for parent in self._unseen(commit, seen) if parent not in old]
        return nearest, judged

    def _before(self, tip: str, start: str) -> Collection[str]:
        """Return the commits before one where a walk from another may come to them by other ways than through it."""
        commit = tip
        while (
            commit != start and len(parents := self._header(commit).parents) == 1 and self._repository.has(parents[0])
        ):
            commit = parents[0]
        return () if commit == start else {one for one in self._ancestors(start) if one != start}

    def _first_signed(self, tip: str) -> str | None:
        """Return where signing began: what was declared before is vouched for by the first who signed."""
        signed = [commit for commit in self._first_parents(tip) if self._header(commit).signatures]
        return next(
            (
                commit
                for commit in reversed(signed)
                if not self._changes_nothing(commit, DECLARED) or self._judge([commit]) is None
            ),
            None,
        )

    def _first_parents(self, tip: str) -> Iterator[str]:
        while True:
            yield tip
            parents = self._header(tip).parents
            if not parents or not self._repository.has(parents[0]):
                return
            tip = parents[0]

    def _ancestors(self, tip: str) -> Iterator[str]:
        """Yield a commit and those before it, nearest first."""
        waiting, seen = deque([tip]), {tip}
        while waiting:
            commit = waiting.popleft()
            yield commit
            waiting += self._unseen(commit, seen)

    def _unseen(self, commit: str, seen: set[str]) -> list[str]:
        """Return the parents of a commit that are here and were not met yet."""
        found = [parent for parent in dict.fromkeys(self._header(commit).parents) if parent not in seen]
        seen.update(found)
        present = [parent for parent in found if self._repository.has(parent)]
        self._is_cut = self._is_cut or len(present) < len(found)
        return present

    def _changes_nothing(self, commit: str, paths: Sequence[str]) -> bool:
        """Return whether a commit has what stands at some paths as each of its parents has it."""
        parents = self._header(commit).parents
        if not parents or not all(map(self._repository.has, parents)):
            self._is_cut = self._is_cut or bool(parents)
            return False
        return all(
            self._repository.tree_id(commit, path) == self._repository.tree_id(parent, path)
            for path in paths
            for parent in parents
        )

    def _is_empty(self, header: CommitHeader) -> bool:
        """Return whether a signed commit changes nothing at all: then somebody vouches for what stands there."""
        alone = len(header.parents) == 1 and bool(header.signatures)
        return alone and self._repository.has(header.parents[0]) and self._header(header.parents[0]).tree == header.tree

    def _judge(self, commits: Iterable[str]) -> str | None:
        """Return the first of some commits that no allowed key signed."""
        asked = list(commits)
        new = {commit: self._header(commit) for commit in asked if commit not in self._problems}
        if new:
            found = signature_problems(self._git, self._repository.layout, new)
            self._problems |= {commit: found.get(commit, "") for commit in new}
        return next((commit for commit in asked if self._problems[commit]), None)

    def _header(self, commit: str) -> CommitHeader:
        if commit not in self._headers:
            self._headers[commit] = self._repository.header(commit)
        return self._headers[commit]

    def _refusal(self, tip: str, why: str) -> UntrustedRegistryError:
        return UntrustedRegistryError(
            f"{self._repository.root}: manifests and settings as of {tip[:10]} are not signed by an allowed key: {why}",
            remedy=f"{self.hint}After a review of all that is new: git commit --allow-empty -S -m 'Vouch for the "
            "registry'. Such an empty commit vouches for everything before it. Allowed keys are those of "
            "gpg.ssh.allowedSignersFile in your own git settings, or trusted gpg keys.",
        )
