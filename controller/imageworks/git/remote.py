"""A branch's counterpart on a remote: what is there, bringing it here, and sending ours, all through the git program.

libgit2's own push loses pushes to a local remote and hides rejections, and knows no credential helpers.
"""

from dataclasses import dataclass
from typing import Final

from imageworks.foundation.failpoints import failpoint
from imageworks.git.program import GitProgram, GitResult, redact
from imageworks.git.user_programs import ignored_keys
from imageworks.git.values import RegistryGitError

FULL_NAME: Final = "refs/heads/"
RACES: Final = (
    "cannot lock ref",
    "failed to update ref",
    "incorrect old value provided",
    "reference already exists",
)
REFUSED: Final = ("[rejected]", "non-fast-forward", "fetch first", *RACES)
FORBIDDEN: Final = ("[remote rejected]", "protected branch", "hook declined", "not allowed to push")


class RemoteError(RegistryGitError):
    """A remote could not be asked or would not take what was sent."""


@dataclass(frozen=True, slots=True)
class Counterpart:
    """Where a branch lives on a remote.

    Args:
        remote: The remote's name.
        address: Its address, without credentials.
        ref: The full name of the branch there.
        tracking: The full name of the ref that remembers it here.
    """

    remote: str
    address: str
    ref: str
    tracking: str

    @property
    def name(self) -> str:
        """What people call it, such as ``origin/main``."""
        return f"{self.remote}/{self.ref.removeprefix(FULL_NAME)}"


class Remote:
    """Talks to the remote of one work tree."""

    def __init__(self, git: GitProgram) -> None:
        self._git = git
        self._addresses: dict[str, str] = {}

    def counterpart(self, branch: str) -> Counterpart:
        """Return where a branch lives: its upstream, else the branch of the same name on the only remote or origin."""
        known = self._git.run("remote").out.split()
        named = self._config(f"branch.{branch}.remote")
        chosen = named if named in known else "origin" if "origin" in known else known[0] if len(known) == 1 else ""
        if not chosen:
            problem = f"several remotes ({', '.join(known)}) and no upstream" if known else "no remote"
            raise RemoteError(
                f"the branch {branch} has {problem}",
                remedy=f"Say which: git remote add origin URL, or git branch --set-upstream-to=REMOTE/{branch}",
            )
        ref = (self._config(f"branch.{branch}.merge") if named == chosen else "") or f"{FULL_NAME}{branch}"
        self._addresses[chosen] = self._git.run("remote", "get-url", chosen).out.strip()
        tracking = f"refs/remotes/{chosen}/{ref.removeprefix(FULL_NAME)}"
        return Counterpart(chosen, redact(self._addresses[chosen]), ref, tracking)

    def names(self) -> tuple[str, ...]:
        """Return the names of all remotes."""
        return tuple(self._git.run("remote").out.split())

    def fetch(self, there: Counterpart) -> str | None:
        """Bring a branch's commits here and return its tip; ``None`` when the remote has no such branch yet."""
        # Only forward: what a remote had and has no more is for a person to look at, so what remembers it stays.
        refspec = f"{there.ref}:{there.tracking}"
        program = f"--upload-pack={self._git.server_program(there.remote, 'upload-pack')}"
        answer = self._run(there, "fetch", "--no-tags", "--refmap=", program, there.remote, refspec)
        if answer.code and "couldn't find remote ref" in answer.errors:
            if self.known(there) is None:
                return None
            raise RemoteError(
                f"{there.name} is gone from the remote ({there.address})",
                remedy=f"If it should be there again: git push -u {there.remote} {there.ref.removeprefix(FULL_NAME)}",
            )
        if answer.code and "non-fast-forward" in answer.errors:
            had = (self.known(there) or "")[:10]
            raise RemoteError(
                f"{there.name} was rewound or rewritten: it no longer has {had}, which it had",
                remedy=f"Look what happened: git fetch {there.remote}. To follow: git reset --keep {there.name}. "
                "Else run again: what is here is then pushed again.",
            )
        if answer.code:
            raise self._failed(there, "cannot be fetched", answer)
        return self.known(there)

    def fetch_below(self, there: Counterpart, pattern: str, into: str) -> None:
        """Bring the refs here that a pattern names, each to where one remembers it; those that are gone there go here.

        For refs with one writer each: what they were before is of no use to others.
        """
        program = f"--upload-pack={self._git.server_program(there.remote, 'upload-pack')}"
        refspec = f"+{pattern}:{into}"
        answer = self._run(there, "fetch", "--no-tags", "--prune", "--refmap=", program, there.remote, refspec)
        if answer.code:
            raise self._failed(there, "cannot be fetched", answer)

    def delete(self, there: Counterpart) -> bool:
        """Delete a ref of one's own on the remote where it is as it was last seen; false where it is not."""
        lease = f"--force-with-lease={there.ref}:{self.known(there) or ''}"
        program = f"--receive-pack={self._git.server_program(there.remote, 'receive-pack')}"
        return not self._run(
            there, "push", "--porcelain", "--quiet", lease, program, there.remote, f":{there.ref}"
        ).code

    def known(self, there: Counterpart) -> str | None:
        """Return the tip that was last seen of a branch; ``None`` when none was."""
        answer = self._git.run("rev-parse", "--verify", "--quiet", f"{there.tracking}^{{commit}}")
        return answer.out.strip() or None

    def push(self, there: Counterpart, commit: str, *, own_branch: bool = False) -> bool:
        """Send a commit to a branch; false when the remote is not where it was last seen, or that is not ours to move.

        The lease keeps a plain push, which would be enough among those who only go forward, from bringing back what was
        taken away there. It forces nothing: what was last seen must be what the commit follows.
        """
        seen = self.known(there)
        if seen is not None and not self.is_ancestor(seen, commit):
            return False
        lease = f"--force-with-lease={there.ref}:{seen or ''}"
        program = f"--receive-pack={self._git.server_program(there.remote, 'receive-pack')}"
        answer = self._run(
            there, "push", "--porcelain", "--quiet", lease, program, there.remote, f"{commit}:{there.ref}"
        )
        if not answer.code:
            failpoint("push.sent")
            self._git.run("update-ref", there.tracking, commit)
            return True
        told = answer.out + answer.errors
        if any(sign in told for sign in FORBIDDEN) and not any(sign in told for sign in RACES):
            remedy = "What was committed here stays. Do what the server asks for, and run again with --push."
            if not own_branch:
                remedy += " Where the branch is protected, set `commit: {branch: state/{host}}` in registry.yaml."
            lines = "".join(f"\n    remote: {line}" for line in answer.from_server)
            raise RemoteError(
                f"{there.name}: the remote does not take the push: {_telling(answer)}{lines}", remedy=remedy
            )
        if any(sign in told for sign in REFUSED):
            return False
        raise self._failed(there, "cannot be pushed to", answer)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Return whether one commit is another, or one that it follows."""
        return self._git.run("merge-base", "--is-ancestor", older, newer).code == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """Return the newest commit that two have in common; ``None`` when they have none."""
        return self._git.run("merge-base", one, other).out.strip() or None

    def commits_between(self, older: str, newer: str) -> list[str]:
        """Return the commits that one has and another has not, oldest first."""
        return self._git.run("rev-list", "--reverse", "--topo-order", f"{older}..{newer}").out.split()

    def _config(self, key: str) -> str:
        return self._git.run("config", "--get", key).out.strip()

    def _run(self, there: Counterpart, *arguments: str) -> GitResult:
        return self._git.run(*arguments, remote=self._addresses.get(there.remote, ""))

    def _failed(self, there: Counterpart, what: str, answer: GitResult) -> RemoteError:
        asks = ("could not read Username", "Authentication failed", "terminal prompts disabled", "Permission denied")
        if any(sign in answer.errors for sign in asks):
            remedy = "Give credentials: an ssh agent, a git credential helper, or IMAGEWORKS_GIT_TOKEN for https."
            ignored = ignored_keys(self._git.settings)
            if ignored:
                named = ", ".join(ignored)
                remedy += f" What the clone's own configuration names is not run ({named}): use git config --global."
        else:
            remedy = "What was committed here stays; run again when the remote answers."
        return RemoteError(f"{there.name} {what} ({there.address}): {_telling(answer)}", remedy=remedy)


def _telling(answer: GitResult) -> str:
    for line in answer.out.splitlines():
        if line.startswith("!"):
            return line.split("\t")[-1].strip()
    return answer.reason
