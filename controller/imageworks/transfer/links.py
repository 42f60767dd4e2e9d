"""Which links are followed, and how they are shown: a signed link is a secret while it lasts."""

import re
from urllib.parse import urlsplit

from imageworks.transfer.files import LinkError, RemoteFile


def check_link(url: str, file: RemoteFile, *, allow_http: bool) -> str:
    """Return a link that is https, or plain http to this machine or where the endpoint is so too; else LinkError.

    Args:
        url: What the provider gave.
        file: Which file it is for.
        allow_http: Whether the endpoint itself is plain http.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    loopback = host in {"localhost", "::1"} or host.startswith("127.")
    if host and (parts.scheme == "https" or (parts.scheme == "http" and (allow_http or loopback))):
        return url
    raise LinkError(
        f"{file.path}: the hub links to {parts.scheme or 'no'}://{host}, which is not https",
        remedy="use a hub or mirror that serves its files over https",
        reason="insecure-link",
    )


def without_queries(message: str) -> str:
    """Return a text without the query of any address in it, which may be a signature."""
    return re.sub(r"(https?://[^\s?]+)\?\S+", r"\1?...", message).strip()
