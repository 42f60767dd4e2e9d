"""Which proxy a request goes by: one reading of the environment for our own connections and for aria2c.

The variables are those of curl and of Python: ``http_proxy`` and ``https_proxy``, ``all_proxy`` for both, ``no_proxy``
for hosts that are asked directly, each in lower or upper case, lower first. Where none is set, macOS and Windows are
asked.
"""

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

from imageworks.foundation.errors import ImageworksError

PORTS: Final = {"http": 80, "https": 443}
_PROXY_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_SYSTEM: Final = "the system's network settings"
_HOW: Final = (
    "Write it as http://host:port or socks5://host:port; in a user or password, write @ : / # % percent-encoded."
)


class NetworkSettingError(ImageworksError):
    """A setting of the environment about proxies or certificates cannot be used."""

    def __init__(self, variable: str, why: str, *, remedy: str) -> None:
        super().__init__(f"{variable}: {why}", remedy=remedy)
        self.variable = variable


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, with the setting that names it.

    Args:
        variable: The environment's variable.
        scheme: ``http``, ``https`` or ``socks5``.
        host: Where it is.
        port: Its port.
        user: Whom to say that we are; ``None`` where the setting does not say it.
        password: With which password.
    """

    variable: str
    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        """Host and port, as an address has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def shown(self) -> str:
        """What a message calls it."""
        return f"the proxy {self.place} ({self.variable})"


def proxy_for(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy by which a URL is asked, ``None`` where it is asked directly."""
    scheme = url.partition("://")[0].lower()
    found = _setting((f"{scheme}_proxy", "all_proxy"), environment)
    if found is None:
        return _of_system(scheme, url)
    _, direct = _setting(("no_proxy",), environment) or ("", "")
    parts = urlsplit(url)
    if direct and is_listed(parts.hostname or "", direct, parts.port or PORTS.get(scheme, 0)):
        return None
    return _parsed(*found)


def _setting(names: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, str] | None:
    for name in names:
        for variable in (name, name.upper()):
            if variable == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
                continue  # a CGI program's visitor can set it, by a header called Proxy
            if value := environment.get(variable, "").strip():
                return variable, value
    return None


def _of_system(scheme: str, url: str) -> Proxy | None:
    if platform.system() not in {"Darwin", "Windows"}:
        return None
    from urllib.request import getproxies, proxy_bypass

    address = getproxies().get(scheme)
    return None if not address or proxy_bypass(urlsplit(url).hostname or "") else _parsed(_SYSTEM, address)


def is_listed(host: str, listed: str, port: int = 0) -> bool:
    """Return whether a list of hosts names this one: by name, domain, address, network, each with or without a port."""
    host = host.rstrip(".").lower()
    for entry in re.split(r"[\s,]+", listed.lower()):
        name, only_port = _split_port(entry)
        if not name or (only_port is not None and only_port != port):
            continue
        if name == "*" or _in_network(host, name):
            return True
        domain = name.removeprefix("*").strip(".")
        if domain and (host == domain or host.endswith(f".{domain}")):
            return True
    return False


def _split_port(entry: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d{1,5})", entry)
    name, port = (found[1], int(found[2])) if found else (entry, None)
    return name.removeprefix("[").removesuffix("]"), port


def _in_network(host: str, name: str) -> bool:
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:
        return False


def _parsed(variable: str, text: str) -> Proxy:
    text = text if "://" in text else f"http://{text}"
    scheme = text.partition("://")[0].lower()
    if scheme not in _PROXY_PORTS:
        shown = scheme if re.fullmatch(r"[a-z0-9+.-]{1,20}", scheme) else "what stands before ://"
        raise NetworkSettingError(variable, f"{shown} is no kind of proxy that is known here", remedy=_HOW)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, _PROXY_PORTS[scheme] if parts.port is None else parts.port
    except ValueError:
        host, port = None, 0
    if not host or not port or not host.isascii() or not re.fullmatch(r"[^\s/?#@\\%]+", host):
        raise NetworkSettingError(variable, "it cannot be the address of a proxy", remedy=_HOW)
    return Proxy(
        variable,
        "socks5" if scheme.startswith("socks5") else scheme,  # the name is looked up by the proxy either way
        host,
        port,
        None if parts.username is None else unquote(parts.username),
        unquote(parts.password or ""),
    )
