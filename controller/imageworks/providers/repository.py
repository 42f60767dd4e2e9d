"""Repositories of files with commits, branches and tags, whoever hosts them: what is asked of them, and the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from imageworks.files.artifact import RemoteFile
from imageworks.registry.entries.entry import Entry
from imageworks.registry.manifests.manifest import RepositorySource


@dataclass(frozen=True, slots=True)
class ResolvedRevision:
    """One commit of one repository, and what its hub says of it.

    Args:
        repo: The repository's present name, also when it was asked for under an older one.
        commit: 40 hexadecimal digits.
        ref: The branch, tag or commit as it was asked for.
        private: Only some accounts see it.
        gated: Its conditions must be accepted before any file is given.
        disabled: The hub took it down.
        license: The licence's identifier, as the card says.
        tags: The hub's tags.
        pipeline_tag: The task, such as ``text-generation``.
        library_name: The library it is made for.
        last_modified: When, as the hub writes it.
        card: The model card's front matter.
        siblings: The paths of all files, as the hub says them with the commit; ``None`` where it does not.
    """

    repo: str
    commit: str
    ref: str
    private: bool
    gated: bool
    disabled: bool
    license: str | None
    tags: tuple[str, ...]
    pipeline_tag: str | None
    library_name: str | None
    last_modified: str | None
    card: Mapping[str, object]
    siblings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Every file of a repository at one commit.

    Args:
        repo: The repository's name.
        commit: 40 hexadecimal digits.
        files: Sorted by path.
        confirmed: Whether the hub names the same files with the commit itself, so that none is known to be missing.
    """

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    confirmed: bool = True

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class HubCommit:
    """One commit of a repository's history.

    Args:
        commit: 40 hexadecimal digits.
        title: The first line of its message.
        date: When it was made; ``None`` where the hub does not say it in a way that can be read.
    """

    commit: str
    title: str
    date: datetime | None


@dataclass(frozen=True, slots=True)
class FoundRepository:
    """A repository that a search found, as far as its host says.

    Args:
        name: ``owner/repo``.
        downloads: How often it was downloaded lately; ``None`` where that is not said.
        likes: How many people marked it.
        license: The licence's identifier.
        task: The task, such as ``text-generation``.
        gated: Its conditions must be accepted before any file is given.
        modified: When it was last changed, as the host writes it.
        quantizations: What its files' names say, else its own name and tags.
    """

    name: str
    downloads: int | None = None
    likes: int | None = None
    license: str | None = None
    task: str | None = None
    gated: bool = False
    modified: str | None = None
    quantizations: tuple[str, ...] = ()

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "downloads": self.downloads,
            "likes": self.likes,
            "license": self.license,
            "task": self.task,
            "gated": self.gated,
            "last_modified": self.modified,
            "quantizations": list(self.quantizations),
        }


class RangeSource(Protocol):
    """Where the bytes of a commit's files come from."""

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes:
        """Return one range of a file."""
        ...


class RepositoryClient(Protocol):
    """Answers questions about the repositories of one host; used from several threads."""

    def resolve(self, repo: str, revision: str = "main") -> ResolvedRevision:
        """Return the commit that a revision is now, and what the host says of it."""
        ...

    def listing(self, repo: str, commit: str) -> Listing:
        """Return every file of a commit."""
        ...

    def history(self, repo: str, commit: str, *, until: str | None = None) -> Sequence[HubCommit]:
        """Return the commits that led to one, newest first, that one included."""
        ...

    def branches(self, repo: str) -> Sequence[str]:
        """Return the names of a repository's branches and tags."""
        ...

    def source(self, repo: str, commit: str) -> RangeSource:
        """Return where the bytes of a commit's files come from."""
        ...


def comes_from(entry: Entry, source: RepositorySource) -> bool:
    """Return whether an entry's files are of a repository: a hub answers for an older name with the present one."""
    if entry.repo == source.repo:
        return True
    names = (entry.repo, entry.noted.get("source_repo"))
    return source.repo.lower() in {str(name).lower() for name in names if name}
