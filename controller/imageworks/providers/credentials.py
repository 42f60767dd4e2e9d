"""Who we are to a host or mirror: by a variable that this host's owner named for it, else by the user's netrc file.

A manifest, which strangers may write, names neither: it could have any variable sent to any host.
"""

import base64
import netrc
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from imageworks.files.artifact import LinkError
from imageworks.foundation.log import keep_secret

SETTING: Final = "credentials"
HTTPS_PORT: Final = 443
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Credentials:
    """Gives the header by which a host knows us."""

    def __init__(self, named: Iterable[str], environment: Mapping[str, str]) -> None:
        pairs = (item.partition("=") for item in named)
        self._variables = {host.strip().lower(): variable.strip() for host, _, variable in pairs}
        self._environment = environment

    def token(self, host: str, port: int | None, *, encrypted: bool = True) -> tuple[str, str] | None:
        """Return the token for a host, and the variable that holds it; ``None`` where none is named."""
        # A manifest chooses the port: what listens at another one of the same host may be somebody else.
        usual = encrypted and (port in {None, HTTPS_PORT} or host in LOOPBACK)
        variable = self._variables.get(f"{host}:{port}") or (self._variables.get(host) if usual else None)
        if variable is None:
            return None
        token = self._environment.get(variable)
        if not token:
            raise LinkError(
                f"{host} wants the token in {variable}, which is not set",
                remedy=f"set {variable}, or change {SETTING} in the user's config.toml",
                reason="unauthorised",
            )
        keep_secret(token)
        return token, variable

    def header(self, host: str, port: int | None) -> dict[str, str]:
        """Return the header for a host, empty when nothing is known for it."""
        if (named := self.token(host, port)) is not None:
            return {"authorization": f"Bearer {named[0]}"}
        usual = port in {None, HTTPS_PORT} or host in LOOPBACK
        found = self._netrc(host) if usual else None
        if found is None:
            return {}
        user, password = found
        keep_secret(password)
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    def _netrc(self, host: str) -> tuple[str, str] | None:
        file = Path(self._environment.get("NETRC") or "~/.netrc").expanduser()
        if not os.access(file, os.R_OK):
            return None
        try:
            known = netrc.netrc(file).hosts.get(host)  # its default entry would go to hosts that manifests choose
        except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
            said = getattr(error, "msg", None) or getattr(error, "strerror", None) or "is not UTF-8"
            line = getattr(error, "lineno", None)
            raise LinkError(
                f"{file}{f':{line}' if line else ''}: {said}", remedy="put the file right", reason="unauthorised"
            ) from None
        return None if known is None else (known[0], known[2] or "")
