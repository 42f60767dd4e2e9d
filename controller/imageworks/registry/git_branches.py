"""The branches beside the checked-out one: where they and the remotes' are, and commits made on them or on none.

Nothing here touches the work tree, but for `forward`, which brings the checked-out branch to a commit from elsewhere.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from imageworks.registry.git_aside import AsideRequest, move_branch, write_aside
from imageworks.registry.git_commit import Change, full_name, tip_of
from imageworks.registry.git_forward import Forwarder, Move
from imageworks.registry.git_layout import Layout
from imageworks.registry.git_messages import with_trailers
from imageworks.registry.git_program import GitProgram
from imageworks.registry.git_propose import PROPOSED_BY, US, Proposed, propose

if TYPE_CHECKING:
    from pygit2 import Repository


class Branches:
    """Branches of one repository.

    Args:
        layout: Where it is.
        repository: The opened repository.
        host: This host's name, for who commits where git's settings do not say.
        check: Raises where the work tree is in the middle of something.
    """

    def __init__(self, layout: Layout, repository: "Repository", host: str, check: Callable[[], None]) -> None:
        self._layout = layout
        self._repository = repository
        self._host = host
        self._check = check

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
        """Return where a remote was last seen to have a branch: ``origin``, else the only one that has it.

        Args:
            branch: The branch's short name.
        """
        if (tip := self._tip(f"refs/remotes/origin/{branch}")) is not None:
            return tip
        place = rf"refs/remotes/[^/]+/{re.escape(branch)}"
        found = [name for name in self._repository.references if re.fullmatch(place, name)]
        return self._tip(found[0]) if len(found) == 1 else None

    def of_hosts(self, template: str) -> list[tuple[str, str]]:
        """Return the hosts that have a branch of their own, here or on a remote, each with a tip.

        Args:
            template: The short name of such a branch, with ``{host}`` in it.
        """
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
    ) -> str:
        """Write a commit that no branch points to yet and return its id; the work tree and index stay as they are.

        Args:
            changes: New bytes by registry path; ``None`` deletes.
            base: The commit whose files it starts from.
            message: The whole message, trailers included.
            parents: The commits that it follows; by default ``base``.
            kept: Registry paths that are taken as another commit has them, as ``(commit, path)``.
            author_of: A commit whose author and date it keeps.

        Raises:
            UnsafePathError: A path is not allowed, or a link, submodule or folder is in its way.
            CommitFailedError: Git could not write it.
        """
        place = self._layout.repository_path
        request = AsideRequest(
            base=base,
            parents=tuple(parents) or (base,),
            changes={place(path): change for path, change in changes.items()},
            message=message,
            kept=tuple((commit, place(path)) for commit, path in kept),
            author_of=author_of,
        )
        return write_aside(self._repository, self._host, request)

    def move(self, branch: str, commit: str, *, expected: str | None, reason: str) -> None:
        """Move a branch that is not checked out, if it is where it is expected to be.

        Args:
            branch: The branch's short name.
            commit: Where to.
            expected: Where it is; ``None`` when it must not exist.
            reason: What the reflog says.

        Raises:
            BranchMovedError: It is elsewhere by now.
            CommitFailedError: Git could not move it.
        """
        move_branch(self._repository, full_name(branch), commit, expected=expected, reason=reason)

    def forward(self, branch: str, *, old: str, new: str, environment: Mapping[str, str]) -> None:
        """Move the checked-out branch to a commit that came from elsewhere; the lock must be held.

        Args:
            branch: The branch's short name.
            old: Where it is.
            new: Where it goes.
            environment: The process's environment, for the git program.

        Raises:
            OperationInProgressError: The user is in a merge, rebase or similar.
            WorkInTheWayError: Uncommitted work stands in the way; nothing was changed.
            BranchElsewhereError: Somebody moved the branch meanwhile; nothing was changed.
        """
        self._check()
        self._forwarder(environment).move(Move(full_name(branch), old, new))

    def propose(self, branch: str, changes: Mapping[str, Change], *, base: str, message: str) -> Proposed:
        """Make a branch that is not checked out propose changes, or renew it where all its commits are ours.

        Args:
            branch: The branch's short name.
            changes: New bytes by registry path; ``None`` deletes.
            base: The commit that they were computed on.
            message: The message without the trailer that makes the commit ours.

        Raises:
            BranchTakenError: The branch is checked out, holds somebody's work, or cannot be one.
        """
        place = self._layout.repository_path
        request = AsideRequest(
            base=base,
            parents=(base,),
            changes={place(path): change for path, change in changes.items()},
            message=with_trailers(message, {PROPOSED_BY: US}),
        )
        return propose(self._repository, self._host, branch, request)

    def _forwarder(self, environment: Mapping[str, str]) -> Forwarder:
        return Forwarder(self._layout, self._repository, GitProgram(self._layout.worktree, environment))

    def finish(self, environment: Mapping[str, str]) -> Iterable[str]:
        """Finish what a killed run left of bringing the checked-out branch forward; says what was done.

        Args:
            environment: The process's environment, for the git program.
        """
        return self._forwarder(environment).finish()

    def _tip(self, name: str) -> str | None:
        tip = tip_of(self._repository, name)
        return None if tip is None else str(tip)
