"""What a hub's refusal means: from status, ``X-Error-Code`` and ``X-Error-Message`` to one of our errors."""

from dataclasses import dataclass

from imageworks.http import OpenReply, Reply, shown_url
from imageworks.providers.hub_errors import (
    TOKEN_REMEDY,
    DisabledError,
    GatedError,
    HubError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    UnauthorisedError,
    UnexpectedReplyError,
    UpstreamGoneError,
)

_CODES = {
    "RepoNotFound": "repository",
    "RevisionNotFound": "revision",
    "EntryNotFound": "file",
    "GatedRepo": "gated",
    "DisabledRepo": "disabled",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request was about, for the messages of its failure.

    Args:
        repo: The repository.
        page: Its page for people, where conditions are accepted.
        revision: The branch, tag or commit, when the request named one.
        path: The file, when the request named one.
    """

    repo: str
    page: str
    revision: str | None = None
    path: str | None = None


def refusal(reply: Reply | OpenReply, asked: Asked, token_origin: str | None) -> HubError:
    """Return the error for an answer that is not what was asked for.

    Args:
        reply: The answer.
        asked: What the request was about.
        token_origin: Where the token that was sent came from; ``None`` when none was sent.
    """
    said = _said(reply)
    match _kind(reply, asked, sent_token=token_origin is not None):
        case "gated":
            return GatedError(
                f"{asked.repo} is gated: its publisher's conditions have not been accepted by this account",
                remedy=f"Accept them at {asked.page}, then use a token of that account (HF_TOKEN or `hf auth login`).",
            )
        case "disabled":
            return DisabledError(f"{asked.repo} has been disabled by the hub{said}", remedy=f"Read {asked.page}.")
        case "token":
            return UnauthorisedError(
                f"{shown_url(reply.url)}: the hub refuses the token from {token_origin} (HTTP {reply.status}){said}",
                remedy=TOKEN_REMEDY,
            )
        case "anonymous":
            return UnauthorisedError(
                f"{shown_url(reply.url)}: the hub wants a token (HTTP {reply.status}){said}", remedy=TOKEN_REMEDY
            )
        case "repository":
            return RepositoryNotFoundError(
                f"{asked.repo} does not exist on the hub, or is private and not visible to this token"
                if token_origin
                else f"{asked.repo} does not exist on the hub, or is private",
                remedy=f"Check the spelling at {asked.page}. For a private one: {TOKEN_REMEDY}",
            )
        case "revision":
            return RevisionNotFoundError(
                f"{asked.repo} has no revision {asked.revision!r}",
                remedy=f"Choose a branch, tag or commit of {asked.page}.",
            )
        case "file":
            return UpstreamGoneError(
                f"{asked.repo} at {asked.revision}: {asked.path} is no longer there (HTTP {reply.status})",
                remedy="Pin another revision.",
            )
        case _:
            return UnexpectedReplyError(
                f"{shown_url(reply.url)}: unexpected answer HTTP {reply.status}{said}",
                remedy="Check HF_ENDPOINT, or try again later.",
            )


def _kind(reply: Reply | OpenReply, asked: Asked, *, sent_token: bool) -> str:
    code = _CODES.get(reply.headers.get("x-error-code", ""))
    message = reply.headers.get("x-error-message", "").lower()
    if "invalid credentials" in message or "invalid user token" in message:
        return "token" if sent_token else "anonymous"
    if "is disabled" in message:
        return "disabled"
    if code:
        return code
    match reply.status:
        case 401:  # the real Hub sends it without a code for a private repository
            return "token" if sent_token else "repository"
        case 403:
            return "token" if sent_token else "anonymous"
        case 404:
            return "file" if asked.path is not None else "repository"
        case 410:
            return "file" if asked.path is not None else "disabled"
        case 451:
            return "disabled"
        case _:
            return "unexpected"


def _said(reply: Reply | OpenReply) -> str:
    message = "".join(c for c in reply.headers.get("x-error-message", "")[:200] if c.isprintable())
    return f": {message}" if message else ""
