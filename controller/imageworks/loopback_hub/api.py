"""The hub's own origin: metadata as JSON, and ``resolve``, which sends small files and links to large ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Final, TypeVar
from urllib.parse import parse_qs, quote, urlencode

from imageworks.foundation.http_messages import Request, Response
from imageworks.loopback_hub.access import AccessRules
from imageworks.loopback_hub.content import HubFile, Snapshot
from imageworks.loopback_hub.model_card import read_card, text_of, texts_of
from imageworks.loopback_hub.rate_limit import RateLimit
from imageworks.loopback_hub.repositories import ServedRepositories
from imageworks.loopback_hub.repository import Reference, Repository
from imageworks.loopback_hub.responses import SAFE_METHODS, ReplyError, file_response, json_response, read_only
from imageworks.loopback_hub.search import DATES, asked_by_name, searched, sort_of
from imageworks.loopback_hub.signed_links import LinkSigner

VERBS: Final = frozenset({"revision", "tree", "commits", "refs", "paths-info", "auth-check"})
EXPANDED_PAGE: Final = 50
SEARCH_PAGE: Final = 1000
MOST_DIGITS: Final = 16
MOST_PATHS: Final = 50_000
TRUE: Final = frozenset({"true", "1"})
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class HubRequest:
    """What one request is about."""

    request: Request
    repository: Repository
    name: str
    user: str | None

    def snapshot(self, revision: str) -> Snapshot:
        """Return the files at a revision, or raise the reply that says there is none."""
        found = self.repository.resolve(revision)
        if found is None:
            raise self.no_revision(revision)
        return found

    @staticmethod
    def no_revision(revision: str) -> ReplyError:
        """Return the reply that says that there is no such revision."""
        return ReplyError(HTTPStatus.NOT_FOUND, f"Invalid rev id: {revision}", code="RevisionNotFound")

    def query(self) -> dict[str, str]:
        """Return the query's fields, the last of several."""
        return {key: values[-1] for key, values in parse_qs(self.request.query).items()}


class HubApi:
    """Answers requests to the hub's origin."""

    def __init__(
        self,
        catalogue: ServedRepositories,
        access: AccessRules,
        signer: LinkSigner,
        limits: tuple[RateLimit, RateLimit],
        *,
        page_size: int,
        base_url: Callable[[str, str], str],
        cdn_url: str | None,
    ) -> None:
        self._catalogue = catalogue
        self._access = access
        self._signer = signer
        self._api_limit, self._resolve_limit = limits
        self._page_size = page_size
        self._base_url = base_url
        self._cdn_url = cdn_url.rstrip("/") if cdn_url else None

    def respond(self, request: Request) -> Response:
        """Return the reply to one request; errors are replies too."""
        limit = self._api_limit if request.path.startswith("/api/") else self._resolve_limit
        try:
            headers = limit.take()
            try:
                response = self._route(request)
            except ReplyError as error:
                response = error.response()
        except ReplyError as error:  # from the limit itself, whose reply has the headers already
            return error.response()
        return Response(response.status, (*response.headers, *headers), response.body)

    def _route(self, request: Request) -> Response:
        parts = request.parts
        if parts[0] != "api":
            return self._resolve(request, parts)
        user = self._access.user(request)
        if parts[1:] == ["whoami-v2"]:
            return _whoami(user)
        if parts[1:2] != ["models"]:
            known = parts[1:2] in (["datasets"], ["spaces"], ["kernels"])
            raise ReplyError(HTTPStatus.NOT_FOUND, "Not found here", code="RepoNotFound" if known else None)
        rest = parts[2:]
        if not rest:
            return self._search(request, user)
        single = len(rest) == 1 or (len(rest) > 1 and rest[1] in VERBS and self._catalogue.is_single(rest[0]))
        name, verb = "/".join(rest[: 2 - single]), rest[2 - single :]
        asked = self._ask(request, name, user)
        if verb[:1] == ["paths-info"] and request.method == "POST":
            return self._paths_info(asked, "/".join(verb[1:2]))
        if request.method not in SAFE_METHODS:
            raise read_only()
        return self._describe(asked, verb)

    def _describe(self, asked: HubRequest, verb: Sequence[str]) -> Response:
        match verb:
            case [] | ["revision", _]:
                return self._model_info(asked, verb[1] if verb else "main")
            case ["tree", revision, *path]:
                return self._tree(asked, revision, "/".join(path))
            case ["commits", revision]:
                return self._commits(asked, revision)
            case ["refs"]:
                return _references(asked)
            case ["auth-check"]:
                self._access.check_files(asked.name, asked.user)
                return json_response({})
            case _:
                raise ReplyError(HTTPStatus.NOT_FOUND, "No such endpoint")

    def _ask(self, request: Request, name: str, user: str | None) -> HubRequest:
        repository = self._catalogue.find(name)
        self._access.check_visible(name, user, exists=repository is not None)
        if repository is None:
            raise AssertionError  # check_visible has raised
        return HubRequest(request, repository, name, user)

    def _search(self, request: Request, user: str | None) -> Response:
        if request.method not in SAFE_METHODS:
            raise read_only()
        query = parse_qs(request.query)
        names, by_name = asked_by_name(self._catalogue.names(), query), sort_of(query) not in DATES
        fields = {key: values[-1] for key, values in query.items()}
        size = min(_number(fields, "limit", SEARCH_PAGE), self._page_size) or 1
        start = _number(fields, "cursor", 0)
        # A page of ten thousand in the order of names begins at its first, so that all pages look at each model once.
        infos = self._infos(request, names[start:] if by_name else names, user)
        passed = 0 if by_name else start
        page = list(islice(searched(infos, query), passed, passed + size + 1))
        headers: tuple[tuple[str, str], ...] = ()
        if len(page) > size:
            beyond = page.pop()
            following = names.index(str(beyond["id"])) if by_name else start + size
            more = urlencode({**query, "cursor": str(following)}, doseq=True)
            base = self._base_url("hub", request.address)
            headers = (("Link", f'<{base}/api/models?{more}>; rel="next"'),)
        return json_response(page, headers=headers)

    def _infos(self, request: Request, names: Sequence[str], user: str | None) -> Iterator[dict[str, object]]:
        """Yield what is known of some repositories, but of those that somebody may not see."""
        for name in names:
            if user is None and name in self._access.private:
                continue
            asked = self._ask(request, name, user)
            if (snapshot := asked.repository.resolve("main")) is not None:
                yield self._info(asked, snapshot, blobs=False)

    def _model_info(self, asked: HubRequest, revision: str) -> Response:
        blobs = asked.query().get("blobs", "").lower() in TRUE
        return json_response(self._info(asked, asked.snapshot(revision), blobs=blobs))

    def _info(self, asked: HubRequest, snapshot: Snapshot, *, blobs: bool) -> dict[str, object]:
        card = read_card(snapshot)
        licence, library, task = (text_of(card, key) for key in ("license", "library_name", "pipeline_tag"))
        derived = [library, *texts_of(card, "tags"), f"license:{licence}" if licence else None, task]
        info: dict[str, object] = {
            "_id": snapshot.commit[:24],
            "id": asked.name,
            "modelId": asked.name,
            "author": asked.name.rpartition("/")[0] or None,
            "sha": snapshot.commit,
            "lastModified": snapshot.when,
            "createdAt": snapshot.when,
            "private": asked.name in self._access.private,
            "gated": "auto" if asked.name in self._access.gated | self._access.refused else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": list(dict.fromkeys(tag for tag in derived if tag)),
            "siblings": [_sibling(file, blobs=blobs) for file in snapshot.files.values()],
        }
        info |= {key: value for key, value in (("library_name", library), ("pipeline_tag", task)) if value}
        if card:
            info["cardData"] = card
        return info

    def _tree(self, asked: HubRequest, revision: str, folder: str) -> Response:
        snapshot = asked.snapshot(revision)
        query = asked.query()
        expand = query.get("expand", "").lower() in TRUE
        recursive = query.get("recursive", "").lower() in TRUE
        if folder and folder not in snapshot.folders:
            raise _missing_entry(snapshot, folder)
        entries = _entries_below(snapshot, f"{folder}/" if folder else "", recursive=recursive)
        most = min(self._page_size, EXPANDED_PAGE) if expand else self._page_size
        page, headers = self._page(asked, "tree", snapshot.commit, folder, entries, most)
        return json_response([_tree_entry(snapshot, path, expand=expand) for path in page], headers=headers)

    def _commits(self, asked: HubRequest, revision: str) -> Response:
        commits = asked.repository.history(revision)
        if commits is None:
            raise asked.no_revision(revision)
        page, headers = self._page(
            asked, "commits", commits[0].commit, "", commits, min(self._page_size, EXPANDED_PAGE)
        )
        listed = [
            {"id": one.commit, "title": one.title, "message": "", "authors": [{"user": "loopback"}], "date": one.when}
            for one in page
        ]
        return json_response(listed, headers=headers)

    def _paths_info(self, asked: HubRequest, revision: str) -> Response:
        snapshot = asked.snapshot(revision)
        try:
            fields = parse_qs(asked.request.body.decode(errors="replace"), max_num_fields=MOST_PATHS)
        except ValueError as error:
            raise ReplyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MOST_PATHS} paths") from error
        expand = fields.get("expand", [""])[-1].lower() in TRUE
        wanted = dict.fromkeys(path.strip("/") for path in fields.get("paths", []))
        known = [path for path in wanted if path in snapshot.files or path in snapshot.folders]
        return json_response([_tree_entry(snapshot, path, expand=expand) for path in known])

    def _resolve(self, request: Request, parts: list[str]) -> Response:
        user = self._access.user(request)
        marker = 1 if parts[1:2] == ["resolve"] else 2
        if parts[0] in ("datasets", "spaces") or parts[marker : marker + 1] != ["resolve"]:
            self._access.check_visible("", user, exists=False)
        if request.method not in SAFE_METHODS:
            raise read_only()
        asked = self._ask(request, "/".join(parts[:marker]), user)
        self._access.check_files(asked.name, user)
        revision, path = "/".join(parts[marker + 1 : marker + 2]), "/".join(parts[marker + 2 :])
        snapshot, file = self._current_file(asked, revision, path)
        commit = ("X-Repo-Commit", snapshot.commit)
        if file.sha256 is None:
            return file_response(request, file, (commit,))
        linked = (("X-Linked-Etag", f'"{file.sha256}"'), ("X-Linked-Size", str(file.size)))
        location = ("Location", self._location(asked, snapshot, file))
        return Response(HTTPStatus.FOUND, (location, commit, *linked))

    def _current_file(self, asked: HubRequest, revision: str, path: str) -> tuple[Snapshot, HubFile]:
        """Return a file whose bytes still are what its digest says."""
        for _ in range(2):
            snapshot = asked.snapshot(revision)
            file = snapshot.files.get(path)
            if file is None:
                raise _missing_entry(snapshot, path)
            if file.content.is_current():
                return snapshot, file
            asked.repository.forget()
        raise ReplyError(HTTPStatus.SERVICE_UNAVAILABLE, "The file is being changed", headers=(("Retry-After", "1"),))

    def _location(self, asked: HubRequest, snapshot: Snapshot, file: HubFile) -> str:
        if self._cdn_url is not None and snapshot.public_folder is not None:
            return f"{self._cdn_url}/{quote(snapshot.public_folder)}/{quote(file.path)}"
        base = self._base_url("cdn", asked.request.address)
        return base + self._signer.sign(asked.name, snapshot.commit, file.path)

    def _page(
        self, asked: HubRequest, verb: str, commit: str, folder: str, entries: Sequence[Entry], most: int
    ) -> tuple[Sequence[Entry], tuple[tuple[str, str], ...]]:
        """Return the asked page of a list, with the header that leads to the next one."""
        query = asked.query()
        size = min(_number(query, "limit", most), most) or 1
        start = _number(query, "cursor", 0)
        page = entries[start : start + size]
        if start + size >= len(entries):
            return page, ()
        # The next page is of this very commit, whatever the branch does meanwhile.
        path = f"/api/models/{asked.name}/{verb}/{commit}" + (f"/{quote(folder)}" if folder else "")
        following = urlencode({**query, "cursor": str(start + size)})
        base = self._base_url("hub", asked.request.address)
        return page, (("Link", f'<{base}{path}?{following}>; rel="next"'),)


def _whoami(user: str | None) -> Response:
    if user is None:
        raise ReplyError(HTTPStatus.UNAUTHORIZED, "Invalid username or password.")
    token = {"type": "access_token", "accessToken": {"displayName": "loopback", "role": "read"}}
    return json_response({"type": "user", "id": user, "name": user, "fullname": user, "orgs": [], "auth": token})


def _references(asked: HubRequest) -> Response:
    found = asked.repository.references()

    def listed(references: Sequence[Reference]) -> list[dict[str, str]]:
        return [{"name": ref.name, "ref": ref.full_name, "targetCommit": ref.commit} for ref in references]

    value = {"branches": listed(found.branches), "converts": [], "tags": listed(found.tags)}
    if asked.query().get("include_prs", "").lower() in TRUE:
        value["pullRequests"] = listed(found.pull_requests)
    return json_response(value)


def _missing_entry(snapshot: Snapshot, path: str) -> ReplyError:
    commit = (("X-Repo-Commit", snapshot.commit),)
    return ReplyError(HTTPStatus.NOT_FOUND, f"Entry not found: {path}", code="EntryNotFound", headers=commit)


def _entries_below(snapshot: Snapshot, prefix: str, *, recursive: bool) -> list[str]:
    every = sorted([*snapshot.folders, *snapshot.files])
    below = [path for path in every if path.startswith(prefix)] if prefix else every
    return below if recursive else [path for path in below if "/" not in path[len(prefix) :]]


def _tree_entry(snapshot: Snapshot, path: str, *, expand: bool) -> dict[str, object]:
    file = snapshot.files.get(path)
    if file is None:
        entry: dict[str, object] = {"type": "directory", "oid": snapshot.folders[path], "size": 0, "path": path}
    else:
        entry = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
        if file.sha256 is not None:
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    if expand:
        entry["lastCommit"] = {"id": snapshot.commit, "title": snapshot.title, "date": snapshot.when}
    return entry


def _sibling(file: HubFile, *, blobs: bool) -> dict[str, object]:
    sibling: dict[str, object] = {"rfilename": file.path}
    if blobs:
        sibling |= {"size": file.size, "blobId": file.oid}
        if file.sha256 is not None:
            sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return sibling


def _number(query: dict[str, str], key: str, default: int) -> int:
    value = query.get(key, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < MOST_DIGITS else default
