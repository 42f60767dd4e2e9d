"""Where Ollama is, by its own reading of ``OLLAMA_HOST``, and the key that may be needed to talk to it. Pure."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from imageworks.providers.ollama.errors import OllamaUnauthorisedError, OllamaUnreachableError

DEFAULT_PORT: Final = 11434
WRITTEN_HOST: Final = "host.docker.internal"
"""What entries say when nothing else is asked for: containers beside the daemon reach it there."""

_SCHEME_PORTS: Final = {"http": 80, "https": 443}
_LARGEST_PORT: Final = 65535
_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_PATH: Final = re.compile(r"[!-~]*", re.ASCII)
_VISIBLE: Final = re.compile(r"[!-~]+", re.ASCII)
_REMEDY: Final = "Write OLLAMA_HOST as host, host:port or http(s)://host:port."


@dataclass(frozen=True, slots=True)
class OllamaAddress:
    """One daemon's address.

    Args:
        scheme: ``http`` or ``https``.
        host: Name or IP address, without brackets; where a server listens on all addresses, loopback.
        port: The port.
        path: What stands before ``/api``, without slashes at its ends.
        warning: What was passed over in OLLAMA_HOST, as Ollama itself does.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    warning: str | None = None

    @property
    def url(self) -> str:
        """The address without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" + (f"/{self.path}" if self.path else "")

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class OllamaKey:
    """A secret that no message, log line or debugger shows.

    Args:
        value: The secret itself, fit for a header.
    """

    value: str = field(repr=False)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    low = host.lower().rstrip(".")
    if low == "localhost" or low.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(low).is_loopback
    except ValueError:
        return False


def parse_host(text: str) -> OllamaAddress:
    """Return the address that a value of OLLAMA_HOST means to a client."""
    cleaned = text.strip(" \t\r\n\"'")
    scheme, separator, rest = cleaned.partition("://")
    scheme = scheme.lower()
    if not separator:
        scheme, rest, default = "http", cleaned, DEFAULT_PORT
        if cleaned == "ollama.com":
            scheme, default = "https", _SCHEME_PORTS["https"]
    elif scheme in _SCHEME_PORTS:
        default = _SCHEME_PORTS[scheme]
    else:
        raise OllamaUnreachableError("OLLAMA_HOST: only http and https are known", remedy=_REMEDY)
    if "@" in rest or "?" in rest or "#" in rest:  # not quoted: it may hold a password
        raise OllamaUnreachableError(
            "OLLAMA_HOST: user, password, query and fragment do not belong in it",
            remedy=f"{_REMEDY} A key goes into OLLAMA_API_KEY.",
        )
    authority, _, path = rest.partition("/")
    host, port_text = _split_port(authority)
    port, warning = _port(port_text, default)
    host = _for_clients(host)
    if not (_HOST.fullmatch(host) or _is_address(host)) or not _PATH.fullmatch(path):
        raise OllamaUnreachableError(f"OLLAMA_HOST: {text[:200]!r} is no address", remedy=_REMEDY)
    return OllamaAddress(scheme, host, port, path.strip("/"), warning)


def from_environment(environ: Mapping[str, str]) -> tuple[OllamaAddress, OllamaKey | None]:
    """Return the daemon that the user's environment names, and the key to send to it, if any."""
    value = environ.get("OLLAMA_API_KEY", "").strip()
    if value and not _VISIBLE.fullmatch(value):
        raise OllamaUnauthorisedError(
            "OLLAMA_API_KEY has characters that no key has", remedy="Copy it again, without blanks or line ends."
        )
    return parse_host(environ.get("OLLAMA_HOST", "")), OllamaKey(value) if value else None


class WrittenAddress(NamedTuple):
    """Where entries of Ollama's models say that it answers, for those who will talk to it.

    Args:
        host: A name or address, or a whole URL where IMAGEWORKS_OLLAMA_HOST is one.
        port: The port; ``None`` for Ollama's own, and where the host is a URL.
    """

    host: str
    port: int | None = None

    @property
    def fields(self) -> dict[str, object]:
        """The part of an entry's ``backend_config`` that says so."""
        return {"host": self.host, **({"port": self.port} if self.port is not None else {})}


def written_address(environ: Mapping[str, str]) -> WrittenAddress:
    """Return where entries of Ollama's models say that it answers.

    IMAGEWORKS_OLLAMA_HOST names it for others, such as containers; what it leaves out is what OLLAMA_HOST says.
    A daemon of another machine is named as there, one of this machine by the name that containers know it by.
    """
    try:
        daemon = parse_host(environ.get("OLLAMA_HOST", ""))
    except OllamaUnreachableError:
        daemon = parse_host("")
    named = environ.get("IMAGEWORKS_OLLAMA_HOST", "").strip(" \t\r\n\"'")
    if "://" in named:
        return WrittenAddress(named.rstrip("/"))
    if not named and not daemon.is_loopback and (daemon.scheme != "http" or daemon.path):
        return WrittenAddress(daemon.url)
    host, port = _split_port(named)
    own = int(port) if port is not None and port.isascii() and port.isdigit() else daemon.port
    if not host:
        host = WRITTEN_HOST if daemon.is_loopback else daemon.host
    return WrittenAddress(host, None if own == DEFAULT_PORT else own)


def _split_port(authority: str) -> tuple[str, str | None]:
    """Return host and port as Go splits them; the port is ``None`` where there is none to split off."""
    if authority.startswith("["):
        inner, bracket, after = authority[1:].partition("]")
        if bracket and after.startswith(":") and ":" not in after[1:]:
            return inner, after[1:]
        return authority.strip("[]"), None
    if authority.count(":") == 1:
        host, _, port = authority.partition(":")
        return host, port
    return authority, None


def _port(text: str | None, default: int) -> tuple[int, str | None]:
    if text is None:
        return default, None
    digits = text.removeprefix("+")
    if digits.isascii() and digits.isdigit() and int(digits[:9]) <= _LARGEST_PORT:
        return int(digits[:9]), None
    return default, f"OLLAMA_HOST: {text[:20]!r} is no port; {default} is used, as Ollama does"


def _for_clients(host: str) -> str:
    """Return where a client finds a server that listens there: all addresses mean loopback."""
    if not host:
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 # IPv4
    return str(address)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
