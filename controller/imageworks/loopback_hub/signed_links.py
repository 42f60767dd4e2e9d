"""Links to the second origin: signed and short-lived, so that whoever follows one needs no token.

Own second origin: ``/lfs/{owner}/{repo}/{commit}/{path}?Expires={unix seconds}&Signature={hex}``.
With ``--cdn-url`` another static server does the work: ``{cdn}/{folder below DIR}/{path}``, unsigned, where the folder
is ``owner/repo`` or ``owner/repo@revision``.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs, quote

LFS_PATH: Final = re.compile(r"/lfs/(?P<repository>.+?)/(?P<commit>[0-9a-f]{40})/(?P<path>.+)")


class LinkSigner:
    """Signs links and checks them with a key that lives as long as the server."""

    def __init__(self, lifetime: float, clock: Callable[[], float]) -> None:
        self._key = secrets.token_bytes(32)
        self._lifetime = lifetime
        self._clock = clock

    def sign(self, repository: str, commit: str, path: str) -> str:
        """Return the path and query of a link to one file."""
        target = f"/lfs/{quote(repository)}/{commit}/{quote(path)}"
        expires = str(int(self._clock() + self._lifetime))
        return f"{target}?Expires={expires}&Signature={self._signature(target, expires)}"

    def problem(self, target: str, query: str) -> str | None:
        """Return why a link does not open anything, or ``None`` when it does."""
        fields = parse_qs(query)
        expires = fields.get("Expires", [""])[-1]
        given = fields.get("Signature", [""])[-1]
        if not hmac.compare_digest(self._signature(target, expires).encode(), given.encode()):
            return "The link's signature does not match"
        return "The link has expired" if int(expires) < self._clock() else None

    def _signature(self, target: str, expires: str) -> str:
        return hmac.new(self._key, f"{target}\n{expires}".encode(), hashlib.sha256).hexdigest()
