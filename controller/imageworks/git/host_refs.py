"""The refs on which hosts report: one a host, ``refs/imageworks/hosts/<host>``, which that host alone writes.

Each report follows the last one, so that a push of it only ever goes forward. What a remote has is remembered apart,
below ``refs/imageworks/fetched/``.
"""

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from imageworks.git import libgit2, read
from imageworks.git.commit_off_branch import move_branch
from imageworks.git.values import CommitFailedError

if TYPE_CHECKING:
    from pygit2 import Repository

    from imageworks.git.trust.signing import CommitSigner

OWN: Final = "refs/imageworks/hosts/"
FETCHED: Final = "refs/imageworks/fetched/"
FILE: Final = "report.json"


def ref_name(host: str) -> str:
    """Return a host's name as the last part of a ref, where not all characters may stand."""
    quoted = quote(host, safe="")
    odd = ".." in quoted or quoted.endswith((".", ".lock"))
    return quoted.replace(".", "%2E") if odd else quoted


class HostRefs:
    """Reads and writes the refs of one repository on which hosts report."""

    def __init__(self, repository: "Repository", host: str) -> None:
        self._repository = repository
        self._host = host

    def tips(self) -> dict[str, str]:
        """Return the newest commit of each host's ref : ours as it is here, others as fetched.

        What stands here of others counts where no remote has it.
        """
        found, here = self._below(FETCHED), self._below(OWN)
        return here | found | {host: tip for host, tip in here.items() if host == self._host}

    def _below(self, prefix: str) -> dict[str, str]:
        names = [name for name in self._repository.references if name.startswith(prefix)]
        return {unquote(name.removeprefix(prefix)): str(self._repository.references[name].target) for name in names}

    def tip(self, host: str) -> str | None:
        """Return the newest commit of a host's ref here."""
        return self._target(OWN + ref_name(host))

    def fetched(self, host: str) -> str | None:
        """Return the newest commit of a host's ref as the remote was last seen to have it."""
        return self._target(FETCHED + ref_name(host))

    def content(self, commit: str, *, limit: int) -> bytes | None:
        """Return what a commit of such a ref reports; ``None`` where it is none, or more than a report may be."""
        try:
            tree = read.commit_at(self._repository, commit).tree
            entry = tree[FILE]
            if int(entry.filemode) == read.TREE_MODE or read.header(self._repository.odb, entry.id) > limit:
                return None
            return read.read_blob(self._repository.odb, str(entry.id), limit)
        except (KeyError, libgit2.git_error()):
            return None

    def write(
        self, host: str, data: bytes, message: str, *, follows: str | None, signer: "CommitSigner | None" = None
    ) -> str:
        """Point a host's ref to a new report after a commit, and return the report's commit."""
        who = libgit2.signature(self._repository, host)
        try:
            builder = self._repository.TreeBuilder()
            builder.insert(FILE, self._repository.create_blob(data), 0o100644)
            parents = [libgit2.object_id(follows)] if follows is not None else []
            tree = builder.write()
            if signer is not None:
                commit = signer.create(who, who, message, tree, parents)
            else:
                commit = self._repository.create_commit(None, who, who, message, tree, parents)
        except (OSError, ValueError, libgit2.git_error()) as error:
            raise CommitFailedError(
                f"{self._repository.workdir}: git could not write the report of {host}: {error}",
                remedy="Look for free space and the permissions of the .git folder.",
            ) from error
        name = OWN + ref_name(host)
        move_branch(self._repository, name, str(commit), expected=self._target(name), reason=message)
        return str(commit)

    def drop(self, host: str) -> None:
        """Forget what a host reported."""
        for prefix in (OWN, FETCHED):
            name = prefix + ref_name(host)
            if name in self._repository.references:
                self._repository.references.delete(name)

    def _target(self, name: str) -> str | None:
        found = self._repository.references.get(name)
        return None if found is None else str(found.target)
