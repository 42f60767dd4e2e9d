"""Commits that the user's own ssh or gpg key signs, made by the git program as it is configured for the user."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from imageworks.git import libgit2
from imageworks.git.locate import RepositoryLocation
from imageworks.git.program import NO_VARIABLES, GitProgram, GitProgramError
from imageworks.git.trust.commit_header import read_header
from imageworks.git.trust.signature_check import signature_problems, temporary_folder
from imageworks.git.values import CommitFailedError

if TYPE_CHECKING:
    from pygit2 import Oid, Signature

SIGN_SECONDS: Final = 60.0
"""How long a person may take to touch a key, or to unlock it in a window of an agent's."""
EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
# Durable before a branch names it: the first setting is for git since 2.36, the second for older ones.
_SETTINGS: Final = ("-c", "core.fsync=all", "-c", "core.fsyncObjectFiles=true", "-c", "i18n.commitEncoding=UTF-8")
_SAYS_NOTHING: Final = (
    "fatal: failed to write commit object",
    "warning: core.fsyncObjectFiles is deprecated",
    "hint:",
    "error: gpg failed to sign the data:",
)


class SigningError(CommitFailedError):
    """Git cannot sign with the user's key, or the signature would not count."""


class CommitSigner:
    """Makes signed commits in one work tree."""

    def __init__(self, git: GitProgram, layout: RepositoryLocation) -> None:
        self._git = git
        self._layout = layout

    def create(
        self, author: "Signature", committer: "Signature", message: str, tree: "Oid", parents: Sequence["Oid"]
    ) -> "Oid":
        """Write a signed commit that no branch points to, and return its id."""
        words = [word for parent in parents for word in ("-p", str(parent))]
        return libgit2.object_id(self._create(author, committer, message, (*words, str(tree))))

    def check(self, who: "Signature", *, must_count: bool) -> None:
        """Sign something that nobody gets to see, before hours of work towards a commit that cannot be made."""
        with temporary_folder() as folder:
            aside = {"GIT_OBJECT_DIRECTORY": str(folder)}
            made = self._create(who, who, "Can this key sign?\n", (EMPTY_TREE,), aside)
            if not must_count:
                return
            header = read_header(self._git.run("cat-file", "commit", made, variables=aside).out.encode())
            problem = signature_problems(self._git, self._layout, {made: header}, variables=aside).get(made)
        if problem:
            raise SigningError(
                f"the controller's own commits would not count here: what it signs {problem}",
                remedy="Add the public key of user.signingkey to the file that gpg.ssh.allowedSignersFile of your own "
                "git settings names, or trust your gpg key.",
            )

    def _create(
        self,
        author: "Signature",
        committer: "Signature",
        message: str,
        words: Sequence[str],
        variables: Mapping[str, str] = NO_VARIABLES,
    ) -> str:
        said = {**_person("AUTHOR", author), **_person("COMMITTER", committer), **variables}
        command = (*_SETTINGS, "commit-tree", "-S", *words)
        try:
            answer = self._git.run(*command, stdin=message, variables=said, timeout=SIGN_SECONDS)
        except GitProgramError as error:
            raise _failed(error.message) from error
        made = answer.out.strip()
        if answer.code or not made:
            lines = [line.strip() for line in answer.errors.splitlines() if not line.startswith(_SAYS_NOTHING)]
            told = [text for line in lines if (text := line.removeprefix("error:").removeprefix("fatal:").strip(" ?"))]
            raise _failed(told[0] if told else f"exit code {answer.code}")
        return made


def _person(role: str, who: "Signature") -> dict[str, str]:
    hours, minutes = divmod(abs(who.offset), 60)
    zone = f"{'-' if who.offset < 0 else '+'}{hours:02}{minutes:02}"
    return {f"GIT_{role}_NAME": who.name, f"GIT_{role}_EMAIL": who.email, f"GIT_{role}_DATE": f"@{who.time} {zone}"}


def _failed(why: str) -> SigningError:
    return SigningError(
        f"git cannot sign commits, as commit.sign in registry.yaml asks for: {why}",
        remedy="Nothing was changed. `git commit-tree -S -m test 'HEAD^{tree}'` must succeed here without asking: name "
        "a key (git config --global user.signingkey KEY; gpg.format ssh for ssh keys) that an agent (ssh-add) unlocks.",
    )
