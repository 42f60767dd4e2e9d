"""The branches beside the checked-out one: where they and the remotes' are, and commits made on them or on none.

Nothing here touches the work tree, but for `forward`, which brings the checked-out branch to a commit from elsewhere.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from imageworks.git.blob_writer import BlobWriter
from imageworks.git.commit import Change, full_name, tip_of
from imageworks.git.commit_off_branch import AsideRequest, move_branch, write_aside
from imageworks.git.locate import RepositoryLocation
from imageworks.git.proposal_branch import PROPOSED_BY, US, Proposed, propose
from imageworks.git.recovery.fast_forward import BranchMove, Forwarder
from imageworks.git.trailers import with_trailers
from imageworks.git.values import NO_TRAILERS

if TYPE_CHECKING:
    from pygit2 import Repository

    from imageworks.git.trust.signing import CommitSigner


class Branches:
    """Branches of one repository."""

    def __init__(
        self,
        layout: RepositoryLocation,
        repository: "Repository",
        host: str,
        *,
        check: Callable[[], None],
        signer: "Callable[[], CommitSigner]",
    ) -> None:
        self._layout = layout
        self._repository = repository
        self._host = host
        self._check = check
        self._signer = signer
        self._blobs = BlobWriter(repository, layout.common_dir / "objects")

    def names(self) -> tuple[str, ...]:
        """Return the short names of all branches, here or as the remote ``origin`` was last seen to have them."""
        prefixes = ("refs/heads/", "refs/remotes/origin/")
        names = {
            name.removeprefix(prefix)
            for name in self._repository.references
            for prefix in prefixes
            if name.startswith(prefix)
        }
        return tuple(sorted(names - {"HEAD"}))

    def tip_elsewhere(self, branch: str) -> str | None:
        """Return where a remote was last seen to have a branch: ``origin``, else the only one that has it."""
        if (tip := self._tip(f"refs/remotes/origin/{branch}")) is not None:
            return tip
        place = rf"refs/remotes/[^/]+/{re.escape(branch)}"
        found = [name for name in self._repository.references if re.fullmatch(place, name)]
        return self._tip(found[0]) if len(found) == 1 else None

    def would_be_here(self, branch: str) -> bool:
        """Return whether a branch that is not here is on no remote either, as far as this clone can tell."""
        if self._repository.is_shallow:
            return False
        fetched = [pattern for remote in self._repository.remotes for pattern in remote.fetch_refspecs]
        sources = (pattern.removeprefix("+").partition(":")[0] for pattern in fetched)
        return not fetched or any(fnmatchcase(f"refs/heads/{branch}", source) for source in sources)

    def of_hosts(self, template: str) -> list[tuple[str, str]]:
        """Return the hosts that have a branch of their own, here or on a remote, each with a tip."""
        before, found, after = template.partition("{host}")
        if not found:
            return []
        place = rf"refs/(?:heads|remotes/[^/]+)/{re.escape(before)}(?P<host>[^/]+){re.escape(after)}"
        names = [match for name in self._repository.references if (match := re.fullmatch(place, name))]
        tips = [(match["host"], tip_of(self._repository, match[0])) for match in names]
        return [(host, str(tip)) for host, tip in tips if tip is not None]

    def write(
        self,
        changes: Mapping[str, Change],
        *,
        base: str,
        message: str,
        parents: Sequence[str] = (),
        kept: Sequence[tuple[str, str]] = (),
        author_of: str | None = None,
        sign: bool = False,
    ) -> str:
        """Write a commit that no branch points to yet and return its id; the work tree and index stay as they are."""
        place = self._layout.repository_path
        request = AsideRequest(
            base=base,
            parents=tuple(parents) or (base,),
            changes={place(path): change for path, change in changes.items()},
            message=message,
            kept=tuple((commit, place(path)) for commit, path in kept),
            author_of=author_of,
            signer=self._signer() if sign else None,
        )
        return write_aside(self._repository, self._blobs, self._host, request)

    def move(self, branch: str, commit: str, *, expected: str | None, reason: str) -> None:
        """Move a branch that is not checked out, if it is where it is expected to be."""
        move_branch(self._repository, full_name(branch), commit, expected=expected, reason=reason)

    def forward(self, branch: str, *, old: str, new: str, environment: Mapping[str, str]) -> None:
        """Move the checked-out branch to a commit that came from elsewhere; the lock must be held."""
        self._check()
        self._forwarder(environment).move(BranchMove(full_name(branch), old, new))

    def propose(
        self,
        branch: str,
        changes: Mapping[str, Change],
        *,
        base: str,
        message: str,
        trailers: Mapping[str, str] = NO_TRAILERS,
        sign: bool = False,
    ) -> Proposed:
        """Make a branch that is not checked out propose changes, or renew it where all its commits are ours."""
        place = self._layout.repository_path
        request = AsideRequest(
            base=base,
            parents=(base,),
            changes={place(path): change for path, change in changes.items()},
            message=with_trailers(message, {PROPOSED_BY: US, **trailers}),
            signer=self._signer() if sign else None,
        )
        return propose(self._repository, self._blobs, self._host, branch, request)

    def _forwarder(self, environment: Mapping[str, str]) -> Forwarder:
        return Forwarder(self._layout, self._repository, self._layout.program(environment))

    def finish(self, environment: Mapping[str, str]) -> Iterable[str]:
        """Finish what a killed run left of bringing the checked-out branch forward; says what was done."""
        return self._forwarder(environment).finish()

    def _tip(self, name: str) -> str | None:
        tip = tip_of(self._repository, name)
        return None if tip is None else str(tip)
