"""huggingface_hub asks, our session answers: one knows the hub's questions, the other whom to trust and when to wait.

The library has one client for the whole process, which other code of it may use too. While a session asks, that client
sends by it; at any other time it does what the library's own does.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, get_session, set_client_factory
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import paginate  # type: ignore[attr-defined] # public, by a list that mypy does not read

# There is no public door to the client that the library would use without ours.
from huggingface_hub.utils._http import default_client_factory

from imageworks.foundation.http import Reply
from imageworks.providers.huggingface.errors import RepositoryNotFoundError, UnexpectedReplyError
from imageworks.providers.huggingface.rate_limit import QuotaName
from imageworks.providers.huggingface.refusals import RequestContext, refusal

if TYPE_CHECKING:
    from imageworks.providers.huggingface.session import HubSession

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Asking:
    """One question, which may take several requests."""

    session: "HubSession"
    about: RequestContext
    queries: set[str] = field(default_factory=set)

    def send(self, url: str) -> Reply:
        """Return the answer to one request of the question."""
        if not url.startswith((f"{self.session.endpoint}/api/models/", f"{self.session.endpoint}/api/models?")):
            # The library asks its own default hub once a day for a list of agents, and keeps it in the user's folder.
            raise httpx2.UnsupportedProtocol("that was not asked for")
        query = urlsplit(url).query
        if query in self.queries:
            raise UnexpectedReplyError(
                f"{url.partition('?')[0]}: the listing does not end", remedy="Check HF_ENDPOINT."
            )
        self.queries.add(query)
        reply = self.session.request("GET", url, QuotaName.API)
        if reply.status == HTTPStatus.UNAUTHORIZED and self.session.renew_token():
            reply = self.session.request("GET", url, QuotaName.API)
        if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
            raise self.session.led_away(reply)
        if reply.status != HTTPStatus.OK:
            raise refusal(reply, self.about, self.session.token_origin)
        return reply


_INSTALLED: Final = threading.Event()  # before that, to look at the library's client would make it
_ASKING: Final[ContextVar[_Asking | None]] = ContextVar("asking", default=None)


class _Nowhere(httpx2.BaseTransport):
    """Sends nothing: a client with a transport reads no proxies and no certificates before it is asked."""


class _Client(httpx2.Client):
    """The library's client, but for what a session of ours asks."""

    def __init__(self) -> None:
        super().__init__(transport=_Nowhere(), timeout=None)
        self._making = threading.Lock()
        self._library: httpx2.Client | None = None

    def close(self) -> None:
        """Close all connections."""
        super().close()
        if self._library is not None:
            self._library.close()

    def _by_itself(self) -> httpx2.Client:
        with self._making:
            if self._library is None:
                self._library = default_client_factory()
            return self._library

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:  # noqa: ANN401 # as the library's
        """Send a request."""
        asking = _ASKING.get()
        if asking is None:
            return self._by_itself().send(request, **options)
        url = str(request.url)
        before = _ASKING.set(None)  # the library may ask elsewhere for a newer token meanwhile
        try:
            reply = asking.send(url)
        finally:
            _ASKING.reset(before)
        headers = {"link": reply.headers.get("link", "")}
        response = httpx2.Response(reply.status, headers=headers, content=reply.body, request=request)
        if (following := response.links.get("next", {}).get("url")) is not None:
            # Only the query is taken: the address stays ours, so that no link of a hub or mirror leads elsewhere.
            response.headers["link"] = f'<{url.partition("?")[0]}?{urlsplit(following).query}>; rel="next"'
        return response


def ask(session: "HubSession", about: RequestContext, question: Callable[[HfApi], Answer]) -> Answer:
    """Return the answer of a session's hub to what the library asks it."""
    if not (_INSTALLED.is_set() and isinstance(get_session(), _Client)):
        set_client_factory(_Client)
        # Evaluation tables of a card are nothing to us, and many are not as the library wants them.
        logging.getLogger("huggingface_hub.repocard_data").addFilter(lambda _: _ASKING.get() is None)
        _INSTALLED.set()
    before = _ASKING.set(_Asking(session, about))
    try:
        return question(HfApi(endpoint=session.endpoint, token=False))
    except HFValidationError as error:
        raise RepositoryNotFoundError(
            f"{about.repo!r} cannot be the name of a repository: {error}",
            remedy="Write it as owner/name, as the hub's page shows it.",
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise UnexpectedReplyError(
            f"{about.page}: the answer is not JSON", remedy="Check HF_ENDPOINT: it must be a hub, not a web page."
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnexpectedReplyError(
            f"{about.page}: the answer is not what a hub says: {type(error).__name__}: {str(error)[:200]!a}",
            remedy="Check HF_ENDPOINT; a mirror must answer as the hub does.",
        ) from None
    finally:
        _ASKING.reset(before)


def entries(url: str, **asked: object) -> Iterator[dict[str, object]]:
    """Yield what the pages of a list hold, within a question."""
    return iter(paginate(url, params=asked, headers={}))
