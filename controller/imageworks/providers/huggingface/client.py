"""The Hugging Face Hub and its mirrors: which commit a revision is, which files it has, where their bytes come from.

huggingface_hub asks the questions, over our session (``library.py``); it is loaded by the first one.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import quote

from imageworks import __version__
from imageworks.files.artifact import RemoteFile
from imageworks.foundation.addresses import AddressGuard, private_hosts
from imageworks.foundation.closing import Closing
from imageworks.foundation.http import HttpPool, origin
from imageworks.foundation.json_values import parse_object, text
from imageworks.naming.hub_identifiers import DEFAULT_ENDPOINT
from imageworks.providers.huggingface.cache import HubCache
from imageworks.providers.huggingface.errors import (
    DisabledError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    UnauthorisedError,
    UnexpectedReplyError,
)
from imageworks.providers.huggingface.mirrors import HubMirror, MirroredSource, token_for
from imageworks.providers.huggingface.rate_limit import Pace, QuotaName
from imageworks.providers.huggingface.records import (
    COMMIT,
    checked_repository,
    confirmed,
    described,
    read_commit,
    read_listing,
    read_revision,
)
from imageworks.providers.huggingface.refusals import RequestContext
from imageworks.providers.huggingface.session import HubSession, checked_endpoint, proxied
from imageworks.providers.huggingface.source import HubSource
from imageworks.providers.huggingface.token import Token, find_token, is_true
from imageworks.providers.repository import FoundRepository, HubCommit, Listing, ResolvedRevision
from imageworks.registry.settings.mirrors import Mirror

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Answer = TypeVar("Answer")
MOST_FILES: Final = 200_000
MOST_COMMITS: Final = 1_000
MOST_NAMED: Final = 256
"""Commits whose files are known by name until they are listed, which follows at once; of all, they take 10 MB."""
_LONGEST_REVISION: Final = 255


class HubClient(Closing):
    """Answers questions about repositories of one hub; every method may be called from any thread."""

    def __init__(
        self,
        endpoint: str,
        find_token: Callable[[], Token | None],
        *,
        cache_dir: Path,
        write_cache: bool = True,
        offline: bool = False,
        pool: HttpPool | None = None,
        pace: Pace | None = None,
        private: Collection[str] = (),
    ) -> None:
        guard = AddressGuard(checked_endpoint(endpoint), private)
        self._pool = pool or HttpPool(user_agent=f"imageworks-models/{__version__}", guard=guard)
        self._pace = pace or Pace()
        self._session = HubSession(endpoint, find_token, self._pool, self._pace, offline=offline, guard=guard)
        self._mirrors: Sequence[HubMirror] = ()
        self._cache = HubCache(cache_dir, self._session.endpoint, writable=write_cache)
        self._named: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()
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
        mirrors: Iterable[Mirror] = (),
        credentials: Sequence[str] = (),
    ) -> Self:
        """Return a client for the hub and token of the user's environment, and for mirrors of that hub."""
        forbidden = is_true(environment.get("HF_HUB_OFFLINE") or environment.get("TRANSFORMERS_OFFLINE"))
        endpoint, private = environment.get("HF_ENDPOINT") or DEFAULT_ENDPOINT, private_hosts(environment)
        own_token = partial(find_token, environment)

        def opened(mirror: Mirror) -> HubMirror:
            its_own = origin(mirror.address) == origin(endpoint)
            token = own_token if its_own else token_for(mirror.address, credentials, environment)
            return HubMirror(mirror, token, private=private, offline=offline or forbidden, told=told)

        made = cls(
            endpoint,
            own_token,
            cache_dir=cache_dir,
            write_cache=write_cache,
            offline=offline or forbidden,
            pace=Pace(told=told),
            private=private,
        )
        made._mirrors = [opened(one) for one in mirrors]
        return made

    def __repr__(self) -> str:
        return f"HubClient({self._session!r})"

    @property
    def endpoint(self) -> str:
        """The hub's address, without a trailing slash."""
        return self._session.endpoint

    def close(self) -> None:
        """Close all connections, and wake the threads that wait for the hub's next window."""
        self._pace.stop()
        self._pool.close()
        for mirror in self._mirrors:
            mirror.close()

    def account(self) -> str | None:
        """Return whose token it is; ``None`` without one. Raise where the hub does not answer, or refuses the token."""
        reply = self._session.request("GET", f"{self.endpoint}/api/whoami-v2", QuotaName.API)
        if self._session.token_origin is None:
            return None
        if reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise UnauthorisedError(
                f"{self.endpoint} refuses the token of {self._session.token_origin}",
                remedy="Run `hf auth login`, or set HF_TOKEN, with a token that is valid.",
            )
        found = parse_object(reply.body) if reply.status == HTTPStatus.OK else None
        return text(found or {}, "name") or "an account without a name"

    def ask_anew(self) -> None:
        """Ask from now on for what was known of commits too, as whoever doubts it wants."""
        self._cache.distrust()
        self._named.clear()

    def resolve(self, repo: str, revision: str = "main") -> ResolvedRevision:
        """Return the commit that a revision is now, and what the hub says of it.

        A full commit id whose answer is known here asks no network.
        """
        checked_repository(repo)
        revision = _checked_revision(repo, revision)
        known = self._cache.revision(repo, revision) if COMMIT.fullmatch(revision) else None
        if known is not None:
            return known
        url = f"{self._api(repo)}/revision/{quote(revision, safe='')}"
        said = self._ask(repo, revision, lambda api: api.model_info(repo, revision=revision))
        resolved = read_revision(said, ref=revision, url=url)
        if resolved.disabled:
            raise DisabledError(
                f"{resolved.repo} has been disabled by the hub", remedy=f"Read {self.endpoint}/{resolved.repo}."
            )
        self._cache.remember_revision(repo, resolved)
        for name in {repo, resolved.repo}:
            self._named[name, resolved.commit] = resolved.siblings or ()
            if (said.gated, said.private) == (False, False):
                self._open_to_all.add((name, resolved.commit))
        while len(self._named) > MOST_NAMED:
            self._named.popitem(last=False)
        return resolved

    def listing(self, repo: str, commit: str) -> Listing:
        """Return every file of a commit, from here when it was asked before."""
        checked_repository(repo)
        known = self._cache.listing(repo, commit)
        if known is not None:
            return known
        siblings = self._named.get((repo, commit))
        if siblings is None:
            siblings = self.resolve(repo, commit).siblings
        tree = f"{self._api(repo)}/tree/{commit}"
        try:
            found = self._ask(repo, commit, lambda _: _files(tree))
        except RepositoryNotFoundError:  # some mirrors know the commit and have no tree, but describe its files
            said = self._ask(repo, commit, lambda api: api.model_info(repo, revision=commit, files_metadata=True))
            read_revision(said, ref=commit, url=tree)
            found = [described(one) for one in said.siblings or []]
            if not found or any(one["oid"] is None for one in found):
                raise
        listing = read_listing(repo, commit, found, url=tree)
        listing = confirmed(listing, siblings, host=f"{self._session.host}{proxied(tree)}")
        if listing.confirmed:
            self._cache.remember_listing(listing)
        return listing

    def history(self, repo: str, commit: str, *, until: str | None = None) -> tuple[HubCommit, ...]:
        """Return the commits that led to one, newest first, that one included; at most a thousand."""
        checked_repository(repo)
        url = f"{self._api(repo)}/commits/{commit}"
        found: list[HubCommit] = []

        def read(_: object) -> None:
            from imageworks.providers.huggingface.library import entries

            for entry in entries(url):  # HfApi would read the whole history before it gave the first commit
                found.append(read_commit(entry, url=url))
                if found[-1].commit == until or len(found) == MOST_COMMITS:
                    return

        self._ask(repo, commit, read)
        if not found:
            raise UnexpectedReplyError(f"{url}: the history has no commit", remedy="Check HF_ENDPOINT.")
        return tuple(found)

    def search(self, words: str, *, limit: int) -> tuple[FoundRepository, ...]:
        """Return the models that words find, the most downloaded first."""
        from imageworks.providers.huggingface.search import ASKED, found_repository

        page = f"{self.endpoint}/models"

        def read(api: "HfApi") -> "list[FoundRepository | None]":
            listed = api.list_models(search=words, sort="downloads", limit=limit, expand=list(ASKED))
            return [found_repository(one) for one in listed]

        try:
            found = self._ask("", "", read, page=page)
        except RepositoryNotFoundError as error:  # a mirror may hold repositories and know no search
            raise UnexpectedReplyError(
                f"{page}: this hub cannot be searched",
                remedy="Search at https://huggingface.co, and name what you found.",
            ) from error
        return tuple(one for one in found if one is not None)

    def branches(self, repo: str) -> tuple[str, ...]:
        """Return the names of a repository's branches and tags."""
        found = self._ask(checked_repository(repo), "main", lambda api: api.list_repo_refs(repo))
        return tuple(str(one.name) for one in (*found.branches, *found.tags))

    def check_fetch(self, repo: str, commit: str, file: RemoteFile) -> None:
        """Raise when a file would be refused to this token, asked by one request where the hub may refuse it at all."""
        if (repo, commit) not in self._open_to_all:  # what was said in an earlier run may not be true any more
            HubSource(self._session, repo, commit).check_access(file)

    def check_access(self, resolved: ResolvedRevision) -> None:
        """Raise when a gated repository's files would be refused, before any byte is planned."""
        if resolved.gated:
            with suppress(RepositoryNotFoundError):  # some mirrors do not know the question
                self._ask(resolved.repo, resolved.commit, lambda api: api.auth_check(resolved.repo))

    def source(self, repo: str, commit: str) -> HubSource | MirroredSource:
        """Return where the bytes of a commit's files come from."""
        hub = HubSource(self._session, checked_repository(repo), commit)
        return MirroredSource(hub, self._mirrors, repo, commit) if self._mirrors else hub

    def _api(self, repo: str) -> str:
        return f"{self.endpoint}/api/models/{repo}"

    def _ask(
        self, repo: str, revision: str, question: "Callable[[HfApi], Answer]", *, page: str | None = None
    ) -> Answer:
        from imageworks.providers.huggingface.library import ask

        return ask(self._session, RequestContext(repo, page or f"{self.endpoint}/{repo}", revision), question)


def _checked_revision(repo: str, revision: str) -> str:
    if COMMIT.fullmatch(revision.lower()):
        return revision.lower()
    if not revision or revision.startswith(".") or ".." in revision or len(revision) > _LONGEST_REVISION:
        raise RevisionNotFoundError(
            f"{repo}: {revision[:_LONGEST_REVISION]!r} cannot be a branch, tag or commit",
            remedy="Write a branch or tag, or a full commit id of 40 digits in quotes.",
        )
    return revision


def _files(tree: str) -> list[Mapping[str, object]]:
    """Return what a tree says of its files; HfApi would make each a record, for twice the time, and check nothing."""
    from imageworks.providers.huggingface.library import entries

    found = list(islice(entries(tree, recursive=True), MOST_FILES + 1))
    if len(found) > MOST_FILES:
        raise UnexpectedReplyError("the listing does not end", remedy="Check HF_ENDPOINT.")
    return [one for one in found if one["type"] == "file"]
