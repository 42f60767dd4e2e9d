"""What a hub's refusal means: from status, ``X-Error-Code`` and ``X-Error-Message`` to one of our errors."""

from dataclasses import dataclass

from imageworks.foundation.bounded_json import read_json
from imageworks.foundation.http import OpenReply, Reply, shown_url
from imageworks.providers.huggingface.errors import (
    TOKEN_REMEDY,
    VARIABLES,
    DisabledError,
    GatedError,
    HubError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    UnauthorisedError,
    UnexpectedReplyError,
    UpstreamGoneError,
)

SETTINGS = "https://huggingface.co/settings/tokens"
_LONGEST = 300
_LARGEST_ERROR = 65536
_CODES = {
    "RepoNotFound": "repository",
    "RevisionNotFound": "revision",
    "EntryNotFound": "file",
    "GatedRepo": "gated",
    "DisabledRepo": "disabled",
}


@dataclass(frozen=True, slots=True)
class RequestContext:
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


def refusal(reply: Reply | OpenReply, asked: RequestContext, token_origin: str | None) -> HubError:
    """Return the error for an answer that is not what was asked for."""
    said = _said(reply)
    match _kind(reply, asked, sent_token=token_origin is not None):
        case "gated":
            return _gated(asked, token_origin, said)
        case "disabled":
            return DisabledError(f"{asked.repo} has been disabled by the hub{said}", remedy=f"Read {asked.page}.")
        case "token":
            return UnauthorisedError(
                f"{shown_url(reply.url)}: the hub refuses the token from {token_origin} (HTTP {reply.status}){said}",
                remedy=_token_remedy(said, token_origin),
            )
        case "anonymous":
            return UnauthorisedError(
                f"{shown_url(reply.url)}: the hub wants a token (HTTP {reply.status}){said}", remedy=TOKEN_REMEDY
            )
        case "repository":
            return RepositoryNotFoundError(
                f"{asked.repo} does not exist on the hub, or is private"
                + (f" and not visible to the token from {token_origin}" if token_origin else ""),
                remedy=f"Check the spelling at {asked.page}. Is it private? {TOKEN_REMEDY}",
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


def _kind(reply: Reply | OpenReply, asked: RequestContext, *, sent_token: bool) -> str:
    code = _CODES.get(reply.headers.get("x-error-code", ""))
    message = reply.headers.get("x-error-message", "").lower()
    if "invalid credentials" in message or "invalid user token" in message or "token is expired" in message:
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


def _gated(asked: RequestContext, token_origin: str | None, said: str) -> GatedError:
    """Return the error for files behind conditions: nobody said who asks, or this token may not."""
    if token_origin is None:
        return GatedError(
            f"{asked.repo} is gated, and no token was given{said}",
            remedy=f"Accept its publisher's conditions at {asked.page}, then {_lowered(TOKEN_REMEDY)}",
        )
    if _names_scope(said) or _has_expired(said):
        return GatedError(
            f"{asked.repo} is gated, and the token from {token_origin} does not open it{said}",
            remedy=_token_remedy(said, token_origin),
        )
    if "review" in said.lower():
        return GatedError(
            f"{asked.repo} is gated, and its publisher has not let this account in yet{said}",
            remedy=f"Wait for the answer; {asked.page} shows it.",
        )
    return GatedError(
        f"{asked.repo} is gated, and the account of the token from {token_origin} is not let in{said}",
        remedy=f"Accept its publisher's conditions at {asked.page} with that account, or use a token of one that did.",
    )


def _token_remedy(said: str, token_origin: str | None) -> str:
    if _names_scope(said):
        return (
            f"Edit the token from {token_origin} at {SETTINGS}: a fine-grained one reads gated repositories "
            "only where that is ticked."
        )
    if _has_expired(said):
        return f"Make a new token at {SETTINGS} and put it in place of the one from {token_origin}."
    if token_origin in VARIABLES:  # it hides any login
        return f"Put a valid token into {token_origin}, or unset it: then that of `hf auth login` counts, if any."
    return TOKEN_REMEDY


def _names_scope(said: str) -> bool:
    return any(
        word in said.lower() for word in ("fine-grained", "fine grained", "scope", "permission", "enable access")
    )


def _has_expired(said: str) -> bool:
    return "expired" in said.lower()


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _said(reply: Reply | OpenReply) -> str:
    """Return what the hub says of it, in its own words and without what a terminal would obey."""
    text = reply.headers.get("x-error-message", "")
    if not text and isinstance(reply, Reply):
        text = _error_of(reply.body)
    message = " ".join("".join(c if c.isprintable() else " " for c in text[:_LONGEST]).split())
    return f": {message}" if message else ""


def _error_of(body: bytes) -> str:
    """Return the error that a JSON answer tells, as mirrors do that leave the hub's headers out."""
    try:
        told = read_json(body) if len(body) <= _LARGEST_ERROR else None
    except ValueError:
        return ""
    error = told.get("error") if isinstance(told, dict) else None
    return error if isinstance(error, str) else ""
