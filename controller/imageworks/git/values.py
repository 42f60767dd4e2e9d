"""What the git side of the registry hands out: values, and errors with their remedies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from imageworks.foundation.errors import ImageworksError

if TYPE_CHECKING:
    from imageworks.files.spool import Spool

PLAIN_MODES: Final = frozenset({0o100644, 0o100755})
SYMLINK_MODE: Final = 0o120000
SUBMODULE_MODE: Final = 0o160000
NO_TRAILERS: Final[Mapping[str, str]] = MappingProxyType({})


class RegistryGitError(ImageworksError):
    """Something about the registry's git repository stands in the way; base of the errors below."""


class NotARegistryRepositoryError(RegistryGitError):
    """The folder is in no git repository."""


class UnsupportedRepositoryError(RegistryGitError):
    """The repository exists, and is of a kind that cannot be worked with (bare, partial, SHA-256, foreign-owned)."""


class DetachedHeadError(RegistryGitError):
    """No branch is checked out, so a commit would belong to none."""


class OperationInProgressError(RegistryGitError):
    """A merge, rebase, revert or similar of the user is under way."""


class BranchMovedError(RegistryGitError):
    """The branch moved in a way that touches what was planned; plan again on the new tip."""

    def __init__(self, paths: tuple[str, ...], tip: str) -> None:
        shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")  # noqa: PLR2004
        super().__init__(
            f"the branch moved while this was being prepared, and changed {shown}",
            remedy="Run the command again; it starts from the new commit.",
        )
        self.paths = paths
        self.tip = tip


class UnsafePathError(RegistryGitError):
    """A path cannot be written because of its name or of what stands there in git (a link, a submodule, a folder)."""


class UnknownRevisionError(RegistryGitError):
    """A revision or date names no commit of this repository."""


class DamagedRepositoryError(RegistryGitError):
    """Something that a commit refers to is missing from the repository, or cannot be read."""


class UntrustedRegistryError(RegistryGitError):
    """What the registry declares is not signed by an allowed key, and it must be."""


class CommitFailedError(RegistryGitError):
    """Git could not make the commit; the branch is where it was."""


class BlobRefusedError(RegistryGitError):
    """A stored file is too large or not a plain file."""


class LockHeldError(RegistryGitError):
    """Another controller works on this registry."""

    def __init__(self, lock_file: Path, holder: "LockHolder | None", what: str = "the registry") -> None:
        who = "a process that cannot be seen from here" if holder is None else holder.describe()
        super().__init__(
            f"{lock_file}: {what} is locked by {who}",
            remedy="Wait for it to finish (or pass --wait), or end that process; the lock then frees itself.",
        )
        self.lock_file = lock_file
        self.holder = holder


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds the registry's lock.

    Args:
        pid: Process id on its host.
        host: Name of the host it runs on.
        command: Program and subcommand, without arguments (which may hold secrets).
        since: When it took the lock, ISO 8601 in UTC.
        started: The process's start in clock ticks since boot (Linux), to tell a reused pid; 0 when unknown.
        node: What that machine calls itself, whatever the registry calls it; empty when unknown.
    """

    pid: int
    host: str
    command: str
    since: str
    started: int = 0
    node: str = ""

    def describe(self) -> str:
        """Return the holder in words."""
        return f"{self.command} (process {self.pid} on {self.host}) since {self.since}"


class BlobReference(NamedTuple):
    """A file as a commit has it.

    Args:
        id: Git object id in hex.
        size: Bytes; 0 for a submodule.
        mode: Git's file mode, such as ``0o100644``.
    """

    id: str
    size: int
    mode: int = 0o100644

    @property
    def refusal(self) -> str:
        """Why this must not be read as a file: ``a symbolic link``, ``a submodule``; empty for a plain file."""
        if self.mode in PLAIN_MODES:
            return ""
        return {SYMLINK_MODE: "a symbolic link", SUBMODULE_MODE: "a submodule"}.get(self.mode, "not a plain file")


class StoredBlob(NamedTuple):
    """A file's bytes that git has already, for who writes ten thousand: they are not held beside one another.

    Args:
        id: Git object id in hex.
        spool: Where they are to be had without git; ``None`` where they are small.
    """

    id: str
    spool: "Spool | None" = None


@dataclass(frozen=True, slots=True)
class FileDifference:
    """A file that two commits have differently.

    Args:
        path: Registry path.
        before: What the first has there; ``None`` when nothing.
        after: What the second has there; ``None`` when nothing.
    """

    path: str
    before: BlobReference | None
    after: BlobReference | None


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A path of ours that was committed, and whose work-tree file or index entry stayed as the user made it.

    Args:
        path: The path, relative to the registry.
        reason: Why, in words.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did.

    Args:
        id: The commit that the branch points to now.
        created: Whether a commit was made; false when the tree already was as wanted.
        changed: Registry paths that the commit changed.
        left_alone: Paths whose work-tree file or index entry belongs to the user's uncommitted work.
        notes: Further things worth a line to the user (a held index.lock, a recovered stale lock).
    """

    id: str
    created: bool
    changed: tuple[str, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was put right after an earlier process was killed.

    Args:
        notes: A line for each lock removed and each interrupted update completed.
        left_alone: Paths that could not be completed because the user changed them since.
    """

    notes: tuple[str, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """One commit, as history shows it.

    Args:
        id: Full commit id.
        parents: Full ids of its parents.
        when: Author date, with its zone.
        author: Author's name.
        email: Author's address.
        subject: First line of the message.
        trailers: ``Key: value`` lines at the message's end; the last of a key wins.
        differences: Finds the registry paths that it changed, which costs more than all else of a commit.
    """

    id: str
    parents: tuple[str, ...]
    when: datetime
    author: str
    email: str
    subject: str
    trailers: Mapping[str, str] = field(default_factory=dict)
    differences: Callable[[], tuple[str, ...]] = field(default=tuple, compare=False, repr=False)

    @property
    def changed(self) -> tuple[str, ...]:
        """Registry paths changed against the first parent."""
        return self.differences()

    @property
    def short_id(self) -> str:
        """The first ten digits of the id."""
        return self.id[:10]
