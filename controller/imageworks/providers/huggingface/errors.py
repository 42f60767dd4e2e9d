"""What a hub can answer instead of a file: one error for each, with the word that plans use for it.

All are LinkError, so that the transfer room, which knows nothing of hubs, can tell what is worth another try.
"""

from imageworks.files.artifact import NO_LINK, LinkError

VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Where a token is looked for first, in this order."""
TOKEN_REMEDY = "Set HF_TOKEN, or run `hf auth login`, with a token that may read it."  # noqa: S105 # advice, no secret


class HubError(LinkError):
    """A hub did not give what was asked."""

    usual_reason = "unexpected-reply"


class RepositoryNotFoundError(HubError):
    """No such repository, or a private one that this token may not see; hubs do not tell them apart."""

    usual_reason = "repository-not-found"


class RevisionNotFoundError(HubError):
    """The repository has no such branch, tag or commit."""

    usual_reason = "revision-not-found"


class GatedError(HubError):
    """The publisher's conditions have to be accepted first, by a person, in a browser."""

    usual_reason = "gated"


class UnauthorisedError(HubError):
    """The token is missing, unusable, invalid, or not allowed to do this."""

    usual_reason = "unauthorised"


class RateLimitedError(HubError):
    """The hub wants a longer pause than we are willing to make."""

    usual_reason = "rate-limited"


class HubUnreachableError(HubError):
    """The hub cannot be reached, or keeps failing."""

    usual_reason = "hub-unreachable"


class OfflineError(HubError):
    """The network is needed, and the user forbade it."""

    usual_reason = "offline"


class UpstreamGoneError(HubError):
    """A file of the listing is no longer there."""

    usual_reason = "upstream-gone"


class DisabledError(HubError):
    """The hub's owner took the repository down."""

    usual_reason = "disabled"


class InconsistentListingError(HubError):
    """A hub contradicts itself about a file: sizes or digests do not fit each other."""

    usual_reason = "inconsistent-listing"


class UnexpectedReplyError(HubError):
    """An answer that the protocol does not know, usually from a mirror or a proxy."""


class PrivateTargetError(HubError):
    """The hub leads into this machine or its network, where it is not itself."""

    usual_reason = "private-address"


class LinkNeedsCredentialsError(HubError):
    """The bytes of a large file come only from the hub itself and only with the token: stream it, give no link."""

    usual_reason = NO_LINK
