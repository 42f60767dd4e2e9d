"""Each refusal that a hub can send, and the one error that it becomes."""

import pytest

from imageworks.foundation.http import Reply
from imageworks.providers.huggingface.errors import (
    DisabledError,
    GatedError,
    HubError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    UnauthorisedError,
    UnexpectedReplyError,
    UpstreamGoneError,
)
from imageworks.providers.huggingface.refusals import RequestContext, refusal

PAGE = "https://hub/o/m"
REPOSITORY = RequestContext("o/m", PAGE, "main")
FILE = RequestContext("o/m", PAGE, "1" * 40, "config.json")


@pytest.mark.parametrize(
    ("status", "headers", "asked", "token", "kind"),
    [
        (401, {"x-error-code": "RepoNotFound"}, REPOSITORY, None, RepositoryNotFoundError),
        (401, {"x-error-code": "GatedRepo"}, FILE, None, GatedError),
        (403, {"x-error-code": "GatedRepo"}, FILE, "HF_TOKEN", GatedError),
        (401, {"x-error-message": "Invalid credentials in Authorization header"}, FILE, "HF_TOKEN", UnauthorisedError),
        (401, {"x-error-message": "Invalid user token."}, FILE, None, UnauthorisedError),
        (401, {}, REPOSITORY, None, RepositoryNotFoundError),
        (401, {}, REPOSITORY, "HF_TOKEN", UnauthorisedError),
        (403, {}, FILE, "HF_TOKEN", UnauthorisedError),
        (403, {}, FILE, None, UnauthorisedError),
        (403, {"x-error-message": "Access to this resource is disabled."}, FILE, None, DisabledError),
        (404, {"x-error-code": "RevisionNotFound"}, REPOSITORY, None, RevisionNotFoundError),
        (404, {"x-error-code": "EntryNotFound"}, FILE, None, UpstreamGoneError),
        (404, {}, FILE, None, UpstreamGoneError),
        (404, {}, REPOSITORY, None, RepositoryNotFoundError),
        (410, {}, FILE, None, UpstreamGoneError),
        (410, {}, REPOSITORY, None, DisabledError),
        (451, {}, REPOSITORY, None, DisabledError),
        (400, {"x-error-message": "no\x1b[31m such"}, REPOSITORY, None, UnexpectedReplyError),
        (204, {}, REPOSITORY, None, UnexpectedReplyError),
    ],
)
def test_a_refusal_becomes_one_error(
    status: int, headers: dict[str, str], asked: RequestContext, token: str | None, kind: type[HubError]
) -> None:
    error = refusal(Reply("https://hub/o/m?Signature=secret", status, headers), asked, token)
    assert type(error) is kind
    assert error.remedy
    assert not error.retryable
    assert "secret" not in error.render()
    assert error.render().replace("\n", "").isprintable()


@pytest.mark.parametrize("origin", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "/home/ada/.cache/huggingface/token"])
def test_d22_the_remedy_for_a_refused_token_is_one_that_counts(origin: str) -> None:
    """A login does not help where a variable hides it."""
    refused = refusal(Reply("http://hub/api/models/o/m", 401, {}), REPOSITORY, origin)
    assert refused.remedy is not None
    assert ("unset it" in refused.remedy) == (not origin.startswith("/"))
    assert "hf auth login" in refused.remedy
