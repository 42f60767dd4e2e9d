"""What a repository of the Hub is, without downloading it, as the earlier API had it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from imageworks.detect.describe import describe
from imageworks.detect.facts import ListedFile, ModelFacts, Subject
from imageworks.detect.filenames import classify
from imageworks.identifiers import HubIdentifier, parse_hub_identifier
from imageworks.tools.model_downloader.formats import FormatInfo


@dataclass(frozen=True, slots=True)
class FetchedListing:
    """A repository's files at one commit, and what its hub says of it.

    Args:
        repo: Its present name.
        commit: 40 hexadecimal digits.
        files: Paths and sizes.
        task: The pipeline tag.
        library: The library it is made for.
        license: The licence's identifier.
    """

    repo: str
    commit: str
    files: Sequence[ListedFile]
    task: str | None = None
    library: str | None = None
    license: str | None = None


class RepositoryFetcher(Protocol):
    """How the analyzer asks a hub; tests and other hubs give their own."""

    @property
    def endpoint(self) -> str:
        """The hub's address, whose pages are read like the Hub's own."""
        ...

    def listing(self, identifier: HubIdentifier) -> FetchedListing:
        """Return a repository's files at the commit that its revision is now."""
        ...

    def read(self, listing: FetchedListing, path: str, offset: int, length: int) -> bytes:
        """Return a range of one file."""
        ...


@dataclass(frozen=True, slots=True)
class URLAnalysis:
    """What a repository is.

    Args:
        repository: Which one, and which revision.
        commit: The commit that was looked at.
        files: Paths by role: ``weights``, ``config``, ``tokenizer`` and so on.
        formats: Containers and the quantization, the most confident first.
        total_size: Bytes of all files.
        config_content: The content of ``config.json``; ``None`` without one.
        facts: Everything else that its files say.
    """

    repository: HubIdentifier
    commit: str
    files: Mapping[str, tuple[str, ...]]
    formats: tuple[FormatInfo, ...]
    total_size: int
    config_content: str | None
    facts: ModelFacts = field(repr=False)


class URLAnalyzer:
    """Analyzes URLs and identifiers of the Hub.

    Args:
        fetcher: How to ask the hub; the user's own hub and token when absent.
    """

    LARGEST_SMALL_BYTES = 16 * 1024 * 1024

    def __init__(self, fetcher: RepositoryFetcher | None = None) -> None:
        self._fetcher = fetcher

    def analyze_url(self, url: str) -> URLAnalysis:
        """Return what a repository is; weights are not downloaded, only the beginnings of a few are read.

        Args:
            url: A page of the Hub, ``owner/repo`` or ``owner/repo@branch``.

        Raises:
            ImageworksError: It names no model, does not exist, may not be seen, or the hub cannot be reached.
        """
        fetcher = self._fetcher or _default_fetcher()
        identifier = parse_hub_identifier(url, endpoints=(fetcher.endpoint,))
        listing = fetcher.listing(identifier)
        sizes = {file.path: file.size for file in listing.files}

        def read_small(path: str) -> bytes | None:
            if sizes[path] > self.LARGEST_SMALL_BYTES:
                return None
            return fetcher.read(listing, path, 0, sizes[path])

        def read_header(path: str, offset: int, length: int) -> bytes:
            return fetcher.read(listing, path, offset, length)

        subject = Subject(
            repo=listing.repo,
            revision=identifier.revision,
            task=listing.task,
            library=listing.library,
            license=listing.license,
        )
        facts = describe(listing.files, read_small, read_header, subject=subject)
        config = read_small("config.json") if "config.json" in sizes else None
        return URLAnalysis(
            repository=identifier,
            commit=listing.commit,
            files=_by_role(sizes),
            formats=_formats(facts),
            total_size=sum(sizes.values()),
            config_content=config.decode(errors="replace") if config is not None else None,
            facts=facts,
        )


def _by_role(paths: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Return paths by what they are for."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        found.setdefault(classify(path).role.value, []).append(path)
    return {role: tuple(listed) for role, listed in found.items()}


def _formats(facts: ModelFacts) -> tuple[FormatInfo, ...]:
    """Return containers and the quantization, the most confident first."""
    found = [
        FormatInfo(candidate.container.value, candidate.confidence, (candidate.evidence.text,))
        for candidate in facts.candidates
    ]
    if facts.quantization:
        evidence = tuple(f"{item.source}: {item.text}" for item in facts.detection.evidence)
        found.append(FormatInfo(facts.quantization, facts.detection.confidence, evidence, facts.detection.details))
    return tuple(sorted(found, key=lambda info: -info.confidence))


def _default_fetcher() -> RepositoryFetcher:
    """Return one that asks the user's hub with the user's token, and keeps nothing on the disk."""
    from imageworks.tools.model_downloader.hub_fetcher import HubFetcher

    return HubFetcher()
