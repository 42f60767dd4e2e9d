"""What people write to name a model of the Hub: ``owner/repo``, ``owner/repo@branch``, page URLs, hf.co tags."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from imageworks.foundation.errors import ExitCode, ImageworksError
from imageworks.naming.quantization_labels import quantization_label

HUB_HOSTS: Final = frozenset({"huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"})
"""Hosts whose pages are models of the Hub; mirrors come with ``endpoints``."""

DEFAULT_ENDPOINT: Final = "https://huggingface.co"

_LONGEST: Final = 4096
_REPO_PART: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
_REPO_LENGTH: Final = 96
_SECRETS: Final = re.compile(r"(://)[^/?#@]*(?=@)|([?#]).*", re.DOTALL)
_BAD_REVISION: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\]\\]|\.\.|@\{|//|^[-/.]|[/.]$|\.lock$")
_REVISION_LENGTH: Final = 255
_VIEWS: Final = frozenset({"tree", "blob", "resolve", "raw", "commit", "commits", "blame", "edit", "revision"})
_FILE_VIEWS: Final = frozenset({"tree", "blob", "resolve", "raw", "commits", "blame", "edit"})
_PAGES: Final = frozenset({"discussions", "settings", "community"})
_OTHER_KINDS: Final = {"datasets": "a dataset", "spaces": "a space", "collections": "a collection", "papers": "a paper"}
_NOT_REPOS: Final = frozenset(
    {
        "about",
        "blog",
        "chat",
        "docs",
        "enterprise",
        "inference-endpoints",
        "join",
        "learn",
        "login",
        "models",
        "new",
        "notifications",
        "organizations",
        "posts",
        "pricing",
        "privacy",
        "search",
        "settings",
        "support",
        "tasks",
        "terms-of-service",
        "api",
    }
)


class IdentifierError(ImageworksError):
    """What was given names no model of the Hub."""

    def __init__(self, identifier: str, problem: str, *, remedy: str | None = None) -> None:
        shown = _SECRETS.sub(
            lambda found: f"{found[1] or found[2]}…", identifier
        )  # a URL can carry a password or a signed query
        shown = shown if len(shown) <= _REPO_LENGTH * 2 else shown[: _REPO_LENGTH * 2] + "…"
        super().__init__(
            f"{shown!r}: {problem}",
            remedy=remedy or "Write owner/repo, owner/repo@branch, or the URL of the model's page.",
            exit_code=ExitCode.USAGE,
        )
        self.identifier = identifier


@dataclass(frozen=True, slots=True)
class HubIdentifier:
    """A model of the Hub as somebody named it.

    Args:
        repo: ``owner/repo``, or a legacy single name such as ``gpt2``.
        revision: Branch, tag or commit; ``None`` when none was given.
        path: The file or folder that a URL pointed at; ``None`` for the whole repository.
        quantization: What a ``:Q4_K_M`` tag picks, as written; ``None`` without a tag.
    """

    repo: str
    revision: str | None = None
    path: str | None = None
    quantization: str | None = None

    @property
    def owner(self) -> str | None:
        """Who owns the repository; ``None`` for legacy single names."""
        return self.repo.split("/", 1)[0] if "/" in self.repo else None

    def __str__(self) -> str:
        tag = f":{self.quantization}" if self.quantization else ""
        return self.repo + (f"@{self.revision}" if self.revision else "") + tag


def parse_hub_identifier(text: str, *, endpoints: Iterable[str] = ()) -> HubIdentifier:
    """Return which model of the Hub a person named."""
    stripped = text.strip()
    if not stripped or len(stripped) > _LONGEST or any(ord(letter) < ord(" ") for letter in stripped):
        raise IdentifierError(text, "it is empty, too long or holds control characters")
    remainder = _below_endpoint(stripped, endpoints)
    if remainder is None:
        return _short_form(stripped)
    path, _, query = remainder.partition("#")[0].partition("?")
    return _page(stripped, path, query)


def hub_page(repo: str, commit: str, endpoint: str = DEFAULT_ENDPOINT, *, file: str = "") -> str | None:
    """Return the https address of a repository, or its file, at a commit; ``None`` where one is not as it should be."""
    sound = len(repo.split("/")) <= 2 and all(map(_REPO_PART.fullmatch, repo.split("/")))  # noqa: PLR2004 # owner, name
    secure = re.fullmatch(r"https://[A-Za-z0-9.-]+(?::\d+)?(?:/[A-Za-z0-9._-]+)*/?", endpoint, re.ASCII)
    if not (sound and secure and re.fullmatch(r"[0-9a-f]{40}", commit)):
        return None
    if file and not all(map(_REPO_PART.fullmatch, file.split("/"))):
        return None
    return f"{endpoint.rstrip('/')}/{repo}/{f'blob/{commit}/{file}' if file else f'tree/{commit}'}"


def is_hub_address(text: str, *, endpoints: Iterable[str] = ()) -> bool:
    """Tell whether a text is an address below the Hub's or a mirror's, whatever it names there."""
    try:
        return _below_endpoint(text.strip(), endpoints) is not None
    except IdentifierError:
        return False


def _below_endpoint(text: str, endpoints: Iterable[str]) -> str | None:
    """Return what follows the Hub's address in a URL, or ``None`` for the short forms."""
    if text.lower().startswith("hf://"):
        return None
    schemed = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)
    if schemed and schemed.group().lower() not in {"http://", "https://"}:
        raise IdentifierError(text, "only http and https URLs can be read")
    mirrors = [parts for endpoint in endpoints if (parts := _address(endpoint)) is not None]
    if not schemed and text.split("/", 1)[0].lower() not in HUB_HOSTS | {mirror.netloc.lower() for mirror in mirrors}:
        return None
    try:
        parts = urlsplit(text if schemed else f"https://{text}")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise IdentifierError(text, "it is not a valid URL") from None
    for mirror in mirrors:
        prefix = mirror.path.rstrip("/")
        inside = parts.path == prefix or parts.path.startswith(f"{prefix}/")
        if (host, port) == ((mirror.hostname or "").lower(), mirror.port) and inside:
            return parts._replace(scheme="", netloc="", path=parts.path[len(prefix) :].lstrip("/")).geturl()
    if host in HUB_HOSTS:
        return parts._replace(scheme="", netloc="", path=parts.path.lstrip("/")).geturl()
    raise IdentifierError(
        text,
        f"{host or 'it'} is not the Hugging Face Hub",
        remedy="Give a huggingface.co URL, or set HF_ENDPOINT when this is a mirror.",
    )


def _address(endpoint: str) -> SplitResult | None:
    """Return a mirror's address in parts, ``None`` for what is none: whoever asks it says so."""
    endpoint = endpoint.strip()
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        usable = parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _short_form(text: str) -> HubIdentifier:
    """Read ``owner/repo[@revision][:quantization]``, and ``hf://owner/repo[@revision][/path]``."""
    path: str | None = None
    body = text
    if text.lower().startswith("hf://"):
        body = text[len("hf://") :].removeprefix("models/")
        _refuse_other_kinds(text, body.split("/", 1)[0])
        owner, _, rest = body.partition("/")
        name, slash, tail = rest.partition("/")
        if "@refs/" not in body and slash:
            body, path = f"{owner}/{name}", tail
    repo, at, revision = body.partition("@")
    quantization: str | None = None
    tagged, colon, tag = (revision if at else repo).rpartition(":")
    if colon:
        quantization = _tag(text, repo=tagged if not at else repo, tag=tag)
        repo, revision = (repo, tagged) if at else (tagged, revision)
    _refuse_other_kinds(text, repo.split("/", 1)[0] if repo.count("/") > 1 else "")
    return HubIdentifier(
        _check_repo(text, repo.rstrip("/")),
        _check_revision(text, revision) if at else None,
        _check_path(text, path),
        quantization,
    )


def _tag(text: str, *, repo: str, tag: str) -> str:
    """Return a quantization tag; without an owner the whole thing is an Ollama name."""
    if "/" not in repo.rstrip("/"):  # as the repository itself is read: `name/` is the single name
        raise IdentifierError(
            text,
            "this is a name of Ollama's library, not of the Hub",
            remedy=f"`imageworks-models download {text.strip()}` lets Ollama pull it.",
        )
    if not tag or "/" in tag or _BAD_REVISION.search(tag):
        raise IdentifierError(text, f"{tag!r} is not a quantization tag")
    return tag


def _page(text: str, path: str, query: str) -> HubIdentifier:
    """Read what follows the Hub's address: the repository, then the view of it."""
    segments = [segment for segment in path.split("/") if segment]
    if segments[:2] == ["api", "models"]:
        segments = segments[2:]
    if not segments:
        raise IdentifierError(text, "the URL names no model")
    first = unquote(segments[0])
    _refuse_other_kinds(text, first)
    if first in _NOT_REPOS:
        raise IdentifierError(text, "this is a page of the Hub, not a model")
    single = len(segments) == 1 or segments[1] in _VIEWS | _PAGES
    name, rest = (segments[:1], segments[1:]) if single else (segments[:2], segments[2:])
    name = [unquote(part) for part in name]
    last, colon, tag = name[-1].partition(":")
    last, at, revision = last.partition("@")
    name[-1] = last.removesuffix(".git")
    repo = _check_repo(text, "/".join(name))
    quantization = _tag(text, repo=repo, tag=tag) if colon else None
    asked = parse_qs(query).get("revision", [])
    found = _check_revision(text, revision) if at else _check_revision(text, asked[0]) if asked else None
    if not rest or rest[0] in _PAGES:
        return HubIdentifier(repo, found, None, quantization)
    if rest[0] not in _VIEWS or len(rest) == 1:
        raise IdentifierError(text, f"/{'/'.join(rest)} is not a page of a model that can be read")
    viewed, below = _revision_and_path([unquote(part) for part in rest[1:]])
    place = "/".join(below) if below and rest[0] in _FILE_VIEWS else None
    return HubIdentifier(repo, _check_revision(text, viewed), _check_path(text, place), quantization)


def _revision_and_path(segments: list[str]) -> tuple[str, list[str]]:
    """Split what follows a view: ``refs/pr/7`` and ``refs/convert/x`` are three segments, a branch is one."""
    size = 3 if segments[0] == "refs" and len(segments) > len(("refs", "pr")) else 1
    return "/".join(segments[:size]), segments[size:]


def _refuse_other_kinds(text: str, first: str) -> None:
    """Refuse datasets, spaces and the like by their own name."""
    kind = _OTHER_KINDS.get(first)
    if kind:
        raise IdentifierError(text, f"this is {kind}, and only models can be downloaded")


def _check_repo(text: str, repo: str) -> str:
    """Return a repository's name when the Hub could have it."""
    parts = repo.split("/")
    if len(parts) > len(("owner", "name")):
        raise IdentifierError(text, "a repository has one owner and one name")
    for part in parts:
        sound = _REPO_PART.fullmatch(part) and "--" not in part and ".." not in part and not part.endswith(".git")
        if not sound:
            raise _repo_error(text, part)
    if len(repo) > _REPO_LENGTH:
        raise IdentifierError(text, f"a repository's name has at most {_REPO_LENGTH} characters")
    return repo


def _repo_error(text: str, part: str) -> IdentifierError:
    """Say why a part of a repository's name cannot be one."""
    if quantization_label(part):
        return IdentifierError(text, f"{part!r} is a quantization, not a repository")
    return IdentifierError(
        text, f"{part!r} cannot be part of a repository's name: letters, digits, '.', '_' and '-' only, none doubled"
    )


def _check_revision(text: str, revision: str) -> str:
    """Return a revision when git could have it."""
    if not revision or len(revision) > _REVISION_LENGTH or _BAD_REVISION.search(revision):
        raise IdentifierError(text, f"{revision!r} is not a branch, tag or commit")
    return revision


def _check_path(text: str, path: str | None) -> str | None:
    """Return the path of a URL when it stays inside the repository."""
    if path is None:
        return None
    steps = path.split("/")
    if "\\" in path or any(step in {"", ".", ".."} for step in steps) or any(ord(letter) < ord(" ") for letter in path):
        raise IdentifierError(text, f"{path!r} does not lie inside the repository")
    return path
