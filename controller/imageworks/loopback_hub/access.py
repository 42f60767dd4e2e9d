"""Who may see what: the tokens the hub knows, and its private and gated repositories."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from imageworks.foundation.http_access import has_token
from imageworks.foundation.http_messages import Request
from imageworks.loopback_hub.responses import ReplyError


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The access rules of one hub; without tokens everybody is anonymous."""

    tokens: Mapping[str, str] = field(default_factory=dict)
    """Token to user name."""
    private: frozenset[str] = frozenset()
    """Repositories that exist only for users."""
    gated: frozenset[str] = frozenset()
    """Repositories whose files are for users only; everybody sees their metadata."""
    refused: frozenset[str] = frozenset()
    """Gated repositories that no user has been granted."""

    def user(self, request: Request) -> str | None:
        """Return who asks, or ``None`` when anonymous; an unknown token is an error, as on the real hub."""
        if not self.tokens or not request.has_authorization:
            return None
        for token, name in self.tokens.items():
            if has_token(request, token):
                return name
        raise ReplyError(HTTPStatus.UNAUTHORIZED, "Invalid credentials in Authorization header")

    def check_visible(self, repository: str, user: str | None, *, exists: bool) -> None:
        """Raise unless the repository exists for this user; a stranger cannot tell private from missing."""
        if user is None and (not exists or repository in self.private):
            raise ReplyError(HTTPStatus.UNAUTHORIZED, "Repository not found", code="RepoNotFound")
        if not exists:
            raise ReplyError(HTTPStatus.NOT_FOUND, "Repository not found", code="RepoNotFound")

    def check_files(self, repository: str, user: str | None) -> None:
        """Raise unless this user may fetch the repository's files."""
        if repository not in self.gated and repository not in self.refused:
            return
        if user is None:
            message = f"Access to model {repository} is restricted. You must have access to it and be authenticated."
            raise ReplyError(HTTPStatus.UNAUTHORIZED, message, code="GatedRepo")
        if repository in self.refused:
            message = f"Access to model {repository} is restricted and you are not in the authorized list."
            raise ReplyError(HTTPStatus.FORBIDDEN, message, code="GatedRepo")
