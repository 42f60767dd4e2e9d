"""Who may ask a server of ours: which names it answers to, which pages may read it, and the token that it wants."""

import hmac
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from imageworks.foundation.errors import ImageworksError, UsageError
from imageworks.foundation.http_messages import Headers, Request, RequestError, Response

METHODS: Final = "GET, HEAD, OPTIONS"
TOKEN_LIMIT: Final = 4096
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{0,5})?")
_HEADER_NAMES: Final = re.compile(r"[A-Za-z0-9-]{1,64}(?:\s*,\s*[A-Za-z0-9-]{1,64}){0,63}")
_TOKEN: Final = re.compile(r"[!-~]+")
_FROM_CONTAINERS: Final = frozenset({"host.docker.internal", "host.containers.internal"})
HOW_TO_MAKE_ONE: Final = "(umask 077; head -c 24 /dev/urandom | base64 > {path})"


class OpenServerError(UsageError):
    """A server that other machines reach would let everybody in."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"other machines reach {host or 'all addresses'}, and no token is asked for",
            remedy=f"Make one with `{HOW_TO_MAKE_ONE.format(path='server.token')}` and add `--token-file "
            "server.token`, or let everybody in with `--insecure`.",
        )


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """The rules of one server."""

    token: str | None = None
    """What each request must send as a bearer token; ``None`` lets everybody in."""
    insecure: bool = False
    """Whether everybody may be let in from other machines."""
    names: frozenset[str] = frozenset()
    """More names that it answers to, in lower case, and goes by for who used them."""
    origins: frozenset[str] | None = None
    """The pages that may read answers, as `origin_of` gives them; ``None`` where none ever can."""
    open_paths: frozenset[str] = frozenset()
    """What needs no token."""

    def check_exposure(self, host: str, address: str) -> bool:
        """Return whether an address is this machine's own; raise where others would get in without a token."""
        is_loopback = _is_loopback(_address(address))
        if self.token is None and not self.insecure and not is_loopback:
            raise OpenServerError(host)
        return is_loopback

    def check_host(self, request: Request, host: str) -> str:
        """Return the address that leads a request's sender to this server; raise unless it named this server.

        A page whose own name leads here (DNS rebinding) names another. ``host`` is where the server listens.
        """
        said = request.headers.get("host")
        found = _HOST.fullmatch(said) if said is not None else None
        name = found[1].strip("[]").lower().removesuffix(".") if found else ""
        if name in self.names:
            return name
        if said is None or (name and self._is_ours(name, host, request.address)):  # all browsers send it
            return request.address
        raise RequestError(
            HTTPStatus.FORBIDDEN,
            "this server answers to its own address and to loopback names only; `--allow-host NAME` adds a name",
        )

    @staticmethod
    def _is_ours(name: str, host: str, reached: str) -> bool:
        if name in ("localhost", host.lower().strip("[]"), reached):
            return True
        listening, named = _address(host), _address(name)
        if host == "" or (listening is not None and listening.is_unspecified):
            full = socket.gethostname().lower()
            short = full.partition(".")[0]
            return named is not None or name in {full, short, f"{short}.local", *_FROM_CONTAINERS}
        return _is_loopback(named)

    def check_token(self, request: Request) -> None:
        """Raise unless the request has the token, if it needs one."""
        if self.token is None or request.path in self.open_paths or has_token(request, self.token):
            return
        problem = ', error="invalid_token"' if request.has_authorization else ""
        challenge = (("WWW-Authenticate", f'Bearer realm="imageworks"{problem}'),)
        raise RequestError(HTTPStatus.UNAUTHORIZED, "this server wants its bearer token", challenge)

    def preflight(self, request: Request) -> Response | None:
        """Return the answer to a browser that asks whether a page may ask, or to whoever asks for the methods."""
        if request.method != "OPTIONS":
            return None
        origin, allow = request.headers.get("origin"), ("Allow", METHODS)
        if origin is None:
            return Response(HTTPStatus.NO_CONTENT, (allow,))
        if self.origins is None or origin not in self.origins:
            how = "" if self.origins is None else ": `--cors ORIGIN` lets them"
            raise RequestError(HTTPStatus.FORBIDDEN, f"pages of {origin[:200]} may not read this{how}")
        wanted = request.headers.get("access-control-request-headers", "")
        granted = (("Access-Control-Allow-Headers", wanted),) if _HEADER_NAMES.fullmatch(wanted) else ()
        methods = ("Access-Control-Allow-Methods", f"{METHODS}, POST")  # a page may read where its model is served
        return Response(HTTPStatus.NO_CONTENT, (allow, methods, *granted, ("Access-Control-Max-Age", "600")))

    def shared_with(self, request: Request) -> Headers:
        """Return the headers that let a named page read the answer."""
        if not self.origins:
            return ()
        origin = request.headers.get("origin", "")
        allowed = (("Access-Control-Allow-Origin", origin),) if origin in self.origins else ()
        return (*allowed, ("Vary", "Origin"))


def origin_of(said: str) -> str:
    """Return an origin as browsers send it; ``*`` is none, since any page that is open could then read everything."""
    with suppress(ValueError):
        parts = urlsplit(said.strip())
        usual = {"http": 80, "https": 443}.get(parts.scheme)
        if (
            parts.scheme
            and parts.hostname
            and parts.path in {"", "/"}
            and not (parts.query or parts.fragment or "@" in said)
        ):
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            port = f":{parts.port}" if parts.port not in {None, usual} else ""
            return f"{parts.scheme}://{host}{port}"
    raise UsageError(
        f"--cors {said!r} is no origin",
        remedy="Name the page's own, such as --cors http://localhost:3000; * is not taken.",
    )


def has_token(request: Request, token: str) -> bool:
    """Return whether a request sends this bearer token, in a time that does not tell how much of it was right."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), given.strip().encode())


def read_token(file: Path | None, variable: str) -> str | None:
    """Return the token that a file holds, else that of the environment, if there is any."""
    if file is None:
        where, said = variable, os.environ.get(variable, "")
        if not said:
            return None
    else:
        where, remedy = str(file), f"Make it with `{HOW_TO_MAKE_ONE.format(path='PATH')}`."
        try:
            with file.open("rb") as stream:
                said = stream.read(TOKEN_LIMIT + 1).decode("ascii", "replace").strip()
        except OSError as error:
            raise ImageworksError(f"{file}: {error.strerror or error}", remedy=remedy) from error
    if len(said) > TOKEN_LIMIT or not _TOKEN.fullmatch(said):
        raise ImageworksError(
            f"{where}: this is no token", remedy="It is one word of ASCII letters, digits and signs, without spaces."
        )
    return said


def _address(text: str) -> IPv4Address | IPv6Address | None:
    with suppress(ValueError):
        found = ip_address(text.strip("[]").partition("%")[0])
        return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
    return None


def _is_loopback(address: IPv4Address | IPv6Address | None) -> bool:
    return address is not None and address.is_loopback
