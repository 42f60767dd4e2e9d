"""Talking to one hub: the token for it alone, pauses and further tries, and no redirect followed blindly."""

import random
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from imageworks.foundation.addresses import AddressGuard, PrivateAddressError
from imageworks.foundation.http import HttpError, HttpPool, OpenReply, Reply, led_to, origin, shown_url, whole_number
from imageworks.foundation.proxies import NetworkSettingError, proxy_for
from imageworks.naming.hub_identifiers import DEFAULT_ENDPOINT
from imageworks.providers.huggingface.errors import (
    HubError,
    HubUnreachableError,
    OfflineError,
    PrivateTargetError,
    UnexpectedReplyError,
)
from imageworks.providers.huggingface.rate_limit import LONGEST_WAIT_SECONDS, Pace, QuotaName, asked_wait, too_long
from imageworks.providers.huggingface.token import Token

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS: Final = 5
_ATTEMPTS: Final = 5
_CONNECT_ATTEMPTS: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.5
_DOWN_SECONDS: Final = 20.0
_SHORT_BYTES: Final = 65536
_HUB_PATH: Final = re.compile(r"/api/(?:models|resolve-cache)/|/[^?]*/resolve/")
_FAILING: Final = frozenset({500, 502, 503, 504})

Answer = TypeVar("Answer", Reply, OpenReply)


def checked_endpoint(text: str, *, named: str = "HF_ENDPOINT") -> str:
    """Return the address of a hub or mirror without trailing slashes."""
    endpoint = text.strip().rstrip("/")
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and origin(endpoint)[2] > 0
        usable = usable and endpoint.isascii() and not ("@" in parts.netloc or parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable:
        shown = re.split(r"[?#]", endpoint)[0].rpartition("@")[2]  # what stands before may be a password
        raise HubUnreachableError(
            f"{named}: {shown!a} cannot be the address of a hub",
            remedy=f"Write it as {DEFAULT_ENDPOINT}, without user, password, query or fragment.",
        )
    return endpoint


class HubSession:
    """Requests to one hub, from any thread; its repr shows no token.

    One that is not patient asks once: there is another place to ask.
    """

    def __init__(
        self,
        endpoint: str,
        find_token: Callable[[], Token | None],
        pool: HttpPool,
        pace: Pace,
        *,
        offline: bool,
        guard: AddressGuard | None = None,
        patient: bool = True,
    ) -> None:
        self._attempts = _ATTEMPTS if patient else 1
        self.endpoint = checked_endpoint(endpoint)
        self.host = urlsplit(self.endpoint).netloc
        self.offline = offline
        self._guard = guard or AddressGuard(self.endpoint)
        self._origin = origin(self.endpoint)
        self._path = urlsplit(self.endpoint).path
        self._find_token = find_token
        self._found: tuple[Token | None, ...] = ()
        self._pool = pool
        self._pace = pace
        self._lock = threading.Lock()
        self._down_until = float("-inf")
        self._down_why: tuple[str, str | None] = ("", None)

    def __repr__(self) -> str:
        return f"HubSession({self.endpoint!r})"

    @property
    def _token(self) -> Token | None:
        """What the first request looks for: a run that asks nothing needs none, and does not load the library."""
        with self._lock:
            if not self._found:
                self._found = (self._find_token(),)
            return self._found[0]

    @property
    def token_origin(self) -> str | None:
        """Where the token came from, ``None`` when there is none."""
        return None if self._token is None else self._token.origin

    def is_own(self, url: str) -> bool:
        """Return whether a URL has the endpoint's scheme, host and port, so that the token may go there."""
        try:
            return url.startswith(f"{self.endpoint}/") or origin(url) == self._origin
        except ValueError:
            return False

    def renew_token(self) -> bool:
        """Return whether a newer token was found for the one that the hub refused; it is used from now on."""
        refused = self._token
        if refused is None or not refused.renewable:
            return False
        newer = self._find_token()
        with self._lock:
            self._found = (newer or refused,)
        return newer is not None and newer.value != refused.value

    def request(
        self,
        method: str,
        url: str,
        quota: QuotaName,
        *,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> Reply:
        """Return the hub's answer, following redirects only within the endpoint's own origin."""
        for _ in range(MOST_REDIRECTS + 1):

            def attempt(url: str = url) -> Reply:
                return self._pool.request(method, url, self._headers(url, headers, anonymous=anonymous))

            reply = self._persist(url, quota, attempt)
            target = self.target(reply)
            # A redirect that names the content is an answer; one that does not only says where to ask.
            if target is None or not self.is_own(target) or "x-linked-etag" in reply.headers:
                return reply
            url = target
        raise _too_many_redirects(url)

    def open(self, url: str, quota: QuotaName, stack: ExitStack, *, headers: Mapping[str, str]) -> OpenReply:
        """Return an open answer to a GET, following redirects to any host, the token staying behind."""
        for _ in range(MOST_REDIRECTS + 1):

            def attempt(url: str = url) -> OpenReply:
                stack.close()  # the answer of an earlier try or of the redirect
                return stack.enter_context(self._pool.stream("GET", url, self._headers(url, headers)))

            reply = self._persist(url, quota, attempt)
            target = self.target(reply)
            if target is None:
                return reply
            self.check_target(target, reply)
            _drain(reply)
            url = target
        raise _too_many_redirects(url)

    def target(self, reply: Reply | OpenReply) -> str | None:
        """Return where an answer sends us, as an absolute URL; ``None`` when it is no redirect.

        A mirror below a path that passes an upstream's redirect on leaves its own path out; it is put back.
        """
        target = redirect_target(reply)
        if target is None or not self._path or not self.is_own(target):
            return target
        path = urlsplit(target).path
        if path.startswith(f"{self._path}/") or not _HUB_PATH.match(path):
            return target
        return urlunsplit(urlsplit(target)._replace(path=self._path + path))

    def led_away(self, reply: Reply) -> UnexpectedReplyError:
        """Return the error for questions that are redirected to another origin; answers from there prove nothing."""
        target = redirect_target(reply) or ""
        parts, here = urlsplit(target), urlsplit(self.endpoint)
        said = f"{shown_url(reply.url)}: HTTP {reply.status} redirects to"
        if (here.scheme, parts.scheme) == ("http", "https") and parts.hostname == here.hostname:
            return UnexpectedReplyError(
                f"{said} https, and HF_ENDPOINT says http",
                remedy=f"Set HF_ENDPOINT to https://{parts.netloc.rpartition('@')[2]}{here.path}.",
            )
        return UnexpectedReplyError(
            f"{said} {parts.netloc.rpartition('@')[2] or 'nowhere'}, away from the hub",
            remedy="The token is never sent there; set HF_ENDPOINT to the hub itself.",
        )

    def check_target(self, target: str, reply: Reply | OpenReply) -> str:
        """Return where a redirect leads, when it may be followed or given away."""
        parts = urlsplit(target)
        plain_allowed = self._origin[0] == "http"
        if parts.scheme != "https" and not (parts.scheme == "http" and plain_allowed):
            why = "which is not encrypted" if parts.scheme == "http" else "which is no web address"
        elif "@" in parts.netloc or not parts.hostname:
            why = "which is malformed"
        else:
            try:
                self._guard.check(target)
            except PrivateAddressError as error:
                raise PrivateTargetError(f"{shown_url(reply.url)}: {error.message}", remedy=error.remedy) from None
            return target
        raise UnexpectedReplyError(
            f"{shown_url(reply.url)}: HTTP {reply.status} redirects to {shown_url(target)}, {why}",
            remedy="Check HF_ENDPOINT; a mirror must redirect to https.",
        )

    def _headers(self, url: str, headers: Mapping[str, str] | None, *, anonymous: bool = False) -> dict[str, str]:
        sent = {"accept-encoding": "identity", **(headers or {})}
        if not anonymous and self.is_own(url) and (token := self._token) is not None:
            sent["authorization"] = f"Bearer {token.value}"
        return sent

    def _persist(self, url: str, quota: QuotaName, attempt: Callable[[], Answer]) -> Answer:
        """Return the first answer that is neither a failure of the server nor a request to come later."""
        if self.offline:
            raise OfflineError(
                f"{shown_url(url)} is needed, but the network is not to be used",
                remedy="Run without --offline and without HF_HUB_OFFLINE, or pin a commit whose listing is known here.",
            )
        own = self.is_own(url)
        pause = _FIRST_PAUSE_SECONDS
        for tried in range(1, self._attempts + 1):
            wait = pause + random.uniform(0, pause / 10)  # noqa: S311 # spreads threads, guards no secret
            failure: HubError | None = None
            if own:
                self._check_up(url)
                self._pace.acquire(quota, self.host)
            headers: Mapping[str, str] | None = None
            try:
                reply = attempt()
                headers = reply.headers
            except HttpError as error:
                failure = _unreachable(url, error.why, error.remedy)
                self._give_up(error, failure, tried, own=own)
            except PrivateAddressError as error:
                raise PrivateTargetError(f"{shown_url(url)}: {error.message}", remedy=error.remedy) from None
            finally:
                if own:
                    self._pace.release(quota, headers)
            if failure is None:
                later = self._later(reply, quota, own=own)
                if later is None:
                    return reply
                wait, failure = wait if later[0] is None else later[0], later[1]
            if tried == self._attempts:
                raise failure
            self._pace.pause(wait, urlsplit(url).netloc)
            pause *= 2
        raise AssertionError("unreachable")

    def _give_up(self, error: HttpError, failure: HubError, tried: int, *, own: bool) -> None:
        """Raise where another try would end likewise, or would only wait for a host that is away."""
        if error.lasting:
            failure.retryable = False
            raise failure from None
        if error.unconnected and tried >= _CONNECT_ATTEMPTS:
            self._mark_down(error, own=own)
            raise failure from None

    def _later(self, reply: Reply | OpenReply, quota: QuotaName, *, own: bool) -> tuple[float | None, HubError] | None:
        """Return how long to wait before the next try and the error when there is none; ``None`` for a real answer."""
        if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = asked_wait(reply.headers)
            if own and wait is not None and wait <= LONGEST_WAIT_SECONDS:
                self._pace.refuse(quota, wait)
            return wait, too_long(wait or 0.0, urlsplit(reply.url).netloc)
        if reply.status in _FAILING:
            return asked_wait(reply.headers), _unreachable(reply.url, f"the server fails with HTTP {reply.status}")
        return None

    def _check_up(self, url: str) -> None:
        with self._lock:
            if self._pace.now() < self._down_until:  # a thousand models must not each wait for the same dead host
                raise _unreachable(url, *self._down_why)

    def _mark_down(self, error: HttpError, *, own: bool) -> None:
        if own:
            with self._lock:
                self._down_until, self._down_why = self._pace.now() + _DOWN_SECONDS, (error.why, error.remedy)


def redirect_target(reply: Reply | OpenReply) -> str | None:
    """Return where an answer sends us, as an absolute URL; ``None`` when it is no redirect."""
    location = reply.headers.get("location")
    if reply.status not in REDIRECTS or not location:
        return None
    try:
        return led_to(reply.url, location)
    except ValueError:
        raise UnexpectedReplyError(
            f"{shown_url(reply.url)}: HTTP {reply.status} redirects to what is no address",
            remedy="Something between changes answers: check the proxy or mirror, and HF_ENDPOINT.",
        ) from None


def _drain(reply: OpenReply) -> None:
    """Read a redirect's short text, so that its connection serves again."""
    length = whole_number(reply.headers.get("content-length", ""))
    if length is not None and length <= _SHORT_BYTES:
        for _ in reply.chunks:
            continue


def _unreachable(url: str, why: str, remedy: str | None = None) -> HubUnreachableError:
    proxy = "" if remedy is not None else proxied(url)
    return HubUnreachableError(
        f"{shown_url(url)}{proxy}: {why}",
        remedy=remedy or "Check the network, the proxy and HF_ENDPOINT, or run again later; what came so far is kept.",
        retryable=True,
    )


def proxied(url: str) -> str:
    """Return by which proxy a URL is asked, for a message; empty where it is asked directly."""
    try:
        proxy = proxy_for(url)
    except NetworkSettingError:
        return ""
    return "" if proxy is None else f" by {proxy.shown}"


def _too_many_redirects(url: str) -> UnexpectedReplyError:
    return UnexpectedReplyError(f"{shown_url(url)}: more than {MOST_REDIRECTS} redirects", remedy="Check HF_ENDPOINT.")
