"""The Hugging Face Hub and its mirrors: which commit a revision is, which files it has, where their bytes come from.

Over HTTP directly: the wire is small (four requests), and ``HfApi`` costs 240 ms to import before it says a word.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, quote, urlencode

from imageworks import __version__
from imageworks.http import HttpPool, Reply
from imageworks.providers.hub_cache import HubCache
from imageworks.providers.hub_errors import (
    DisabledError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    UnexpectedReplyError,
)
from imageworks.providers.hub_pace import Pace, Quota
from imageworks.providers.hub_records import (
    COMMIT,
    HubCommit,
    Listing,
    ResolvedRevision,
    checked_repository,
    confirmed,
    read_commits,
    read_listing,
    read_references,
    read_reply,
    read_revision,
    siblings_as_tree,
)
from imageworks.providers.hub_replies import Asked, refusal
from imageworks.providers.hub_session import DEFAULT_ENDPOINT, HubSession, proxied
from imageworks.providers.hub_source import HubSource
from imageworks.providers.hub_token import Token, find_token, is_true
from imageworks.transfer.files import RemoteFile

MOST_FILES: Final = 200_000
MOST_COMMITS: Final = 1_000
_LINK: Final = re.compile(r"<([^<>]*)>\s*;\s*rel=\"?next\"?")
_LONGEST_REVISION: Final = 255


class HubClient:
    """Answers questions about repositories of one hub; every method may be called from any thread.

    Args:
        endpoint: The hub's address, with or without a path.
        token: Sent to that address only.
        cache_dir: Where answers about commits are kept.
        write_cache: Whether they are kept; a dry run writes nothing.
        offline: Refuse to use the network.
        pool: The connections; one of its own when absent.
        pace: The budget of requests; one of its own when absent.
    """

    def __init__(
        self,
        endpoint: str,
        token: Token | None,
        *,
        cache_dir: Path,
        write_cache: bool = True,
        offline: bool = False,
        pool: HttpPool | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._pool = pool or HttpPool(user_agent=f"imageworks-models/{__version__}")
        self._pace = pace or Pace()
        self._session = HubSession(endpoint, token, self._pool, self._pace, offline=offline)
        self._cache = HubCache(cache_dir, self._session.endpoint, writable=write_cache)
        self._answered: dict[tuple[str, str], ResolvedRevision] = {}  # over the network, by name and commit
        self._open_to_all: set[tuple[str, str]] = set()

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        *,
        cache_dir: Path,
        write_cache: bool = True,
        offline: bool = False,
        told: Callable[[str], None] | None = None,
    ) -> Self:
        """Return a client for the hub and token of the user's environment.

        Args:
            environment: The process's environment: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE and so on.
            cache_dir: Where answers about commits are kept.
            write_cache: Whether they are kept.
            offline: Refuse to use the network; HF_HUB_OFFLINE does too.
            told: Gets one line when the hub makes us wait.

        Raises:
            HubError: The endpoint or the token cannot be used.
        """
        forbidden = is_true(environment.get("HF_HUB_OFFLINE") or environment.get("TRANSFORMERS_OFFLINE"))
        return cls(
            environment.get("HF_ENDPOINT") or DEFAULT_ENDPOINT,
            find_token(environment),
            cache_dir=cache_dir,
            write_cache=write_cache,
            offline=offline or forbidden,
            pace=Pace(told=told),
        )

    def __repr__(self) -> str:
        return f"HubClient({self._session!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """The hub's address, without a trailing slash."""
        return self._session.endpoint

    def close(self) -> None:
        """Close all connections, and wake the threads that wait for the hub's next window."""
        self._pace.stop()
        self._pool.close()

    def ask_anew(self) -> None:
        """Ask from now on for what was known of commits too, as whoever doubts it wants."""
        self._cache.distrust()
        self._answered.clear()

    def resolve(self, repo: str, revision: str = "main") -> ResolvedRevision:
        """Return the commit that a revision is now, and what the hub says of it.

        A full commit id whose answer is known here asks no network.

        Args:
            repo: ``owner/name``; an older name of a renamed repository leads to the present one.
            revision: A branch, tag or commit.

        Raises:
            HubError: It does not exist, may not be seen, or the hub cannot be reached.
        """
        checked_repository(repo)
        revision = _checked_revision(repo, revision)
        known = self._cache.revision(repo, revision) if COMMIT.fullmatch(revision) else None
        if known is not None:
            return known
        url = f"{self._api(repo)}/revision/{quote(revision, safe='')}"
        reply = self._get(url, self._asked(repo, revision))
        said = read_reply(reply.body, url)
        resolved = read_revision(said, ref=revision, url=url)
        if resolved.disabled:
            raise DisabledError(
                f"{resolved.repo} has been disabled by the hub", remedy=f"Read {self.endpoint}/{resolved.repo}."
            )
        self._cache.remember_revision(repo, resolved)
        for name in {repo, resolved.repo}:
            self._answered[name, resolved.commit] = resolved
            if isinstance(said, dict) and (said.get("gated"), said.get("private")) == (False, False):
                self._open_to_all.add((name, resolved.commit))
        return resolved

    def listing(self, repo: str, commit: str) -> Listing:
        """Return every file of a commit, from here when it was asked before.

        Args:
            repo: The repository's present name.
            commit: 40 hexadecimal digits.

        Raises:
            HubError: The listing is not to be had, or contradicts itself.
        """
        checked_repository(repo)
        known = self._cache.listing(repo, commit)
        if known is not None:
            return known
        revision = self._answered.get((repo, commit)) or self.resolve(repo, commit)
        tree = f"{self._api(repo)}/tree/{commit}"
        try:
            entries = self._tree(repo, commit, tree)
        except RepositoryNotFoundError:
            entries = self._described(repo, commit)  # some mirrors know the commit and have no tree
            if not entries:
                raise
        listing = read_listing(repo, commit, entries, url=tree)
        listing = confirmed(listing, revision.siblings, host=f"{self._session.host}{proxied(tree)}")
        if listing.confirmed:
            self._cache.remember_listing(listing)
        return listing

    def _tree(self, repo: str, commit: str, url: str) -> list[object]:
        entries: list[object] = []
        for page in self._pages(url, "recursive=true", self._asked(repo, commit)):
            entries += page
            if len(entries) > MOST_FILES:
                raise UnexpectedReplyError(f"{url}: the listing does not end", remedy="Check HF_ENDPOINT.")
        return entries

    def _described(self, repo: str, commit: str) -> list[object]:
        """Return the entries of a tree as the hub describes them with the commit, none where it does not."""
        url = f"{self._api(repo)}/revision/{commit}"
        reply = self._get(f"{url}?blobs=true", self._asked(repo, commit))
        answer = read_reply(reply.body, url)
        read_revision(answer, ref=commit, url=url)
        return siblings_as_tree(answer)

    def history(self, repo: str, commit: str, *, until: str | None = None) -> tuple[HubCommit, ...]:
        """Return the commits that led to one, newest first, that one included; at most a thousand.

        Args:
            repo: The repository's present name.
            commit: 40 hexadecimal digits.
            until: The commit at which to stop asking; the answer ends with it where it is found.

        Raises:
            HubError: The hub cannot be reached or keeps no history; mirrors often do not.
        """
        checked_repository(repo)
        url = f"{self._api(repo)}/commits/{commit}"
        found: list[HubCommit] = []
        for page in self._pages(url, "", self._asked(repo, commit)):
            for one in read_commits(page, url=url):
                found.append(one)
                if one.commit == until or len(found) == MOST_COMMITS:
                    return tuple(found)
        return tuple(found)

    def branches(self, repo: str) -> tuple[str, ...]:
        """Return the names of a repository's branches and tags.

        Args:
            repo: The repository's present name.

        Raises:
            HubError: The hub cannot be reached or does not tell.
        """
        url = f"{self._api(checked_repository(repo))}/refs"
        return read_references(read_reply(self._get(url, self._asked(repo, "main")).body, url))

    def _pages(self, url: str, query: str, asked: Asked) -> Iterator[list[object]]:
        """Yield the pages of a list."""
        asked_before: set[str] = set()
        more = True
        while more:
            if query in asked_before:
                raise UnexpectedReplyError(f"{url}: the listing does not end", remedy="Check HF_ENDPOINT.")
            asked_before.add(query)
            reply = self._get(f"{url}?{query}" if query else url, asked)
            page = read_reply(reply.body, url)
            if not isinstance(page, list):
                raise UnexpectedReplyError(f"{url}: the listing is not a list", remedy="Check HF_ENDPOINT.")
            yield page
            query = _next_query(reply)
            more = bool(query)

    def check_fetch(self, repo: str, commit: str, file: RemoteFile) -> None:
        """Raise when a file would be refused to this token, asked by one request where the hub may refuse it at all.

        Args:
            repo: The repository's present name.
            commit: 40 hexadecimal digits.
            file: A file that is to be fetched.

        Raises:
            HubError: The file is refused, or the hub cannot be asked.
        """
        if (repo, commit) not in self._open_to_all:  # what was said in an earlier run may not be true any more
            self.source(repo, commit).check_access(file)

    def check_access(self, resolved: ResolvedRevision) -> None:
        """Raise when a gated repository's files would be refused, before any byte is planned.

        Args:
            resolved: What `resolve` returned.

        Raises:
            GatedError: Its conditions are not accepted.
            HubError: The token is refused, or the hub cannot be reached.
        """
        if not resolved.gated:
            return
        reply = self._request(f"{self._api(resolved.repo)}/auth-check")
        if reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise refusal(reply, self._asked(resolved.repo, resolved.commit), self._session.token_origin)

    def source(self, repo: str, commit: str) -> HubSource:
        """Return where the bytes of a commit's files come from.

        Args:
            repo: The repository's present name.
            commit: 40 hexadecimal digits.
        """
        return HubSource(self._session, checked_repository(repo), commit)

    def _api(self, repo: str) -> str:
        return f"{self.endpoint}/api/models/{repo}"

    def _asked(self, repo: str, revision: str) -> Asked:
        return Asked(repo, f"{self.endpoint}/{repo}", revision)

    def _get(self, url: str, asked: Asked) -> Reply:
        reply = self._request(url)
        if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
            raise self._session.led_away(reply)
        if reply.status != HTTPStatus.OK:
            raise refusal(reply, asked, self._session.token_origin)
        return reply

    def _request(self, url: str) -> Reply:
        reply = self._session.request("GET", url, Quota.API)
        if reply.status == HTTPStatus.UNAUTHORIZED and self._session.renew_token():
            reply = self._session.request("GET", url, Quota.API)
        return reply


def _checked_revision(repo: str, revision: str) -> str:
    if COMMIT.fullmatch(revision.lower()):
        return revision.lower()
    if not revision or revision.startswith(".") or ".." in revision or len(revision) > _LONGEST_REVISION:
        raise RevisionNotFoundError(
            f"{repo}: {revision[:_LONGEST_REVISION]!r} cannot be a branch, tag or commit",
            remedy="Write a branch or tag, or a full commit id of 40 digits in quotes.",
        )
    return revision


def _next_query(reply: Reply) -> str:
    """Return the query of the next page, empty on the last one.

    Only the query is taken: the address stays ours, so that no link of a hub or mirror can lead the token elsewhere.
    """
    match = _LINK.search(reply.headers.get("link", ""))
    return "" if match is None else urlencode(parse_qs(match[1].partition("#")[0].partition("?")[2]), doseq=True)
